"""Times in declared formats, checked against Python's calendar, and sources that are read with one."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forecasting.errors import SourceError
from forecasting.series.ingest import Ingested, ingest
from forecasting.series.read import scan_source
from forecasting.series.reasons import Reason
from forecasting.series.time_format import read_formatted
from forecasting.series.validate import validate
from forecasting.spec.source import Source
from forecasting.spec.spec import make_spec


def read(values: list[Any], form: str) -> list[Any]:
    column = pl.Series("time", values)
    return column.to_frame().select(read_formatted("time", column.dtype, form))["time"].to_list()


def test_iso_weeks_are_those_of_the_calendar_in_years_of_52_and_53_weeks() -> None:
    days = [date(1995, 1, 2) + timedelta(weeks=number) for number in range(52 * 40)]
    calendar = [day.isocalendar() for day in days]
    assert {week for _, week, _ in calendar} == set(range(1, 54))
    mondays = [datetime(day.year, day.month, day.day) for day in days]
    for spelling in ("{}-W{:02d}", "{}W{:02d}", "{}-{:02d}", "{}{:02d}"):
        assert read([spelling.format(year, week) for year, week, _ in calendar], "iso_week") == mondays
    assert read([year * 100 + week for year, week, _ in calendar], "iso_week") == mondays
    assert read(["2021-W53", "2021-W54", "2021-W00", "2021-W5"], "iso_week") == [None] * 4
    assert read(["2020-W53-7"], "iso_week") == [datetime(2021, 1, 3)]


def test_months_and_quarters_become_their_first_days() -> None:
    assert (
        read(["202312", "2023-12", "2023/12", "2023M12", "2023-M12", "202312.0"], "yyyymm")
        == [datetime(2023, 12, 1)] * 6
    )
    assert read([202312, 202313, 20231], "yyyymm") == [datetime(2023, 12, 1), None, None]
    assert read(["1980.0", "1980"], "%Y") == [datetime(1980, 1, 1)] * 2
    quarters = [
        "2023-02",
        "2023-Q02",
        "20232.0",
        "2023Q2",
        "2023-Q2",
        "2023-2",
        "20232",
        "Q2 2023",
        "Q2/2023",
        "2Q2023",
        "2q2023",
    ]
    assert read(quarters, "quarter") == [datetime(2023, 4, 1)] * len(quarters)
    assert read(["2023Q5", "2023Q0", "2023", "2023-05", "202302"], "quarter") == [None] * 5


def test_days_need_eight_digits_and_exist() -> None:
    assert read(["20240229", "20230229", "2023121", "2023-01-01"], "yyyymmdd") == [datetime(2024, 2, 29), *[None] * 3]
    assert read([20231231.0, None], "yyyymmdd") == [datetime(2023, 12, 31), None]


def test_epochs_are_instants_in_utc() -> None:
    moment = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert read([1_700_000_000], "epoch_s") == read(["1700000000"], "epoch_s") == read([1.7e9], "epoch_s") == [moment]
    assert read(["1700000000123"], "epoch_ms") == read([1.700000000123e12], "epoch_ms")
    assert read([1_700_000_000_123], "epoch_ms") == [moment + timedelta(milliseconds=123)]
    assert read(["1700000000123456"], "epoch_us") == read([1_700_000_000_123_456_789], "epoch_ns")
    assert read(["1700000000123456789"], "epoch_ns") == [moment + timedelta(microseconds=123_456)]
    assert read(["-1", "9" * 19, "9" * 20], "epoch_s") == [datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), None, None]
    assert read(["1700000000.25", "1e9", "soon"], "epoch_s") == [moment + timedelta(milliseconds=250), None, None]


def test_days_of_excel_have_times_of_day_to_the_millisecond() -> None:
    hours = [datetime(2024, 1, 1) + timedelta(hours=number) for number in range(100)]
    serial = [(hour - datetime(1899, 12, 30)) / timedelta(days=1) for hour in hours]
    assert read(serial, "excel") == hours
    assert read(["45291", "45291.5"], "excel") == [datetime(2023, 12, 31), datetime(2023, 12, 31, 12)]
    assert read([60.0, 3e6, "nan"][:2], "excel") == [None, None]  # Excel's 29 February 1900 does not exist


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("%d.%m.%Y", "31.12.2023", datetime(2023, 12, 31)),
        ("%d.%m.%Y", "1.2.2023", datetime(2023, 2, 1)),
        ("%d.%m.%Y", "31.12.23", None),
        ("%d.%m.%y", "31.12.23", datetime(2023, 12, 31)),
        ("%b %Y", "Dec 2023", datetime(2023, 12, 1)),
        ("%Y", "2023", datetime(2023, 1, 1)),
        ("%G week %V", "2020 week 53", datetime(2020, 12, 28)),
        ("%d.%m.%Y %H", "31.12.2023 05", datetime(2023, 12, 31, 5)),
        ("%D %I:%M %p", "12/31/23 5:07 PM", datetime(2023, 12, 31, 17, 7)),
        ("%F %T.%f", "2023-12-31 05:00:01.25", datetime(2023, 12, 31, 5, 0, 1, 250_000)),
        ("%d.%m.%Y %H:%M%z", "31.12.2023 05:00+01:00", datetime(2023, 12, 31, 4, tzinfo=UTC)),
        ("%d.%m.%Y %H:%M%z", "31.12.2023 05:00Z", datetime(2023, 12, 31, 5, tzinfo=UTC)),
        ("%d.%m.%Y", "2023-12-31", None),
    ],
)
def test_patterns_are_completed_and_read_nothing_else(pattern: str, text: str, expected: datetime | None) -> None:
    assert read([text], pattern) == [expected]


def test_rejects_keep_the_texts_of_the_source(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("unique_id,ds,y\na,202311,1\na,202312,2\na,202313,3\na,,4\na,2024-01-01,5\n")
    source = Source(uri=str(tmp_path / "x.csv"), time_format="yyyymm")
    validated = validate(scan_source(source, "timestamp"), freq="1mo", source=source)
    assert validated.accepted.collect()["ds"].to_list() == [datetime(2023, 11, 1), datetime(2023, 12, 1)]
    assert validated.rejects.select("source_row", "ds", "reason").collect().rows() == [
        (3, "202313", Reason.BAD_FORMAT),
        (4, None, Reason.NO_TIME),
        (5, "2024-01-01", Reason.BAD_FORMAT),
    ]


def test_files_whose_codes_are_text_and_numbers_are_read_together(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("unique_id,ds,y\na,202311,1\nb,202311,1,5\n")
    pl.DataFrame({"unique_id": ["a"], "ds": [202312], "y": [2]}).write_parquet(tmp_path / "b.parquet")
    source = Source(uri=f"{tmp_path}/", time_format="yyyymm")
    validated = validate(scan_source(source, "timestamp"), freq="1mo", source=source)
    assert validated.accepted.collect()["ds"].to_list() == [datetime(2023, 11, 1), datetime(2023, 12, 1)]
    assert validated.rejects.collect()["ds"].to_list() == ["202311"]


def test_a_format_and_a_frequency_of_the_other_clock_are_refused(tmp_path: Path) -> None:
    pl.DataFrame({"unique_id": ["a"], "ds": [202312], "y": [2]}).write_parquet(tmp_path / "x.parquet")
    uri = str(tmp_path / "x.parquet")
    with pytest.raises(SourceError, match=r"yyyymm .*reads times, but the frequency is an integer step; .* 1mo"):
        scan_source(Source(uri=uri, time_format="yyyymm"), "step")
    with pytest.raises(SourceError, match=r"step .*means integer steps, but the frequency is a duration"):
        scan_source(Source(uri=uri, time_format="step"), "timestamp")
    with pytest.raises(
        SourceError, match=r"has Int64 but needs timestamps.*'202312' looks like .* --time-format yyyymm"
    ):
        scan_source(Source(uri=uri), "timestamp")


def test_a_format_for_a_column_of_dates_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"unique_id": ["a"], "ds": [date(2024, 1, 1)], "y": [2]}).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(SourceError, match=r"has Date, but source.time_format = 'excel' .* leave it out"):
        scan_source(Source(uri=str(tmp_path / "x.parquet"), time_format="excel"), "timestamp")


def ingest_steps(tmp_path: Path, steps: list[int], **source: Any) -> Ingested:
    pl.DataFrame({"unique_id": "a", "ds": steps, "y": 1.0}).write_parquet(tmp_path / "x.parquet")
    fields = {"name": "x", "freq": 1, "season_lengths": [2], "horizon": 2}
    return ingest(make_spec(fields | {"source": {"uri": str(tmp_path / "x.parquet"), **source}}, subject="x"))


@pytest.mark.parametrize("last", [202_312, 202_352, 20_231_231, 1_700_000_000])
def test_codes_of_periods_are_no_steps_of_a_given_frequency_unless_it_is_said(tmp_path: Path, last: int) -> None:
    codes = [last - 2, last - 1, last]
    with pytest.raises(SourceError, match=rf"time {codes[0]} looks like .*--time-format step takes such times"):
        ingest_steps(tmp_path, codes)
    assert ingest_steps(tmp_path, codes, time_format="step").cutoff == last


def test_steps_that_are_no_codes_of_periods_need_no_format(tmp_path: Path) -> None:
    assert ingest_steps(tmp_path, list(range(202_300, 202_400))).observations.height == 100
    assert ingest_steps(tmp_path, list(range(50))).observations.height == 50


def test_a_month_at_a_frequency_of_weeks_is_refused_with_the_format(tmp_path: Path) -> None:
    weeks = [f"{year}-{week:02d}" for year in (2021, 2022) for week in range(1, 53)]
    (tmp_path / "x.csv").write_text("unique_id,ds,y\n" + "".join(f"a,{week},1\n" for week in weeks))
    fields = {"name": "x", "freq": "1w", "season_lengths": [2], "horizon": 2}
    plain = make_spec(fields | {"source": {"uri": str(tmp_path / "x.csv")}}, subject="x")
    with pytest.raises(SourceError, match=rf"(?s){Reason.NO_DAY.value[:30]}.*looks like year and week: --time-format"):
        ingest(plain)
    formatted = {"uri": str(tmp_path / "x.csv"), "time_format": "iso_week"}
    assert ingest(make_spec(fields | {"source": formatted}, subject="x")).observations.height == 104
