"""What modules of several folders share: one checkout, one Ray head with its Jobs API, and one Airflow.

A module that needs DAGs has a function `lay_dags(root)`. It writes the DAGs and their data under the root of the
checkout before anything starts.
"""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import hypothesis
import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling

from infra.local.postgres import find_programs
from tests.metadata import write_metadata
from tests.postgres import Server, serve_postgres
from tests.skips import pytest_sessionfinish  # noqa: F401 (a hook)

if TYPE_CHECKING:
    from workers.cluster.ray_head import Head

ROOT = Path(__file__).resolve().parents[1]
PLANTED = "pl4nted-hunter2"
"""A secret in the environment of the shared Ray head, which must be found nowhere else."""

# How long an example takes depends on the load of the machine.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@dataclass(frozen=True)
class RunningAirflow:
    """An Airflow as `make up` starts it: its checkout, its port, the output of `up`, and its REST API."""

    root: Path
    port: int
    output: str
    http: httpx.Client


class BesideEachOther(LoadScopeScheduling):
    """Gives the modules that share an Airflow to one process, and all other tests that start servers to another.

    Both wait most of the time.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = ROOT / nodeid.partition("::")[0]
        return "airflow" if "\ndef lay_dags(" in module.read_text() else "ray"


@pytest.hookimpl(optionalhook=True)  # a run may switch xdist off
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    """Use two processes for `--dist loadgroup`, and xdist's own schedulers otherwise."""
    return BesideEachOther(config, log) if config.getoption("dist") == "loadgroup" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules that share Airflow last, one after the other, so that nothing else comes between them."""
    items.sort(key=lambda item: hasattr(getattr(item, "module", None), "lay_dags"))


@pytest.fixture(scope="session")
def checkout(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The root of a checkout with the DAGs of every module of this session that has some."""
    from workers.airflow import standalone

    root = tmp_path_factory.mktemp("checkout")
    for module in {getattr(item, "module", None) for item in request.session.items}:
        if lay_dags := getattr(module, "lay_dags", None):
            lay_dags(root)
    yield root
    standalone.down(root)


@pytest.fixture(scope="session")
def shared_ray_head(checkout: Path) -> Iterator["Head"]:
    """A Ray head on loopback, of two cores and one logical GPU, for the whole session.

    Jobs that are submitted to it write to the checkout and use no GPU.
    """
    from workers.cluster.ray_head import ray_head

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEETCAST_STORE", str(checkout / "store"))
        patch.setenv("FLEETCAST_GPUS_PER_WORKER", "0")
        patch.setenv("FLEETCAST_CONNECTIONS", str(checkout / "connections"))
        patch.setenv("FLEETCAST_STORAGE_OPTIONS", json.dumps({"aws_secret_access_key": PLANTED}))
        patch.setenv("AIRFLOW_CONN_UNREACHABLE", f"postgresql://eve:{PLANTED}@127.0.0.1:1/x")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        with ray_head(num_cpus=2, num_gpus=1, dashboard=True) as head:
            patch.undo()
            yield head


@pytest.fixture(scope="session")
def ray_jobs_url(shared_ray_head: "Head") -> str:
    """The Jobs API of the shared Ray head."""
    assert shared_ray_head.jobs_url is not None
    return shared_ray_head.jobs_url


@pytest.fixture(scope="session")
def airflow_port() -> int:
    """A free port on loopback."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def connection_to(ray_jobs_url: str) -> dict[str, Any]:
    """Return the fields of Airflow's connection to the shared Ray head; its nodes have the connection `mounted`."""
    from workers.airflow.ray_token import read_token

    extra = {"store_connection": "mounted"}
    return {"conn_type": "fleetcast_ray", "host": ray_jobs_url, "password": read_token(), "extra": extra}


@pytest.fixture(scope="module")
def running_airflow(checkout: Path, ray_jobs_url: str, airflow_port: int) -> Iterator[RunningAirflow]:
    """The checkout's Airflow; it lives as long as the session, and is started again where a module has ended it."""
    from workers.airflow import standalone

    site = checkout / "site"
    if not site.exists():
        write_metadata(site)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEETCAST_RAY_JOBS_URL", ray_jobs_url)
        patch.setenv("FLEETCAST_STORE", str(checkout / "store"))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(ROOT), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("AIRFLOW_CONN_CLUSTER", json.dumps(connection_to(ray_jobs_url)))
        patch.setenv("AIRFLOW__CORE__TEST_CONNECTION", "Enabled")
        patch.setattr(standalone, "START_TIMEOUT", 600.0)  # on a busy machine
        output = standalone.up(checkout, port=airflow_port)
        with log_in(airflow_port, standalone.password(checkout)) as http:
            yield RunningAirflow(checkout, airflow_port, output, http)


@contextmanager
def log_in(port: int, password: str) -> Iterator[httpx.Client]:
    """The REST API of an Airflow on loopback, as its administrator uses it."""
    url = f"http://127.0.0.1:{port}"
    login = {"username": "admin", "password": password}
    token = httpx.post(f"{url}/auth/token", json=login).raise_for_status().json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"{url}/api/v2", headers=headers, timeout=120) as http:
        yield http


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server, which tests with the marker `postgres` share; they skip themselves without its programs."""
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL's programs are not installed; apt install postgresql")
    with serve_postgres(programs) as server:
        yield server
