"""Maintenance: what is compacted and removed, and what stays."""

import os
import time
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake.exceptions import CommitFailedError

from forecasting.errors import StoreError
from forecasting.schemas import table
from forecasting.store.maintenance import Maintenance, maintain
from forecasting.store.publish import append_run, publish
from forecasting.store.slices import Slice
from forecasting.store.staging import stage, staged
from forecasting.store.stamp import stamp

START = datetime(2024, 1, 1)
KEEP = timedelta(days=7)


def age(*paths: str | Path) -> None:
    """Make files look a month old."""
    month_ago = time.time() - 30 * 24 * 3600
    for path in paths:
        os.utime(path, (month_ago, month_ago))


def replace_often(store, observations_of) -> None:
    for generation in range(3):
        publish(
            store, "observations", "timestamp", observations_of("a"),
            slice=Slice("demo"), application="r", generation=generation,
        )  # fmt: skip


def register(store, weights_uri: str, registry: str = "models") -> None:
    row = {"unique_id": "a", "model": "lstm", "member": 0, "role": "serving", "weights_uri": weights_uri}
    schema = table(registry).schema("step")
    stamped = {"spec", "run_cutoff", "run_id"}
    columns = {name: dtype for name, dtype in schema.items() if name not in stamped}
    frame = pl.DataFrame([{name: row[name] for name in row if name in columns}], schema=columns)
    publish(
        store, registry, "step", stamp(frame, registry, "step", spec="demo", run_cutoff=5, run_id="run"),
        slice=Slice("demo", run_cutoff=5), application="r", generation=0,
    )  # fmt: skip


def data_files(store) -> list[Path]:
    return sorted(Path(store.root, "observations", "spec=demo").glob("*.parquet"))


def test_files_of_replaced_versions_are_removed_and_rows_stay(store, observations_of):
    replace_often(store, observations_of)
    done = maintain(store, keep=timedelta(0))
    assert done.removed_table_files == {"observations": 2}
    assert len(data_files(store)) == 1
    assert store.scan("observations", "timestamp").collect().height == 3


def test_files_younger_than_keep_stay(store, observations_of):
    replace_often(store, observations_of)
    assert maintain(store, keep=KEEP) == Maintenance()
    assert len(data_files(store)) == 3


def test_file_of_a_failed_write_is_removed_when_it_is_old(store, observations_of):
    replace_often(store, observations_of)
    young, old = (data_files(store)[0].with_name(f"part-{name}.parquet") for name in ("young", "old"))
    for orphan in (young, old):
        orphan.write_bytes(b"left behind")
    age(old)
    maintain(store, keep=KEEP)
    assert young.exists()
    assert not old.exists()


def test_small_files_are_merged(store):
    for number in range(5):
        append_run(store, {"run_id": f"r{number}"})
    assert maintain(store, keep=KEEP, dry_run=True).num_compacted == {"runs": 5}
    assert maintain(store, keep=KEEP).num_compacted == {"runs": 5}
    (runs,) = store.tables()
    assert (runs.num_files, runs.num_rows) == (1, 5)
    assert maintain(store, keep=KEEP).num_compacted == {}


def test_table_that_is_being_written_is_skipped(store, monkeypatch):
    def lose(self, *args, **kwargs) -> None:
        raise CommitFailedError("lost")

    append_run(store, {"run_id": "r"})
    monkeypatch.setattr("deltalake.table.TableOptimizer.compact", lose)
    assert maintain(store, keep=KEEP).skipped == ["runs"]


def test_generation_of_a_publication_survives_maintenance(store, observations_of):
    replace_often(store, observations_of)
    maintain(store, keep=timedelta(0))
    before = store.version("observations", "timestamp")
    publish(
        store, "observations", "timestamp", observations_of("a", y=9.0),
        slice=Slice("demo"), application="r", generation=2,
    )  # fmt: skip
    assert store.version("observations", "timestamp") == before


def test_staging_of_runs_that_never_published_is_removed(store, observations_of):
    for run_id in ("old", "young", "mixed"):
        stage(store, run_id, "observations", 0, observations_of("a"))
    stage(store, "mixed", "observations", 1, observations_of("b"))
    age(*staged(store, "old", "observations"), staged(store, "mixed", "observations")[0])
    assert maintain(store, keep=KEEP).removed_staging == ["staging/run_id=old"]
    assert staged(store, "old", "observations") == []
    assert len(staged(store, "mixed", "observations")) == 2


def test_weights_that_no_registry_row_names_are_removed(store):
    for name in ("named", "prior", "unnamed", "young"):
        store.write_bytes(f"weights/demo/{name}.safetensors", b"abc")
    age(*(Path(store.root, "weights", "demo", f"{name}.safetensors") for name in ("named", "prior", "unnamed")))
    register(store, "weights/demo/named.safetensors")
    register(store, "weights/demo/prior.safetensors", "priors")
    assert maintain(store, keep=KEEP).removed_weights == ["weights/demo/unnamed.safetensors"]
    assert [file.path for file in store.files.find("weights")] == [
        "weights/demo/named.safetensors",
        "weights/demo/prior.safetensors",
        "weights/demo/young.safetensors",
    ]


def test_dry_run_reports_the_same_and_changes_nothing(store, observations_of):
    replace_often(store, observations_of)
    store.write_bytes("weights/unnamed", b"abc")
    stage(store, "old", "observations", 0, observations_of("a"))
    before = {path: path.stat().st_mtime for path in Path(store.root).rglob("*")}
    promised = maintain(store, keep=timedelta(0), dry_run=True)
    assert {path: path.stat().st_mtime for path in Path(store.root).rglob("*")} == before
    assert promised.removed_table_files == {"observations": 2}
    assert promised.removed_staging == ["staging/run_id=old"]
    assert promised.removed_weights == ["weights/unnamed"]
    assert maintain(store, keep=timedelta(0)) == promised


def test_negative_keep_is_refused(store):
    with pytest.raises(StoreError, match="must not be negative"):
        maintain(store, keep=timedelta(days=-1))


def test_empty_store_has_nothing_to_tidy(store):
    assert maintain(store, keep=KEEP) == Maintenance()
