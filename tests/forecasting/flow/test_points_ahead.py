"""A peak at 8 o'clock stays at 8 o'clock on the wall clock, through both clock changes in three zones."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

import forecasting as fc

ZONES = {"Europe/Berlin": ("1h", 24), "America/New_York": ("1h", 24), "Australia/Lord_Howe": ("30m", 48)}
"""Zones with the frequency and the points of a day; the clocks of the last one move by half an hour."""
CHANGES = {
    "Europe/Berlin": (datetime(2024, 3, 31), datetime(2024, 10, 27)),
    "America/New_York": (datetime(2024, 3, 10), datetime(2024, 11, 3)),
    "Australia/Lord_Howe": (datetime(2024, 10, 6), datetime(2024, 4, 7)),
}
"""The days of spring and autumn on which clocks change."""


def days_of(zone: str, first: datetime, num_days: int) -> pl.DataFrame:
    """Return instants of local days with a peak at 8:00; the wall clock is that of zoneinfo, not that of Polars."""
    width = timedelta(minutes=24 * 60 // ZONES[zone][1])
    at = first.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    end = (first + timedelta(days=num_days)).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    instants = [at + step * width for step in range((end - at) // width)]
    local = [each.astimezone(ZoneInfo(zone)) for each in instants]
    is_peak = [(each.hour, each.minute) == (8, 0) for each in local]
    y = [10 + 40 * peak + 0.1 * (step % 7) for step, peak in enumerate(is_peak)]
    return pl.DataFrame({"ds": pl.Series(instants).dt.convert_time_zone(zone), "y": y})


@pytest.mark.parametrize("days_before", [1, -1])
@pytest.mark.parametrize(("zone", "change"), [(zone, each) for zone, changes in CHANGES.items() for each in changes])
def test_peak_stays_at_eight_for_naives_statistics_and_networks(zone: str, change: datetime, days_before: int) -> None:
    freq, day = ZONES[zone]
    frame = days_of(zone, change - timedelta(days=21), 21 - days_before)
    if days_before == 1:
        frame = frame.head(-day // 4)  # ends within the day
    result = fc.forecast(
        frame, freq=freq, season_lengths=day, horizon=2 * day, recipe="fast", models=["elman"], statistics=["mstl"],
        overrides={"max_steps": 10}, processes=1, progress=False,
    )  # fmt: skip
    rows = result.candidates
    assert rows["ds"].dtype == frame["ds"].dtype
    assert {"elman", "mstl", f"seasonal_naive_{day}", "combination"} <= set(rows["model"])
    width = frame["ds"][1] - frame["ds"][0]
    for (model,), own in rows.group_by("model"):
        last = frame["ds"][-1].astimezone(UTC)  # aware times of one zone would be added on its wall clock
        assert [each.astimezone(UTC) for each in own["ds"]] == [last + step * width for step in range(1, 2 * day + 1)]
        local = [each.astimezone(ZoneInfo(zone)) for each in own["ds"]]
        peaks = [value > 15 for value in own["forecast"]]
        assert peaks == [(each.hour, each.minute) == (8, 0) for each in local], model


BERLIN = ZoneInfo("Europe/Berlin")


def naive_after(last: datetime, num_days: int, horizon: int) -> pl.DataFrame:
    """Return the seasonal naive of hours in Berlin that end at an instant, with values of 100 × day + hour."""
    instants = [last - timedelta(hours=step) for step in range(24 * num_days)][::-1]
    local = [each.replace(tzinfo=UTC).astimezone(BERLIN) for each in instants]
    frame = pl.DataFrame(
        {"ds": pl.Series(instants).dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin")}
    ).with_columns(y=pl.Series([float(100 * each.day + each.hour) for each in local]))
    result = fc.forecast(
        frame, freq="1h", season_lengths=24, horizon=horizon, recipe="fast", models=["elman"], statistics=[],
        overrides={"max_steps": 1}, processes=1, progress=False,
    )  # fmt: skip
    return result.candidates.filter(pl.col("model") == "seasonal_naive_24").select("ds", "forecast", "cutoff")


def test_horizon_that_spring_shortens_goes_on_with_the_change_a_season_earlier() -> None:
    """Six hours from 22:00 are those to 5:00, but the wall clock's grid has forecasts to 4:00."""
    rows = naive_after(datetime(2024, 3, 30, 21), 20, 6)  # 22:00 in Berlin
    assert rows["ds"].dt.hour().to_list() == [23, 0, 1, 3, 4, 5]
    assert rows["forecast"].to_list() == [2923.0, 3000.0, 3001.0, 3003.0, 3004.0, 3005.0]


def test_both_instants_of_a_repeated_hour_have_its_forecast() -> None:
    rows = naive_after(datetime(2024, 10, 26, 22), 20, 4)  # midnight in Berlin
    assert rows["ds"].dt.hour().to_list() == [1, 2, 2, 3]
    assert rows["forecast"].to_list() == [2601.0, 2602.0, 2602.0, 2603.0]


def test_forecast_that_begins_between_two_equal_hours_repeats_the_known_one() -> None:
    rows = naive_after(datetime(2024, 10, 27, 0), 20, 3)  # the first 2:00
    assert rows["ds"].dt.hour().to_list() == [2, 3, 4]
    assert rows["forecast"].to_list() == [2702.0, 2603.0, 2604.0]
    assert {each.astimezone(UTC).hour for each in rows["cutoff"]} == {0}


def test_scores_of_a_change_compare_every_instant(tmp_path: Path) -> None:
    whole = days_of("Europe/Berlin", datetime(2024, 10, 10), 19)
    known, actuals = whole.head(-40), whole.tail(40)
    result = fc.forecast(
        known, freq="1h", season_lengths=24, horizon=40, recipe="fast", models=["elman"], statistics=[],
        overrides={"max_steps": 1}, processes=1, progress=False,
    )  # fmt: skip
    scores = result.evaluate(actuals, all_models=True)
    assert scores.num_compared == 40
    naive = scores.scores.filter(pl.col("model") == "seasonal_naive_24")
    assert naive["mae"][0] < 1  # each of the two peaks would cost two errors of 40, 4 on average
    assert naive["mase"][0] < 2
    fleet = fc.fit(
        known, freq="1h", season_lengths=24, horizon=40, recipe="fast", models=["elman"], statistics=[],
        overrides={"max_steps": 1}, processes=1, progress=False,
    )  # fmt: skip
    fleet.save(tmp_path / "fleet")
    for each in (fleet, fc.load(tmp_path / "fleet")):
        assert each.predict(progress=False).forecasts.equals(result.forecasts)
    later = fleet.predict(actuals.head(5), progress=False)
    peaks = later.forecasts.filter(pl.col("forecast") > 15)["ds"]
    assert set(peaks.dt.hour()) == {8}


def test_backtest_through_a_change_compares_each_instant_with_its_own_hour() -> None:
    rows = days_of("Europe/Berlin", datetime(2024, 3, 10), 23).with_columns(y=(pl.col("y") > 30).cast(pl.Float64))
    points = fc.backtest(
        rows, freq="1h", season_lengths=24, horizon=24, recipe="fast", models=["elman"], statistics=[],
        overrides={"max_steps": 1}, processes=1, progress=False,
    )  # fmt: skip
    assert points["ds"].dtype == points["cutoff"].dtype == rows["ds"].dtype
    assert points["cutoff"].n_unique() > 2
    assert points["y"].null_count() == 0
    naive = points.filter(pl.col("model") == "seasonal_naive_24")
    assert naive["forecast"].to_list() == naive["y"].to_list()
