"""Calendar features: which of them a frequency has, and their values."""

import math
from datetime import datetime, timedelta

import polars as pl
import pytest

from forecasting.schemas import table
from forecasting.series.calendar import PERIODS, add_calendar, calendar_columns


def _at(*times: str, freq: str) -> pl.DataFrame:
    grid = pl.LazyFrame({"ds": [datetime.fromisoformat(time) for time in times]})
    return add_calendar(grid, freq=freq).collect()


@pytest.mark.parametrize(
    ("freq", "periods"),
    [
        ("15m", ("hour", "day", "week", "year")),
        ("1h", ("day", "week", "year")),
        ("90m", ("day", "week", "year")),
        ("1d", ("week", "year")),
        ("1w", ("year",)),
        ("1mo", ("year",)),
        ("1q", ("year",)),
        ("1y", ()),
        ("24mo", ()),
        (1, ()),
    ],
)
def test_features_are_those_of_periods_longer_than_the_frequency(freq: str | int, periods: tuple[str, ...]) -> None:
    assert calendar_columns(freq) == tuple(f"{period}_{wave}" for period in periods for wave in ("sin", "cos"))


@pytest.mark.parametrize("freq", ["15m", "1d", 1])
def test_all_columns_of_the_table_exist_and_those_of_shorter_periods_are_null(freq: str | int) -> None:
    ds = [1] if freq == 1 else [datetime(2024, 5, 1)]
    frame = add_calendar(pl.LazyFrame({"ds": ds}), freq=freq).collect()
    names = [f"{period}_{wave}" for period in PERIODS for wave in ("sin", "cos")]
    assert set(names) <= set(table("features").schema("timestamp"))
    assert frame.columns == ["ds", *names]
    assert {name: frame.schema[name] for name in names} == dict.fromkeys(names, pl.Float32)
    assert {name for name in names if frame[name].null_count() == 0} == set(calendar_columns(freq))


@pytest.mark.parametrize(
    ("period", "time", "share"),
    [
        ("hour", "2024-05-01 13:45:00", 0.75),
        ("day", "2024-05-01 06:00:00", 0.25),
        ("week", "2024-05-06 00:00:00", 0.0),
        ("week", "2024-05-09 12:00:00", 0.5),
        ("week", "1960-01-04 00:00:00", 0.0),
        ("year", "2024-01-01 00:00:00", 0.0),
        ("year", "2024-12-31 00:00:00", 365 / 366),
        ("year", "2023-07-02 12:00:00", 0.5),
        ("day", "1960-01-01 18:00:00", 0.75),
    ],
)
def test_phase_is_the_elapsed_share_of_its_period(period: str, time: str, share: float) -> None:
    row = _at(time, freq="1m").row(0, named=True)
    assert row[f"{period}_sin"] == pytest.approx(math.sin(math.tau * share), abs=1e-6)
    assert row[f"{period}_cos"] == pytest.approx(math.cos(math.tau * share), abs=1e-6)


def test_every_column_that_is_not_null_varies_along_its_grid() -> None:
    for freq, every in (("15m", timedelta(minutes=15)), ("1h", timedelta(hours=1)), ("1d", timedelta(days=1))):
        times = [str(datetime(2024, 1, 1) + every * number) for number in range(500)]
        frame = _at(*times, freq=freq)
        assert all(frame[name].n_unique() > 1 for name in calendar_columns(freq))


@pytest.mark.parametrize(("freq", "zone"), [("1d", None), ("1h", None), ("1h", "Europe/Paris"), ("1mo", None)])
@pytest.mark.parametrize("off", [0, 7])
def test_times_that_series_share_have_the_features_that_they_have_alone(freq: str, zone: str | None, off: int) -> None:
    times = pl.datetime_range(datetime(1969, 10, 20), datetime(1970, 4, 9), freq, eager=True)
    later = times.dt.offset_by(f"{off}m")  # another grid than the one of the first series
    rows = pl.DataFrame({"ds": pl.concat([times, times[3:-3], later, times[::-1]])})
    found = add_calendar(rows.lazy(), freq=freq, zone=zone).collect()
    alone = [add_calendar(rows[place].lazy(), freq=freq, zone=zone).collect() for place in range(0, rows.height, 97)]
    assert found[::97].equals(pl.concat(alone))
