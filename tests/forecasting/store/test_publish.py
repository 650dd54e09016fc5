"""Publishing: slices, transactions, races between writers, and refused rows."""

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError
from polars.testing import assert_frame_equal

from forecasting.errors import StoreError
from forecasting.schemas import TABLES, table
from forecasting.store import rows as rows_module
from forecasting.store.publish import append_run, publish
from forecasting.store.query import query
from forecasting.store.rows import Frames
from forecasting.store.slices import Slice
from forecasting.store.staging import stage, staged
from forecasting.store.stamp import stamp
from forecasting.store.tables import Store

START = datetime(2024, 1, 1)
KEY = ["unique_id", "ds"]


def put(store: Store, rows: Frames, *, application: str = "r", generation: int = 0, **filters: Any) -> int:
    """Publish observations of spec `demo`."""
    place = Slice("demo", **filters)
    return publish(
        store, "observations", "timestamp", rows, slice=place, application=application, generation=generation
    )


def put_forecasts(store: Store, rows: pl.DataFrame, *, generation: int = 0, **filters: Any) -> int:
    """Publish forecasts of the spec and run cutoff that the rows name."""
    place = Slice(rows["spec"][0], run_cutoff=rows["run_cutoff"][0], **filters)
    return publish(store, "forecasts", "timestamp", rows, slice=place, application="r", generation=generation)


def values(store: Store, spec: str = "demo") -> dict[str, float]:
    """The y of each series, which must be the same in all of its rows."""
    rows = store.scan("observations", "timestamp").filter(pl.col("spec") == spec).collect()
    per_series = rows.group_by("unique_id").agg(pl.col("y").unique())
    assert per_series["y"].list.len().eq(1).all()
    return {row["unique_id"]: row["y"][0] for row in per_series.iter_rows(named=True)}


def verdicts_of(*unique_ids: str | None, job: str = "predict") -> pl.DataFrame:
    """Verdicts of one check; null is the check as a whole."""
    rows = pl.DataFrame({"unique_id": unique_ids}, schema={"unique_id": pl.String}).with_columns(
        **{name: pl.lit(None, pl.Float64) for name in ("found", "bound")},
        **{name: pl.lit("x") for name in ("check_name", "check_kind", "verdict", "on_failure", "message")},
        job=pl.lit(job),
    )
    return stamp(rows, "checks", "timestamp", spec="demo", run_cutoff=START, run_id="run")


def put_verdicts(store: Store, rows: pl.DataFrame, application: str, job: str = "predict") -> None:
    place = Slice("demo", run_cutoff=START, job=job)
    publish(store, "checks", "timestamp", rows, slice=place, application=application, generation=0)


def test_key_may_be_null_where_the_table_says_so_and_is_unique_then_too(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "STRETCH_ROWS", 2)  # nulls are in a stretch with others
    put_verdicts(store, verdicts_of("b", None, "a", "c"), "first")
    assert store.scan("checks", "timestamp").sort("unique_id").collect()["unique_id"].to_list() == [None, "a", "b", "c"]
    with pytest.raises(StoreError, match="duplicate keys"):
        put_verdicts(store, verdicts_of("b", None, None), "second")


def test_verdicts_of_one_job_do_not_replace_those_of_another(store: Store) -> None:
    put_verdicts(store, verdicts_of(None, "a"), "first")
    put_verdicts(store, verdicts_of("b", job="features"), "second", "features")
    put_verdicts(store, verdicts_of("c"), "third")
    assert sorted(store.scan("checks", "timestamp").collect()["unique_id"]) == ["b", "c"]
    with pytest.raises(StoreError, match="lie outside the slice"):
        put_verdicts(store, verdicts_of("c"), "fourth", "features")


def test_published_rows_are_read_back_unchanged(store, observations_of):
    rows = observations_of("b", "a")
    put(store, rows, application="run")
    assert_frame_equal(store.scan("observations", "timestamp").collect().sort(KEY), rows.sort(KEY))


