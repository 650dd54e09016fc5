"""The compose file: valid, closed, and in agreement with the settings and commands of the product."""

import json
import os
import re
import runpy
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from forecasting.settings import SETTINGS_FILE_VARIABLE, FleetSettings, Settings
from forecasting.store.publish import append_run
from forecasting.store.tables import Store
from tests.moto_server import serve_moto
from tests.postgres import Server
from workers.airflow.ray_token import MODE_VARIABLE, TOKEN_PATH_VARIABLE
from workers.settings import WorkerSettings

FOLDER = Path(__file__).parents[2] / "infra" / "compose"
STACK: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
OWN = {name: service for name, service in SERVICES.items() if "build" in service}
AIRFLOW = {name: service for name, service in OWN.items() if name.startswith("airflow-")}
CHECK = [str(Path(sys.executable).with_name("check-jsonschema")), "--builtin-schema", "vendor.compose-spec"]
make_secrets = runpy.run_path(str(FOLDER / "make_secrets.py"))["make_secrets"]


@pytest.mark.parametrize(("name", "is_valid"), [("restart", True), ("restarts", False)])
def test_file_is_valid_and_a_misspelt_key_is_refused(tmp_path, name, is_valid):
    path = tmp_path / "compose.yaml"
    path.write_text((FOLDER / "compose.yaml").read_text().replace("  restart: unless-stopped", f"  {name}: always"))
    assert (subprocess.run([*CHECK, path], capture_output=True).returncode == 0) == is_valid


def test_ports_are_on_loopback():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert STACK["networks"]["metadata"]["internal"]
    assert SERVICES["postgres"]["networks"] == ["metadata"]


@pytest.mark.parametrize("name", SERVICES)
def test_service_has_limits_and_gains_no_privileges(name):
    service = SERVICES[name]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert name not in OWN or service["cap_drop"] == ["ALL"]
    assert ":" in service["image"] or name in AIRFLOW
    assert not service["image"].endswith(":latest")


def test_services_wait_for_those_that_are_healthy_or_done():
    for service in SERVICES.values():
        for name, condition in service.get("depends_on", {}).items():
            needed = SERVICES[name]
            is_checked = needed.get("healthcheck", {} if name in OWN else {"disable": True}) != {"disable": True}
            expected = "service_healthy" if is_checked else "service_completed_successfully"
            assert condition == {"condition": expected}, name


def test_variables_of_fleetcast_and_ray_are_those_that_are_read():
    known = {
        f"FLEETCAST_{field.upper()}"
        for part in (Settings, WorkerSettings, FleetSettings)
        for field in part.model_fields
    }
    known |= {SETTINGS_FILE_VARIABLE, MODE_VARIABLE, TOKEN_PATH_VARIABLE}
    given = {name for service in OWN.values() for name in service["environment"] if not name.startswith("AIRFLOW__")}
    assert given <= known
    for service in OWN.values():
        token = service["environment"][TOKEN_PATH_VARIABLE]
        assert token == "/run/secrets/ray_token"
        assert "ray_token" in service["secrets"]


def test_variables_of_airflow_are_options_that_it_has():
    from airflow.configuration import conf

    for name in AIRFLOW["airflow-scheduler"]["environment"]:
        if name.startswith("AIRFLOW__"):
            section, option = name.removeprefix("AIRFLOW__").lower().split("__")
            key = (section, option.removesuffix("_cmd"))
            assert key[1] in conf.configuration_description[key[0]]["options"], name
            assert key == (section, option) or key in conf.sensitive_config_values, name


def test_commands_and_their_options_exist():
    from airflow.cli.cli_parser import get_parser
    from ray.scripts.scripts import start

    options = {option for parameter in start.params for option in parameter.opts}
    for name, service in OWN.items():
        program, *words = service["command"]
        if program == "ray":
            assert words[0] == "start"
            assert {word.partition("=")[0] for word in words[1:]} <= options, name
        elif program == "airflow":
            get_parser().parse_args(words)
        else:
            assert (program, name) == ("python", "bucket")
        check = service.get("healthcheck", {}).get("test", [])
        if check[1:2] == ["airflow"]:
            get_parser().parse_args(check[2:])


