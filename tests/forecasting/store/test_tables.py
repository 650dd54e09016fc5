"""Tables of a store: scans, versions, creation and roots."""

import pickle
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from forecasting.errors import NothingStored, SpecError, StoreError
from forecasting.schemas import CATEGORIES, TABLES
from forecasting.store.publish import publish
from forecasting.store.slices import Slice
from forecasting.store.tables import Store

START = datetime(2024, 1, 1)


@pytest.mark.parametrize("clock", ["timestamp", "step"])
@pytest.mark.parametrize("name", list(TABLES))
def test_table_that_does_not_exist_is_empty_with_the_declared_columns(store, name, clock):
    rows = store.scan(name, clock)
    assert rows.collect().is_empty()
    assert rows.collect_schema() == TABLES[name].schema(clock)
    assert store.version(name, clock) is None


@pytest.mark.parametrize("clock", ["timestamp", "step"])
@pytest.mark.parametrize("name", list(TABLES))
def test_created_table_is_empty_with_the_declared_columns_and_partitions(store, name, clock):
    store.create(name, clock)
    store.create(name, clock)
    declared = TABLES[name]
    assert store.scan(name, clock).collect().schema == declared.schema(clock)
    snapshot = DeltaTable(store.table_uri(name, clock))
    assert snapshot.version() == 0
    assert tuple(snapshot.metadata().partition_columns) == declared.partition_by(clock)
    assert snapshot.schema().fields[0].metadata == {"comment": declared.columns[0].meaning}


def test_earlier_version_can_be_read_again(store, observations_of):
    for generation, y in enumerate((1.0, 2.0)):
        version = publish(
            store, "observations", "timestamp", observations_of("a", y=y),
            slice=Slice("demo"), application="r", generation=generation,
        )  # fmt: skip
    assert store.scan("observations", "timestamp", version=version - 1).collect()["y"].unique().to_list() == [1.0]
    assert store.scan("observations", "timestamp", version=version).collect()["y"].unique().to_list() == [2.0]
    with pytest.raises(NothingStored, match="versions 0 to 2, not 3"):
        store.scan("observations", "timestamp", version=3)


def test_version_of_a_table_that_does_not_exist_raises_nothing_stored(store):
    with pytest.raises(NothingStored, match="does not exist yet"):
        store.scan("observations", "timestamp", version=0)


def test_unknown_table_raises_nothing_stored(store):
    with pytest.raises(NothingStored, match="table 'weather' does not exist"):
        store.scan("weather", "timestamp")


def test_filter_on_the_partition_opens_only_the_files_of_that_partition(store, forecasts_of):
    for generation, (spec, day) in enumerate((spec, day) for spec in ("one", "two") for day in range(2)):
        run_cutoff = START + timedelta(days=day)
        publish(
            store, "forecasts", "timestamp", forecasts_of("a", spec=spec, run_cutoff=run_cutoff),
            slice=Slice(spec, run_cutoff=run_cutoff), application="r", generation=generation,
        )  # fmt: skip
    for path in Path(store.table_uri("forecasts", "timestamp"), "spec=two").rglob("*.parquet"):
        path.write_bytes(b"nobody may read this")
    rows = store.scan("forecasts", "timestamp").filter(pl.col("spec") == "one", pl.col("run_cutoff") == START)
    assert rows.collect().height == 4


def test_filter_reaches_the_scan(store, observations_of):
    publish(
        store, "observations", "timestamp", observations_of("a"), slice=Slice("demo"), application="r", generation=0
    )
    plan = store.scan("observations", "timestamp").filter(pl.col("unique_id") == "a").select("y").explain()
    assert "SELECTION: " in plan
    assert "FILTER" not in plan
    assert "PROJECT 2/8" in plan or "PROJECT 1/5" in plan


