"""Processes that publish at once into one table of an object store, whose only arbiter is the conditional put."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

from forecasting.errors import SinkError, StoreError
from forecasting.sinks.files import replace_delta
from forecasting.store.publish import append_run
from forecasting.store.tables import Store
from tests.forecasting.sinks.conftest import make_rows
from tests.moto_server import BUCKET, serve_moto

pytestmark = pytest.mark.s3

PROGRAM = """
import json, sys
import polars as pl
from forecasting.sinks.files import replace_delta
from forecasting.store.publish import publish
from forecasting.store.slices import Slice
from forecasting.store.tables import Store
from tests.forecasting.sinks.conftest import CUTOFF, make_rows

def publish_into(kind, uri, spec, writer, generation, options):
    rows = make_rows(spec).with_columns(forecast=pl.lit(float(writer)), cutoff="run_cutoff")
    if kind == "sink":
        return replace_delta(rows, uri=uri, spec=spec, storage_options=options)
    store, name = Store(uri, options), f"writer {writer}"
    place = Slice(spec, run_cutoff=CUTOFF)
    publish(store, "forecasts", "timestamp", rows, slice=place, application=name, generation=generation)

print("ready", flush=True)
for line in sys.stdin:
    given = json.loads(line)
    try:
        for generation in range(given.pop("num_rounds")):
            publish_into(**given, generation=generation)
        print("done", flush=True)
    except Exception as error:
        print(json.dumps(str(error)), flush=True)
"""
NUM_ROUNDS = 3
"""How often each process publishes. Rivals of one spec win fewer times in a row than a publisher tries."""
RACES = [("one", "one"), ("one", "two"), ("one", "one", "two", "three")]
"""The spec of each process."""

Writers = list["subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def options() -> Iterator[dict[str, str]]:
    with serve_moto() as options:
        yield options


@pytest.fixture(scope="module")
def writers() -> Iterator[Writers]:
    """Processes that publish what a line of their input says."""
    words = [sys.executable, "-c", PROGRAM]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(max(map(len, RACES)))
        ]
        try:
            assert [_answer(process) for process in processes] == ["ready"] * len(processes)
            yield processes
        finally:
            for process in processes:
                process.kill()


@pytest.fixture
def uri(numbers: Iterator[int] = count()) -> str:
    """A place of the bucket that no other test uses."""
    return f"s3://{BUCKET}/{next(numbers)}"


def race(writers: Writers, specs: tuple[str, ...], **fields: Any) -> list[str]:
    """Let one process per spec publish at the same time; return what each answers."""
    for number, (process, spec) in enumerate(zip(writers, specs, strict=False)):
        assert process.stdin is not None
        process.stdin.write(json.dumps({**fields, "spec": spec, "writer": number, "num_rounds": NUM_ROUNDS}) + "\n")
        process.stdin.flush()
    return [_answer(process) for process, _ in zip(writers, specs, strict=False)]


def _answer(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def check_table(snapshot: DeltaTable, specs: tuple[str, ...]) -> None:
    """Check that no commit is lost, and that each spec has the rows of one of its writers, none of them twice."""
    assert Counter(commit["operation"] for commit in snapshot.history())["WRITE"] == NUM_ROUNDS * len(specs)
    rows = pl.scan_delta(snapshot).select("spec", "unique_id", "ds", "forecast").collect()
    assert rows.unique(["spec", "unique_id", "ds"]).height == rows.height
    assert dict(rows.group_by("spec").len().iter_rows()) == dict.fromkeys(specs, make_rows().height)
    writers_of = rows.group_by("spec").agg(pl.col("forecast").cast(pl.Int64).unique())
    assert all(len(found) == 1 and specs[found[0]] == spec for spec, found in writers_of.iter_rows())


@pytest.mark.parametrize("specs", RACES)
def test_processes_that_publish_into_one_store_at_once_lose_and_mix_nothing(
    writers: Writers, options: dict[str, str], uri: str, specs: tuple[str, ...]
) -> None:
    assert race(writers, specs, kind="store", uri=uri, options=options) == ["done"] * len(specs)
    snapshot = Store(uri, options).open("forecasts", "timestamp")
    assert snapshot is not None
    check_table(snapshot, specs)


@pytest.mark.parametrize("specs", RACES)
def test_processes_that_copy_into_one_delta_table_at_once_lose_and_mix_nothing(
    writers: Writers, options: dict[str, str], uri: str, specs: tuple[str, ...]
) -> None:
    assert race(writers, specs, kind="sink", uri=uri, options=options) == ["done"] * len(specs)
    check_table(DeltaTable(uri, storage_options=options), specs)


def test_without_conditional_puts_nothing_is_published(options: dict[str, str], uri: str) -> None:
    unsafe = options | {"conditional_put": "disabled", "aws_s3_allow_unsafe_rename": "true"}
    with pytest.raises(StoreError, match=r"table 'runs' could not be created: .*conditional put is disabled"):
        append_run(Store(uri, unsafe), {"run_id": "r"})
    with pytest.raises(SinkError, match=r"cannot be written: .*conditional put is disabled"):
        replace_delta(make_rows(), uri=uri, spec="sales", storage_options=unsafe)
    append_run(Store(uri, options), {"run_id": "r"})
    with pytest.raises(StoreError, match=r"table 'runs' .* could not be written: .*conditional put is disabled"):
        append_run(Store(uri, unsafe), {"run_id": "s"})
    assert Store(uri, options).scan("runs", "timestamp").collect()["run_id"].to_list() == ["r"]
