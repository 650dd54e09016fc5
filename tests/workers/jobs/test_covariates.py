"""Covariates through the jobs: kept with the features, read by regressions, as in a one-shot forecast."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

import forecasting as fc
from forecasting.errors import SourceError
from forecasting.series.covariate_names import code_of
from forecasting.series.holiday_covariates import NO_HOLIDAY
from forecasting.spec.covariate_table import CovariateTable
from forecasting.spec.covariates import Covariates
from forecasting.spec.holidays import Holidays
from tests.workers.jobs.conftest import FIRST
from tests.workers.jobs.test_warm_start import QUICK
from workers.jobs.backtest import backtest
from workers.jobs.features import write_features
from workers.jobs.predict import predict
from workers.jobs.train import train

NUM_HOURS, HORIZON, CUTOFF = 200, 4, 195
"""Hours of measurements; the covariate goes on for the horizon."""


@pytest.fixture
def promoted(small: Any, serial: Any) -> Any:
    """Series whose measurement is ten higher in hours of a promotion, which are known ahead."""
    small.spec = small.spec.model_copy(
        update={
            "models": ("gru",),
            "statistics": (),
            "overrides": type(small.spec.overrides)(**QUICK),
            "covariates": Covariates(future=("promotion",)),
        }
    )
    write(small)
    return small


def promotion(name: str, hour: int) -> int:
    return int((hour * 7 + len(name)) % 11 in (2, 5, 6))


def write(small: Any, *, known_ahead: int = HORIZON) -> None:
    lines = []
    for name in ("a", "bb"):
        for hour in range(NUM_HOURS + known_ahead):
            y = hour % 4 + 10 * promotion(name, hour) + hour % 3 / 10 if hour < NUM_HOURS else ""
            lines.append(f"{name},{FIRST + timedelta(hours=hour)},{y},{promotion(name, hour)}")
    small.source.write_text("\n".join(["unique_id,ds,y,promotion", *lines]) + "\n")


def run_all(small: Any, hours: int) -> pl.DataFrame:
    """Run both flows at a cutoff, and return the forecasts of the champions."""
    write_features(small.run("features", hours, cutoff="given"))
    train(small.run("train", hours, flow="train", shard_size=None))
    backtest(small.run("backtest", hours, flow="train", shard_size=None))
    predict(small.run("predict", hours))
    rows = small.store.scan("forecasts", "timestamp").collect()
    return rows.filter(pl.col("run_cutoff") == FIRST + timedelta(hours=hours)).sort("unique_id", "model", "ds")


def test_jobs_forecast_what_a_one_shot_forecasts(promoted: Any) -> None:
    stored = run_all(promoted, CUTOFF)
    whole = fc.forecast(spec=promoted.spec, cutoff=FIRST + timedelta(hours=CUTOFF), progress=False, processes=1)
    champions = stored.filter("is_champion")
    joined = champions.join(whole.forecasts, on=["unique_id", "ds"], suffix="_here")
    assert joined.height == 2 * HORIZON
    assert (joined["forecast"] - joined["forecast_here"]).abs().max() < 1e-6  # type: ignore[operator]
    assert {"ridge", "combination"} <= set(stored["model"])


def test_forecasts_follow_the_covariates_of_their_horizon(promoted: Any) -> None:
    rows = run_all(promoted, CUTOFF).with_columns(hour=CUTOFF + pl.col("step").cast(pl.Int64))
    of_models = rows.filter(pl.col("model").is_in(["ridge", "gru", "combination"]))
    assert of_models.height == 3 * 2 * HORIZON
    for name, model, hour, forecast in of_models.select("unique_id", "model", "hour", "forecast").iter_rows():
        assert (forecast > 6) == bool(promotion(name, hour)), (name, model, hour, forecast)


def test_network_alone_follows_covariates_and_goes_on_from_earlier_weights(promoted: Any) -> None:
    promoted.spec = promoted.spec.model_copy(update={"regressions": ()})
    for hours in (CUTOFF - 11, CUTOFF):
        rows = run_all(promoted, hours).filter("is_champion")
        assert rows["model"].unique().to_list() == ["gru"]
        for name, step, forecast in rows.select("unique_id", "step", "forecast").iter_rows():
            assert (forecast > 6) == bool(promotion(name, hours + step)), (name, step, forecast)
    reasons = promoted.store.scan("models", "timestamp").collect().filter(role="candidate")
    assert reasons["started_from"].is_not_null().any()


def test_features_have_the_values_of_each_point_and_of_the_horizon(promoted: Any) -> None:
    write_features(promoted.run("features", CUTOFF, cutoff="given"))
    rows = promoted.store.scan("features", "timestamp").collect().filter(unique_id="bb").sort("ds")
    known = [promotion("bb", hour) for hour in range(CUTOFF + 1)]
    assert [value for (value,) in rows["covariates"].to_list()] == known
    assert rows["covariates_ahead"].null_count() == CUTOFF
    last = rows["covariates_ahead"][-1].to_list()
    assert [value for (value,) in last] == [promotion("bb", CUTOFF + step) for step in range(1, HORIZON + 1)]


def test_horizon_without_values_stops_the_features_job(promoted: Any) -> None:
    write(promoted, known_ahead=2)
    with pytest.raises(SourceError, match="covariate 'promotion' has no value at 4 of the 8 steps"):
        write_features(promoted.run("features", NUM_HOURS - 1, cutoff="given"))
    assert promoted.store.scan("features", "timestamp").collect().is_empty()


def test_spec_without_covariates_has_null_columns(small: Any) -> None:
    small.write(a=12)
    write_features(small.run("features", 11, cutoff="given"))
    rows = small.store.scan("features", "timestamp").collect()
    assert rows["covariates"].null_count() == rows["covariates_ahead"].null_count() == 12


def test_table_of_covariates_is_joined_in_the_features_and_counted(promoted: Any) -> None:
    write_features(promoted.run("features", CUTOFF, cutoff="given"))
    expected = promoted.store.scan("features", "timestamp").collect().sort("unique_id", "ds")
    rows = pl.read_csv(promoted.source)
    plan = promoted.source.with_name("plan.parquet")
    rows.select("promotion", name="unique_id", ds=pl.col("ds").str.to_datetime()).write_parquet(plan)
    rows.filter(pl.col("y").is_not_null()).drop("promotion").write_csv(promoted.source)
    table = CovariateTable(uri=str(plan), future=("promotion",), id="name", by="id")
    promoted.spec = promoted.spec.model_copy(update={"covariates": Covariates(tables=(table,))})
    outcome = write_features(promoted.run("features", CUTOFF, cutoff="given"))
    assert f"\n  {plan}: promotion, joined by series and time; 408 rows read, 0 refused, 400 of 408" in outcome.message
    found = promoted.store.scan("features", "timestamp").collect().sort("unique_id", "ds")
    assert found.drop("run_id").equals(expected.drop("run_id"))


def test_features_have_the_holidays_of_each_series(small: Any) -> None:
    code = {"a": "US", "bb": "IL"}
    rows = [f"{name},{FIRST + timedelta(hours=hour)},{hour},{code[name]}" for name in code for hour in range(26)]
    small.source.write_text("\n".join(["unique_id,ds,y,country", *rows]) + "\n")
    small.spec = small.spec.model_copy(update={"holidays": Holidays(by="country")})
    write_features(small.run("features", 25, cutoff="given"))
    stored = small.store.scan("features", "timestamp").collect().sort("unique_id", "ds")
    of_series = stored.group_by("unique_id", maintain_order=True).agg(pl.col("covariates").list.first())
    new_year, none = code_of("New Year's Day"), code_of(NO_HOLIDAY)
    assert dict(of_series.iter_rows()) == {"a": [new_year] * 24 + [none] * 2, "bb": [none] * 26}
    assert len(stored["covariates_ahead"][-1]) == small.spec.horizon


def test_vintages_are_kept_with_the_features_and_forecast_as_in_a_one_shot_forecast(promoted: Any) -> None:
    rows = pl.read_csv(promoted.source)
    plan = promoted.source.with_name("plan.parquet")
    day = pl.col("ds").str.to_datetime()
    published = [
        rows.select("unique_id", "promotion", ds=day, published=day - timedelta(hours=lead)) for lead in (9, 2)
    ]
    pl.concat(published).write_parquet(plan)
    rows.filter(pl.col("y").is_not_null()).drop("promotion").write_csv(promoted.source)
    table = CovariateTable(uri=str(plan), future=("promotion",), available_at="published")
    promoted.spec = promoted.spec.model_copy(update={"covariates": Covariates(tables=(table,))})
    stored = run_all(promoted, CUTOFF).filter("is_champion")
    whole = fc.forecast(spec=promoted.spec, cutoff=FIRST + timedelta(hours=CUTOFF), progress=False, processes=1)
    joined = stored.join(whole.forecasts, on=["unique_id", "ds"], suffix="_here")
    assert joined.height == 2 * HORIZON
    assert (joined["forecast"] - joined["forecast_here"]).abs().max() < 1e-6  # type: ignore[operator]
    features = promoted.store.scan("features", "timestamp").collect().filter(unique_id="bb").sort("ds")
    ahead = features["covariates_ahead"].to_list()
    assert ahead[20] == [[promotion("bb", 20 + step)] for step in range(1, HORIZON + 1)]