def test_publishing_is_one_commit_with_its_transaction(store, observations_of):
    first = put(store, observations_of("a"), application="r1")
    second = put(store, observations_of("a"), application="r2", generation=3)
    snapshot = DeltaTable(store.table_uri("observations", "timestamp"))
    assert second == first + 1 == snapshot.version()
    assert snapshot.transaction_version("r2") == 3


def test_second_identical_run_gives_the_same_rows(store, forecasts_of):
    for generation in (0, 1):
        publish(
            store, "forecasts", "timestamp", forecasts_of("a", "b"),
            slice=Slice("demo", run_cutoff=START), application="run", generation=generation,
        )  # fmt: skip
        rows = store.scan("forecasts", "timestamp").collect().sort("unique_id", "model", "ds")
        if generation == 0:
            before = rows
    assert_frame_equal(rows, before)
    assert rows.height == 8


def test_run_filtered_to_two_series_leaves_all_other_rows_unchanged(store, observations_of):
    put(store, observations_of(*"abcd"))
    publish(
        store, "observations", "timestamp", observations_of(*"ab", spec="other", y=7.0),
        slice=Slice("other"), application="r", generation=1,
    )  # fmt: skip
    put(store, observations_of("a", "c", y=2.0), unique_ids=("a", "c"), generation=2)
    assert values(store) == {"a": 2.0, "b": 1.0, "c": 2.0, "d": 1.0}
    assert values(store, "other") == {"a": 7.0, "b": 7.0}


def test_run_filtered_to_one_model_leaves_the_other_model(store, forecasts_of):
    put_forecasts(store, forecasts_of("a"))
    put_forecasts(store, forecasts_of("a", models=("gru",), forecast=9.0), models=("gru",), generation=1)
    rows = store.scan("forecasts", "timestamp").collect()
    assert set(rows.select("model", "forecast").iter_rows()) == {("lstm", 1.0), ("gru", 9.0)}


def test_other_cutoffs_of_the_same_day_and_of_other_days_stay(store, forecasts_of):
    cutoffs = (START, START + timedelta(hours=1), START + timedelta(days=1))
    for generation, run_cutoff in enumerate(cutoffs):
        put_forecasts(store, forecasts_of("a", run_cutoff=run_cutoff), generation=generation)
    put_forecasts(store, forecasts_of("a", forecast=5.0), generation=9)
    rows = store.scan("forecasts", "timestamp").collect()
    assert set(rows.select("run_cutoff", "forecast").iter_rows()) == {
        (START, 5.0),
        (cutoffs[1], 1.0),
        (cutoffs[2], 1.0),
    }
    assert rows.height == 12


