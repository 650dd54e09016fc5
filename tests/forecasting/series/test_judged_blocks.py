"""A source in blocks of a few rows is read as one of a single block is."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forecasting.errors import FleetcastError
from forecasting.series import blocks, gridded, judged_blocks
from forecasting.series.ingest import ingest
from forecasting.series.judge import judge_alone, judge_together
from forecasting.series.once import reading_once
from forecasting.series.plain import Judged
from forecasting.series.read import scan_frame
from forecasting.series.regularise import regularise
from forecasting.spec.spec import make_spec

BEGIN, NOW = datetime(2024, 1, 1), datetime(2024, 6, 1)
ODD_TIMES = [None, datetime(1800, 1, 1), datetime(2031, 1, 1), datetime(2024, 1, 5, 7), datetime(2024, 5, 31, 23)]
ODD_NAMES = [None, "", " a ", "zz"]
SOURCES: list[dict[str, Any]] = [
    {},
    {"duplicates": "last"},
    {"aggregate": "sum"},
    {"aggregate": "mean", "unfinished": "use"},
    {"missing_rows": "zero"},
    {"label": "end"},
    {"ignore": ["2024-01-03..2024-01-05"]},
    {"ended": "forecast"},
]

# Regular series; what is odd comes from further rows, so that few examples reach far.
SERIES = st.dictionaries(
    st.sampled_from("abcde"),
    st.tuples(st.integers(0, 9), st.integers(1, 14), st.sampled_from([1, 1, 2, 7])),
    min_size=1,
)
ODD_ROWS = st.lists(
    st.tuples(
        st.sampled_from([*"abcde", *ODD_NAMES]),
        st.one_of(st.sampled_from(ODD_TIMES), st.integers(0, 20).map(lambda day: BEGIN + timedelta(days=day))),
        st.sampled_from([None, float("nan"), float("inf"), 0.0, 1.0, 3e9]),
    ),
    max_size=6,
)


def rows_of(series: dict[str, tuple[int, int, int]], odd: list[tuple[Any, ...]]) -> pl.DataFrame:
    rows = [
        (name, BEGIN + timedelta(days=first + step * number), float(number % 5))
        for name, (first, length, step) in series.items()
        for number in range(length)
    ]
    return pl.DataFrame([*rows, *odd], {"k": pl.String, "t": pl.Datetime("us"), "v": pl.Float64}, orient="row")


def read(frame: pl.DataFrame, freq: str, source: dict[str, Any], cutoff: datetime | None, **categories: Any) -> Any:
    """Return everything that is read, or the error."""
    fields = {"name": "x", "freq": freq, "season_lengths": [7], "horizon": 2, "lower_bound": 0, **categories}
    named = {"uri": "memory", "id": "k", "time": "t", "target": "v", "allow_rejects": 1}
    spec = make_spec({**fields, "source": {**named, **source}}, subject="x")
    rows = scan_frame(frame, spec.source, spec.clock, static=spec.categories.static)
    try:
        ingested = ingest(spec, rows=rows, now=NOW, cutoff=cutoff)
    except FleetcastError as error:
        return str(error)
    frames = [ingested.observations, ingested.features, ingested.rejects]
    others = (ingested.cutoff, ingested.notes, ingested.unused, ingested.counts, ingested.unique_ids)
    reasons = (ingested.set_aside, ingested.ended, ingested.usual_rows)
    return [*(frame.schema for frame in frames), *(frame.rows() for frame in frames), *others, *reasons]


def same(one: Any, other: Any) -> bool:
    """Return whether two results are the same, to the bit."""
    return repr(one) == repr(other)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    series=SERIES,
    odd=ODD_ROWS,
    order=st.sampled_from(["sorted", "by time", "as it is"]),
    freq=st.sampled_from(["1d", "1d", "12h", "1w", "1mo"]),
    source=st.sampled_from(SOURCES),
    cutoff=st.sampled_from([None, None, BEGIN + timedelta(days=8)]),
    most_rows=st.integers(5, 25),
    spills=st.booleans(),
)
def test_results_do_not_depend_on_the_size_of_blocks(
    monkeypatch: pytest.MonkeyPatch,
    series: dict[str, tuple[int, int, int]],
    odd: list[tuple[Any, ...]],
    order: str,
    freq: str,
    source: dict[str, Any],
    cutoff: datetime | None,
    most_rows: int,
    spills: bool,
) -> None:
    frame = rows_of(series, odd)
    frame = {"sorted": frame.sort("k", "t"), "by time": frame.sort("t", "k"), "as it is": frame}[order]
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 10_000)
    whole = read(frame, freq, source, cutoff)
    monkeypatch.setattr(blocks, "BLOCK_ROWS", most_rows)
    if spills:
        with reading_once():
            split = read(frame, freq, source, cutoff)
    else:
        split = read(frame, freq, source, cutoff)
    assert same(split, whole)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    series=SERIES,
    odd=ODD_ROWS,
    order=st.sampled_from(["sorted", "sorted", "by time", "as it is"]),
    freq=st.sampled_from(["1d", "1d", "12h", "1w", "1mo"]),
    source=st.sampled_from(SOURCES),
    cutoff=st.sampled_from([None, None, BEGIN + timedelta(days=8)]),
    dtype=st.sampled_from(["timestamps", "text", "UTC"]),
    most_rows=st.sampled_from([12, 10_000]),
)
def test_results_are_those_of_rows_that_are_all_judged_in_full(
    monkeypatch: pytest.MonkeyPatch,
    series: dict[str, tuple[int, int, int]],
    odd: list[tuple[Any, ...]],
    order: str,
    freq: str,
    source: dict[str, Any],
    cutoff: datetime | None,
    dtype: str,
    most_rows: int,
) -> None:
    frame = rows_of(series, odd)
    frame = {"sorted": frame.sort("k", "t"), "by time": frame.sort("t", "k"), "as it is": frame}[order]
    if dtype == "text":
        frame = frame.cast({"t": pl.String, "v": pl.String})
    elif dtype == "UTC":
        frame = frame.with_columns(pl.col("t").dt.replace_time_zone("UTC"))
    monkeypatch.setattr(blocks, "BLOCK_ROWS", most_rows)
    found = read(frame, freq, source, cutoff)
    with monkeypatch.context() as patch:
        patch.setattr(judged_blocks, "judge_each", lambda rows, _, **how: judge_alone(rows.lazy(), **how).collect())
        patch.setattr(judged_blocks, "judge_block", judge_in_full)
        patch.setattr(gridded, "lay_out", lambda rows, runs, **how: regularise(rows.lazy(), **how).collect())
        assert same(found, read(frame, freq, source, cutoff))


def judge_in_full(judged: pl.DataFrame, *, runs: Any, **how: Any) -> Judged:
    return Judged(judge_together(judged.lazy(), **how).collect())


def test_a_row_in_a_wrong_century_is_judged_beside_the_series_of_other_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    old = {f"b{number}": (-4020 - number, 40, 1) for number in range(8)}
    frame = rows_of({"a": (0, 40, 1), **old}, [("a", BEGIN - timedelta(days=4000), 1.0)]).sort("k", "t")
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 10_000)
    alone, whole = read(frame.filter(k="a"), "1d", {}, None), read(frame, "1d", {}, None)
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 10)
    assert same(read(frame, "1d", {}, None), whole)
    assert "too far from the other rows" in str(alone)


def test_categories_and_their_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = rows_of({"a": (0, 9, 1), "b": (2, 5, 2), "c": (0, 9, 1)}, []).with_columns(s=pl.col("k").replace("c", None))
    categories = {"categories": {"static": ["s"]}}
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 10_000)
    whole = read(frame, "1d", {}, None, **categories)
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 4)
    assert same(read(frame, "1d", {}, None, **categories), whole)
