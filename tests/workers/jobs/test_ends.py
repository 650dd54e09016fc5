"""Series that end before the others: in features, in forecasts and in what the store serves."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from forecasting.store.latest import latest_forecasts
from workers.jobs.cutoffs import stored_cutoff
from workers.jobs.features import find_cutoff, write_features
from workers.jobs.predict import predict
from workers.jobs.train import train

FIRST = datetime(2024, 1, 1)
REACH = 8  # two horizons and two seasons of the small spec


def hour(number: int) -> datetime:
    return FIRST + timedelta(hours=number)


def skip_ended(small: Any) -> None:
    small.spec = small.spec.model_copy(update={"source": small.spec.source.model_copy(update={"ended": "skip"})})


def forecast_at(small: Any, hours: int) -> None:
    write_features(small.run("features", hours, cutoff="given"))
    predict(small.run("predict", hours))


def test_series_that_has_ended_gets_a_row_that_says_so_and_its_earlier_forecast_is_not_current(
    small: Any, serial: Any
) -> None:
    skip_ended(small)
    small.write(a=12, b=12)
    forecast_at(small, 11)
    small.write(a=13 + REACH, b=12)
    forecast_at(small, 12 + REACH)
    latest = latest_forecasts(small.store, spec="small", series="b").filter(pl.col("ds") > hour(12 + REACH))
    assert latest["ds"].to_list() == [hour(12 + REACH + step) for step in range(1, 5)]
    assert latest["forecast"].null_count() == 4
    assert latest["reason"].str.starts_with("ended: its newest measurement, 2024-01-01 11:00:00, lies").all()
    served = latest_forecasts(small.store, spec="small", series="a")
    assert served.filter(pl.col("ds") > hour(12 + REACH))["forecast"].null_count() == 0
    kept = small.store.scan("features", "timestamp").filter(unique_id="b").collect()
    assert kept["ds"].max() == hour(11)


def test_series_that_lags_is_forecast_from_the_cutoff_with_gaps(small: Any, serial: Any) -> None:
    skip_ended(small)
    small.write(a=12 + REACH, b=12)
    message = write_features(small.run("features", 11 + REACH, cutoff="given")).message
    assert "series: 2 forecast (1 lagging) · 0 ended · 0 set aside" in message
    predict(small.run("predict", 11 + REACH))
    lagging = latest_forecasts(small.store, spec="small", series="b")
    assert lagging["ds"].to_list() == [hour(11 + REACH + step) for step in range(1, 5)]
    assert lagging["forecast"].null_count() == 0


def test_series_that_has_ended_is_forecast_from_its_own_end_on_request(small: Any, serial: Any) -> None:
    small.write(a=13 + REACH, b=12)
    forecast_at(small, 12 + REACH)
    own = latest_forecasts(small.store, spec="small", series="b")
    assert (own["ds"].min(), own["forecast"].null_count()) == (hour(12), 0)


def test_training_leaves_out_series_that_have_ended_with_a_status(small: Any, serial: Any) -> None:
    skip_ended(small)
    small.write(a=60, b=12)
    write_features(small.run("features", 59, cutoff="given"))
    train(small.run("train", 59, flow="train"))
    rows = small.store.scan("models", "timestamp").filter(unique_id="b").collect()
    assert rows["status"].unique().to_list() == ["ended"]
    assert rows["reason"].str.starts_with("ended: ").all()


def test_series_that_is_set_aside_has_the_reason_of_its_rows_in_models_and_forecasts(small: Any, serial: Any) -> None:
    small.write("a,2024-01-01 12:00:00,many", a=12, b=13)
    write_features(small.run("features", 12))
    train(small.run("train", 12, flow="train"))
    predict(small.run("predict", 12))
    reason = "set aside: 1 of its 13 rows are refused (7.69 %, more than 5 %), such as 'many': y is not a number"
    forecasts = small.store.scan("forecasts", "timestamp").filter(pl.col("is_champion")).collect()
    of_series = dict(forecasts.group_by("unique_id").agg(pl.col("reason").first()).iter_rows())
    assert of_series["a"].startswith(reason)
    assert not (of_series["b"] or "").startswith("set aside")
    networks = small.store.scan("models", "timestamp").filter(unique_id="a").collect()
    assert networks["reason"].str.starts_with(reason).all()


@pytest.mark.parametrize(("minute", "newest"), [(0, 10), (30, 10), (60, 11)])
def test_all_jobs_of_a_logical_date_end_with_the_newest_hour_that_was_over(
    small: Any, minute: int, newest: int
) -> None:
    small.write("a,2024-01-01 18:00:00,5", a=12, b=12, c=12)
    as_of = hour(11) + timedelta(minutes=minute)
    run = small.run("features", newest, as_of=as_of.isoformat())
    assert find_cutoff(run.arguments, small.store) == hour(newest)
    outcome = write_features(run)
    assert f"{3 * newest + 3} used, " in outcome.message
    assert stored_cutoff(small.run("predict", newest, as_of=as_of.isoformat()).arguments, small.store) == hour(newest)


def test_hour_of_one_series_alone_waits_in_all_jobs(small: Any, capsys: pytest.CaptureFixture[str]) -> None:
    small.write("a,2024-01-01 12:00:00,5", a=12, b=12, c=12)
    arguments = small.run("features", 0).arguments
    assert find_cutoff(arguments, small.store) == hour(11)
    write_features(small.run("features", 11))
    assert "1 rows of 1 series, such as 'a', up to 2024-01-01 12:00:00, are not used" in capsys.readouterr().out
    assert stored_cutoff(arguments, small.store) == hour(11)