def test_rows_up_to_until_are_replaced_and_later_rows_stay(store, observations_of):
    put(store, observations_of("a", num_points=5))
    until = START + timedelta(hours=2)
    kept = observations_of("a", num_points=2, y=4.0)
    put(store, kept, until=until, generation=1)
    rows = store.scan("observations", "timestamp").collect().sort("ds")
    hours = [(at - START) // timedelta(hours=1) for at in rows["ds"]]
    assert list(zip(hours, rows["y"], strict=True)) == [(0, 4.0), (1, 4.0), (3, 1.0), (4, 1.0)]


def test_until_is_exact_to_the_microsecond(store, observations_of):
    tick = timedelta(microseconds=1)
    rows = observations_of("a", num_points=3).with_columns(ds=pl.Series([START, START + tick, START + 2 * tick]))
    put(store, rows)
    put(store, rows.clear(), until=START + tick, generation=1)
    assert store.scan("observations", "timestamp").collect()["ds"].to_list() == [START + 2 * tick]


def test_empty_frame_deletes_only_the_slice(store, observations_of):
    put(store, observations_of("a", "b"))
    put(store, observations_of("a").clear(), unique_ids=("a",), generation=1)
    assert values(store) == {"b": 1.0}


def test_same_generation_is_published_once(store, observations_of):
    first = put(store, observations_of("a"), generation=4)
    again = put(store, observations_of("a", y=2.0), generation=4)
    assert again == first
    assert values(store) == {"a": 1.0}


def test_lower_generation_is_refused(store, observations_of):
    put(store, observations_of("a"), generation=4)
    with pytest.raises(StoreError, match="generation 4 of 'r'"):
        put(store, observations_of("a", y=2.0), generation=3)
    assert values(store) == {"a": 1.0}


class _Overtaken(Store):
    """A store in which a rival commits between a publisher's snapshot and its commit."""

    def __init__(self, root: str, rival: Callable[[], None]) -> None:
        super().__init__(root)
        self.rivals = [lambda: None, rival]  # the first snapshot only decides whether anything must be published

    def open(self, table, clock, *, version=None):
        snapshot = super().open(table, clock, version=version)
        if self.rivals:
            self.rivals.pop(0)()
        return snapshot


@pytest.mark.parametrize(("rival_application", "survivor"), [("another", 3.0), ("run", 2.0)])
def test_loser_of_a_race_reads_the_table_again_before_it_writes(store, observations_of, rival_application, survivor):
    """The loser replaces the rival's rows, unless the rival has published the same generation."""
    put(store, observations_of("a"), application="old")
    rival = partial(
        publish, store, "observations", "timestamp", observations_of("a", y=2.0),
        slice=Slice("demo"), application=rival_application, generation=1,
    )  # fmt: skip
    overtaken = _Overtaken(store.root, rival)
    version = publish(
        overtaken, "observations", "timestamp", observations_of("a", y=3.0),
        slice=Slice("demo"), application="run", generation=1,
    )  # fmt: skip
    assert overtaken.rivals == []
    assert version == store.version("observations", "timestamp") == (3 if rival_application == "another" else 2)
    assert values(store) == {"a": survivor}
    assert store.scan("observations", "timestamp").collect().height == 3


def _race(publishers) -> list[BaseException]:
    gate, failures = threading.Barrier(len(publishers)), []

    def run(publisher) -> None:
        gate.wait()
        try:
            publisher()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(publisher,)) for publisher in publishers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def test_racing_writers_of_one_slice_leave_the_rows_of_one(store, observations_of):
    def writer(number: int):
        rows = observations_of("a", "b", y=float(number))
        return lambda: put(store, rows, application=f"r{number}")

    assert _race([writer(number) for number in range(4)]) == []
    assert len(set(values(store).values())) == 1
    assert store.scan("observations", "timestamp").collect().height == 6


def test_racing_writers_of_disjoint_slices_all_succeed(store, observations_of):
    def writer(spec: str, unique_id: str):
        rows = observations_of(unique_id, spec=spec)
        return lambda: publish(
            store, "observations", "timestamp", rows,
            slice=Slice(spec, unique_ids=(unique_id,)), application=f"{spec} {unique_id}", generation=0,
        )  # fmt: skip

    assert _race([writer(spec, unique_id) for spec in ("one", "two") for unique_id in "ab"]) == []
    for spec in ("one", "two"):
        assert values(store, spec) == {"a": 1.0, "b": 1.0}


def test_racing_writers_with_the_same_generation_publish_once(store, observations_of):
    def writer(number: int):
        rows = observations_of("a", y=float(number))
        return lambda: put(store, rows, application="run", generation=1)

    store.create("observations", "timestamp")
    assert _race([writer(number) for number in range(4)]) == []
    assert store.version("observations", "timestamp") == 1
    assert len(values(store)) == 1


_PROCESS = """
import sys
from datetime import datetime
import polars as pl
from forecasting.schemas import CATEGORIES
from forecasting.store.publish import publish
from forecasting.store.slices import Slice
from forecasting.store.stamp import stamp
from forecasting.store.tables import Store
root, number = sys.argv[1:]
rows = pl.DataFrame({"unique_id": ["a"], "ds": [datetime(2024, 1, 1)], "y": [float(number)]})
rows = rows.with_columns(categories=pl.lit(None, CATEGORIES))
rows = stamp(rows, "observations", "timestamp", spec="demo", run_id="run")
store, place = Store(root), Slice("demo")
for generation in range(5):
    publish(store, "observations", "timestamp", rows, slice=place, application=number, generation=generation)
"""


