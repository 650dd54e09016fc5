"""Columns of a source read as ids, times and numbers."""

from datetime import date, datetime

import polars as pl
import pytest

from forecasting.errors import SourceError
from forecasting.series.columns import as_text, read_id, read_number, read_times, refuse_time


def _times(values: list[object], clock: str, dtype: pl.DataType | None = None) -> list[object]:
    frame = pl.DataFrame({"ds": pl.Series(values, dtype=dtype)})
    return read_times(frame.lazy(), "ds", clock=clock).collect()["ds"].to_list()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2013-01-31 05:00:00", datetime(2013, 1, 31, 5)),
        ("2013-01-31T05:00:00", datetime(2013, 1, 31, 5)),
        ("2013-01-31 05:00", datetime(2013, 1, 31, 5)),
        ("2013-01-31", datetime(2013, 1, 31)),
        ("2013-01", datetime(2013, 1, 1)),
        (" 2013-01-31 05:00:00.25 ", datetime(2013, 1, 31, 5, 0, 0, 250_000)),
        ("2013-01-31T05:00:00Z", datetime(2013, 1, 31, 5)),
        ("2013-01-31T05:00:00.000+01:00", datetime(2013, 1, 31, 4)),
        ("2013-01-31 05:00:00+00", datetime(2013, 1, 31, 5)),
        ("2013-01-31 05:00-0530", datetime(2013, 1, 31, 10, 30)),
    ],
)
def test_iso_8601_text_is_read(text: str, time: datetime) -> None:
    assert _times([text], "timestamp") == [time]


@pytest.mark.parametrize(
    "text", ["not-a-date", "01-02-13", "31.01.2013", "2013-02-30", "2013-01-01 25:00:00", "20130101", "17", ""]
)
def test_other_text_is_not_a_timestamp(text: str) -> None:
    assert _times([text], "timestamp") == [None]


def test_one_column_may_have_several_formats() -> None:
    times = _times(["2013-01-01", "2013-01-01 01:00:00", "x", "2013-01-01T03:00:00+01:00", None], "timestamp")
    assert times == [datetime(2013, 1, 1), datetime(2013, 1, 1, 1), None, datetime(2013, 1, 1, 2), None]


def test_timestamps_of_any_unit_become_microseconds_and_zones_utc() -> None:
    at = datetime(2013, 1, 1, 12)
    for unit in ("ms", "us", "ns"):
        assert _times([at], "timestamp", pl.Datetime(unit)) == [at]  # type: ignore[arg-type]
    berlin = pl.DataFrame({"ds": pl.Series([at]).dt.replace_time_zone("Europe/Berlin")})
    read = read_times(berlin.lazy(), "ds", clock="timestamp").collect()
    assert read["ds"].dtype == pl.Datetime("us")
    assert read["ds"].to_list() == [datetime(2013, 1, 1, 11)]


def test_date_is_its_midnight() -> None:
    assert _times([date(2013, 1, 2)], "timestamp") == [datetime(2013, 1, 2)]


def test_only_whole_numbers_are_steps() -> None:
    assert _times(["3", "+4", "-1", " 5 ", "1.5", "2013-01-01", "9" * 30, ""], "step") == [3, 4, -1, 5, *[None] * 4]
    assert _times([2**63, 5], "step", pl.UInt64()) == [None, 5]


@pytest.mark.parametrize(
    ("values", "clock", "needs"),
    [
        ([1, 2], "timestamp", "needs timestamps"),
        ([1.0], "timestamp", "needs timestamps"),
        ([datetime(2013, 1, 1)], "step", "needs whole numbers"),
        ([date(2013, 1, 1)], "step", "needs whole numbers"),
        ([1.0], "step", "needs whole numbers"),
        ([True], "step", "needs whole numbers"),
    ],
)
def test_column_of_the_other_clock_is_refused_and_never_cast(values: list[object], clock: str, needs: str) -> None:
    with pytest.raises(SourceError, match=needs):
        refuse_time(pl.Series(values).dtype, clock=clock, subject="ds")  # type: ignore[arg-type]


def test_numbers_are_read_from_text_and_from_any_numeric_dtype() -> None:
    for series, values in (
        (pl.Series(["1.5", " 2 ", "1e3", "x", "1,5"]), [1.5, 2.0, 1000.0, None, None]),
        (pl.Series([1, 2], dtype=pl.UInt8), [1.0, 2.0]),
        (pl.Series(["1.25"]).cast(pl.Decimal(10, 2)), [1.25]),
        (pl.Series([None, None]), [None, None]),
    ):
        frame = pl.DataFrame({"y": series})
        read = frame.select(read_number("y", frame.schema["y"], subject="y"))["y"]
        assert read.dtype == pl.Float64
        assert read.to_list() == values


def test_columns_that_are_neither_numbers_nor_names_are_refused() -> None:
    with pytest.raises(SourceError, match="y has Boolean but needs numbers"):
        read_number("y", pl.Boolean(), subject="y")
    with pytest.raises(SourceError, match="id has Float64 but needs text or whole numbers"):
        read_id("id", pl.Float64(), subject="id")


def test_whole_numbers_and_categoricals_can_name_series() -> None:
    frame = pl.DataFrame({"a": [1, None], "b": pl.Series(["x", "y"], dtype=pl.Categorical)})
    texts = frame.select(read_id(name, dtype, subject="id") for name, dtype in frame.schema.items())
    assert texts.to_dict(as_series=False) == {"a": ["1", None], "b": ["x", "y"]}


def test_times_as_text_are_read_back() -> None:
    zoned = pl.Series([datetime(2013, 7, 1, 12, 30)]).dt.replace_time_zone("Asia/Kolkata")
    for series in (pl.Series([datetime(2013, 1, 1, 0, 0, 0, 1)]), pl.Series([date(2013, 1, 1)]), zoned):
        frame = pl.DataFrame({"ds": series})
        text = frame.select(as_text("ds", frame.schema["ds"]))
        read, again = (read_times(one.lazy(), "ds", clock="timestamp").collect() for one in (frame, text))
        assert again.equals(read)


@pytest.mark.parametrize("keeps_wall_clock", [True, False])
def test_texts_that_repeat_are_read_as_those_that_do_not(keeps_wall_clock: bool) -> None:
    texts = ["2024-01-05", "2024-01", "2024-01-05T10:00:00Z", "2024-01-05 10:00:00.5+02:00", "2024-01-05 24:00", "x"]
    texts += ["2024-10-27 02:30:00 Europe/Paris", " 2024-01-07 ", "", "01-02-13"]
    rows = pl.DataFrame({"ds": pl.Series([*texts, None] * 3), "unique_id": "a"})
    read = read_times(rows.lazy(), "ds", clock="timestamp", keeps_wall_clock=keeps_wall_clock).collect()["ds"]
    parts = (rows[place : place + 11] for place in (0, 11, 22))
    once = [read_times(part.lazy(), "ds", clock="timestamp", keeps_wall_clock=keeps_wall_clock) for part in parts]
    zoned = texts.index("2024-10-27 02:30:00 Europe/Paris")
    for number, part in enumerate(pl.collect_all(once)):
        of_part = read[11 * number : 11 * (number + 1)]
        assert of_part.drop_nulls().len() == 7
        # The hour that autumn repeats is read by its place among the others.
        same = [place for place in range(11) if place != zoned]
        assert of_part.gather(same).equals(part["ds"].gather(same))


def test_no_texts_are_no_times() -> None:
    rows = pl.LazyFrame({"ds": []}, schema={"ds": pl.String})
    assert read_times(rows, "ds", clock="timestamp").collect()["ds"].dtype == pl.Datetime("us")
