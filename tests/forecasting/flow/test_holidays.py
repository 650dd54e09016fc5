"""Holidays in a forecast of several countries, and in a fleet that is fitted once."""

from datetime import datetime, timedelta
from typing import Any

import holidays
import numpy as np
import polars as pl
import pytest

import forecasting as fc
from tests.forecasting.flow.test_covariates import OPTIONS

BEGIN, DAYS, HORIZON = datetime(2022, 1, 1), 700, 35
"""The horizon ends on 4 January 2024."""
OPEN_ON_HOLIDAYS = 40.0


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    """Daily visitors of a shop in the United States and one in Bavaria, fewer on the holidays of each."""
    rng = np.random.default_rng(4)
    parts = []
    for name, code in (("boston", "US"), ("munich", "DE-BY")):
        days = [BEGIN + timedelta(days=day) for day in range(DAYS)]
        closed = holidays.country_holidays(code[:2], subdiv=code[3:] or None, years=range(2022, 2025))
        y = [100.0 + 10 * (day.weekday() >= 5) - (100 - OPEN_ON_HOLIDAYS) * (day.date() in closed) for day in days]
        parts.append(
            pl.DataFrame({"unique_id": name, "ds": days, "y": np.array(y) + rng.normal(0, 1, DAYS), "country": code})
        )
    return pl.concat(parts)


@pytest.fixture(scope="module")
def fleet(frame: pl.DataFrame) -> Any:
    return fc.fit(frame, holidays={"by": "country"}, **{**OPTIONS, "horizon": HORIZON})


def test_each_series_has_fewer_visitors_on_its_own_holidays(fleet: Any) -> None:
    forecasts = fleet.predict(progress=False).forecasts
    day = pl.col("ds").dt.to_string("%m-%d")
    on = {
        (name, date): forecast
        for name, date, forecast in forecasts.select("unique_id", day, "forecast").iter_rows()
        if date in ("12-25", "12-26", "12-08")
    }
    assert on["boston", "12-25"] < 70
    assert on["munich", "12-25"] < 70
    assert on["munich", "12-26"] < 70, "the second day of Christmas"
    assert on["boston", "12-26"] > 85
    assert on["boston", "12-08"] > 85


def test_event_of_the_horizon_has_the_effect_of_earlier_ones(frame: pl.DataFrame, tmp_path: Any) -> None:
    fairs = [BEGIN + timedelta(days=day) for day in (*range(20, DAYS, 40), DAYS + 5)]
    events = pl.DataFrame({"event": "fair", "date": fairs, "unique_id": "boston"})
    events.write_csv(tmp_path / "events.csv")
    is_fair = pl.col("ds").is_in(fairs) & (pl.col("unique_id") == "boston")
    busy = frame.with_columns(y=pl.col("y") + 50 * is_fair.cast(pl.Int64)).drop("country")
    fleet = fc.fit(busy, events=tmp_path / "events.csv", **OPTIONS)
    (tmp_path / "events.csv").unlink()
    result = fleet.predict(progress=False)
    forecasts = result.forecasts
    parts = result.explain("boston").filter(ds=fairs[-1], component="event")
    assert parts["contribution"].item() > 30
    on = dict(forecasts.filter(pl.col("ds") == fairs[-1]).select("unique_id", "forecast").iter_rows())
    assert on["boston"] > 130
    assert on["munich"] < 120
    fleet.save(tmp_path / "fleet")
    assert fc.load(tmp_path / "fleet").predict(progress=False).forecasts.equals(forecasts)


def test_saved_fleet_has_the_holidays_of_its_series(fleet: Any, frame: pl.DataFrame, tmp_path: Any) -> None:
    fleet.save(tmp_path / "fleet")
    loaded = fc.load(tmp_path / "fleet")
    assert loaded.predict(progress=False).forecasts.equals(fleet.predict(progress=False).forecasts)
    newer = frame.group_by("unique_id").tail(1).with_columns(pl.col("ds") + timedelta(days=1))
    first = loaded.predict(newer, progress=False).forecasts["ds"].min()
    assert first == BEGIN + timedelta(days=DAYS + 1)
