"""Times as text with the name of a zone, and midnights as 24:00."""

from datetime import datetime

import polars as pl
import pytest

from forecasting.series.columns import has_offset, read_times
from forecasting.series.time_format import read_formatted


def read(texts: list[str | None], *, keeps_wall_clock: bool = False, ids: list[str] | None = None) -> list[datetime]:
    rows = pl.LazyFrame({"unique_id": ids or ["a"] * len(texts), "ds": texts}, schema_overrides={"ds": pl.String})
    times: list[datetime] = (
        read_times(rows, "ds", clock="timestamp", keeps_wall_clock=keeps_wall_clock).collect()["ds"].to_list()
    )
    return times


@pytest.mark.parametrize(
    ("text", "utc", "local"),
    [
        ("2024-07-01 05:00:00 UTC", datetime(2024, 7, 1, 5), datetime(2024, 7, 1, 5)),
        ("2024-07-01T05:00:00GMT", datetime(2024, 7, 1, 5), datetime(2024, 7, 1, 5)),
        (" 2024-07-01 05:00:00.25 +0000 UTC", datetime(2024, 7, 1, 5, 0, 0, 250000), None),
        ("2024-07-01 05:00 Europe/Paris", datetime(2024, 7, 1, 3), datetime(2024, 7, 1, 5)),
        ("2024-07-01T05:00+02:00[Europe/Paris]", datetime(2024, 7, 1, 3), datetime(2024, 7, 1, 5)),
        ("2024-12-31 24:00", datetime(2025, 1, 1), datetime(2025, 1, 1)),
        ("2024-02-28T24:00:00", datetime(2024, 2, 29), datetime(2024, 2, 29)),
        ("2024-07-01T24:00:00-05:00", datetime(2024, 7, 2, 5), datetime(2024, 7, 2)),
        ("2024-07-01 24:00:00Z", datetime(2024, 7, 2), datetime(2024, 7, 2)),
    ],
)
def test_rarer_spellings_are_read(text: str, utc: datetime, local: datetime | None) -> None:
    others: list[str | None] = ["2024-01-01 05:00", None, "soon"]
    assert read([*others, text]) == [datetime(2024, 1, 1, 5), None, None, utc]
    if local is not None:
        assert read([text], keeps_wall_clock=True) == [local]


@pytest.mark.parametrize(
    "text", ["2024-07-01 24:30", "2024-07-01 25:00", "2024-07-01 05:00 Mars/Base", "2024-02-30 24:00"]
)
def test_times_that_do_not_exist_are_not_read(text: str) -> None:
    assert read([text]) == [None]


def test_hour_that_autumn_repeats_is_read_in_the_order_of_the_file_by_series() -> None:
    texts: list[str | None] = [f"2024-10-27 0{time} Europe/Paris" for time in ("2:00", "2:30", "2:00", "2:30", "2:00")]
    first, half = datetime(2024, 10, 27, 0), datetime(2024, 10, 27, 0, 30)
    later = [each.replace(hour=1) for each in (first, half)]
    assert read(texts, ids=["a", "a", "a", "a", "b"]) == [first, half, *later, first]
    assert read(["2024-03-31 02:30 Europe/Paris"]) == [None]  # skipped in spring


@pytest.mark.parametrize("keeps_wall_clock", [False, True])
@pytest.mark.parametrize("offset", ["+25:00", "-19:00", "+1600", "+99", "-05:75", "-19:00[UTC]"])
def test_time_with_an_offset_that_no_zone_has_cannot_be_read(offset: str, keeps_wall_clock: bool) -> None:
    texts = [f"2024-01-31 05:00{offset}", f"2024-01-31T05:00:00.5{offset}", f"2024-01-31 24:00{offset}"]
    assert read([*texts], keeps_wall_clock=keeps_wall_clock) == [None] * 3
    formatted = pl.DataFrame({"ds": [f"31.01.2024 05:00 {offset}"]})
    assert formatted.select(read_formatted("ds", pl.String(), "%d.%m.%Y %H:%M %z"))["ds"].to_list() == [None]


@pytest.mark.parametrize("offset", ["+14:00", "-1200", "+05:45", "-15:56"])
def test_time_with_a_rare_offset_is_read(offset: str) -> None:
    texts = [f"2024-01-31 05:00{offset}", f"2024-01-31T05:00:00.5{offset}", f"2024-01-31 24:00{offset}"]
    assert None not in read([*texts])
    assert has_offset(pl.Series(texts)).all()
    formatted = pl.DataFrame({"ds": [f"31.01.2024 05:00 {offset}"]})
    assert formatted.select(read_formatted("ds", pl.String(), "%d.%m.%Y %H:%M %z"))["ds"].null_count() == 0
