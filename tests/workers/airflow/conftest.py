"""Airflow's files go to a temporary folder; one Ray head with its Jobs API serves all tests of this folder."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest

if "AIRFLOW_HOME" not in os.environ:  # before anything imports Airflow, which writes its configuration there
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="fleetcast-airflow-")
    atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)


@pytest.fixture(scope="session")
def ray_jobs_url() -> Iterator[str]:
    """The Jobs API of a Ray head on loopback that lives as long as the tests."""
    from workers.ray_head import ray_head

    with ray_head(num_cpus=2, dashboard=True) as head:
        assert head.jobs_url is not None
        yield head.jobs_url
