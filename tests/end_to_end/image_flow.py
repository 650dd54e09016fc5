"""A train and a forecast through the images, in a network of their own.

Usage: unshare --net -- python -m tests.end_to_end.image_flow STORAGE FOLDER

STORAGE is Buildah's store with both images. FOLDER gets the tables (`data/store`), logs and `report.json`. Ray runs in
a container of the worker image, Airflow in one of the Airflow image; both see only the folder's `data` and `specs`.
The network has nothing but loopback, so that the ports of the images are free, and nobody else reaches them. It
also shows which processes are those of the containers.
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import psutil

from forecasting.errors import ServiceError
from infra.images.build import IMAGES
from infra.images.buildah import Buildah, Container
from tests.end_to_end.service import Airflow
from tests.end_to_end.test_airflow_standalone import CUTOFF, SPEC, write_parcels
from workers.airflow.standalone import unhealthy_components

PATIENCE = 240.0
USER = 1000
PORT = 8080
RAY = [
    *("ray", "start", "--head", "--block", "--disable-usage-stats", "--node-ip-address=127.0.0.1"),
    *("--dashboard-host=127.0.0.1", "--num-cpus=2", "--num-gpus=0", f"--object-store-memory={256 << 20}"),
]


def main(storage: Path, folder: Path) -> None:
    """Run both containers, and the DAGs in them."""
    if [name for _, name in socket.if_nameindex()] != ["lo"]:
        raise SystemExit("this network is not one of its own; start it with unshare --net")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    buildah, seconds, begin = Buildah(storage), {}, time.monotonic()
    variables = lay_out(folder)
    volumes = [f"{folder / 'data'}:/data", f"{folder / 'specs'}:/opt/airflow/dags/specs:ro"]
    with ExitStack() as stack:
        ray, airflow = (stack.enter_context(buildah.container(IMAGES[image])) for image in ("worker", "airflow"))
        for name, container, command in (("ray", ray, RAY), ("airflow", airflow, ["airflow", "standalone"])):
            given = container.arguments(*command, volumes=volumes, variables=variables)
            stack.enter_context(running(buildah.command(*given), folder / f"{name}.log"))
        for image, container in (("worker", ray), ("airflow", airflow)):
            wait_until_healthy(container, health_check_of(buildah, IMAGES[image]))
            seconds[f"{image} is healthy"] = time.monotonic() - begin
        wait_for_components()
        password = json.loads((folder / "data" / "passwords.json").read_text())["admin"]
        with log_in(password) as http:
            service = Airflow(http)
            service.wait_for_dags("depots__train", "depots__forecast")
            states = {}
            for dag in ("depots__train", "depots__forecast"):
                begin = time.monotonic()
                states[dag] = service.run_to_the_end(dag, cutoff=CUTOFF)
                seconds[dag] = time.monotonic() - begin
        users = [process.uids() for process in contained()]
        report = {"states": states, "seconds": seconds, "users": users}
        (folder / "report.json").write_text(json.dumps(report))


def lay_out(folder: Path) -> dict[str, str]:
    """Write the spec, its source and the secrets; return the variables of both containers."""
    data, specs = folder / "data", folder / "specs"
    for each in (data, specs):
        each.mkdir()
        os.chown(each, USER, USER)
    write_parcels(data / "parcels.csv")
    (specs / "depots.toml").write_text(SPEC.replace("../../parcels.csv", "/data/parcels.csv"))
    (data / "ray_token").write_text(secrets.token_hex(32))
    (data / "passwords.json").write_text(json.dumps({"admin": secrets.token_urlsafe(16)}))
    for name in ("ray_token", "passwords.json"):
        (data / name).chmod(0o600)
        os.chown(data / name, USER, USER)
    return {
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": "/data/passwords.json",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "FLEETCAST_RAY_JOBS_URL": "http://127.0.0.1:8265",
        "FLEETCAST_STORE": "/data/store",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": "/data/ray_token",
    }


@contextmanager
def running(command: list[str], log: Path) -> Iterator[None]:
    """Run a container's command; at the end, end everything that it has started."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        for end in (psutil.Process.terminate, psutil.Process.kill):
            for each in (left := contained()):
                with suppress(psutil.NoSuchProcess):
                    end(each)
            psutil.wait_procs(left, timeout=20)
        process.wait(timeout=60)


def contained() -> list[psutil.Process]:
    """List the living processes of the containers: those of this network, without this one and Buildah's own."""
    network, found = os.readlink("/proc/self/ns/net"), []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            is_here = process.pid != os.getpid() and os.readlink(f"/proc/{process.pid}/ns/net") == network
            is_living = is_here and process.status() != psutil.STATUS_ZOMBIE
            if is_living and "buildah" not in Path(process.exe()).name:  # its helpers: memfd:buildah-chroot-exec
                found.append(process)
    return found


def health_check_of(buildah: Buildah, image: str) -> list[str]:
    """Return the command of an image's health check."""
    kind, *command = buildah.inspect(image)["Docker"]["config"]["Healthcheck"]["Test"]
    assert kind == "CMD"
    return list(command)


def wait_until_healthy(container: Container, command: list[str]) -> None:
    """Run a health check in a container until it succeeds."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            container.run(*command)
        except ServiceError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
        else:
            return


def wait_for_components() -> None:
    deadline = time.monotonic() + PATIENCE
    while found := unhealthy_components(PORT):
        assert time.monotonic() < deadline, f"not healthy: {', '.join(sorted(found))}"
        time.sleep(1)


@contextmanager
def log_in(password: str) -> Iterator[httpx.Client]:
    url, login = f"http://127.0.0.1:{PORT}", {"username": "admin", "password": password}
    token = httpx.post(f"{url}/auth/token", json=login, trust_env=False).raise_for_status().json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"{url}/api/v2", headers=headers, timeout=120, trust_env=False) as http:
        yield http


if __name__ == "__main__":
    main(*(Path(name).resolve() for name in sys.argv[1:]))