def test_racing_processes_leave_the_rows_of_one(store):
    processes = [subprocess.Popen([sys.executable, "-c", _PROCESS, store.root, str(n)]) for n in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    assert list(values(store)) == ["a"]
    assert store.scan("observations", "timestamp").collect().height == 1
    operations = [commit["operation"] for commit in store.open("observations", "timestamp").history()]
    assert operations.count("WRITE") == 10
    assert set(operations) == {"WRITE", "CREATE TABLE"}  # both may have created it, one after the other


def test_contested_table_is_given_up_after_a_limited_number_of_attempts(store, observations_of, monkeypatch):
    attempts = []

    def lose(*args, **kwargs) -> None:
        attempts.append(args)
        raise CommitFailedError("lost")

    monkeypatch.setattr("forecasting.store.publish.write_deltalake", lose)
    monkeypatch.setattr("forecasting.store.publish.LONGEST_WAIT", 0.0)
    store.create("observations", "timestamp")
    with pytest.raises(StoreError, match="contested"):
        put(store, observations_of("a"))
    assert len(attempts) == 20


@pytest.mark.parametrize(
    "outside",
    [
        {"spec": pl.lit("other")},
        {"unique_id": pl.lit("z")},
        {"model": pl.lit("naive")},
        {"run_cutoff": pl.lit(START + timedelta(microseconds=1))},
        {"cutoff_date": pl.lit(date(2023, 12, 31))},
    ],
)
def test_rows_outside_the_slice_are_refused_before_the_commit(store, forecasts_of, outside):
    place = Slice("demo", run_cutoff=START, unique_ids=("a",), models=("lstm",))
    rows = forecasts_of("a", models=("lstm",))
    publish(store, "forecasts", "timestamp", rows, slice=place, application="r", generation=0)
    with pytest.raises(StoreError, match="outside the slice"):
        publish(
            store, "forecasts", "timestamp", rows.with_columns(**outside), slice=place, application="r", generation=1
        )
    assert store.version("forecasts", "timestamp") == 1
    assert_frame_equal(store.scan("forecasts", "timestamp").collect().sort("ds"), rows.sort("ds"))


def test_row_after_until_is_refused(store, observations_of):
    with pytest.raises(StoreError, match="outside the slice"):
        put(store, observations_of("a", num_points=3), until=START + timedelta(hours=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop("y"), "lack the column y"),
        (lambda rows: rows.with_columns(surprise=1), "have the undeclared column surprise"),
        (lambda rows: rows.with_columns(pl.col("y").cast(pl.Int64)), "column 'y' is Int64 but must be Float64"),
        (lambda rows: rows.with_columns(pl.col("ds").cast(pl.Datetime("ns"))), "column 'ds' is Datetime.*ns"),
        (lambda rows: rows.with_columns(pl.col("ds").dt.replace_time_zone("UTC")), "column 'ds' is Datetime.*UTC"),
        (lambda rows: rows.with_columns(pl.col("unique_id").cast(pl.Categorical)), "column 'unique_id' is Categorical"),
        (lambda rows: rows.with_columns(ds=pl.lit(None, pl.Datetime("us"))), "key column 'ds' is null in 3 rows"),
        (lambda rows: pl.concat([rows, rows.head(1)]), "duplicate keys: 1 rows repeat.*'unique_id': 'a'"),
    ],
)
@pytest.mark.parametrize("as_lazy", [False, True])
def test_frame_with_another_schema_is_refused_by_column(store, observations_of, change, message, as_lazy):
    rows = change(observations_of("a"))
    with pytest.raises(StoreError, match=message):
        put(store, rows.lazy() if as_lazy else rows)
    assert store.version("observations", "timestamp") is None


