"""The frequency that the distances between rows show, and inputs whose distances show none."""

from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.errors import SourceError
from forecasting.series.infer import infer_frequency
from forecasting.series.inputs import Input
from forecasting.spec.source import Source

START = datetime(2023, 1, 2)
FREQUENCIES = ("10s", "1m", "15m", "1h", "6h", "1d", "1w", "1mo", "1q", "1y")


def as_input(**times: list) -> Input:
    """Return an input with the times of each series."""
    frames = [pl.DataFrame({"unique_id": name, "ds": ds, "y": 1.0}) for name, ds in times.items()]
    return Input(Source(uri="rows.parquet"), pl.concat(frames))


def even_times(freq: str, num: int, start: datetime = START) -> list[datetime]:
    width, unit = int(freq.rstrip("smhdwoqy")), freq.lstrip("0123456789")
    offsets = pl.Series([f"{width * number}{unit}" for number in range(num)])
    return pl.Series([start] * num).dt.offset_by(offsets).to_list()


@given(freq=st.sampled_from(FREQUENCIES), seed=st.integers(0, 1000), missing=st.floats(0, 0.3))
@settings(max_examples=60)
def test_frequency_is_found_though_rows_are_missing(freq: str, seed: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    series = {
        name: [each for each in even_times(freq, 60, START + timedelta(days=offset)) if rng.random() >= missing]
        for name, offset in (("a", 0), ("b", 31))
    }
    found, share = infer_frequency(as_input(**series))
    assert found == freq
    assert share >= 0.5


@pytest.mark.parametrize(
    "day_of_month",
    [lambda first: first + timedelta(14), lambda first: (first + timedelta(32)).replace(day=1) - timedelta(1)],
    ids=["15ths", "month ends"],
)
def test_months_are_recognised_wherever_in_them_their_rows_lie(day_of_month) -> None:
    firsts = [date(2020 + number // 12, number % 12 + 1, 1) for number in range(36)]
    assert infer_frequency(as_input(a=[day_of_month(first) for first in firsts]))[0] == "1mo"


def test_last_business_days_are_months() -> None:
    ends = [
        (date(2020 + number // 12, number % 12 + 1, 1) + timedelta(32)).replace(day=1) - timedelta(1)
        for number in range(48)
    ]
    assert infer_frequency(as_input(a=[end - timedelta(max(0, end.weekday() - 4)) for end in ends]))[0] == "1mo"


def test_hours_of_a_zone_with_clock_changes_are_hours() -> None:
    instants = pl.datetime_range(START, START + timedelta(days=300), "1h", time_zone="UTC", eager=True)
    local = instants.dt.convert_time_zone("Europe/Berlin").to_list()
    assert local[0].tzinfo == ZoneInfo("Europe/Berlin")
    assert infer_frequency(as_input(a=local))[0] == "1h"


def test_days_that_are_local_midnights_are_days() -> None:
    days = pl.datetime_range(START, START + timedelta(days=300), "1d", time_zone="Europe/Berlin", eager=True)
    assert infer_frequency(as_input(a=days.to_list()))[0] == "1d"


def test_text_of_a_csv_file_and_whole_numbers_are_read(tmp_path: Path) -> None:
    (tmp_path / "days.csv").write_text("unique_id,ds,y\n" + "".join(f"a,2024-01-{day:02d},1\n" for day in range(1, 29)))
    assert infer_frequency(Input(Source(uri=str(tmp_path / "days.csv")))) == ("1d", 1.0)
    (tmp_path / "steps.csv").write_text("unique_id,ds,y\n" + "".join(f"a,{5 * step},1\n" for step in range(9)))
    assert infer_frequency(Input(Source(uri=str(tmp_path / "steps.csv")))) == (5, 1.0)


@pytest.mark.parametrize(
    ("first", "kind"),
    [(202301, "yyyymm"), (20230101, "yyyymmdd"), (1_690_000_000, "epoch_s"), (202351, "iso_week")],
)
def test_codes_of_periods_are_not_taken_for_steps(first: int, kind: str) -> None:
    with pytest.raises(SourceError, match=f"time {first} looks like .*--time-format {kind}.*--time-format step"):
        infer_frequency(as_input(a=[first, first + 1]))


def test_texts_that_need_a_format_are_refused_with_it(tmp_path: Path) -> None:
    weeks = [f"{year}-{week:02d}" for year in (2021, 2022) for week in range(1, 53)]
    file = tmp_path / "weeks.csv"
    file.write_text("unique_id,ds,y\n" + "".join(f"a,{week},1\n" for week in weeks))
    with pytest.raises(SourceError, match="'2021-13' looks like year and week: --time-format iso_week"):
        infer_frequency(Input(Source(uri=str(file))))
    assert infer_frequency(Input(Source(uri=str(file), time_format="iso_week"))) == ("1w", 1.0)


def test_codes_that_are_declared_as_steps_are_steps() -> None:
    given = as_input(a=[202301, 202302, 202303])
    assert infer_frequency(Input(Source(uri="rows.parquet", time_format="step"), given.frame)) == (1, 1.0)


def test_series_of_different_frequencies_are_ambiguous() -> None:
    with pytest.raises(SourceError, match=r"ambiguous: .* are 1h, .* are 1d; .* of the series .*--freq"):
        infer_frequency(as_input(a=even_times("1h", 60), b=even_times("1d", 50)))


def test_days_of_rare_sales_are_ambiguous() -> None:
    days = np.flatnonzero(np.random.default_rng(0).random(400) < 0.2)
    with pytest.raises(SourceError, match="the frequency is ambiguous: of"):
        infer_frequency(as_input(a=[START + timedelta(days=int(day)) for day in days]))


def test_jittered_times_are_ambiguous() -> None:
    seconds = np.random.default_rng(0).integers(-40, 40, 200)
    with pytest.raises(SourceError, match="the frequency is ambiguous"):
        infer_frequency(as_input(a=[START + timedelta(minutes=5 * n, seconds=int(s)) for n, s in enumerate(seconds)]))


def test_series_of_single_rows_show_no_frequency() -> None:
    with pytest.raises(SourceError, match="no series has two times; name it with --freq"):
        infer_frequency(as_input(a=[START], b=[START]))


def test_times_of_malformed_csv_rows_do_not_count(tmp_path: Path) -> None:
    days = "".join(f"a,2024-01-{day:02},1\n" for day in range(1, 5))
    hours = "".join(f"a,2024-02-01 {hour:02}:00,1,5\n" for hour in range(12))
    (tmp_path / "x.csv").write_text("unique_id,ds,y\n" + days + hours)
    assert infer_frequency(Input(Source(uri=str(tmp_path / "x.csv"))))[0] == "1d"
