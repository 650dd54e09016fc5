import json
import os
import shutil
import signal
import socket
import stat
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from forecasting.errors import ClusterError
from workers.cluster import local_ray as module
from workers.cluster.ray_head import processes_of, write_token_if_missing

HOLD_A_RAY = """
import faulthandler, os, sys, time
faulthandler.dump_traceback_later(250)  # shows where a start hangs, once in a test that fails
from workers.cluster.local_ray import local_ray
with local_ray(num_cpus=1) as cluster:
    import ray
    folder = os.path.dirname(ray._private.worker._global_node.get_session_dir_path())
    print(folder, cluster.address, flush=True)
    if sys.argv[1] == "raise":
        raise ValueError("something else went wrong")
    time.sleep(600)
"""

USE_A_RAY = """
import faulthandler, json, os, sys
faulthandler.dump_traceback_later(200)
import ray
from workers.airflow.client import RayJobsClient, Submission, await_step, find_job, read_log, submit_job
ray.init(address=os.environ["RAY_ADDRESS"], logging_level="warning")
client = RayJobsClient(os.environ["FLEETCAST_RAY_JOBS_URL"])
names = '"FLEETCAST_STORE", "HELD"'
see = f"python -c 'import os, workers; print(workers.__file__, *(os.environ[name] for name in ({names})))'"
client.run(submit_job(Submission("see", see)))
client.run(await_step("see", "see"))
job = client.run(find_job("see"))
folder = os.path.dirname(ray._private.worker._global_node.get_session_dir_path())
log = client.run(read_log("see"))
print(json.dumps({"folder": folder, "status": job.status, "log": log, "address": os.environ["RAY_ADDRESS"]}))
sys.exit(7)
"""

DEFAULT_PORTS = (6379, 8265, 8266, 10001, 52365, 44217, 44227)


@pytest.mark.ray
@pytest.mark.faults
@pytest.mark.timeout(700)  # four Rays start, which takes minutes on a busy machine
def test_no_process_is_left_behind_however_the_owner_ends(start_python, wait_until_gone):
    codes = {"raise": 1, "SIGTERM": 143, "SIGINT": -signal.SIGINT, "SIGKILL": -signal.SIGKILL}
    for pair in (("raise", "SIGTERM"), ("SIGINT", "SIGKILL")):  # two at once: each takes seconds to start
        owners = {end: start_python("-c", HOLD_A_RAY, end) for end in pair}
        for end, owner in owners.items():
            folder, address = owner.stdout.readline().split()
            assert address.startswith("127.0.0.1:")
            if end != "raise":
                assert processes_of(Path(folder))
                owner.send_signal(getattr(signal, end))
            assert owner.wait(60) == codes[end], end
            assert wait_until_gone(folder) == [], end
            if end == "SIGKILL":
                shutil.rmtree(folder)
            assert not Path(folder).exists(), end


@pytest.mark.ray
def test_run_survives_busy_ports_gives_its_command_a_ray_with_jobs_and_ends_with_its_code(
    run_python, wait_until_gone, tmp_path
):
    with ExitStack() as stack:
        for port in DEFAULT_PORTS:
            listener = stack.enter_context(socket.socket())
            with suppress(OSError):  # somebody else holds it, which is as good
                listener.bind(("0.0.0.0", port))
                listener.listen()
        ended = run_python(
            "-m", "workers.cluster.local_ray", "run", "--", "python", "-c", USE_A_RAY, timeout=240, HELD="held"
        )
    assert ended.returncode == 7, ended.stderr
    seen = json.loads(ended.stdout.splitlines()[-1])
    assert seen["status"] == "SUCCEEDED", seen
    assert seen["log"][-1] == f"{Path(module.__file__).parents[1] / '__init__.py'} {tmp_path}/.fleetcast/store held"
    assert wait_until_gone(seen["folder"]) == []
    assert not Path(seen["folder"]).exists()