def test_hosts_and_ports_of_the_settings_are_those_of_the_services(monkeypatch):
    for name in Settings.model_fields | WorkerSettings.model_fields:
        monkeypatch.delenv(f"FLEETCAST_{name.upper()}", raising=False)
    monkeypatch.setenv(SETTINGS_FILE_VARIABLE, str(FOLDER.parent / "settings" / "compose.toml"))
    ray, s3 = SERVICES["ray-head"]["command"], SERVICES["s3"]["command"]
    assert WorkerSettings.load().ray_jobs_url == "http://ray-head:8265"
    assert "--dashboard-port=8265" in ray
    assert "--port=6379" in ray
    assert "--address=ray-head:6379" in SERVICES["ray-worker"]["command"]
    scraped, airflow = yaml.safe_load((FOLDER.parent / "monitoring" / "prometheus.yml").read_text())["scrape_configs"]
    (nodes,) = scraped["dns_sd_configs"]
    assert set(nodes["names"]) == {name for name in SERVICES if name.startswith("ray-")}
    for name in nodes["names"]:
        assert f"--metrics-export-port={nodes['port']}" in SERVICES[name]["command"]
    assert airflow["static_configs"] == [{"targets": ["statsd:9102"]}]
    assert "--web.listen-address=:9102" in SERVICES["statsd"]["command"]
    variables = AIRFLOW["airflow-scheduler"]["environment"]
    assert f"--statsd.listen-udp=:{variables['AIRFLOW__METRICS__STATSD_PORT']}" in SERVICES["statsd"]["command"]
    assert variables["AIRFLOW__METRICS__STATSD_HOST"] == "statsd"
    assert Settings.load().storage_options["AWS_ENDPOINT_URL"] == "http://s3:8333"
    assert "-s3.port=8333" in s3
    api = AIRFLOW["airflow-scheduler"]["environment"]
    assert api["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://airflow-api-server:8080/execution/"
    assert api["AIRFLOW__API__PORT"] == "8080"


def test_mounted_files_exist_and_secrets_are_all_made(tmp_path):
    make_secrets(tmp_path / "secrets")
    shutil.copytree(FOLDER, tmp_path / "compose", ignore=shutil.ignore_patterns("secrets"))
    files = [secret["file"] for secret in STACK["secrets"].values()]
    files += [path for service in OWN.values() for path in service.get("env_file", [])]
    assert [path for path in files if not (tmp_path / path).is_file()] == []
    assert {secret for service in SERVICES.values() for secret in service.get("secrets", [])} == set(STACK["secrets"])
    mounted = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    for source in mounted - set(STACK["volumes"]):
        root = tmp_path if source.startswith("./secrets") else FOLDER
        assert (root / source).exists(), source


def test_secrets_are_new_for_each_stack_and_stay(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    made = {path.name: path.read_text() for path in make_secrets(one)}
    others = {path.name: path.read_text() for path in make_secrets(other)}
    assert set(made) == set(others)
    assert [name for name in made if made[name] == others[name]] == []
    assert stat.S_IMODE(one.stat().st_mode) == 0o700
    assert make_secrets(one) == []
    (one / "fernet_key").unlink()
    assert [path.name for path in make_secrets(one)] == ["fernet_key"]
    assert {name: (one / name).read_text() for name in made if name != "fernet_key"}.items() <= made.items()
    (one / "store.env").unlink()
    with pytest.raises(SystemExit, match=r"but not store\.env, which belong together"):
        make_secrets(one)


def test_no_secret_is_in_the_files():
    for path in (FOLDER / "compose.yaml", FOLDER.parent / "settings" / "compose.toml", FOLDER / "make_bucket.py"):
        assert (
            re.findall(r"(?i)(?:password|secret|token|access_key\w*)\s*[:=]\s*[\"']?[\w+/-]{8,}", path.read_text())
            == []
        )
    ignored = (FOLDER / ".gitignore").read_text().split()
    assert ignored == ["secrets/"]


@pytest.mark.s3
def test_store_is_reached_with_the_keys_of_the_secrets(tmp_path, monkeypatch):
    make_secrets(tmp_path)
    settings = (FOLDER.parent / "settings" / "compose.toml").read_text()
    with serve_moto() as options:
        path = tmp_path / "settings.toml"
        path.write_text(settings.replace("http://s3:8333", options["endpoint_url"]))
        monkeypatch.setenv(SETTINGS_FILE_VARIABLE, str(path))
        monkeypatch.delenv("FLEETCAST_STORE", raising=False)
        for line in (tmp_path / "store.env").read_text().splitlines():
            monkeypatch.setenv(*line.split("="))
        for _ in range(2):
            made = subprocess.run([sys.executable, FOLDER / "make_bucket.py"], capture_output=True, text=True)
            assert (made.returncode, made.stdout) == (0, "bucket fleetcast exists\n"), made.stderr
        store = Store(Settings.load().store, Settings.load().storage_options)
        append_run(store, {"run_id": "r"})
        store.write_bytes("weights/w", b"weights")
        assert store.scan("runs", "timestamp").collect()["run_id"].to_list() == ["r"]
        assert store.read_bytes("weights/w") == b"weights"


@pytest.mark.airflow
@pytest.mark.postgres
def test_airflow_reads_its_secrets_from_the_files_and_migrates_postgresql(tmp_path, postgres: Server):
    """The command of `airflow-migrate`, in the environment of its container."""
    make_secrets(tmp_path)
    (tmp_path / "airflow_database").write_text(postgres.secret_uri.replace("postgresql://", "postgresql+psycopg2://"))
    given = {
        name: value.replace("/run/secrets", str(tmp_path))
        for name, value in AIRFLOW["airflow-migrate"]["environment"].items()
        if name.startswith("AIRFLOW__")
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    environment |= given | {"AIRFLOW_HOME": str(tmp_path / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    airflow = str(Path(sys.executable).with_name("airflow"))
    command = [airflow, *AIRFLOW["airflow-migrate"]["command"][1:]]
    migrated = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert migrated.returncode == 0, migrated.stderr
    shown = subprocess.run(
        [airflow, "config", "get-value", "api_auth", "jwt_secret"], env=environment, capture_output=True, text=True
    )
    assert (tmp_path / "jwt_secret").read_text() in shown.stdout
    assert json.loads((tmp_path / "airflow_passwords.json").read_text())["admin"]
