"""Data as people reported that forecasting tools got it wrong, each with the right answer.

Every test names the report that it is made after. The data are of our own making.
"""

import contextlib
import math
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

import forecasting as fc

QUICK: dict[str, Any] = {
    "recipe": "fast",
    "overrides": {"max_steps": 20, "hidden_size": 8},
    "statistics": [],
    "progress": False,
    "processes": 1,
}
NOISE = np.random.default_rng(11).normal(size=20_000)


def write(path: Path, header: str, rows: Iterable[str]) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def hours(begin: datetime, num: int) -> list[datetime]:
    return [begin + timedelta(hours=hour) for hour in range(num)]


def days(begin: date, num: int, *, if_: Callable[[date], bool] = lambda _: True) -> list[date]:
    every = (begin + timedelta(days=day) for day in range(num))
    return [day for day in every if if_(day)]


def test_days_stored_as_utc_instants_of_local_midnights_are_all_used(tmp_path: Path) -> None:
    """ONSdigital/cis_households PR #1085: days of summer time became 23:00 of the day before."""
    local = [datetime(2022, 9, 1) + timedelta(days=day) for day in range(260)]
    instants = [each.replace(tzinfo=ZoneInfo("Europe/Paris")).astimezone(ZoneInfo("UTC")) for each in local]
    frame = pl.DataFrame({"unique_id": "shop", "ds": instants, "y": 50 + NOISE[:260]})
    options: dict[str, Any] = {"freq": "1d", "season_lengths": 7, "horizon": 14}
    for source in ({}, {"timezone": "Europe/Paris"}):
        said = (
            contextlib.nullcontext() if source else pytest.warns(fc.DataWarning, match=r"midnights in UTC of Europe/")
        )
        with said:
            result = fc.forecast(frame, source=source, **options, **QUICK)
        assert result.rejects.is_empty()
        ahead = [each.astimezone(ZoneInfo("Europe/Paris")) for each in result.forecasts["ds"]]
        assert [each.date() for each in ahead] == days(date(2023, 5, 19), 14)
        assert {each.hour for each in ahead} == {0}


def test_times_with_utc_after_them_are_read(tmp_path: Path) -> None:
    """bxparks/bigquery-schema-generator #19: a warehouse writes `2023-01-01 00:00:00 UTC`."""
    rows = [
        f"eu,{time} UTC,{50 + noise:.2f}" for time, noise in zip(hours(datetime(2023, 1, 1), 240), NOISE, strict=False)
    ]
    result = fc.forecast(
        write(tmp_path / "x.csv", "unique_id,ds,y", rows), freq="1h", season_lengths=24, horizon=24, **QUICK
    )
    assert result.rejects.is_empty()
    assert result.forecasts.height == 24


