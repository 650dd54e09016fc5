"""Incremental reading: which rows a run fetches, and that their result is that of all rows."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.errors import SourceError
from forecasting.series.clock import format_clock
from forecasting.series.once import reading_once
from forecasting.series.read import scan_source
from forecasting.settings import FleetSettings
from forecasting.spec.spec import Spec
from forecasting.store.publish import append_run
from forecasting.store.tables import Store
from tests.postgres import Server
from workers.arguments import ARGUMENTS_VARIABLE, RunArguments
from workers.jobs import mirrored
from workers.jobs.cutoffs import stored_cutoff
from workers.jobs.features import find_cutoff, write_features
from workers.jobs.mirrored import Read, read_changed
from workers.jobs.run import Outcome, Run, Skip, main
from workers.settings import WorkerSettings

FIRST, CHANGED = datetime(2024, 1, 1), datetime(2024, 6, 1)


class Table:
    """A table of a SQLite database, whose rows say when they were last changed, and a store."""

    def __init__(self, folder: Path, **fields: Any) -> None:
        self.path, self.store = folder / "sales.db", Store(folder / "store")
        self.spec = spec_of({"uri": f"sqlite:///{self.path}", "table": "sales", "modified": "changed"} | fields)
        self.now, self._numbers = CHANGED, count()
        self.execute("CREATE TABLE sales (unique_id, ds, y, changed, id INTEGER PRIMARY KEY)")
        self.put(*((name, hour, float(hour % 4)) for name in "ab" for hour in range(12)))

    def execute(self, sql: str, rows: Any = ((),)) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.executemany(sql, rows)

    def put(self, *rows: tuple[str, int, Any], late: timedelta = timedelta(0), changed: Any = "") -> None:
        """Insert rows or update those of the same series and hour, an hour after the last change."""
        self.now += timedelta(hours=1)
        changed = str(self.now - late) if changed == "" else changed
        values = [(y, changed, name, str(FIRST + timedelta(hours=hour))) for name, hour, y in rows]
        with closing(sqlite3.connect(self.path)) as connection, connection:
            for each in values:
                update = "UPDATE sales SET y = ?, changed = ? WHERE unique_id = ? AND ds = ?"
                if not connection.execute(update, each).rowcount:
                    connection.execute("INSERT INTO sales (y, changed, unique_id, ds) VALUES (?, ?, ?, ?)", each)

    def read(self, **options: Any) -> Read:
        """Update the mirror, and check that its rows are those of the source, each with its number."""
        found, rows = read_once(self.spec, self.store, **options)
        direct = scan_source(self.spec.source, "timestamp", static=self.spec.categories.static).collect()
        assert rows.equals(direct), (rows, direct)
        return found

    def read_any(self) -> None:
        """Check what `read` does, or that a source without rows is refused as a direct read refuses it."""
        with closing(sqlite3.connect(self.path)) as connection:
            has_rows = connection.execute("SELECT count(*) FROM sales").fetchone()[0] > 0
        if has_rows:
            self.read()
            return
        with pytest.raises(SourceError, match="has no rows") as direct:
            scan_source(self.spec.source, "timestamp", static=self.spec.categories.static)
        with pytest.raises(SourceError, match="has no rows") as refused:
            read_once(self.spec, self.store)
        assert str(refused.value) == str(direct.value)

    def run(self, **options: Any) -> Outcome:
        """Run the features job, and record it as a success of its flow."""
        named = {"job": "features", "flow": "train", "spec": self.spec, "run_id": f"r{next(self._numbers)}"}
        arguments, started_at = RunArguments(**named | options), datetime.now(UTC)
        with reading_once():
            cutoff = find_cutoff(arguments, self.store)
            outcome = write_features(Run(arguments, self.store, WorkerSettings(), FleetSettings(), cutoff))
        row = {"spec": "sales", "status": "success", "started_at": started_at, "seconds": 0.0}
        row |= {"arguments": arguments.model_dump_json(), "run_cutoff": format_clock(cutoff)}
        versions = json.dumps(dict(outcome.versions))
        append_run(self.store, {**row, "run_id": f"{arguments.run_id}.f", "job": "features", "versions": versions})
        append_run(self.store, {**row, "run_id": f"{arguments.run_id}.b", "job": "backtest", "versions": "{}"})
        return outcome


def spec_of(source: dict[str, Any], **fields: Any) -> Spec:
    ended = {"ended": "forecast", "allow_rejects": 1}
    return Spec(name="sales", source=ended | source, freq="1h", season_lengths=(4,), horizon=4, **fields)


def read_once(spec: Spec, store: Store, **options: Any) -> tuple[Read, pl.DataFrame]:
    arguments = RunArguments(job="features", flow="train", spec=spec, run_id="one", **options)
    with reading_once():
        found = read_changed(arguments, store)
        rows = scan_source(spec.source, "timestamp", static=spec.categories.static).collect()
    assert found is not None
    return found, rows


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path)


CHANGES = st.tuples(
    st.sampled_from(["put", "put", "put", "late", "unstamped", "delete", "prune", "rename"]),
    st.sampled_from("abc"),
    st.integers(0, 15),
    st.sampled_from([1.5, 7.0, None, 2, "n/a"]),
)


@settings(max_examples=8, deadline=None)
@given(runs=st.lists(st.lists(CHANGES, max_size=4), min_size=1, max_size=5))
def test_mirror_has_the_rows_of_the_source_after_any_changes(
    runs: list[list[Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = Table(tmp_path_factory.mktemp("any"))
    table.read()
    for changes in runs:
        for kind, name, hour, y in changes:
            ds = str(FIRST + timedelta(hours=hour))
            if kind == "delete":
                table.execute("DELETE FROM sales WHERE unique_id = ? AND ds = ?", [(name, ds)])
            elif kind == "prune":
                table.execute("DELETE FROM sales WHERE ds < ?", [(ds,)])
            elif kind == "rename":  # a row gets another key
                table.put((name, hour, y))
                table.execute(
                    "UPDATE sales SET unique_id = hex(randomblob(9)) WHERE unique_id = ? AND ds = ?", [(name, ds)]
                )
            else:
                late = timedelta(minutes=110) if kind == "late" else timedelta(0)
                table.put((name, hour, y), late=late, changed=None if kind == "unstamped" else "")
        table.read_any()


def test_source_that_loses_all_rows_is_refused_and_read_again_once_it_has_some(table: Table) -> None:
    table.read()
    table.execute("DELETE FROM sales")
    table.read_any()
    table.put(("a", 3, 9.0))
    assert str(table.read()).startswith("all 1 rows of the source were read")


def test_run_reads_rows_from_the_newest_modification_less_the_overlap(table: Table) -> None:
    assert str(table.read()) == "all 24 rows of the source were read, because this is the first time"
    table.now += timedelta(hours=5)
    table.put(("a", 3, 9.0), ("c", 3, 1.0), ("a", 4, None))
    assert str(table.read()) == (
        "25 of 25 rows of the source were read, those modified since 2024-05-31 23:00:00:"
        " 1 new, 2 changed, 22 as they were"
    )
    newest = datetime(2024, 6, 1, 5)
    assert table.read() == Read(25, newest, "", 0, 0, 3)
    table.put(("b", 0, 5.0), late=timedelta(hours=2, minutes=30))  # within the overlap of the newest one
    assert table.read() == Read(25, newest, "", 0, 1, 3)


def test_rows_that_are_missed_or_deleted_are_found_by_their_number(table: Table) -> None:
    table.now += timedelta(hours=9)
    table.put(("a", 3, 9.0))
    table.read()
    table.put(("c", 3, 1.0), late=timedelta(hours=4))
    assert "it has 25 rows, but with the changed ones 24 are known" in str(table.read())
    table.execute("DELETE FROM sales WHERE unique_id = 'c'")
    assert "it has 24 rows, but with the changed ones 25 are known" in str(table.read())


def test_rows_before_the_first_one_that_the_source_keeps_are_dropped(table: Table) -> None:
    table.read()
    table.execute("DELETE FROM sales WHERE ds < '2024-01-01 03:00:00'")
    table.put(("a", 12, 1.0))
    assert table.read() == Read(19, datetime(2024, 5, 31, 23), "", 1, 0, 18)
    assert table.read().since is not None


def test_change_without_a_new_modification_needs_a_full_read(table: Table) -> None:
    table.now += timedelta(hours=5)
    table.put(("a", 3, 9.0))
    table.read()
    table.execute("UPDATE sales SET y = 4.5 WHERE unique_id = 'b' AND ds LIKE '% 03:00:00'")
    assert read_once(table.spec, table.store)[0].num_changed == 0
    assert table.read(full_read=True).reason == "the run requests it"


def test_modification_in_the_future_does_not_hide_later_changes(table: Table) -> None:
    table.put(("a", 3, 9.0), changed="2999-01-01 00:00:00")
    table.read()
    table.put(("a", 4, 9.0))
    found = table.read()
    assert (found.num_changed, found.since) == (1, datetime(2024, 5, 31, 23))


def test_source_that_is_read_in_another_way_is_read_in_full(table: Table) -> None:
    table.read()
    table.put(("a", 3, "n/a"))
    assert table.read().reason == "its columns have other types"
    fields = table.spec.source.model_dump(exclude_unset=True)
    table.spec = spec_of({**fields, "newer": "id", "key": "id", "duplicates": "last"})
    assert table.read().reason == "the spec's source has changed"
    assert table.read().since is not None


def test_rows_of_one_key_are_refused_unless_another_column_identifies_them(table: Table) -> None:
    table.execute("INSERT INTO sales SELECT unique_id, ds, 3.0, changed, NULL FROM sales WHERE ds LIKE '% 03:00:00'")
    with pytest.raises(
        SourceError, match=r"2 rows have the 'unique_id', 'ds' '.', '2024-01-01 03:00:00', .* source.key"
    ):
        table.read()
    table.spec = spec_of({**table.spec.source.model_dump(exclude_unset=True), "key": "id"})
    assert table.read().num_rows == 26
    table.execute("UPDATE sales SET ds = '2024-01-01 13:00:00', changed = '2024-06-01 02:00:00' WHERE id = 25")
    assert table.read().num_changed == 1


def test_column_of_numbers_needs_an_overlap(table: Table) -> None:
    table.execute("ALTER TABLE sales ADD COLUMN version INTEGER DEFAULT 1")
    fields = {**table.spec.source.model_dump(exclude_unset=True), "modified": "version"}
    table.spec = spec_of(fields)
    assert table.read().since is None
    with pytest.raises(
        SourceError, match=r"has numbers, but source\.modified_overlap is not given; it must be a number"
    ):
        table.read()
    table.spec = spec_of({**fields, "modified_overlap": 0})
    table.execute("UPDATE sales SET version = 2, y = 8.0 WHERE id = 3")
    assert table.read() == Read(24, 1, "", 0, 1, 23)
    assert table.read() == Read(24, 2, "", 0, 0, 1)


def test_texts_that_are_no_times_are_refused(table: Table) -> None:
    table.put(("a", 3, 9.0), changed="last week")
    message = r"column 'changed', .*source.modified\), has 'last week' but needs an ISO 8601 time, or null"
    with pytest.raises(SourceError, match=message):
        table.read()


def test_corrections_are_restated_and_a_run_without_changes_is_skipped(table: Table) -> None:
    table.put(*(("c", hour, 1.0) for hour in range(12)))
    assert "all 36 rows of the source were read" in table.run().message
    with pytest.raises(Skip, match=r"nothing new since 2024-01-01T11:00:00.*: 0 new, 0 changed, 36 as they were"):
        table.run()
    table.put(("a", 3, 9.0), ("b", 4, None), ("b", 14, 2.0))
    message = table.run().message
    assert "1 after the cutoff" in message
    assert ": 1 new, 2 changed, 34 as they were; 2 measurements restated" in message
    restated = table.store.scan("restatements", "timestamp").sort("unique_id").select("unique_id", "old_y", "new_y")
    assert restated.collect().rows() == [("a", 3.0, 9.0), ("b", 0.0, None)]
    table.put(("a", 12, 1.0), ("a", 13, 1.0), ("a", 14, 1.0))
    table.run()  # the row that waited is no longer read from the source, but from the mirror
    observed = table.store.scan("observations", "timestamp").filter(unique_id="b", ds=FIRST + timedelta(hours=14))
    assert observed.collect()["y"].to_list() == [2.0]


def test_run_that_is_killed_after_its_mirror_is_written_loses_no_row(table: Table) -> None:
    table.run()
    table.put(("a", 3, 9.0))
    arguments = RunArguments(job="features", flow="train", spec=table.spec, run_id="killed")
    script = (
        "import os, signal; from workers.jobs import features; from workers.jobs.run import main;"
        "features._write = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL);"
        "main('features', features.write_features, features.find_cutoff)"
    )
    environment = {ARGUMENTS_VARIABLE: arguments.model_dump_json(), "FLEETCAST_STORE": table.store.root}
    killed = subprocess.run([sys.executable, "-c", script], env={**os.environ, **environment}, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    message = table.run(run_id="killed").message
    assert ": 0 new, 0 changed, 24 as they were" in message
    assert "1 measurement restated" in message


def test_runs_at_the_same_time_keep_the_rows_of_both(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    table.read()
    table.put(("a", 3, 9.0))
    fetch, fetched = mirrored._fetch, []

    def fetch_while_another_run_does(*arguments: Any) -> Any:
        changes = fetch(*arguments)
        fetched.append(changes)
        if len(fetched) == 1:
            table.put(("a", 3, 10.0), ("c", 3, 1.0))
            other = threading.Thread(target=read_once, args=(table.spec, table.store))
            other.start()
            other.join()
        return changes

    monkeypatch.setattr(mirrored, "_fetch", fetch_while_another_run_does)
    found = table.read()
    assert len(fetched) == 3
    assert (found.num_new, found.num_changed) == (0, 0)  # the other run has written them


def test_other_jobs_find_the_zone_in_the_mirror(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    table.execute("UPDATE sales SET ds = ds || '+02:00'")
    table.run()
    table.path.unlink()
    arguments = RunArguments(job="train", flow="train", spec=table.spec, run_id="one", as_of="2024-01-01T09:00:00Z")
    monkeypatch.setenv("FLEETCAST_STORE", table.store.root)
    monkeypatch.setenv(ARGUMENTS_VARIABLE, arguments.model_dump_json())
    cutoffs: list[Any] = []
    assert main("train", lambda run: cutoffs.append(run.cutoff) or Outcome("done"), stored_cutoff) == 0
    assert cutoffs == [datetime(2024, 1, 1, 8)]  # in UTC, of the period that is over


def test_files_of_a_delta_table_without_changes_are_left_out(tmp_path: Path) -> None:
    root, store = tmp_path / "lake", Store(tmp_path / "store")
    hours = [FIRST + timedelta(hours=hour) for hour in range(12)]
    old = pl.DataFrame({"unique_id": "a", "ds": hours, "y": 1.0, "changed": CHANGED, "kind": "x"})
    new = pl.DataFrame(
        {"unique_id": ["a", "b"], "ds": hours[:2], "y": [None, 3.0], "changed": CHANGED + timedelta(days=1)}
    )
    write_deltalake(root, old)
    spec = spec_of({"uri": f"{root}/", "modified": "changed"}, categories={"static": ("kind",)})
    assert read_once(spec, store)[0].num_rows == 12
    table = DeltaTable(root)
    table.delete("ds = '2024-01-01 00:00:00'")
    write_deltalake(root, new.with_columns(kind=pl.lit("x")), mode="append")
    found, rows = read_once(spec, store)
    assert (found.num_new, found.num_changed, found.num_same) == (1, 1, 11)
    assert rows["source_file"].unique().to_list() == [f"{root}@v2"]
    assert rows.sort("unique_id", "ds")["y"].to_list() == [None, *[1.0] * 11, 3.0]
    assert rows["categories"][0].to_list() == [{"name": "kind", "value": "x"}]
    write_deltalake(root, new.head(1).with_columns(pl.lit("x").alias("kind"), ds=hours[3]), mode="append")
    with pytest.raises(SourceError, match="2 rows have the"):
        read_once(spec, store, full_read=True)


def test_folder_of_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text("unique_id,ds,y,changed\n")
    spec = spec_of({"uri": f"{tmp_path}/", "modified": "changed"})
    with pytest.raises(SourceError, match=r"has source\.modified, but is neither a database nor a Delta table"):
        read_once(spec, Store(tmp_path / "store"))


@pytest.mark.postgres
def test_postgres_sends_only_the_rows_that_were_modified(tmp_path: Path, postgres: Server) -> None:
    store, names = Store(tmp_path / "store"), ["a", "b"]
    rows = pl.DataFrame(
        {
            "unique_id": [name for name in names for _ in range(1000)],
            "ds": [FIRST + timedelta(hours=hour) for _ in names for hour in range(1000)],
            "y": 1.5,
            "changed": pl.Series([CHANGED - timedelta(hours=hour) for hour in range(2000)]).dt.replace_time_zone("UTC"),
        }
    )
    postgres.write("modified", rows)
    postgres.execute("CREATE INDEX ON modified (changed)", "ANALYZE modified")
    spec = spec_of({"uri": postgres.uri, "table": "modified", "modified": "changed", "modified_overlap": "5h"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSWORD", "hunter2")
        assert read_once(spec, store)[0].num_rows == 2000
        changed = "'2024-06-01 09:00:00.25+09'"  # in the zone of the session
        postgres.execute(
            f"UPDATE modified SET y = 7, changed = {changed} WHERE unique_id = 'b' AND ds < '2024-01-01 03:00'",
            f"INSERT INTO modified VALUES ('c', '2024-01-01', NULL, {changed}), ('c', '2024-01-02', 1, NULL)",
            "ALTER ROLE ada SET log_statement = 'all'",
        )
        found, mirror = read_once(spec, store)
        postgres.execute("ALTER ROLE ada RESET log_statement")
        with reading_once():
            direct = scan_source(spec.source, "timestamp").collect()
    assert found == Read(2002, datetime(2024, 5, 31, 19), "", 2, 3, 6)
    assert mirror.equals(direct)
    (sent,) = [line for line in (postgres.folder / "log").read_text().splitlines() if 'FROM "modified" WHERE' in line]
    condition = """("changed" >= TIMESTAMPTZ '2024-05-31 19:00:00.000000+00' OR "changed" IS NULL)"""
    query = sent[sent.index("SELECT") : sent.rindex(") TO STDOUT")]
    assert query.endswith(condition)
    assert postgres.fetch(query).height == 11
