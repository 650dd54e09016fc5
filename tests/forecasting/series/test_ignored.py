"""Ignored periods: gaps for everything that learns, observations in the tables, a kind of their own in the counts."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

import forecasting as fc
from forecasting.errors import DataWarning
from forecasting.series.budget import RowCounts
from forecasting.series.ingest import Ingested, ingest
from forecasting.series.read import scan_frame
from forecasting.spec.spec import make_spec

BEGIN = datetime(2024, 1, 1)
STRIKE = "2024-01-11..2024-01-13"


def frame_of(*names: str, num_days: int = 30) -> pl.DataFrame:
    """Days of which those of the strike have 1000 times as much."""
    days = [BEGIN + timedelta(days=number) for number in range(num_days)]
    y = [7000.0 if 10 <= number < 13 else 1.0 + number % 7 for number in range(num_days)]
    return pl.concat(pl.DataFrame({"unique_id": name, "ds": days, "y": y}) for name in names)


def read(frame: pl.DataFrame, *, freq: str = "1d", cutoff: datetime | None = None, **source: Any) -> Ingested:
    fields = {"name": "x", "freq": freq, "season_lengths": [7], "horizon": 2}
    spec = make_spec(fields | {"source": {"uri": "x.csv"} | source}, subject="x")
    return ingest(spec, rows=scan_frame(frame, spec.source, "timestamp"), cutoff=cutoff)


def test_ignored_rows_are_observations_and_their_grid_points_gaps() -> None:
    ingested = read(frame_of("a", "b"), ignore=[STRIKE])
    gaps = ingested.features.filter(pl.col("y").is_null())
    assert gaps.filter(unique_id="b")["ds"].to_list() == [datetime(2024, 1, day) for day in (11, 12, 13)]
    assert not gaps["is_observed"].any()
    assert ingested.features["y"].max() == 7
    assert ingested.observations.filter(y=7000).height == 6
    assert ingested.counts == RowCounts(60, 54, 0, ignored=6)
    assert str(ingested.counts) == "60 rows read, 54 used, 6 ignored"
    assert ingested.notes == ()


def test_period_of_one_series_leaves_the_others() -> None:
    ingested = read(frame_of("a", "b"), ignore=[f"{STRIKE}=b"])
    assert ingested.features.filter(pl.col("y").is_null())["unique_id"].to_list() == ["b"] * 3


def test_absent_rows_of_an_ignored_period_are_not_zero() -> None:
    frame = frame_of("a", "b").filter((pl.col("unique_id") == "a") | (pl.col("ds") != datetime(2024, 1, 12)))
    ingested = read(frame, ignore=[STRIKE], missing_rows="zero")
    assert ingested.features.filter(unique_id="b")["y"].to_list()[9:14] == [3.0, None, None, None, 7.0]


def test_aggregated_rows_are_counted_one_by_one_and_none_twice() -> None:
    frame = pl.concat([frame_of("a"), frame_of("a").with_columns(pl.col("ds") + timedelta(hours=9))])
    ingested = read(frame, ignore=["2024-01-11..2024-02"], aggregate="sum", cutoff=datetime(2024, 1, 20, 9))
    assert ingested.counts == RowCounts(60, 20, 20, ignored=20)


def test_row_whose_period_waits_for_the_cutoff_is_not_counted_as_ignored() -> None:
    times = [datetime(2023, 10, 31), datetime(2023, 11, 30), datetime(2023, 12, 31), datetime(2024, 1, 15)]
    frame = pl.DataFrame({"unique_id": "a", "ds": times, "y": [1.0, 2.0, 3.0, 4.0]})
    ingested = read(frame, freq="1mo", ignore=["2023-12..2024-01"], cutoff=datetime(2024, 1, 20))
    assert ingested.counts == RowCounts(4, 2, 1, ignored=1)


def test_periods_and_series_without_a_row_are_said() -> None:
    ingested = read(frame_of("a"), ignore=["2023..2023", "2024-01-11..2024-01-13=b", STRIKE])
    (note,) = ingested.notes
    assert note.endswith("without an accepted row: 2023..2023, 2024-01-11..2024-01-13=b")


def test_extreme_measurements_of_an_ignored_period_are_not_reported() -> None:
    frame = frame_of("a").with_columns(y=pl.when(pl.col("y") == 7000).then(1e300).otherwise("y"))
    assert "--ignore" in read(frame).notes[0]
    assert read(frame, ignore=[STRIKE]).notes == ()


def test_ignored_period_at_the_end_is_forecast_through(recwarn: pytest.WarningsRecorder) -> None:
    options: dict[str, Any] = {
        "freq": "1d",
        "season_lengths": 7,
        "horizon": 3,
        "recipe": "fast",
        "models": ["lstm"],
        "overrides": {"max_steps": 2, "evaluate_every": 2, "hidden_size": 4},
        "source": {"ignore": ["2024-03-20..2024-03-22"]},
        "processes": 1,
        "progress": False,
    }
    frame = frame_of("a", num_days=83)
    spoilt = frame.with_columns(y=pl.when(pl.col("ds") >= datetime(2024, 3, 20)).then(1e6).otherwise("y"))
    assert spoilt["ds"].max() == datetime(2024, 3, 23)
    result = fc.forecast(spoilt.head(-1), **options)
    assert result.forecasts["ds"].to_list() == [datetime(2024, 3, day) for day in (23, 24, 25)]
    naive = result.candidates.filter(model="seasonal_naive_7")["forecast"].to_list()
    assert naive == frame.filter(pl.col("ds").is_between(datetime(2024, 3, 16), datetime(2024, 3, 18)))["y"].to_list()
    # Nothing of the measurements within it is used.
    other = fc.forecast(frame.head(-1), **options)
    assert result.forecasts.equals(other.forecasts)
    assert result.backtests.equals(other.backtests)
    assert not [each for each in recwarn if issubclass(each.category, DataWarning)]
    assert np.isfinite(result.forecasts["forecast"].to_numpy()).all()
