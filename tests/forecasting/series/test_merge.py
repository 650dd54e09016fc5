"""Newer rows joined to earlier observations."""

from datetime import datetime, timedelta

import polars as pl
import pytest

from forecasting.errors import SourceError
from forecasting.series.inputs import Input
from forecasting.series.merge import merge_newer, without_kept
from forecasting.series.reasons import Reason
from forecasting.series.validate import validate
from forecasting.spec.source import Source

START = datetime(2024, 1, 1)


def rows_of(*rows: tuple[str, float, float | None]) -> pl.DataFrame:
    return pl.DataFrame(
        [{"unique_id": name, "ds": START + timedelta(hours=hour), "y": y} for name, hour, y in rows],
        schema={"unique_id": pl.String, "ds": pl.Datetime("us"), "y": pl.Float64},
    )


def merge(history: pl.DataFrame, newer: pl.DataFrame) -> tuple[dict[tuple[str, int], float | None], list[str]]:
    """Return the accepted values by series and hour, and the reasons of rejects."""
    given = Input(Source(uri="<frame>"), newer)
    merged = merge_newer(history, given.scan("timestamp"), freq="1h")
    validated = validate(merged.rows, freq="1h")
    accepted, rejects = validated.accepted.collect(), without_kept(validated.rejects.collect())
    reasons = [*merged.refused.collect()["reason"], *rejects["reason"]]
    hours = accepted.with_columns(hour=(pl.col("ds") - START).dt.total_hours())
    return {(name, hour): y for name, hour, y in hours.select("unique_id", "hour", "y").iter_rows()}, reasons


HISTORY = rows_of(("a", 0, 1.0), ("a", 1, 2.0), ("b", 0, 3.0))


def test_newer_rows_are_added_and_newer_measurements_win() -> None:
    values, reasons = merge(HISTORY, rows_of(("a", 1, 20.0), ("a", 2, 30.0), ("c", 0, 9.0)))
    assert values == {("a", 0): 1.0, ("a", 1): 20.0, ("a", 2): 30.0, ("b", 0): 3.0, ("c", 0): 9.0}
    assert reasons == []


def test_a_gap_does_not_replace_a_measurement_but_a_measurement_fills_a_gap() -> None:
    history = rows_of(("a", 0, 1.0), ("a", 1, None))
    values, reasons = merge(history, rows_of(("a", 0, None), ("a", 1, 5.0)))
    assert values == {("a", 0): 1.0, ("a", 1): 5.0}
    assert len(reasons) == 1, "the empty row repeats one that has a measurement"


def test_bad_newer_rows_are_rejected_and_the_history_stays() -> None:
    values, reasons = merge(HISTORY, rows_of(("a", 0, float("nan")), ("a", 1.5, 7.0), ("a", -90_000, 1.0)))
    assert values == {("a", 0): 1.0, ("a", 1): 2.0, ("b", 0): 3.0}
    assert sorted(reasons) == [
        Reason.OFF_GRID,
        Reason.FAR_AWAY,
        Reason.NAN,
    ]


def test_newer_measurements_win_also_where_times_move() -> None:
    history = pl.DataFrame(
        {"unique_id": ["a"] * 48, "ds": [START + timedelta(hours=hour) for hour in range(48)], "y": 1.0}
    )
    late = [START + timedelta(hours=hour, seconds=20) for hour in (46, 47, 48)]
    newer = pl.DataFrame({"unique_id": ["a"] * 3, "ds": late, "y": [7.0, 8.0, 9.0]})
    source = Source(uri="<frame>", snap="nearest")
    merged = merge_newer(history, Input(source, newer).scan("timestamp"), freq="1h", source=source)
    validated = validate(merged.rows, freq="1h", source=source)
    accepted, rejects = pl.collect_all([validated.accepted, validated.rejects])
    assert accepted["y"].to_list() == [1.0] * 46 + [7.0, 8.0, 9.0]
    assert rejects.is_empty()


def test_rows_of_an_aggregated_period_replace_it_on_request_alone() -> None:
    history = pl.DataFrame({"unique_id": ["a"] * 9, "ds": [START + timedelta(days=day) for day in range(9)], "y": 24.0})
    source = Source(uri="<frame>", aggregate="sum")

    def totals(hours: list[int], source: Source) -> list[float | None]:
        times = [START + timedelta(hours=hour) for hour in hours]
        newer = pl.DataFrame({"unique_id": ["a"] * len(times), "ds": times, "y": [1.0] * len(times)})
        merged = merge_newer(history, Input(source, newer).scan("timestamp"), freq="1d", source=source)
        return validate(merged.rows, freq="1d", source=source).accepted.collect()["y"].to_list()

    assert totals(list(range(24 * 9, 24 * 10)), source) == [24.0] * 10
    assert totals(list(range(24 * 8, 24 * 10)), source) == [24.0] * 10
    with pytest.raises(SourceError, match=r"such as that of 2024-01-09 00:00:00 of series 'a': 24 became 1;"):
        totals([24 * 8 + 5], source)
    newest = source.model_copy(update={"duplicates": "last"})
    assert totals(list(range(24 * 8, 24 * 8 + 20)), newest) == [24.0] * 8 + [20.0]
