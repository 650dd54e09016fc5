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