def test_row_groups_separate_series(store):
    names = [f"s{number:03d}" for number in range(400)]
    rows = (
        pl.DataFrame({"unique_id": names})
        .join(pl.DataFrame({"ds": [START + timedelta(hours=hour) for hour in range(1_000)]}), how="cross")
        .select(spec=pl.lit("demo"), unique_id="unique_id", ds="ds", y=pl.lit(1.0), run_id=pl.lit("run"))
        .with_columns(
            categories=pl.lit(None, CATEGORIES), zone=pl.lit(None, pl.String), data_version=pl.lit(None, pl.Int64)
        )
        .sample(fraction=1, shuffle=True, seed=0)
    )
    publish(store, "observations", "timestamp", rows, slice=Slice("demo"), application="r", generation=0)
    (path,) = Path(store.table_uri("observations", "timestamp"), "spec=demo").glob("*.parquet")
    metadata = pq.read_metadata(path)
    assert metadata.num_row_groups == 7
    # The writer's threads may swap batches, so the order is only nearly kept; unsorted rows would make this 7.
    ranges = [metadata.row_group(group).column(0).statistics for group in range(7)]
    opened = [sum(found.min <= name <= found.max for found in ranges) for name in names]
    assert sum(opened) / len(opened) < 3


@pytest.mark.parametrize("folder", ["with space", "100 % sure", "Zürich 漢"])
def test_root_may_have_special_characters(tmp_path, observations_of, folder):
    store = Store(tmp_path / folder)
    for generation in (0, 1):
        publish(
            store, "observations", "timestamp", observations_of("a", "b"),
            slice=Slice("demo"), application="r", generation=generation,
        )  # fmt: skip
    rows = store.scan("observations", "timestamp")
    assert rows.filter(pl.col("unique_id") == "a", pl.col("ds") > START).collect().height == 2
    assert rows.collect_schema() == TABLES["observations"].schema("timestamp")


def test_relative_root_and_file_uri_mean_the_same_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Store("a b").root == Store((tmp_path / "a b").as_uri()).root == str(tmp_path / "a b")


def test_store_pickles(store):
    store.write_bytes("weights/x.safetensors", b"abc")
    copy = pickle.loads(pickle.dumps(store))
    assert copy.read_bytes("weights/x.safetensors") == b"abc"


def test_weights_of_a_local_store_have_a_path(store):
    store.write_bytes("weights/x.safetensors", b"abc")
    assert store.local_path("weights/x.safetensors").read_bytes() == b"abc"
    assert store.local_path("weights/y.safetensors") is None
    assert Store("s3://bucket/prefix", {"AWS_REGION": "eu-central-1"}).local_path("weights/x.safetensors") is None


def test_making_a_store_creates_nothing(tmp_path):
    store = Store(tmp_path / "not yet")
    assert store.tables() == []
    assert not (tmp_path / "not yet").exists()


def test_tables_have_rows_version_and_size(store, observations_of):
    publish(
        store, "observations", "step", observations_of("a", clock="step"),
        slice=Slice("demo"), application="r", generation=0,
    )  # fmt: skip
    store.create("runs", "timestamp")
    runs, observations = store.tables()
    assert (runs.name, runs.num_rows, runs.version, runs.num_bytes) == ("runs", 0, 0, 0)
    assert (observations.name, observations.num_rows, observations.version) == ("observations_by_step", 3, 1)
    assert observations.num_bytes > 500


def test_damaged_table_raises_store_error(store):
    store.create("runs", "timestamp")
    (log,) = Path(store.table_uri("runs", "timestamp"), "_delta_log").glob("*.json")
    log.write_text("not JSON")
    with pytest.raises(StoreError, match=r"table 'runs' of store .* could not be read") as caught:
        store.scan("runs", "timestamp")
    assert "\n" not in str(caught.value)


def test_table_that_cannot_be_created_is_reported_in_one_line(tmp_path):
    (tmp_path / "root").write_text("a file")
    store = Store(tmp_path / "root" / "below")
    with pytest.raises(StoreError, match="table 'runs' could not be created") as caught:
        store.create("runs", "timestamp")
    assert "\n" not in str(caught.value)


def test_root_of_another_kind_is_refused():
    with pytest.raises(SpecError, match="must be a local folder or an s3"):
        Store("ftp://somewhere/else")


def test_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "root").write_text("no store")
    with pytest.raises(SpecError, match="root' is a file; it must be a folder"):
        Store(tmp_path / "root")


def test_home_of_an_unknown_user_is_refused():
    with pytest.raises(SpecError, match="store root: '~no such user/store' begins with the home of an unknown user"):
        Store("~no such user/store")
