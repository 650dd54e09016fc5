"""Airflow in an environment of its own, without ray, torch and polars: it parses specs and drives jobs on a cluster."""

import os
import subprocess
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import log_in
from tests.end_to_end.service import Airflow
from tests.end_to_end.test_airflow_standalone import CUTOFF, SERIES, ask
from tests.end_to_end.test_airflow_standalone import lay_dags as lay_dags
from workers.airflow import standalone

ROOT = Path(__file__).parents[2]
HEAVY = ("ray", "torch", "pytorch_lightning", "polars", "pyarrow", "numpy", "deltalake", "duckdb")

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a virtual environment with the wheel and its extra `airflow`, and nothing else."""
    folder = tmp_path_factory.mktemp("alone")
    venv.create(folder, with_pip=True)
    install = [
        folder / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-compile",
        "--disable-pip-version-check",
    ]
    wanted = f"fleetcast[airflow] @ {wheel.as_uri()}"
    done = subprocess.run(
        [*install, "--constraint", ROOT / "constraints.txt", wanted],
        env=without_checkout(),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def without_checkout() -> dict[str, str]:
    """The environment variables of this process without those that lead to the checkout or to its packages."""
    return {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }


@pytest.fixture(scope="module")
def airflow(environment: Path, checkout: Path, ray_jobs_url: str, airflow_port: int) -> Iterator[Airflow]:
    """The Airflow that the other environment starts; its jobs run on the Ray head of this one."""
    up = ("up", "--root", checkout, "--port", str(airflow_port))
    variables = {"FLEETCAST_RAY_JOBS_URL": ray_jobs_url, "FLEETCAST_STORE": str(checkout / "store")}
    done = subprocess.run(
        [environment / "bin" / "python", "-m", "workers.airflow.standalone", *up],
        env=without_checkout() | variables,
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        with log_in(airflow_port, standalone.password(checkout)) as http:
            airflow = Airflow(http)
            airflow.wait_for_dags("depots__train", "depots__forecast", "fleetcast__delete_run")
            yield airflow
    finally:
        standalone.down(checkout)


def test_environment_has_none_of_the_packages_that_compute(environment: Path) -> None:
    program = f"from importlib.util import find_spec; print([name for name in {HEAVY} if find_spec(name)])"
    python = environment / "bin" / "python"
    done = subprocess.run([python, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_airflow_without_them_trains_and_forecasts_on_the_cluster(airflow: Airflow, checkout: Path) -> None:
    assert set(airflow.run_to_the_end("depots__train", cutoff=CUTOFF).values()) == {"success"}
    states = airflow.run_to_the_end("depots__forecast", cutoff=CUTOFF)
    assert (states["features"], states["predict"]) == ("success", "success")
    counts = ask(checkout, "SELECT unique_id, count(*) FROM latest_forecasts GROUP BY ALL ORDER BY ALL").rows()
    assert counts == [(name, 24) for name in sorted(SERIES)]
    assert airflow.http.get("/importErrors").raise_for_status().json()["import_errors"] == []
