"""Wall-clock times as instants, and zones of offsets."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from forecasting.errors import SourceError
from forecasting.series.local_times import localise, zone_at_offset


@pytest.mark.parametrize("minutes", [-720, -570, -60, 0, 60, 270, 330, 345, 390, 570, 840])
def test_zone_of_an_offset_has_it_all_year(minutes: int) -> None:
    name = zone_at_offset(timedelta(minutes=minutes))
    assert name is not None
    for year in (1990, 2024):
        for month in range(1, 13):
            assert datetime(year, month, 1, tzinfo=ZoneInfo(name)).utcoffset() == timedelta(minutes=minutes)


def test_offset_that_no_zone_always_has_has_no_name() -> None:
    assert zone_at_offset(timedelta(minutes=-210)) is None
    assert zone_at_offset(timedelta(hours=15)) is None


@pytest.mark.parametrize(
    ("zone", "twice", "instants"),
    [
        ("Europe/Berlin", datetime(2024, 10, 27, 2), (datetime(2024, 10, 27, 0), datetime(2024, 10, 27, 1))),
        ("America/New_York", datetime(2024, 11, 3, 1), (datetime(2024, 11, 3, 5), datetime(2024, 11, 3, 6))),
        ("Australia/Lord_Howe", datetime(2024, 4, 7, 1, 30), (datetime(2024, 4, 6, 14, 30), datetime(2024, 4, 6, 15))),
    ],
)
def test_repeated_time_is_the_earlier_instant_first(
    zone: str, twice: datetime, instants: tuple[datetime, datetime]
) -> None:
    read = localise(pl.Series([twice, twice, twice]), zone, ids=pl.Series(["a", "b", "a"]))
    assert [each.astimezone(UTC).replace(tzinfo=None) for each in read] == [instants[0], instants[0], instants[1]]


def test_name_that_is_no_zone_is_refused() -> None:
    with pytest.raises(SourceError, match="'Mars/Base' is not an IANA time zone"):
        localise(pl.Series([datetime(2024, 1, 1)]), "Mars/Base")
