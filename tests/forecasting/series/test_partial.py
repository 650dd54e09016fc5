"""Periods whose rows are aggregated, and of which the source or the cutoff leaves a part."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from forecasting.series.ingest import Ingested, ingest
from forecasting.spec.spec import make_spec

BEGIN = datetime(2024, 1, 1)


def hours(num: int, *, first: int = 0) -> list[datetime]:
    return [BEGIN + timedelta(hours=first + hour) for hour in range(num)]


def read(tmp_path: Path, times: list[datetime], cutoff: datetime | None = None, **source: Any) -> Ingested:
    rows = pl.DataFrame({"unique_id": ["a"] * len(times), "ds": times, "y": [1.0] * len(times)})
    rows.write_parquet(tmp_path / "x.parquet")
    fields = {"name": "x", "freq": "1d", "season_lengths": [7], "horizon": 2}
    uri = {"uri": str(tmp_path / "x.parquet"), "aggregate": "sum"}
    return ingest(make_spec({**fields, "source": uri | source}, subject="spec"), cutoff=cutoff)


@pytest.mark.parametrize(("label", "first"), [("start", 0), ("end", 1)])
def test_day_with_fewer_hours_than_usual_is_not_used_and_said(tmp_path: Path, label: str, first: int) -> None:
    ingested = read(tmp_path, hours(24 * 10 + 3, first=first), label=label)
    assert ingested.observations["y"].to_list() == [24.0] * 10
    assert ingested.features["ds"].max() == BEGIN + timedelta(days=9)
    assert any("has 3 rows, and 24 are usual" in note and "--unfinished use" in note for note in ingested.unused)
    assert str(ingested.counts) == "243 rows read, 240 used, 3 after the cutoff"
    used = read(tmp_path, hours(24 * 10 + 3, first=first), label=label, unfinished="use")
    assert used.observations["y"].to_list() == [24.0] * 10 + [3.0]


def test_day_whose_number_of_rows_is_usual_is_used(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sales = [
        BEGIN + timedelta(days=day, minutes=9 * at) for day, num in enumerate(rng.poisson(60, 30)) for at in range(num)
    ]
    ingested = read(tmp_path, sales)
    assert ingested.features["ds"].max() == BEGIN + timedelta(days=29)
    assert not ingested.unused
    assert read(tmp_path, hours(24 * 2 + 3)).observations["y"].to_list() == [24.0, 24.0, 3.0]  # too few days to know


@pytest.mark.parametrize(
    ("cutoff", "num_days", "says"),
    [
        (BEGIN + timedelta(days=5), 6, False),
        (BEGIN + timedelta(days=5, hours=10), 5, True),
        (BEGIN + timedelta(days=5, hours=23), 6, False),
        (BEGIN + timedelta(days=9, hours=5), 10, False),
        (BEGIN + timedelta(hours=5), 1, False),
    ],
)
def test_requested_cutoff_leaves_whole_days(tmp_path: Path, cutoff: datetime, num_days: int, says: bool) -> None:
    times = hours(24 * 9 + 6)
    ingested = read(tmp_path, times, cutoff)
    assert ingested.observations.height == num_days
    whole = ingested.observations["y"].to_list()[: num_days if num_days not in (1, 10) else -1]
    assert set(whole) <= {24.0}
    assert any("of the grid of 1d" in note for note in ingested.unused) == says


def test_part_of_a_day_does_not_hide_what_is_said_of_days_that_are_not_over(tmp_path: Path) -> None:
    times = hours(24 * 10 + 3)
    rows = pl.DataFrame({"unique_id": ["a"] * len(times), "ds": times, "y": [1.0] * len(times)})
    rows.write_parquet(tmp_path / "x.parquet")
    source = {"uri": str(tmp_path / "x.parquet"), "aggregate": "sum", "timezone": "UTC"}
    fields = {"name": "x", "freq": "1d", "season_lengths": [7], "horizon": 2, "source": source}
    ingested = ingest(make_spec(fields, subject="spec"), cutoff=times[30], now=times[-1])
    assert ["of the grid of 1d" in note for note in ingested.unused] == [True]
    newest = ingest(make_spec(fields, subject="spec"), now=times[-1])
    assert any("periods are not over" in note for note in newest.unused)


def with_rows(tmp_path: Path, times: list[datetime], y: list[Any], **source: Any) -> tuple[Ingested, str]:
    pl.DataFrame({"unique_id": "a", "ds": times, "y": y}, strict=False).write_csv(tmp_path / "x.csv")
    fields = {"name": "x", "freq": "1d", "season_lengths": [7], "horizon": 2}
    uri = {"uri": str(tmp_path / "x.csv"), "aggregate": "sum"}
    ingested = ingest(make_spec({**fields, "source": uri | source}, subject="spec"))
    return ingested, "\n".join(ingested.notes)


@pytest.mark.parametrize("label", ["start", "end"])
def test_days_that_are_summed_without_refused_rows_are_said(tmp_path: Path, label: str) -> None:
    y: list[Any] = ["1"] * 240
    y[50], y[60], y[100], y[110] = "1..0", "x", "nan", ""
    _, notes = with_rows(tmp_path, hours(240, first=int(label == "end")), y, label=label)
    assert "2 periods of 1d of 1 series, such as 2024-01-03 00:00:00 of 'a'," in notes
    assert "which has a measurement in 22 of its 24 rows, are aggregated (sum) without rows that are refused" in notes
    assert "--ignore" in notes
    _, mean = with_rows(tmp_path, hours(240), y, aggregate="mean")
    assert "1 periods of 1d of 1 series" in mean  # a mean does not lack what is not measured
    _, whole = with_rows(tmp_path, hours(240), ["1"] * 240)
    assert "aggregated" not in whole


def test_days_with_far_fewer_rows_than_usual_are_said(tmp_path: Path) -> None:
    times = [time for time in hours(24 * 21) if time.day not in (5, 9) or time.hour < 13]
    ingested, notes = with_rows(tmp_path, times, ["1"] * len(times))
    assert "2 periods of 1d of 1 series, such as 2024-01-05 00:00:00 of 'a', which has 13 rows, and 24 are" in notes
    assert ingested.usual_rows == {"a": 24.0}
    _, zero = with_rows(tmp_path, times, ["1"] * len(times), missing_rows="zero")
    assert "far fewer" not in zero
    _, ignored = with_rows(
        tmp_path, times, ["1"] * len(times), ignore=["2024-01-05..2024-01-05", "2024-01-09..2024-01-09"]
    )
    assert "far fewer" not in ignored


def test_days_whose_numbers_of_rows_vary_or_recur_are_not_short(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    per_day = [num // (4 if day % 7 == 6 else 1) for day, num in enumerate(rng.poisson(60, 60))]
    times = [BEGIN + timedelta(days=day, minutes=9 * at) for day, num in enumerate(per_day) for at in range(num)]
    ingested, notes = with_rows(tmp_path, times, ["1"] * len(times))
    assert not ingested.usual_rows
    assert "aggregated" not in notes
    sundays = [time for time in hours(24 * 30) if 8 <= time.hour < (14 if time.weekday() == 6 else 20)]
    ingested, notes = with_rows(tmp_path, sundays, ["1"] * len(sundays))
    assert not ingested.usual_rows
    assert "aggregated" not in notes