def test_dates_in_a_wrong_century_move_no_series(tmp_path: Path) -> None:
    """facebook/prophet #1901: one typing mistake moved a series by centuries."""
    months = [date(2018 + month // 12, month % 12 + 1, 1) for month in range(72)]
    rows = [f"{name},{month},{100 + noise:.2f}" for name in "abc" for month, noise in zip(months, NOISE, strict=False)]
    rows += ["b,2203-11-01,100", "b,2099-12-01,0", "c,1900-01-01,0"]
    path = write(tmp_path / "x.csv", "unique_id,ds,y", rows)
    with pytest.warns(fc.DataWarning, match=r"3 of 219 rows are refused"):
        result = fc.forecast(path, freq="1mo", season_lengths=12, horizon=6, **QUICK)
    assert result.rejects["ds"].to_list() == ["2203-11-01", "2099-12-01", "1900-01-01"]
    firsts = result.forecasts.group_by("unique_id").agg(pl.col("ds").min())["ds"]
    assert set(firsts) == {datetime(2024, 1, 1)}


def test_unquoted_thousands_are_never_cut(tmp_path: Path) -> None:
    """pola-rs/polars #10585: with more fields than the header, `1,231.17` became 1."""
    rows = [f"shop,{day},1,{231.17 + noise:.2f}" for day, noise in zip(days(date(2024, 1, 1), 60), NOISE, strict=False)]
    path = write(tmp_path / "x.csv", "unique_id,ds,y", rows)
    with pytest.raises(fc.SourceError, match=r"60 rows: row has more fields than the header"):
        fc.forecast(path, freq="1d", season_lengths=7, horizon=7, **QUICK)


@pytest.mark.filterwarnings("ignore:2 of 2 series, such as 'a', are forecast 0 at every step")
def test_days_without_a_row_are_zeros_where_the_source_says_so(tmp_path: Path) -> None:
    """facebook/prophet #438: a till writes a row only where something was sold."""
    rng = np.random.default_rng(10)
    sold = [day for day in days(date(2022, 1, 1), 400) if rng.random() < 0.2]
    rows = [f"{name},{day},{rng.integers(6, 15)}" for name in "ab" for day in sold]
    path = write(tmp_path / "x.csv", "unique_id,ds,y", rows)
    options: dict[str, Any] = {"freq": "1d", "season_lengths": 7, "horizon": 28, "lower_bound": 0}
    with pytest.warns(fc.DataWarning, match=r"--missing-rows zero"):
        fc.forecast(path, **options, **QUICK)
    demand = {**QUICK, "models": "gru", "statistics": "tsb"}
    with pytest.warns(fc.DataWarning, match=r"are taken as 0"):
        result = fc.forecast(path, source={"missing_rows": "zero"}, **options, **demand)
    assert (result.forecasts["forecast"] == 0).all()  # the median: there is no sale on most days
    totals = result.sample_paths().group_by("unique_id", "path").agg(pl.col("y").sum()).group_by("unique_id").mean()
    assert totals["y"].is_between(30, 100).all(), totals  # 56, and 280 if only the days of sales count


def test_names_that_pandas_turned_into_floats_are_named(tmp_path: Path) -> None:
    """Nixtla/mlforecast #243: a null among store numbers makes 101 to 101.0."""
    dates = days(date(2023, 1, 1), 120)
    write(tmp_path / "a.csv", "unique_id,ds,y", [f"101.0,{day},5{day.day}" for day in dates[:100]])
    write(tmp_path / "b.csv", "unique_id,ds,y", [f"101,{day},5{day.day}" for day in dates[100:]])
    ended = pytest.warns(fc.DataWarning, match=r"'101\.0', which has ended")
    with ended, pytest.warns(fc.DataWarning, match=r"'101' and '101\.0'"):
        fc.forecast([tmp_path / "a.csv", tmp_path / "b.csv"], freq="1d", season_lengths=7, horizon=7, **QUICK)


def test_units_and_levels_do_not_change_the_error(tmp_path: Path) -> None:
    """amazon-science/chronos-forecasting PR #532: precision was lost on large offsets."""
    wave = [10 + 8 * math.sin(hour * math.tau / 24) + noise for hour, noise in zip(range(24 * 20), NOISE, strict=False)]
    kinds = {"x": (0.0, 1.0), "small": (0.0, 1e-9), "large": (0.0, 1e12), "high": (1e9, 1.0), "low": (-1e9, 1.0)}
    frame = pl.concat(
        pl.DataFrame(
            {"unique_id": name, "ds": hours(datetime(2023, 1, 2), len(wave)), "y": [at + unit * y for y in wave]}
        )
        for name, (at, unit) in kinds.items()
    )
    result = fc.forecast(frame, freq="1h", season_lengths=24, horizon=24, **QUICK).forecasts
    own = {
        name: (result.filter(pl.col("unique_id") == name)["forecast"].to_numpy() - at) / unit
        for name, (at, unit) in kinds.items()
    }
    for name, forecast_F in own.items():
        # Networks start from other weights by name, so that forecasts differ by less than the noise, not by nothing.
        assert np.abs(forecast_F - own["x"]).mean() < 0.5, name


@pytest.mark.parametrize("delay", [timedelta(seconds=20), timedelta(milliseconds=3)])
def test_jittered_times_are_refused_with_the_option_that_snaps_them(tmp_path: Path, delay: timedelta) -> None:
    """sandialabs/pecos #39: a sensor reports some seconds late."""
    begin, share = datetime(2023, 1, 2), np.random.default_rng(25).random(1000)
    rows = [
        f"late,{begin + timedelta(minutes=5 * step) + delay * part},{20 + noise:.2f}"
        for step, (part, noise) in enumerate(zip(share.tolist(), NOISE, strict=False))
    ]
    path = write(tmp_path / "x.csv", "unique_id,ds,y", rows)
    options: dict[str, Any] = {"freq": "5m", "season_lengths": 12, "horizon": 12}
    with pytest.raises(fc.SourceError, match=r"source\.snap = nearest"):
        fc.forecast(path, **options, **QUICK)
    result = fc.forecast(path, source={"snap": "nearest"}, **options, **QUICK)
    assert result.rejects.is_empty()
    assert result.forecasts["ds"][0] == begin + timedelta(minutes=5 * 1000)


@pytest.mark.filterwarnings("ignore:1 of 4 series, such as 'rare', are forecast 0 at every step")
def test_counts_are_whole_and_ordered_in_quantiles_and_paths(tmp_path: Path) -> None:
    """google-research/timesfm #306: quantiles crossed, and counts were fractions below zero."""
    rng = np.random.default_rng(27)
    series = {"regular": rng.poisson(20, 60), "rare": rng.poisson(0.2, 60), "short": rng.poisson(5, 9), "one": [5]}
    frame = pl.concat(
        pl.DataFrame(
            {
                "unique_id": name,
                "ds": [date(2024, 1, 7) - timedelta(weeks=len(ys) - 1 - at) for at in range(len(ys))],
                "y": list(map(float, ys)),
            }
        )
        for name, ys in series.items()
    )
    options: dict[str, Any] = {
        "freq": "1w",
        "season_lengths": 8,
        "horizon": 8,
        "lower_bound": 0,
        "integer_valued": True,
    }
    result = fc.forecast(frame, **options, **QUICK)
    quantiles = result.candidates.drop_nulls("forecast").select(result.spec.quantile_columns).to_numpy()
    paths = result.sample_paths(50)["y"].to_numpy()
    for values in (quantiles, paths):
        assert (values >= 0).all()
        assert (values == np.floor(values)).all()
    assert (np.diff(quantiles, axis=1) >= 0).all()


def test_nothing_after_the_cutoff_changes_a_forecast(tmp_path: Path) -> None:
    """Nixtla/neuralforecast #853: what follows the cutoff must not be seen."""
    times = hours(datetime(2023, 1, 1), 24 * 20)
    known = [f"x,{time},{10 + noise:.3f}" for time, noise in zip(times[:400], NOISE, strict=False)]
    nonsense = [
        row
        for time in times[400:]
        for row in (f"x,{time},9999", f"x,{time + timedelta(minutes=20)},many", f"new,{time},1")
    ]
    options: dict[str, Any] = {"freq": "1h", "season_lengths": 24, "horizon": 24}
    alone = fc.forecast(write(tmp_path / "a.csv", "unique_id,ds,y", known), **options, **QUICK)
    path = write(tmp_path / "b.csv", "unique_id,ds,y", [*known, *nonsense])
    with pytest.warns(fc.DataWarning, match="cutoff 2023-01-17T15:30:00 means 2023-01-17T15:00:00"):
        cut = fc.forecast(path, cutoff=times[399] + timedelta(minutes=30), **options, **QUICK)
    assert cut.forecasts.equals(alone.forecasts)
    assert cut.forecasts["ds"][0] == times[400]


@pytest.mark.parametrize(
    ("name", "value", "expected"), [("flat", lambda at: 50.0, 50.0), ("falls", lambda at: 50 - at, 14.0)]
)
def test_series_younger_than_their_season_follow_their_level(
    name: str, value: Callable[[int], float], expected: float
) -> None:
    """Nixtla/statsforecast #515: everything is younger than the season."""
    weeks = [date(2023, 1, 2) + timedelta(weeks=week) for week in range(34)]
    ys = [value(week) + 0.3 * noise for week, noise in zip(range(34), NOISE, strict=False)]
    frame = pl.DataFrame({"unique_id": name, "ds": weeks, "y": ys})
    result = fc.forecast(frame, freq="1w", season_lengths=52, horizon=4, progress=False, processes=1)
    assert result.forecasts["forecast"].mean() == pytest.approx(expected, abs=5)


def test_times_with_an_offset_come_back_with_it_and_a_cutoff_is_on_their_clock(tmp_path: Path) -> None:
    """sktime/sktime #5584: offsets were lost on the way out, so that every forecast was hours off."""
    rows = [
        f"meter,{time.isoformat()}+02:00,{10 + 40 * (time.hour == 8) + noise / 2:.3f}"
        for time, noise in zip(hours(datetime(2023, 6, 1), 24 * 20), NOISE, strict=False)
    ]
    path = write(tmp_path / "x.csv", "unique_id,ds,y", rows)
    options: dict[str, Any] = {"freq": "1h", "season_lengths": 24, "horizon": 24}
    ahead = fc.forecast(path, **options, **QUICK).forecasts
    assert ahead["ds"][0].isoformat() == "2023-06-21T00:00:00+02:00"
    peak = ahead.sort("forecast")["ds"][-1]
    assert peak.hour == 8
    cut = fc.forecast(path, cutoff=datetime(2023, 6, 19, 8), **options, **QUICK).forecasts
    assert cut["ds"][0].isoformat() == "2023-06-19T09:00:00+02:00"


@pytest.mark.parametrize("mark", ["", "W"])
def test_weeks_as_text_are_weeks_or_refused(tmp_path: Path, mark: str) -> None:
    """rOpenGov/eurostat #200: the fifth week of a year was read as May."""
    weeks = [(year, week) for year in range(2020, 2024) for week in range(1, 53 + (year == 2020))]
    rows = [f"shop,{year}-{mark}{week:02d},{50 + noise:.2f}" for (year, week), noise in zip(weeks, NOISE, strict=False)]
    path = write(tmp_path / "x.csv", "unique_id,ds,y", rows)
    options: dict[str, Any] = {"freq": "1w", "season_lengths": 52, "horizon": 4}
    with pytest.raises(fc.SourceError, match=r"iso_week"):
        fc.forecast(path, **options, **QUICK)
    ahead = fc.forecast(path, source={"time_format": "iso_week"}, **options, **QUICK).forecasts
    assert ahead["ds"][0] == datetime(2024, 1, 1)


def test_a_week_of_six_days_has_no_seventh(tmp_path: Path) -> None:
    """Nixtla/nixtla #374: Sundays were invented, and every later day had the value of another one."""
    open_days = days(date(2022, 1, 3), 398, if_=lambda day: day.weekday() != 6)
    rows = [f"depot,{day},{100 + 50 * day.weekday() + noise:.1f}" for day, noise in zip(open_days, NOISE, strict=False)]
    path = write(tmp_path / "x.csv", "unique_id,ds,y", rows)
    ahead = fc.forecast(path, freq="1d", season_lengths=6, horizon=6, source={"open": "Mon-Sat"}, **QUICK).forecasts
    assert [day.strftime("%a %d %b") for day in ahead["ds"]] == [
        "Mon 06 Feb", "Tue 07 Feb", "Wed 08 Feb", "Thu 09 Feb", "Fri 10 Feb", "Sat 11 Feb"
    ]  # fmt: skip
    np.testing.assert_allclose(ahead["forecast"], [100, 150, 200, 250, 300, 350], atol=10)
    with pytest.raises(fc.SourceError, match=r"has no rows on Sun, .*--open Mon-Sat"):
        fc.forecast(path, freq="1d", season_lengths=7, horizon=6, **QUICK)


def test_names_in_paths_and_in_two_columns_are_read(tmp_path: Path) -> None:
    """elastic/elasticsearch #153503, DataZooDE/anofox-forecast #78: the store was in the path, or half of the key."""
    dates = days(date(2022, 9, 1), 120)
    for store in (1, 2):
        folder = tmp_path / "sales" / f"store={store}"
        folder.mkdir(parents=True)
        parts = [
            pl.DataFrame({"item": item, "ds": dates, "y": [100.0 * store + level + noise for noise in NOISE[:120]]})
            for item, level in (("bread", 0), ("milk", 50))
        ]
        pl.concat(parts).write_parquet(folder / "part-0.parquet")
    options: dict[str, Any] = {"freq": "1d", "season_lengths": 7, "horizon": 7, "id": ["store", "item"]}
    result = fc.forecast(tmp_path / "sales", **options, **QUICK)
    assert result.rejects.is_empty()
    levels = result.forecasts.group_by("store", "item").agg(pl.col("forecast").mean()).sort("store", "item")
    assert levels.select("store", "item").rows() == [(1, "bread"), (1, "milk"), (2, "bread"), (2, "milk")]
    np.testing.assert_allclose(levels["forecast"], [100, 150, 200, 250], atol=5)


def test_a_rising_series_younger_than_its_season_goes_on_beside_long_ones(tmp_path: Path) -> None:
    """Nixtla/statsforecast #1140: it fell to its first value, which was taken for the season before it began."""
    weeks = [date(2023, 1, 2) + timedelta(weeks=week) for week in range(156)]
    wave = [60 + 20 * math.sin(week / 52 * math.tau) + noise for week, noise in zip(range(156), NOISE, strict=False)]
    young = [14 + week + 0.3 * noise for week, noise in zip(range(39), NOISE, strict=False)]
    frame = pl.concat(
        [
            pl.DataFrame({"unique_id": "long", "ds": weeks, "y": wave}),
            pl.DataFrame({"unique_id": "young", "ds": weeks[-39:], "y": young}),
        ]
    )
    result = fc.forecast(frame, freq="1w", season_lengths=52, horizon=26, progress=False, processes=1)
    ahead = result.forecasts.filter(pl.col("unique_id") == "young")["forecast"]
    assert ahead[0] == pytest.approx(53, rel=0.1)
    assert ahead.min() > 0.9 * 52  # type: ignore[operator]


def test_thousands_with_points_are_not_read_as_fractions(tmp_path: Path) -> None:
    """ngrunwald/meta-csv #5: `2.155` cases beside `6` became 2.155."""
    counts = [int(900 + 200 * math.sin(day / 7 * math.tau) + 20 * noise) for day, noise in enumerate(NOISE[:120])]
    rows = [
        f"a,{day},{f'{count:,}'.replace(',', '.')}"
        for day, count in zip(days(date(2024, 1, 1), 120), counts, strict=True)
    ]
    path = write(tmp_path / "x.csv", "unique_id,ds,y", rows)
    options: dict[str, Any] = {"freq": "1d", "season_lengths": 7, "horizon": 7}
    with pytest.raises(fc.SourceError, match=r"it may be 1\d{3}: .*--csv-decimal ',' --csv-thousands '\.'"):
        fc.forecast(path, **options, **QUICK)
    result = fc.forecast(path, source={"csv": {"decimal": ",", "thousands": "."}}, **options, **QUICK)
    assert result.forecasts["forecast"].is_between(500, 1300).all()


def test_dates_that_were_read_month_first_wherever_possible_are_refused() -> None:
    """pandas-dev/pandas #2586, #19402: 11/03/2011 became 3 November, but 20/10/2011 became 20 October."""
    true = days(date(2023, 1, 6), 200)
    read = [date(day.year, day.day, day.month) if day.day <= 12 else day for day in true]
    frame = pl.DataFrame({"unique_id": "a", "ds": read, "y": 50 + NOISE[:200]})
    with pytest.raises(fc.SourceError, match=r"2023-06-01 00:00:00 may be 2023-01-06 00:00:00.*days and months"):
        fc.forecast(frame, freq="1d", season_lengths=7, horizon=7, **QUICK)


def test_numbers_for_missing_measurements_are_named() -> None:
    """ropensci/nasapower #36: -999 and -99 stand for missing weather."""
    temperature = [None if day % 20 == 3 else 12 + noise for day, noise in enumerate(NOISE[:120])]
    frame = pl.DataFrame({"unique_id": "a", "ds": days(date(2024, 1, 1), 120), "y": temperature})
    with pytest.warns(fc.DataWarning, match=r"'a' has -999 in 6 rows"):
        fc.forecast(frame.fill_null(-999.0), freq="1d", season_lengths=7, horizon=7, **QUICK)


def test_days_that_are_not_reported_yet_are_named_where_they_are_zeros() -> None:
    """act-now-coalition/covid-data-model PR #1261: the newest days were 0 until they were reported."""
    cases = [50 + noise if day < 110 else 0.0 for day, noise in enumerate(NOISE[:120])]
    frame = pl.concat(
        pl.DataFrame({"unique_id": name, "ds": days(date(2024, 1, 1), 120), "y": cases}) for name in ("a", "b")
    )
    with pytest.warns(fc.DataWarning, match=r"all 2 series are 0 in the newest 10 periods, from 2024-04-20"):
        fc.forecast(frame, freq="1d", season_lengths=7, horizon=7, **QUICK)


def test_older_versions_of_a_delta_table_are_not_read(tmp_path: Path) -> None:
    """Azure/azureml-examples #3028, derekwisong/datui #237: all versions of the rows came back."""
    frame = pl.DataFrame({"unique_id": "a", "ds": days(date(2024, 1, 1), 60), "y": 50 + NOISE[:60]})
    frame.with_columns(pl.col("y") * 10).write_delta(tmp_path / "sales")
    frame.write_delta(tmp_path / "sales", mode="overwrite")
    result = fc.forecast(tmp_path / "sales", freq="1d", season_lengths=7, horizon=7, **QUICK)
    assert result.rejects.is_empty()
    np.testing.assert_allclose(result.forecasts["forecast"], 50, atol=5)