def test_integer_step_never_becomes_1970(store, observations_of):
    steps = observations_of("a", clock="step", num_points=6)
    with pytest.raises(StoreError, match="column 'ds' is Int64 but must be Datetime"):
        put(store, steps.with_columns(zone=pl.lit(None, pl.String)))
    times = observations_of("a").drop("zone")
    with pytest.raises(StoreError, match=r"column 'ds' is Datetime.* but must be Int64"):
        publish(store, "observations", "step", times, slice=Slice("demo"), application="r", generation=0)
    publish(store, "observations", "step", steps, slice=Slice("demo", until=5), application="r", generation=0)
    rows = store.scan("observations", "step").collect()
    assert rows["ds"].sort().to_list() == [0, 1, 2, 3, 4, 5]
    assert store.version("observations", "timestamp") is None


def test_table_stored_with_another_dtype_is_not_written_to(store, observations_of):
    old = observations_of("a").with_columns(pl.col("y").cast(pl.Float32))
    old.write_delta(store.table_uri("observations", "timestamp"), delta_write_options={"partition_by": ["spec"]})
    with pytest.raises(StoreError, match="stored with column 'y' as Float32 but needs Float64"):
        put(store, observations_of("a"))


@pytest.mark.parametrize("year", [1600, 1969, 2262, 9999])
def test_far_years_are_kept_and_replaced(store, forecasts_of, year):
    run_cutoff = datetime(year, 12, 31, 20, 59, 59, 999_999)
    for generation, forecast in enumerate((1.0, 2.0)):
        put_forecasts(store, forecasts_of("a", run_cutoff=run_cutoff, forecast=forecast), generation=generation)
    rows = store.scan("forecasts", "timestamp").filter(pl.col("run_cutoff") == run_cutoff).collect()
    assert rows.height == 4
    assert set(rows.select("run_cutoff", "cutoff_date", "forecast").iter_rows()) == {
        (run_cutoff, run_cutoff.date(), 2.0)
    }


@pytest.mark.parametrize("year", [1600, 9999])
def test_until_works_in_far_years(store, observations_of, year):
    at = datetime(year, 6, 1)
    rows = observations_of("a", num_points=1).with_columns(ds=pl.lit(at))
    for generation in (0, 1):
        put(store, rows, until=at, generation=generation)
    assert store.scan("observations", "timestamp").collect()["ds"].to_list() == [at]


def test_new_quantile_columns_are_added_and_older_rows_have_null(store, forecasts_of):
    put_forecasts(store, forecasts_of("a"))
    publish(
        store, "forecasts", "timestamp", forecasts_of("a", spec="wide", quantile_columns=("q99_5",), forecast=3.0),
        slice=Slice("wide", run_cutoff=START), application="r", generation=1, quantile_columns=("q99_5",),
    )  # fmt: skip
    put_forecasts(store, forecasts_of("b"), generation=2)
    rows = store.scan("forecasts", "timestamp").collect()
    assert rows.columns == [*table("forecasts").schema("timestamp"), "q99_5"]
    assert set(rows.select("spec", "unique_id", "q99_5").iter_rows()) == {("demo", "b", None), ("wide", "a", 3.0)}


def backtests(*unique_ids: str, run_cutoff: datetime, is_covered: list[bool | None] | None) -> pl.DataFrame:
    """Rows of `backtests` with the currently declared columns."""
    schema = table("backtests").schema("timestamp")
    cells = {"model": "lstm", "origin": run_cutoff, "num_points": 3, "mase": 1.0, "covered_80_by_step": is_covered}
    stamped = ("spec", "cutoff_date", "run_cutoff", "run_id")
    rows = [{"unique_id": unique_id} | cells for unique_id in unique_ids]
    frame = pl.DataFrame(rows, schema={name: dtype for name, dtype in schema.items() if name not in stamped})
    return stamp(frame, "backtests", "timestamp", spec="demo", run_cutoff=run_cutoff, run_id="run")


