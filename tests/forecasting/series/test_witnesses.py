"""A block whose witnesses are accepted is judged as each of its rows is."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.errors import SourceError
from forecasting.series import witnesses
from forecasting.series.judge import judge_alone
from forecasting.series.read import scan_frame
from forecasting.series.runs import find_runs
from forecasting.series.unfinished import is_unfinished
from forecasting.spec.frequency import clock_of
from forecasting.spec.source import Source

BEGIN, NOW = datetime(2024, 1, 1), datetime(2024, 3, 1, 9)
SECOND = 1_000_000
ODD_TIMES = [
    *(None, -9 * 10**17, datetime(1, 1, 1), datetime(2999, 12, 31), datetime(3000, 1, 1)),
    *(NOW - timedelta(hours=1), NOW, NOW + timedelta(hours=1), NOW + timedelta(days=1), NOW + timedelta(days=9)),
]
ODD: dict[str, list[Any]] = {
    "t": [time if time is None or isinstance(time, int) else pl.Series([time]).to_physical()[0] for time in ODD_TIMES],
    "v": [None, float("nan"), float("inf"), -float("inf")],
    "k": ["", " ", None, " a ", "M\ufffdller"],
    "text": ["", " ", "2024-01", "2024-03-01T11:00:00+02:00", "2024-03-01 11:00:00+00:00", "x", " 2024-01-05 "],
}
CELLS = [(column, cell) for column, cells in ODD.items() for cell in cells]
"""Cells of a row that are changed."""
KINDS: list[tuple[Any, Any]] = [
    *((pl.Datetime("us"), pl.Float64), (pl.Datetime("ms"), pl.Float32), (pl.Datetime("us", "UTC"), pl.Float64)),
    *((pl.Datetime("us", "Europe/Paris"), pl.Float64), (pl.Date, pl.Float64), (pl.Int64, pl.Float64)),
    *((pl.String, pl.Float64), (pl.String, pl.String), (pl.Datetime("us"), pl.String)),
]


def judge(
    odd: Sequence[tuple[str, Any, int]], kind: tuple[Any, Any], freq: Any, as_of: datetime | None, file: str
) -> None:
    """Judge rows with some odd cells in both ways, and compare them."""
    time, value = kind
    freq = 1 if time == pl.Int64 else freq
    days = pl.Series([BEGIN + timedelta(days=day) for day in range(30)], dtype=pl.Datetime("us")).to_physical()
    columns: dict[str, list[Any]] = {
        "k": [name for name in "abc" for _ in range(30)],
        "t": [*days] * 3,
        "v": [1.0] * 90,
        "text": [None] * 90,
    }
    for column, cell, row in odd:
        columns[column][row] = cell
    frame = pl.DataFrame(columns, {"k": pl.String, "t": pl.Int64, "v": pl.Float64, "text": pl.String})
    if time == pl.Int64:
        frame = frame.with_columns(pl.col("t") // (3600 * SECOND))
    else:
        frame = frame.with_columns(pl.col("t").cast(pl.Datetime("us")))
    if isinstance(time, pl.Datetime) and time.time_zone:
        frame = frame.with_columns(pl.col("t").dt.replace_time_zone("UTC"))
    frame = frame.with_columns(pl.col("t").cast(time), pl.col("v").cast(value))
    if time == pl.String:
        frame = frame.with_columns(t=pl.coalesce("text", "t"))
    source = Source.model_validate({"uri": file, "id": "k", "time": "t", "target": "v"})
    rows = scan_frame(frame.drop("text"), source, clock_of(freq)).drop("lacks_zone", strict=False).collect()
    unfinished = is_unfinished(rows.schema, source, freq=freq, now=NOW, as_of=None if freq == 1 else as_of)
    how: Any = {"freq": freq, "now": NOW, "unfinished": unfinished}
    try:
        whole = judge_alone(rows.lazy(), **how).collect()
    except SourceError:  # dates have no hours
        assert time == pl.Date
        return
    assert witnesses.judge_each(rows, find_runs(rows["unique_id"]), **how).equals(whole)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("as_of", [None, datetime(2024, 1, 10, 7)])
def test_a_block_with_an_odd_cell_is_judged_as_its_rows(kind: tuple[Any, Any], as_of: datetime | None) -> None:
    for freq in ("1d", "1h", "1mo"):
        for column, cell in CELLS if freq == "1d" else [("t", cell) for cell in ODD["t"]]:
            judge([(column, cell, 37)], kind, freq, as_of, "x.csv" if column in "k" else "x.parquet")


@settings(max_examples=100, deadline=None)
@given(
    odd=st.lists(st.tuples(st.sampled_from(CELLS), st.integers(0, 89)), max_size=4),
    kind=st.sampled_from(KINDS),
    freq=st.sampled_from(["1d", "1h", "1w", "1mo"]),
    as_of=st.sampled_from([None, datetime(2024, 1, 10, 7)]),
    file=st.sampled_from(["x.parquet", "x.csv"]),
)
def test_a_block_with_odd_cells_is_judged_as_its_rows(
    odd: list[Any], kind: tuple[Any, Any], freq: Any, as_of: datetime | None, file: str
) -> None:
    judge([(*cell, row) for cell, row in odd], kind, freq, as_of, file)


def test_a_name_is_judged_beside_each_of_its_files() -> None:
    """U+FFFD is a character that a CSV file could not be decoded to, but may be one of another file."""
    rows = pl.DataFrame({"unique_id": ["M\ufffd"] * 40, "ds": ["2024-01-01"] * 40, "y": 1.0, "written_id": None})
    files = pl.Series(["a.parquet"] * 20 + ["b.csv"] * 10 + ["c.parquet"] * 10)
    rows = rows.with_columns(source_file=files, source_row=pl.int_range(40), written_id=pl.lit(None, pl.String))
    how: Any = {"freq": "1d", "now": NOW, "unfinished": None}
    judged = witnesses.judge_each(rows, find_runs(rows["unique_id"]), **how)
    assert judged["reason"].null_count() == 30
    assert judged.equals(judge_alone(rows.lazy(), **how).collect())


def test_rows_without_refusal_are_not_judged_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[int] = []
    add = witnesses.add_reasons

    def count(read: pl.LazyFrame, *given: Any, **how: Any) -> pl.LazyFrame:
        judged.append(read.collect().height)
        return add(read, *given, **how)

    monkeypatch.setattr(witnesses, "add_reasons", count)
    times = [(BEGIN + timedelta(days=day)) for day in range(100)]
    for time in (pl.Datetime("us"), pl.String):
        frame = pl.DataFrame({"unique_id": "a", "ds": pl.Series(times * 10), "y": [*range(999), None]})
        frame = frame.with_columns(pl.col("ds").cast(time))
        source = Source.model_validate({"uri": "x"})
        rows = scan_frame(frame, source, "timestamp").collect()
        now = datetime.now(UTC).replace(tzinfo=None)
        witnesses.judge_each(rows, find_runs(rows["unique_id"]), freq="1d", now=now, unfinished=None)
    assert judged[0] <= 5
    assert judged[1] <= 110
    assert len(judged) == 2
