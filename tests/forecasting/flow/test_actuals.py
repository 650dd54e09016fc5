"""Actuals that are misread, unfinished or a part of their period are refused or left out, and said."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forecasting.errors import SourceError
from forecasting.flow import actuals
from forecasting.flow.actuals import Actuals, leave_out_parts, read_actuals
from forecasting.series.inputs import Input
from forecasting.spec.source import Source
from forecasting.spec.spec import Spec, make_spec

BEGIN = datetime(2024, 1, 1)


def spec_of(freq: str | int = "1d", **source: Any) -> Spec:
    fields = {"name": "x", "freq": freq, "season_lengths": [7], "horizon": 2, "source": {"uri": "x.csv", **source}}
    return make_spec(fields, subject="spec")


def read(tmp_path: Path, spec: Spec, frame: pl.DataFrame) -> Actuals:
    frame.write_csv(tmp_path / "actuals.csv")
    source = Source(uri=str(tmp_path / "actuals.csv"), **spec.source.reading)
    return read_actuals(Input(source), spec, has_zone=False)


def hours(num: int, *, first: int = 0, name: str = "a", y: str = "1") -> pl.DataFrame:
    times = [BEGIN + timedelta(hours=first + hour) for hour in range(num)]
    return pl.DataFrame({"unique_id": name, "ds": times, "y": y})


def test_part_of_a_day_is_not_compared_and_said(tmp_path: Path) -> None:
    spec = spec_of(aggregate="sum")
    half = read(tmp_path, spec, pl.concat([hours(24 + 12), hours(48, name="b"), hours(30, first=10, name="new")]))
    whole = leave_out_parts(half, spec, usual={"a": 24.0, "b": 24.0})
    assert whole.observed.filter(unique_id="a")["ds"].to_list() == [BEGIN]
    assert whole.observed.filter(unique_id="b").height == 2
    assert whole.observed.filter(unique_id="new").height == 2  # of which nothing is known
    assert "are not compared: " in whole.notes[-1]
    assert "1 periods of 1d of 1 series, such as 2024-01-02 00:00:00 of 'a', which has 12 of 24 rows" in whole.notes[-1]
    used = spec_of(aggregate="sum", unfinished="use")
    assert leave_out_parts(read(tmp_path, used, hours(36)), used, usual={"a": 24.0}).observed.height == 2
    totals = pl.DataFrame({"unique_id": "a", "ds": [BEGIN, BEGIN + timedelta(days=1)], "y": [24, 24]})
    assert leave_out_parts(read(tmp_path, spec, totals), spec, usual={"a": 24.0}).observed.height == 2


def test_parts_show_in_the_actuals_alone_where_the_history_shows_nothing(tmp_path: Path) -> None:
    spec = spec_of(aggregate="mean")
    days = leave_out_parts(read(tmp_path, spec, hours(24 * 4 + 3)), spec, usual={})
    assert days.observed["ds"].max() == BEGIN + timedelta(days=3)
    assert "has 3 of 24 rows" in days.notes[-1]
    of_others = pl.concat([hours(24 * 4), hours(24 * 5, name="b")])
    assert leave_out_parts(read(tmp_path, spec, of_others), spec, usual={}).observed.height == 9


def test_sum_without_a_refused_row_is_not_compared(tmp_path: Path) -> None:
    spec = spec_of(aggregate="sum")
    frame = pl.concat([hours(5), hours(1, first=5, y="x"), hours(42, first=6)])
    days = leave_out_parts(read(tmp_path, spec, frame), spec, usual={})
    assert days.observed["ds"].to_list() == [BEGIN + timedelta(days=1)]
    assert "has 23 of 24 rows" in days.notes[-1]


def test_actuals_of_a_day_that_is_not_over_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actuals, "wall_clock", lambda: BEGIN + timedelta(days=1, hours=12))
    spec = spec_of(aggregate="sum", timezone="UTC")
    days = read(tmp_path, spec, hours(24 + 12))
    assert days.observed["ds"].to_list() == [BEGIN]
    assert ["their periods are not over" in note for note in days.notes] == [True]


def test_codes_of_periods_are_not_steps(tmp_path: Path) -> None:
    months = pl.DataFrame({"unique_id": "a", "ds": [202400 + month for month in range(1, 13)], "y": 1.0})
    with pytest.raises(SourceError, match=r"202401.*--time-format"):
        read(tmp_path, spec_of(1), months)


def test_points_that_separate_thousands_are_refused(tmp_path: Path) -> None:
    frame = hours(4).with_columns(y=pl.Series(["950", "980", "1.050", "999"]))
    with pytest.raises(SourceError, match=r"measurement '1\.050' would be read as 1\.05, but it may be 1050"):
        read(tmp_path, spec_of("1h"), frame)


def test_actuals_that_are_all_refused_name_the_option_that_reads_them(tmp_path: Path) -> None:
    frame = hours(12).with_columns(y=pl.lit("1.000.234"))
    with pytest.raises(SourceError, match=r"--csv-thousands"):
        read(tmp_path, spec_of("1h"), frame)


def test_numbers_that_stand_for_gaps_and_repeated_rows_are_said(tmp_path: Path) -> None:
    frame = pl.concat([hours(24), hours(2, first=24, y="-999"), hours(12)])
    notes = read(tmp_path, spec_of("1h"), frame).notes
    assert [note for note in notes if "'a' has -999 in 2 rows" in note]
    assert [note for note in notes if "12 of 38 rows repeat another row" in note]