@pytest.mark.ray
def test_up_holds_one_ray_in_the_background_until_down(run_python, wait_until_gone, tmp_path):
    command = ("-m", "workers.cluster.local_ray")
    up = run_python(*command, "up")
    try:
        assert up.returncode == 0, up.stderr
        lines = dict(line.split("=", 1) for line in up.stdout.splitlines())
        assert lines["FLEETCAST_RAY_JOBS_URL"].startswith("http://127.0.0.1:")
        assert (tmp_path / ".fleetcast/ray/environment").read_text() == up.stdout
        assert run_python(*command, "up").stdout == up.stdout
        host, port = lines["RAY_ADDRESS"].split(":")
        socket.create_connection((host, int(port)), timeout=5).close()
    finally:
        down = run_python(*command, "down")
    assert down.stdout == "the local Ray has ended\n"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host, int(port)), timeout=5)
    assert not (tmp_path / ".fleetcast/ray/environment").exists()
    assert run_python(*command, "down").stdout == "no local Ray was up\n"


@pytest.mark.ray
def test_a_given_ray_is_used_and_left_running(ray_cluster, run_python):
    code = """
from workers.cluster.local_ray import local_ray
with local_ray() as cluster: print(cluster.is_own, cluster.address)
"""
    for _ in range(2):
        ended = run_python("-c", code, RAY_ADDRESS=ray_cluster.address)
        assert ended.stdout.split() == ["False", ray_cluster.address], ended.stderr


@pytest.mark.ray
def test_a_ray_that_the_process_is_connected_to_is_used_as_it_is(ray_cluster):
    import ray

    with module.local_ray(num_cpus=7) as cluster:
        assert cluster.address == ray_cluster.address
        assert not cluster.is_own
    assert ray.is_initialized()
    assert ray.cluster_resources()["CPU"] == 2


@pytest.mark.ray
def test_only_loopback_is_listened_on(ray_cluster):
    import ray

    folder = Path(ray._private.worker._global_node.get_session_dir_path()).parent
    sockets = {os.readlink(fd) for pid in processes_of(folder) for fd in _descriptors(pid)}
    ours = [
        address
        for table in ("tcp", "tcp6")
        for address, inode in _listeners(Path(f"/proc/net/{table}"))
        if f"socket:[{inode}]" in sockets
    ]
    assert len(ours) > 3
    assert set(ours) <= {"0100007F", "0000000000000000FFFF00000100007F"}


def test_a_ray_that_nobody_listens_at_is_reported_at_once(run_python):
    code = "from workers.cluster.local_ray import local_ray\nwith local_ray(): pass"
    began = time.monotonic()
    ended = run_python("-c", code, RAY_ADDRESS="127.0.0.1:1")
    assert "ClusterError: Ray at 127.0.0.1:1 cannot be reached: Connection refused" in ended.stderr
    assert time.monotonic() - began < 30


def test_an_address_with_a_port_that_is_none_is_refused():
    with pytest.raises(ClusterError, match="RAY_ADDRESS 'head:port' must be an address"):
        module._require_listener("head:port")


def test_a_command_that_does_not_exist_ends_with_one_line(monkeypatch, capsys):
    monkeypatch.setattr(module, "run", lambda *_, **__: (_ for _ in ()).throw(ClusterError("'nope' cannot be run")))
    assert module.main(["run", "--", "nope"]) == 1
    assert capsys.readouterr().err == "error: 'nope' cannot be run\n"


def test_a_token_is_made_once_and_only_its_owner_reads_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    write_token_if_missing()
    path = tmp_path / ".ray" / "auth_token"
    token = path.read_text()
    assert len(token) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    write_token_if_missing()
    assert path.read_text() == token
    assert list(path.parent.iterdir()) == [path]


def test_a_given_token_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given")
    write_token_if_missing()
    assert list(tmp_path.iterdir()) == []


def _descriptors(pid):
    with suppress(OSError):
        yield from (entry for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink())


def _listeners(table):
    for line in table.read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A":
            yield fields[1].split(":")[0], fields[9]
