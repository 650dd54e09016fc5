"""DAGs from a git repository, by Airflow's provider: a run parses the specs of the commit that it began with."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.providers.git.bundles.git import GitDagBundle

from workers.airflow.delete_run import DAG_ID

ROOT = Path(__file__).resolve().parents[3]
SPEC = """
name = "{name}"
freq = "1h"
season_lengths = [24]
horizon = 24
source = {{ uri = "/data/sales.csv" }}
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the shipped DAG file and one spec."""
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "bundles"))
    root = tmp_path / "repository"
    (root / "dags" / "specs").mkdir(parents=True)
    shutil.copy(ROOT / "dags" / "fleetcast_dags.py", root / "dags")
    git(root, "init", "--quiet", "--initial-branch", "main")
    commit(root, "first")
    return root


def git(root: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=root, check=True, timeout=30)


def commit(root: Path, name: str) -> None:
    (root / "dags" / "specs" / f"{name}.toml").write_text(SPEC.format(name=name))
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", name)


def bundle_of(root: Path, version: str | None = None) -> Any:
    bundle = GitDagBundle(name="forecasts", repo_url=str(root), tracking_ref="main", subdir="dags", version=version)
    bundle.initialize()
    return bundle


def dags_of(bundle: Any) -> Any:
    found = DagBag(dag_folder=str(bundle.path), bundle_path=bundle.path, bundle_name=bundle.name)
    assert not found.import_errors
    return {dag_id: dag for dag_id, dag in found.dags.items() if dag_id != DAG_ID}


def test_dags_follow_the_branch_and_a_version_keeps_its_specs(repository: Path) -> None:
    bundle = bundle_of(repository)
    first = bundle.get_current_version().version
    assert set(dags_of(bundle)) == {"first__train", "first__forecast"}
    commit(repository, "second")
    bundle.refresh()
    both = dags_of(bundle)
    assert set(both) == {f"{name}__{flow}" for name in ("first", "second") for flow in ("train", "forecast")}
    pinned = dags_of(bundle_of(repository, version=first))
    assert set(pinned) == {"first__train", "first__forecast"}
    specs = [dags["first__train"].get_task("features").spec for dags in (both, pinned)]
    assert specs[0] == specs[1], "the same spec, wherever its file lies"