def test_table_of_an_older_version_gains_the_columns_that_were_declared_since(store, monkeypatch):
    declared, earlier, later = TABLES["backtests"], START, START + timedelta(hours=1)
    since = ("msis", "naive2_mase", "naive2_smape", "covered_80_by_step", "covered_95_by_step")

    def put_backtests(rows: pl.DataFrame, generation: int) -> None:
        place = Slice("demo", run_cutoff=rows["run_cutoff"][0])
        publish(store, "backtests", "timestamp", rows, slice=place, application="r", generation=generation)

    with monkeypatch.context() as older:
        kept = tuple(column for column in declared.columns if column.name not in since)
        older.setitem(TABLES, "backtests", replace(declared, columns=kept))
        put_backtests(backtests("a", "b", run_cutoff=earlier, is_covered=None), 0)
    rows = store.scan("backtests", "timestamp").collect()
    assert (rows.height, rows.schema) == (2, declared.schema("timestamp"))
    assert rows["covered_80_by_step"].null_count() == 2

    put_backtests(backtests("a", "b", run_cutoff=later, is_covered=[True, None, False]), 1)
    counted = query(
        store,
        "SELECT step, count(is_covered) AS num, avg(is_covered::INT) AS share FROM (SELECT "
        "unnest(covered_80_by_step) AS is_covered, generate_subscripts(covered_80_by_step, 1) AS step FROM backtests) "
        "GROUP BY step ORDER BY step",
    )
    assert counted.rows() == [(1, 2, 1.0), (2, 0, None), (3, 2, 0.0)]
    put_backtests(backtests("c", run_cutoff=earlier, is_covered=[False]), 2)
    stored = query(store, "SELECT unique_id, covered_80_by_step FROM backtests ORDER BY unique_id").rows()
    assert stored == [("a", [True, None, False]), ("b", [True, None, False]), ("c", [False])]


def test_quantile_columns_must_be_named_as_quantiles(store, forecasts_of):
    with pytest.raises(StoreError, match="cannot take surprise"):
        publish(
            store, "forecasts", "timestamp", forecasts_of("a"), slice=Slice("demo", run_cutoff=START),
            application="r", generation=0, quantile_columns=("surprise",),
        )  # fmt: skip


@pytest.mark.parametrize("stretch_rows", [4, 1_000_000])
def test_staged_files_of_many_shards_become_one_publication(store, observations_of, monkeypatch, stretch_rows):
    monkeypatch.setattr(rows_module, "STRETCH_ROWS", stretch_rows)
    for shard, unique_ids in enumerate(("db", "ac", "e")):
        stage(store, "r1", "observations", shard, observations_of(*unique_ids))
    put(store, staged(store, "r1", "observations"))
    stored = store.scan("observations", "timestamp").collect()
    assert_frame_equal(stored.sort(KEY), observations_of(*"abcde"))
    assert store.version("observations", "timestamp") == 1


@pytest.mark.parametrize("stretch_rows", [4, 1_000_000])
def test_key_that_two_shards_staged_is_a_duplicate(store, observations_of, monkeypatch, stretch_rows):
    monkeypatch.setattr(rows_module, "STRETCH_ROWS", stretch_rows)
    for shard, unique_ids in enumerate(("ab", "cb")):
        stage(store, "r1", "observations", shard, observations_of(*unique_ids))
    with pytest.raises(StoreError, match="duplicate keys: 3 rows"):
        put(store, staged(store, "r1", "observations"))


def test_no_staged_files_delete_the_slice(store, observations_of):
    put(store, observations_of("a"))
    put(store, [], generation=1)
    assert store.scan("observations", "timestamp").collect().is_empty()


def test_damaged_staged_file_is_a_store_error_of_one_line(store, tmp_path: Path):
    damaged = tmp_path / "shard=0.parquet"
    damaged.write_bytes(b"PAR1 not really")
    with pytest.raises(StoreError, match="cannot be read") as caught:
        put(store, [str(damaged)])
    assert "\n" not in str(caught.value)


