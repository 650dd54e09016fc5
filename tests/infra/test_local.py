"""The programs of the stack without containers are the services of the compose file, on this machine alone."""

import re
import socket
from pathlib import Path

import pytest
import yaml

from infra.compose.make_secrets import make_secrets
from infra.local import stack
from infra.local.postgres import Postgres
from infra.local.programs import PORTS, RAY_WORKERS, Place, Program, find_programs

FOLDER = Path(__file__).parents[2] / "infra" / "compose"
SERVICES = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]


@pytest.fixture
def programs(tmp_path) -> dict[str, Program]:
    make_secrets(tmp_path / "secrets")
    place = Place(tmp_path, tmp_path, {name: 30_000 + number for number, name in enumerate(PORTS)})
    found = find_programs(place, Postgres(Path("/bin"), tmp_path / "pg"), num_cpus=1, num_bytes=1 << 30)
    return {program.name: program for program in found}


def test_every_service_without_a_profile_is_a_program_and_waits_for_the_same(programs):
    services = {name for name, service in SERVICES.items() if "profiles" not in service}
    assert set(programs) == services - {"ray-worker"} | set(RAY_WORKERS)
    for name, program in programs.items():
        assert set(program.waits_for) == set(SERVICES[re.sub(r"-\d$", "", name)].get("depends_on", {}))


def test_programs_have_no_host_address_or_path_of_a_container(programs):
    for program in programs.values():
        text = " ".join([*program.command, *(f"{name}={value}" for name, value in program.environment.items())])
        # These are only used with the profile `monitoring`.
        text = text.replace("STATSD_HOST=statsd", "")
        assert re.findall(r"/run/secrets|/etc/fleetcast|/opt/airflow|0\.0\.0\.0|//(?!127\.0\.0\.1)\S+|\$\{", text) == []


def test_secrets_of_the_environment_are_files_that_exist(programs, tmp_path):
    values = [value for program in programs.values() for value in program.environment.values()]
    named = {path for value in values for path in re.findall(rf"{re.escape(str(tmp_path))}/secrets/\S+", value)}
    assert len(named) > 5
    assert [path for path in named if not Path(path).exists()] == []


def test_ray_nodes_have_ports_and_folders_of_their_own(programs):
    options = [
        dict(word.split("=", 1) for word in programs[name].command if word.startswith("--") and "=" in word)
        for name in ("ray-head", *RAY_WORKERS)
    ]
    assert {each["--node-ip-address"] for each in options} == {"127.0.0.1"}
    for name in ("--temp-dir", "--dashboard-agent-listen-port"):
        assert len({each[name] for each in options}) == 3
    assert options[0]["--num-cpus"] == "0"
    assert {each["--address"] for each in options[1:]} == {f"127.0.0.1:{options[0]['--port']}"}


def test_a_port_that_is_taken_is_refused_with_the_option_that_chooses_another(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stack, "find_programs", lambda: tmp_path)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        assert stack.main(["up", "--root", str(tmp_path), "--ray-port", port, "--airflow-port", "0"]) == 2
    assert f"port {port} on 127.0.0.1 cannot be used" in (said := capsys.readouterr().err)
    assert "--ray-port" in said


def test_a_machine_without_postgresql_is_refused_with_the_command_that_installs_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stack, "find_programs", lambda: None)
    assert stack.main(["up", "--root", str(tmp_path)]) == 2
    assert "apt install postgresql" in capsys.readouterr().err
    assert stack.main(["down", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "no stack was up\n"
