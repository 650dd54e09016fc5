"""Formats that texts seem to have."""

import polars as pl
import pytest

from forecasting.errors import SourceError
from forecasting.series.time_sniff import propose_time_format, refuse_codes


@pytest.mark.parametrize(
    ("texts", "proposal"),
    [
        (["2023-W51", "2023-W52"], "looks like year and week: --time-format iso_week"),
        (["2023-13", "2023-05"], "looks like year and week: --time-format iso_week"),
        (["202312"], "looks like year and week or year and month: --time-format iso_week or --time-format yyyymm"),
        (["2023Q4"], "looks like year and quarter: --time-format quarter"),
        (["20231231"], "looks like year, month and day: --time-format yyyymmdd"),
        (["1700000000"], "looks like seconds since 1970: --time-format epoch_s"),
        (["1700000000000"], "looks like milliseconds since 1970: --time-format epoch_ms"),
        (["1700000000000000"], "looks like microseconds since 1970: --time-format epoch_us"),
        (["1700000000000000000"], "looks like nanoseconds since 1970: --time-format epoch_ns"),
        (["2023010100", "2023013123"], "looks like '%Y%m%d%H': --time-format '%Y%m%d%H'"),
        (["2023001", "2023365"], "looks like '%Y%j': --time-format '%Y%j'"),
        (["1801", "1812"], "looks like '%y%m': --time-format '%y%m'"),
        (["31-Dec-23"], "looks like '%d-%b-%y': --time-format '%d-%b-%y'"),
        (["99-12-31"], "looks like '%y-%m-%d': --time-format '%y-%m-%d'"),
        (["2023-9", "2023-10"], "looks like '%Y-%m': --time-format '%Y-%m'"),
        (["2023-31-12"], "looks like '%Y-%d-%m': --time-format '%Y-%d-%m'"),
        (["2023-12-31 12:00 AM"], "looks like '%Y-%m-%d %I:%M %p': --time-format '%Y-%m-%d %I:%M %p'"),
        (["20231231T050000Z"], "looks like '%Y%m%dT%H%M%S%z': --time-format '%Y%m%dT%H%M%S%z'"),
        (["45291", "45291.5"], "looks like Excel's days: --time-format excel"),
        (["31.12.2023 05:00"], "looks like '%d.%m.%Y %H:%M': --time-format '%d.%m.%Y %H:%M'"),
        (["Dec 2023"], "looks like '%b %Y': --time-format '%b %Y'"),
        (["1990", "1991"], "looks like '%Y': --time-format '%Y'"),
        (["soon"], ""),
        ([None, " "], ""),
    ],
)
def test_a_format_that_reads_all_texts_is_proposed(texts: list[str | None], proposal: str) -> None:
    assert propose_time_format(texts) == proposal


def test_days_after_the_twelfth_distinguish_days_from_months() -> None:
    assert "'%d/%m/%Y' or '%m/%d/%Y'" in propose_time_format(["01/02/2023", "05/02/2023"])
    assert propose_time_format(["01/02/2023", "15/02/2023"]).endswith("--time-format '%d/%m/%Y'")


def test_the_frequency_distinguishes_weeks_from_months() -> None:
    assert propose_time_format(["202312"], "1w").endswith(": --time-format iso_week")
    assert propose_time_format(["202312"], "1mo").endswith(": --time-format yyyymm")


def test_seconds_since_1970_may_be_steps_of_several() -> None:
    hours = pl.Series([1_700_000_000, 1_700_003_600])
    refuse_codes(hours, None, subject="x", freq=3600)
    with pytest.raises(SourceError, match="seconds since 1970"):
        refuse_codes(hours, None, subject="x", freq=1)


DAYS = pl.date_range(pl.date(2021, 1, 1), pl.date(2023, 12, 31), eager=True)
MONTHS = DAYS.filter(DAYS.dt.day() == 1)


@pytest.mark.parametrize(
    ("steps", "proposal"),
    [
        (MONTHS.dt.year().cast(pl.Int64) * 10 + MONTHS.dt.quarter(), "quarter"),
        (DAYS.dt.year().cast(pl.Int64) * 1000 + DAYS.dt.ordinal_day(), "%Y%j"),
        (MONTHS.dt.strftime("%y%m").cast(pl.Int64), "%y%m"),
        (DAYS.dt.strftime("%y%m%d").cast(pl.Int64), "%y%m%d"),
        (pl.Series([2023010100 + 100 * day + hour for day in range(9) for hour in range(24)]), "%Y%m%d%H"),
    ],
)
def test_codes_of_periods_are_no_steps(steps: pl.Series, proposal: str) -> None:
    with pytest.raises(SourceError, match=f"--time-format '?{proposal}.*--time-format step takes"):
        refuse_codes(steps, None, subject="x", freq=1)
    refuse_codes(steps, "step", subject="x", freq=1)


@pytest.mark.parametrize(
    "steps",
    [
        pl.Series(range(1, 500)),
        pl.Series(range(1801, 1853)),  # within one hundred
        pl.Series(range(5, 5000, 100)),
        pl.Series(range(19_001, 20_100)),
        pl.Series(range(230_101, 230_231)),
        pl.Series([7]),
    ],
)
def test_even_steps_are_no_codes(steps: pl.Series) -> None:
    refuse_codes(steps, None, subject="x")