def test_commit_that_fails_is_a_store_error_of_one_line(store, observations_of, monkeypatch):
    def fail(*_: Any, **__: Any) -> None:
        raise DeltaError("\x1b[31mGeneric S3 error\x1b[0m: no such bucket\n   0: <unknown>\n   1: clone3")

    monkeypatch.setattr("forecasting.store.publish.write_deltalake", fail)
    with pytest.raises(StoreError) as caught:
        put(store, observations_of("a"))
    assert str(caught.value).endswith("could not be written: Generic S3 error: no such bucket")


def test_rejects_without_a_series_are_kept_by_their_row_number(store):
    schema = table("rejects").schema("timestamp")
    rejects = pl.DataFrame(
        [
            {"spec": "demo", "cutoff_date": START.date(), "run_cutoff": START, "source_file": "x.csv",
             "source_row": row, "unique_id": None, "ds": "2024-13-01", "y": "n/a",
             "reason": "unparsable time", "run_id": "run"}
            for row in (2, 1)
        ],
        schema=schema,
    )  # fmt: skip
    for generation in (0, 1):
        publish(
            store, "rejects", "timestamp", rejects,
            slice=Slice("demo", run_cutoff=START), application="r", generation=generation,
        )  # fmt: skip
    assert store.scan("rejects", "timestamp").collect()["source_row"].sort().to_list() == [1, 2]


def test_rows_with_a_null_in_a_filtered_column_stay_when_others_are_replaced(store):
    schema = table("rejects").schema("timestamp")

    def rejects(*unique_ids: str | None) -> pl.DataFrame:
        return pl.DataFrame(
            [
                {"spec": "demo", "cutoff_date": START.date(), "run_cutoff": START, "source_file": "x.csv",
                 "source_row": number, "unique_id": unique_id, "reason": "null y", "run_id": "run"}
                for number, unique_id in enumerate(unique_ids)
            ],
            schema=schema,
        )  # fmt: skip

    publish(
        store, "rejects", "timestamp", rejects("a", None, "b"),
        slice=Slice("demo", run_cutoff=START), application="r", generation=0,
    )  # fmt: skip
    publish(
        store, "rejects", "timestamp", rejects(),
        slice=Slice("demo", run_cutoff=START, unique_ids=("a",)), application="r", generation=1,
    )  # fmt: skip
    assert set(store.scan("rejects", "timestamp").collect()["unique_id"]) == {None, "b"}


def test_run_row_replaces_that_of_the_same_run(store):
    began = datetime(2024, 1, 1, 12, tzinfo=UTC)
    append_run(store, {"run_id": "one's", "job": "train", "status": "failed", "started_at": began})
    append_run(store, {"run_id": "two", "job": "train", "status": "success", "started_at": began})
    append_run(store, {"run_id": "one's", "job": "train", "status": "success", "started_at": began, "num_rows": 5})
    rows = store.scan("runs", "timestamp").collect()
    assert set(rows.select("run_id", "status", "num_rows", "started_at").iter_rows()) == {
        ("one's", "success", 5, began),
        ("two", "success", None, began),
    }
    assert_frame_equal(store.scan("runs", "step").collect(), rows)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"run_id": "r", "colour": "red"}, "no column colour"),
        ({"run_id": "r", "num_rows": "many"}, "cannot be read"),
        ({"job": "train"}, "key column 'run_id' is null"),
    ],
)
def test_invalid_run_row_is_refused(store, row, message):
    with pytest.raises(StoreError, match=message):
        append_run(store, row)
    assert store.version("runs", "timestamp") is None


def test_racing_runs_are_all_recorded(store):
    assert _race([lambda n=n: append_run(store, {"run_id": f"r{n}"}) for n in range(6)]) == []
    assert store.scan("runs", "timestamp").collect().height == 6
