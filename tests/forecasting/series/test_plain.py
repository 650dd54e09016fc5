"""Rows of a block are judged as `judge_together` does, however few of their series need it."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.series import plain
from forecasting.series.judge import judge_alone, judge_together
from forecasting.series.plausible import Lives
from forecasting.spec.source import Source

BEGIN, NOW = datetime(2010, 1, 1), datetime(2024, 1, 1)
STEPS = {"1h": timedelta(hours=1), "1d": timedelta(days=1), "1w": timedelta(days=7), "1mo": timedelta(days=31)}
COLUMNS = ["source_row", "unique_id", "ds", "y", "reason", "row_ds"]
SOURCES: list[dict[str, Any]] = [{}, {"duplicates": "last"}, {"label": "end"}, {"aggregate": "sum"}]


def alone(rows: list[tuple[str | None, Any, float | None]], freq: str | int) -> pl.DataFrame:
    names, times, ys = zip(*rows, strict=True)
    dtype = pl.Int64 if isinstance(freq, int) else pl.Datetime("us")
    frame = pl.LazyFrame(
        {
            "source_file": "x.parquet",
            "source_row": range(1, len(rows) + 1),
            "unique_id": pl.Series(names, dtype=pl.String),
            "ds": pl.Series(times, dtype=dtype),
            "y": pl.Series(ys, dtype=pl.Float64),
        }
    )
    return judge_alone(frame, freq=freq, now=NOW, unfinished=None).collect()


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c", "c", None]),
            st.one_of(st.integers(0, 9), st.integers(0, 9), st.sampled_from([5_000, 9_000, 9_001, None])),
            st.sampled_from([None, 1.0, 2.0, float("nan")]),
            st.sampled_from([0, 0, 0, 0, 1]),
        ),
        min_size=1,
        max_size=25,
    ),
    freq=st.sampled_from(["1h", "1d", "1w", "1mo", 3, "1h Mon-Fri 09:00-17:00"]),
    source=st.sampled_from(SOURCES),
)
def test_a_block_is_judged_as_its_rows_together(rows: list[Any], freq: Any, source: dict[str, Any]) -> None:
    step = STEPS.get(str(freq).partition(" ")[0])
    times = [
        None
        if place is None
        else 3 * place + off
        if step is None
        else BEGIN + place * step + off * timedelta(minutes=7)
        for _, place, _, off in rows
    ]
    given_rows = [(name, time, y) for (name, _, y, _), time in zip(rows, times, strict=True)]
    judged, how = alone(given_rows, freq), Source.model_validate({"uri": "x", **source})
    found = plain.judge_block(judged, freq=freq, source=how, lives=Lives())
    whole = judge_together(judged.lazy(), freq=freq, source=how).collect()
    assert found.rows.select(COLUMNS).sort("source_row").equals(whole.select(COLUMNS).sort("source_row"))
    accepted = [each.filter(pl.col("reason").is_null()).select(COLUMNS) for each in (found.rows, whole)]
    assert accepted[0].equals(accepted[1])  # in the same order
    assert (found.runs is None) or found.rows["reason"].null_count() == len(rows)


def test_plain_series_are_not_judged_together(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[set[str]] = []

    def judge(rows: pl.LazyFrame, **options: Any) -> pl.LazyFrame:
        judged.append(set(rows.collect()["unique_id"]))
        return judge_together(rows, **options)

    monkeypatch.setattr(plain, "judge_together", judge)
    rows = [(name, BEGIN + timedelta(days=day), 1.0) for name in "abc" for day in range(9)]
    assert plain.judge_block(alone(rows, "1d"), freq="1d", source=None, lives=Lives()).runs is not None
    assert not judged
    plain.judge_block(alone([*rows, ("b", BEGIN, 1.0)], "1d"), freq="1d", source=None, lives=Lives())
    assert judged == [{"b"}]
