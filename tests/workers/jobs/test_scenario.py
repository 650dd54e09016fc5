"""Scenarios through the jobs: made from what the forecast was made of, and kept where nothing serves them."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forecasting.errors import NothingStored, SourceError, UserError
from forecasting.spec.covariates import Covariates
from forecasting.spec.holidays import Holidays
from forecasting.store.deletion import delete_runs, plan_deletion
from forecasting.store.latest import latest_forecasts
from forecasting.store.query import query
from tests.workers.jobs.conftest import FIRST
from tests.workers.jobs.test_covariates import CUTOFF, HORIZON, NUM_HOURS, promotion, write
from tests.workers.jobs.test_warm_start import QUICK
from workers.jobs.backtest import backtest
from workers.jobs.cutoffs import stored_cutoff
from workers.jobs.features import find_cutoff, write_features
from workers.jobs.predict import predict
from workers.jobs.run import run_step
from workers.jobs.train import train


def make_forecast(small: Any) -> None:
    """Train and forecast two series with promotions, and with visitors, who are known up to the cutoff alone."""
    small.spec = small.spec.model_copy(
        update={
            "models": ("gru",),
            "statistics": (),
            "overrides": type(small.spec.overrides)(**QUICK),
            "covariates": Covariates(future=("promotion",), past=("visitors",)),
            "holidays": Holidays(country="US"),
        }
    )
    write(small)
    header, *lines = small.source.read_text().splitlines()
    visitors = [f"{line},{number % 5 if line.split(',')[2] else ''}" for number, line in enumerate(lines)]
    small.source.write_text("\n".join([f"{header},visitors", *visitors]) + "\n")
    small.do(write_features, "features", CUTOFF, cutoff="given")
    small.do(train, "train", CUTOFF, flow="train", shard_size=None)
    small.do(backtest, "backtest", CUTOFF, flow="train", shard_size=None)
    small.do(predict, "predict", CUTOFF)


@pytest.fixture
def forecast(begin: Any, serial: Any) -> Any:
    return begin(make_forecast)


def write_plan(small: Any, value: int | None, *, names: tuple[str, ...] = ("a", "bb")) -> str:
    """Write a plan that sets the promotion of the whole horizon; None keeps what is known."""
    hours = range(CUTOFF + 1, CUTOFF + 1 + HORIZON)
    points = [f"{name},{FIRST + timedelta(hours=hour)}" for name in names for hour in hours]
    lines = [f"{point},{'' if value is None else value}" for point in points]
    path = small.source.parent / f"plan_{value}.csv"
    path.write_text("\n".join(["unique_id,ds,promotion", *lines]) + "\n")
    return str(path)


def make(small: Any, name: str, value: int, **options: Any) -> Any:
    return small.do(predict, "predict", CUTOFF, scenario=name, plan=write_plan(small, value), **options)


def scenarios_of(small: Any) -> pl.DataFrame:
    return small.store.scan("scenarios", "timestamp").collect().sort("scenario", "unique_id", "ds")


def test_scenario_follows_its_plan_and_the_forecast_stays(forecast: Any) -> None:
    before = forecast.store.scan("forecasts", "timestamp").collect()
    served = latest_forecasts(forecast.store, spec="small")
    for name, value in (("all", 1), ("none", 0)):
        outcome = make(forecast, name, value)
        assert f"scenario '{name}': 2 series forecast" in outcome.message
        assert "the plan changes promotion at" in outcome.message
    assert forecast.store.scan("forecasts", "timestamp").collect().equals(before)
    assert latest_forecasts(forecast.store, spec="small").equals(served)
    made = scenarios_of(forecast)
    assert made.height == 2 * 2 * HORIZON
    with_all, with_none = (made.filter(scenario=name)["forecast"] for name in ("all", "none"))
    assert (with_all - with_none).mean() == pytest.approx(10, abs=3), "what a promotion adds"  # type: ignore[type-var]
    hours = range(CUTOFF + 1, CUTOFF + 1 + HORIZON)
    is_promoted = [bool(promotion(name, hour)) for name in ("a", "bb") for hour in hours]
    chosen = [one if promoted else other for one, other, promoted in zip(with_all, with_none, is_promoted, strict=True)]
    assert chosen == pytest.approx(served["forecast"].to_list(), abs=2)
    versions = made.select("unique_id", "model_version").unique().sort("unique_id")
    assert versions.equals(served.select("unique_id", "model_version").unique().sort("unique_id")), "the same networks"


def test_plan_of_nulls_makes_the_forecast_itself(forecast: Any, capsys: Any) -> None:
    plan = write_plan(forecast, None)
    with pytest.raises(SourceError, match="has no values"):
        predict(forecast.run("predict", CUTOFF, scenario="same", plan=plan))
    text = Path(plan).read_text().replace(":00,\n", f":00,{promotion('a', CUTOFF + 1)}\n", 1)
    Path(plan).write_text(text)
    predict(forecast.run("predict", CUTOFF, scenario="same", plan=plan))
    assert "changes no value within the horizon" in capsys.readouterr().out
    served = latest_forecasts(forecast.store, spec="small").sort("unique_id", "ds")
    assert scenarios_of(forecast)["forecast"].to_list() == served["forecast"].to_list()


def test_comparison_has_differences_by_step_series_and_in_all(forecast: Any) -> None:
    for name, value in (("all", 1), ("none", 0)):
        make(forecast, name, value)
    found = query(forecast.store, "SELECT * FROM scenario_comparison ORDER BY scenario, compared_with, unique_id, ds")
    pairs = found.select("scenario", "compared_with").unique().sort("scenario", "compared_with").rows()
    assert pairs == [("all", "forecast"), ("all", "none"), ("none", "all"), ("none", "forecast")]
    for (_, _), rows in found.group_by("scenario", "compared_with"):
        assert rows.height == 2 * HORIZON
        assert rows["total_difference"].to_list() == pytest.approx([rows["difference"].sum()] * rows.height)
    sums = found.group_by("scenario", "compared_with", "unique_id").agg(
        pl.col("difference").sum(), pl.col("series_difference").first()
    )
    assert sums["difference"].to_list() == pytest.approx(sums["series_difference"].to_list())
    against = found.filter(scenario="all", compared_with="forecast")
    served = latest_forecasts(forecast.store, spec="small").sort("unique_id", "ds")
    assert against["compared_forecast"].to_list() == served["forecast"].to_list()


def test_second_run_replaces_its_scenario_alone_and_a_filtered_one_its_series(forecast: Any) -> None:
    for name, value in (("first", 1), ("second", 1), ("first", 0)):
        make(forecast, name, value)
    first, second = (scenarios_of(forecast).filter(scenario=name) for name in ("first", "second"))
    assert (first.height, second.height) == (2 * HORIZON, 2 * HORIZON)
    assert first["forecast"].mean() < second["forecast"].mean() - 5  # type: ignore[operator]
    make(forecast, "first", 1, series=("a",))
    again = scenarios_of(forecast).filter(scenario="first")
    assert again.filter(unique_id="bb").equals(first.filter(unique_id="bb"))
    assert again.filter(unique_id="a")["forecast"].to_list() == second.filter(unique_id="a")["forecast"].to_list()


def test_scenario_is_recorded_as_a_job_of_its_own(forecast: Any, monkeypatch: Any) -> None:
    """As a predict job, it would make the next forecast of the same cutoff seem done."""
    monkeypatch.setenv("FLEETCAST_STORE", str(forecast.store.root))
    plan = write_plan(forecast, 1)
    for job, work, resolve in (("features", write_features, find_cutoff), ("predict", predict, stored_cutoff)):
        run = forecast.run(job, CUTOFF, scenario="all", plan=plan)
        result = run_step(run.arguments, work, resolve)
        assert not isinstance(result, int), result
        assert result.cutoff == (FIRST + timedelta(hours=CUTOFF)).isoformat()
    recorded = forecast.store.scan("runs", "timestamp").collect()
    assert recorded["job"].value_counts().sort("job").rows() == [
        ("backtest", 1), ("features", 1), ("predict", 1), ("scenario", 1), ("train", 1),
    ]  # fmt: skip
    arguments = json.loads(recorded.filter(job="scenario")["arguments"][0])
    assert (arguments["scenario"], arguments["plan"]) == ("all", plan)


def test_scenario_reads_what_the_forecast_has_read_though_the_source_has_newer_rows(forecast: Any) -> None:
    arguments = forecast.run("features", CUTOFF, scenario="all", plan="/tmp/plan.csv").arguments
    for find in (find_cutoff, stored_cutoff):
        assert find(arguments, forecast.store) == FIRST + timedelta(hours=CUTOFF)
    assert NUM_HOURS - 1 > CUTOFF
    before = {table.name: table.version for table in forecast.store.tables()}
    outcome = write_features(forecast.run("features", CUTOFF, scenario="all", plan="/tmp/plan.csv"))
    assert outcome.num_rows == 2 * (CUTOFF + 1)
    assert {table.name: table.version for table in forecast.store.tables()} == before


def test_spec_without_a_forecast_has_no_scenario(small: Any) -> None:
    small.spec = small.spec.model_copy(update={"covariates": Covariates(future=("promotion",))})
    arguments = small.run("features", CUTOFF, scenario="all", plan="/tmp/plan.csv").arguments
    with pytest.raises(NothingStored, match="has no forecast yet, which scenario 'all' would be compared with"):
        find_cutoff(arguments, small.store)


def test_deletion_of_a_scenario_brings_the_earlier_one_back(forecast: Any) -> None:
    make(forecast, "one", 1, run_id="first")
    before = scenarios_of(forecast)
    make(forecast, "one", 0, run_id="second")
    assert not scenarios_of(forecast).equals(before)
    delete_runs(forecast.store, plan_deletion(forecast.store, "second"))
    assert scenarios_of(forecast).equals(before)
    trained = forecast.store.scan("runs", "timestamp").filter(pl.col("job") == "train").collect()["run_id"][0]
    with pytest.raises(UserError, match=r"later runs? of spec 'small' builds? on run .*'first'"):
        plan_deletion(forecast.store, trained)


def test_retry_keeps_the_plan_that_the_first_try_has_read(forecast: Any, monkeypatch: Any) -> None:
    import workers.jobs.predict as job

    plan = write_plan(forecast, 1)
    run = forecast.run("predict", CUTOFF, scenario="all", plan=plan)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the cluster is lost")

    with monkeypatch.context() as broken:
        broken.setattr(job, "stage_shards", fail)
        with pytest.raises(RuntimeError, match="lost"):
            predict(run)
    Path(plan).write_text("not a plan\n")
    predict(run)
    assert scenarios_of(forecast).height == 2 * HORIZON
    assert not forecast.store.files.find("staging")


def test_attributions_are_written_on_request_and_removed_with_it(forecast: Any) -> None:
    plain = forecast.spec
    forecast.spec = plain.model_copy(update={"attributions": True})
    forecast.do(predict, "predict", CUTOFF)
    parts = forecast.store.scan("attributions", "timestamp").collect()
    served = latest_forecasts(forecast.store, spec="small").sort("unique_id", "ds")
    found = parts.group_by("unique_id", "ds").agg(pl.col("contribution").sum()).sort("unique_id", "ds")
    assert found["contribution"].to_list() == pytest.approx(served["forecast"].to_list())
    assert {"reference", "past", "promotion", "visitors"} <= set(parts["component"])
    make(forecast, "all", 1)
    assert forecast.store.scan("attributions", "timestamp").collect().equals(parts), "a scenario writes none"
    forecast.spec = plain
    forecast.do(predict, "predict", CUTOFF)
    assert forecast.store.scan("attributions", "timestamp").collect().is_empty()


def test_values_of_a_covariate_that_the_features_leave_out_are_named(forecast: Any, capsys: Any) -> None:
    left_out = Covariates(future=("promotion",), past=("visitors",), future_missing="drop_column")
    forecast.spec = forecast.spec.model_copy(update={"covariates": left_out})
    ahead = str(FIRST + timedelta(hours=CUTOFF + 2))
    rows = forecast.source.read_text().splitlines()
    forecast.source.write_text("\n".join(row for row in rows if f",{ahead}," not in row) + "\n")
    forecast.do(write_features, "features", CUTOFF, cutoff="given")
    make(forecast, "all", 1)
    assert "has values of covariate 'promotion', which makes no difference" in capsys.readouterr().out
