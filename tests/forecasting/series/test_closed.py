"""Weekdays without rows: found, said, and never taken for gaps in silence; rows on closed days are refused."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import holidays
import numpy as np
import pandas as pd
import polars as pl
import pytest

import forecasting as fc
from forecasting.errors import DataWarning, SourceError
from forecasting.series.infer import infer_frequency
from forecasting.series.ingest import Ingested, ingest
from forecasting.series.inputs import Input
from forecasting.series.read import scan_frame
from forecasting.series.reasons import Reason
from forecasting.spec.source import Source
from forecasting.spec.spec import make_spec

MONDAY = datetime(2024, 1, 1)
GERMAN = sorted(holidays.country_holidays("DE", years=range(2023, 2026)))
QUICK: dict[str, Any] = {
    "recipe": "fast",
    "models": ["lstm"],
    "overrides": {"max_steps": 2, "evaluate_every": 2, "hidden_size": 4},
    "processes": 1,
    "progress": False,
}


def days_of(weekdays: Sequence[int], num_days: int = 200) -> list[datetime]:
    days = [MONDAY + timedelta(days=number) for number in range(num_days)]
    return [day for day in days if day.weekday() in weekdays]


def frame_of(**times: Sequence[datetime]) -> pl.DataFrame:
    return pl.concat(
        pl.DataFrame({"unique_id": name, "ds": ds, "y": [100.0 + 50 * day.weekday() for day in ds]})
        for name, ds in times.items()
    )


def read(frame: pl.DataFrame, freq: str = "1d", **source: Any) -> Ingested:
    fields = {"name": "x", "freq": freq, "season_lengths": [5], "horizon": 2}
    spec = make_spec(fields | {"source": {"uri": "x.csv"} | source}, subject="x")
    return ingest(spec, rows=scan_frame(frame, spec.source, "timestamp"))


def infer(frame: pl.DataFrame, **source: Any) -> str | int:
    return infer_frequency(Input(Source(uri="x.csv", **source), frame))[0]


@pytest.mark.parametrize(
    ("weekdays", "freq"),
    [(range(5), "1d Mon-Fri"), (range(6), "1d Mon-Sat"), (range(7), "1d"), ((0, 1, 2, 3, 6), "1d Mon-Thu,Sun")],
)
def test_weekdays_with_rows_are_inferred(weekdays: Sequence[int], freq: str) -> None:
    assert infer(frame_of(a=days_of(weekdays), b=days_of(weekdays, 60))) == freq


def test_weekdays_are_inferred_though_rows_are_missing_and_a_few_lie_on_closed_days() -> None:
    rng = np.random.default_rng(0)
    days = [day for day in days_of(range(5), 1000) if rng.random() < 0.9]
    assert infer(frame_of(a=[*days, MONDAY + timedelta(days=5)])) == "1d Mon-Fri"


@pytest.mark.parametrize("num_days", [7, 14])
def test_weekdays_of_too_few_weeks_are_not_inferred(num_days: int) -> None:
    assert infer(frame_of(a=days_of(range(5), num_days))) == "1d"


def test_weekdays_are_not_inferred_from_midnights_of_another_zone() -> None:
    days = pl.Series(days_of(range(5))).dt.replace_time_zone("Europe/Berlin").dt.convert_time_zone("UTC")
    assert infer(pl.DataFrame({"unique_id": "a", "ds": days, "y": 1.0})) == "1d"


def test_weekdays_are_not_inferred_where_the_source_says_when_it_is_open() -> None:
    assert infer(frame_of(a=days_of(range(5))), open="Mon-Sun") == "1d"


def test_closed_weekdays_of_a_daily_grid_are_said_with_the_option() -> None:
    (note,) = read(frame_of(a=days_of(range(6)), b=days_of(range(7)))).notes
    assert note.startswith("1 of 2 series have no rows on some days of the week, such as 'a' on Sun")
    assert "--open Mon-Sat" in note


def test_closed_weekdays_are_said_also_where_holidays_are_closed() -> None:
    days = [day for day in days_of(range(6)) if day.date() not in GERMAN]
    with pytest.raises(SourceError, match=r"has no rows on Sun, .* frequency 1d would fall; --open Mon-Sat "):
        read(frame_of(a=days), closed_holidays="DE")


def test_weekdays_without_any_row_stop_a_run_that_does_not_say_what_absent_rows_mean() -> None:
    closed = frame_of(a=days_of(range(6)), b=days_of(range(6), 60))
    with pytest.raises(SourceError, match=r"where a season is 6 steps; --open Mon-Sun keeps them as gaps"):
        read(closed)
    assert "--open Mon-Sat" in read(closed, missing_rows="gap").notes[0]


@pytest.mark.parametrize("options", [{"open": "Mon-Sun"}, {"open": "Mon-Sat"}, {"freq": "1d Mon-Sat"}])
def test_nothing_is_said_where_the_source_says_when_it_is_open(options: dict[str, str]) -> None:
    assert read(frame_of(a=days_of(range(6))), **options).notes == ()


def hours_of(weekdays: Sequence[int], hours: Sequence[int], num_days: int = 60) -> list[datetime]:
    return [day + timedelta(hours=hour) for day in days_of(weekdays, num_days) for hour in hours]


def test_closed_hours_are_said_with_the_opening_times_in_place_of_absent_rows() -> None:
    weekdays, saturdays = hours_of(range(5), range(8, 18)), hours_of([5], range(9, 12))
    (note,) = read(frame_of(a=sorted(weekdays + saturdays), b=weekdays), "1h").notes
    assert '--open "Mon-Fri 08:00-18:00; Sat 09:00-12:00" (source.open)' in note
    assert read(frame_of(a=weekdays), "1h", open="Mon-Fri 08:00-18:00").notes == ()
    assert "--missing-rows" in read(frame_of(a=weekdays), "1h", open="Mon-Sun").notes[0]


def test_closed_hours_are_those_of_the_times_zone() -> None:
    times = pl.Series(hours_of(range(5), range(8, 18), 200)).dt.replace_time_zone("Europe/Berlin")
    frame = pl.DataFrame({"unique_id": "a", "ds": times, "y": 1.0})
    (note,) = read(frame, "1h").notes
    assert '--open "Mon-Fri 08:00-18:00"' in note
    ingested = read(frame, "1h", open="Mon-Fri 08:00-18:00")
    assert ingested.features["y"].null_count() == 0
    assert ingested.features.height == frame.height


@pytest.mark.parametrize("num_days", [2, 10])
def test_hours_of_too_few_weeks_are_not_taken_for_closed(num_days: int) -> None:
    notes = read(frame_of(a=hours_of(range(7), range(8, 18), num_days)), "1h").notes
    assert not [note for note in notes if "--open" in note]


def test_hours_that_are_absent_by_chance_or_in_disorder_are_not_taken_for_closed() -> None:
    rng = np.random.default_rng(0)
    at_random = [hour for hour in hours_of(range(7), range(24)) if rng.random() < 0.3]
    odd = hours_of(range(7), range(0, 24, 2))
    for times in (at_random, [*odd[:-1], odd[-1] + timedelta(hours=1)]):
        assert not [note for note in read(frame_of(a=times), "1h").notes if "--open" in note]


def test_nothing_is_said_of_weekdays_that_are_absent_by_chance() -> None:
    days = [day for day in days_of(range(7), 60) if np.random.default_rng(day.toordinal()).random() < 0.7]
    assert read(frame_of(a=days)).notes == ()


def test_row_on_a_closed_day_is_refused_with_the_option() -> None:
    days = [*days_of(range(5)), MONDAY + timedelta(days=6)]
    ingested = read(frame_of(a=days), "1b")
    assert ingested.rejects.select("ds", "reason").rows() == [("2024-01-07T00:00:00", Reason.CLOSED.value)]
    assert "--open" in Reason.CLOSED
    assert ingested.features["ds"].to_list() == days[:-1]
    assert str(ingested.counts) == "145 rows read, 144 used, 1 refused"


def test_few_rows_on_closed_days_are_counted_in_the_budget() -> None:
    days = [*days_of(range(5)), *days_of([6])[:11]]
    with pytest.raises(SourceError, match=r"11 of 155 rows are refused(.|\n)*--open"):
        read(frame_of(a=days), "1b")


@pytest.mark.parametrize(("weekdays", "proposal"), [(range(6), "--open Mon-Sat"), (range(7), "--open Mon-Sun")])
def test_closed_days_that_have_rows_stop_the_run_with_the_days_that_are_open(
    weekdays: Sequence[int], proposal: str
) -> None:
    with pytest.raises(
        SourceError, match=f"lie on times that are closed at frequency 1d Mon-Fri.*--freq 1d {proposal} "
    ):
        read(frame_of(a=days_of(weekdays)), "1b")


def test_times_of_day_belong_to_their_business_day() -> None:
    times = [day + timedelta(hours=17, minutes=day.day) for day in days_of(range(5))]
    ingested = read(frame_of(a=times), "1b")
    assert ingested.features["y"].null_count() == 0
    assert ingested.features["ds"].to_list() == days_of(range(5))


def test_cutoff_on_a_closed_day_knows_the_day_before_it() -> None:
    fields = {"name": "x", "freq": "1b", "season_lengths": [5], "horizon": 2, "source": {"uri": "x.csv"}}
    spec = make_spec(fields, subject="x")
    rows = scan_frame(frame_of(a=days_of(range(5))), spec.source, "timestamp")
    sunday = MONDAY + timedelta(days=13)
    assert ingest(spec, rows=rows, cutoff=sunday).features["ds"].max() == sunday - timedelta(days=2)


def test_absent_business_days_are_zero_and_closed_days_are_not_filled() -> None:
    frame = frame_of(a=days_of(range(5), 30), b=days_of([0], 30))
    ingested = read(frame, "1b", missing_rows="zero")
    of_b = ingested.features.filter(unique_id="b")
    assert of_b["ds"].dt.weekday().max() == 5
    assert of_b["y"].to_list() == [100.0 if day.weekday() == 0 else 0.0 for day in of_b["ds"]]


def test_six_day_week_is_forecast_from_monday_to_saturday() -> None:
    with pytest.warns(DataWarning, match="season lengths 6: customary at frequency 1d Mon-Sat"):
        result = fc.forecast(
            frame_of(a=days_of(range(6), 140)),
            freq="1d",
            source={"open": "Mon-Sat"},
            horizon=7,
            **QUICK,
        )
    naive = result.candidates.filter(model="seasonal_naive_6")
    ahead = [MONDAY + timedelta(days=140 + number) for number in (0, 1, 2, 3, 4, 5, 7)]
    assert naive["ds"].to_list() == ahead
    assert naive["forecast"].to_list() == [100.0, 150.0, 200.0, 250.0, 300.0, 350.0, 100.0]


@pytest.mark.parametrize("cutoff", [date(2024, 5, 8), date(2024, 5, 10), date(2023, 12, 22)])
def test_days_after_a_holiday_have_the_values_of_their_weekdays(cutoff: date) -> None:
    """Numbered without holidays, a season of five days would be another weekday for a week after each."""
    days = pd.bdate_range("2023-10-02", cutoff, freq="C", holidays=GERMAN).to_pydatetime().tolist()
    options = {"freq": "1b", "season_lengths": 5, "horizon": 8, "source": {"closed_holidays": "DE"}}
    result = fc.forecast(frame_of(a=days), **options, **QUICK)
    ahead = pd.bdate_range(cutoff + timedelta(days=1), periods=8, freq="C", holidays=GERMAN).to_pydatetime().tolist()
    naive = result.candidates.filter(model="seasonal_naive_5")
    assert naive["ds"].to_list() == ahead
    assert naive["forecast"].to_list() == [100.0 + 50 * day.weekday() for day in ahead]


def test_day_after_a_holiday_is_scored_though_it_is_all_that_is_forecast() -> None:
    days = pd.bdate_range("2023-10-02", "2024-05-10", freq="C", holidays=GERMAN).to_pydatetime().tolist()
    frame = frame_of(a=days).with_columns(pl.col("y") + pl.col("ds").dt.day())
    options = {"freq": "1b", "season_lengths": 5, "horizon": 1, "source": {"closed_holidays": "DE"}}
    result = fc.forecast(frame, cutoff="2024-05-08", **options, **QUICK)
    assert result.forecasts["ds"].to_list() == [datetime(2024, 5, 10)]
    scores = result.evaluate(frame).scores
    assert scores["num_points"].to_list() == [1]
    assert scores["mase"].null_count() == 0
