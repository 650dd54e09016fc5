"""Trees of a fleet in a forecast, in a fleet that is fitted once, and in a saved one."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

import forecasting as fc
from forecasting.classical import tree_fit
from forecasting.errors import DataWarning, SourceError
from forecasting.flow.fleet_trees import fit_fleet_trees
from forecasting.spec.spec import Spec

BEGIN = datetime(2024, 1, 1)
DAYS, HORIZON = 120, 7

OPTIONS: dict[str, Any] = {
    "freq": "1d",
    "season_lengths": 7,
    "horizon": HORIZON,
    "models": "gru",
    "statistics": [],
    "regressions": ["ridge", "lightgbm"],
    "known_ahead": "promotion",
    "recipe": "fast",
    "overrides": {"max_steps": 10},
    "progress": False,
    "processes": 1,
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: Any) -> None:
    pytest.importorskip("lightgbm")
    monkeypatch.setattr(tree_fit, "MOST_TREES", 20)
    monkeypatch.setattr(tree_fit, "PARAMETERS", {**tree_fit.PARAMETERS, "learning_rate": 0.2, "min_data_in_leaf": 10})


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """Daily sales of three shops, with promotions that are known for the horizon."""
    rng = np.random.default_rng(3)
    parts = []
    for name, level in (("east", 80.0), ("north", 100.0), ("south", 60.0)):
        is_promoted = rng.random(DAYS + HORIZON) < 0.3
        y = level + 10 * (np.arange(DAYS + HORIZON) % 7 >= 5) + 30 * is_promoted + rng.normal(0, 1, DAYS + HORIZON)
        days = [BEGIN + timedelta(days=day) for day in range(DAYS + HORIZON)]
        frame = pl.DataFrame({"unique_id": name, "ds": days, "y": y, "promotion": is_promoted})
        parts.append(frame.with_columns(y=pl.when(pl.int_range(pl.len()) < DAYS).then("y")))
    return pl.concat(parts)


def test_fleet_gives_the_same_forecast_and_so_does_a_saved_one(rows: pl.DataFrame, tmp_path: Any) -> None:
    whole = fc.forecast(rows, **OPTIONS)
    fleet = fc.fit(rows, **OPTIONS)
    assert fleet.predict(progress=False).forecasts.equals(whole.forecasts)
    fleet.save(tmp_path / "fleet")
    assert fc.load(tmp_path / "fleet").predict(progress=False).forecasts.equals(whole.forecasts)
    by_model = whole.outcome.forecasts.group_by("model").agg(
        pl.col("model_version").n_unique(), pl.col("forecast").first()
    )
    versions = {model: number for model, number, _ in by_model.iter_rows()}
    assert {"ridge", "lightgbm", "combination"} <= set(versions)
    of_trees = whole.outcome.forecasts.filter(model="lightgbm")["model_version"].unique().to_list()
    assert len(of_trees) == 1
    combined = whole.outcome.forecasts.filter(model="combination")["model_version"]
    assert combined.str.contains(of_trees[0], literal=True).all()


def test_backtest_of_networks_that_are_fitted_once_has_trees_of_its_first_cutoff(rows: pl.DataFrame) -> None:
    found = fc.backtest(rows, cutoffs=2, refit=False, **OPTIONS)
    assert found.group_by("cutoff").agg((pl.col("model") == "lightgbm").any())["model"].all()


def test_explanation_sums_to_a_forecast_that_trees_are_part_of(rows: pl.DataFrame) -> None:
    result = fc.fit(rows, **OPTIONS).predict(progress=False)
    total = result.explain("east").group_by("unique_id", "ds").agg(pl.col("contribution").sum())
    joined = total.join(result.forecasts, on=["unique_id", "ds"])
    assert joined.height == HORIZON
    np.testing.assert_allclose(joined["contribution"], joined["forecast"], rtol=1e-9)


def test_scenario_moves_the_forecast_of_the_same_trees(rows: pl.DataFrame) -> None:
    fleet = fc.fit(rows, **OPTIONS)
    ahead = rows.filter(pl.col("y").is_null()).drop("y")
    without, with_all = (
        fleet.predict(future=ahead.with_columns(promotion=pl.lit(value)), progress=False)
        .outcome.forecasts.filter(model="lightgbm")["forecast"]
        .mean()
        for value in (False, True)
    )
    assert with_all - without > 10


def test_candidate_reads_nothing_after_the_oldest_origin(make_panel: Any) -> None:
    spec = Spec(
        name="small",
        source={"uri": "x.csv"},
        freq=1,
        season_lengths=(7,),
        horizon=HORIZON,
        regressions=("lightgbm",),
        recipe="fast",
    )
    rng = np.random.default_rng(1)
    y_SN = 10 + np.arange(DAYS) % 7 + rng.normal(0, 1, (3, DAYS))
    changed_SN = y_SN.copy()
    changed_SN[:, -3 * HORIZON :] += 50
    first, second = (fit_fleet_trees(make_panel(each, horizon=HORIZON), spec) for each in (y_SN, changed_SN))
    assert first is not None
    assert second is not None
    assert first.candidate.version == second.candidate.version
    assert first.serving.version != second.serving.version


def test_series_too_short_for_trees_are_forecast_with_a_warning(rows: pl.DataFrame) -> None:
    short = rows.group_by("unique_id", maintain_order=True).tail(30 + HORIZON).filter(pl.col("unique_id") == "east")
    with pytest.warns(DataWarning) as said:
        fc.forecast(short, **OPTIONS | {"regressions": "lightgbm"})
    assert any("lightgbm was not fitted" in str(one.message) for one in said)


def test_ridge_that_fails_is_named_and_stops_the_run_where_it_fails_for_most(
    rows: pl.DataFrame, monkeypatch: Any
) -> None:
    from forecasting.classical import ridge

    usual = ridge._forecast

    def fails_for(levels: tuple[float, ...]) -> Any:
        def forecast(y_N: Any, *others: Any) -> Any:
            if np.isclose(np.median(y_N), levels).any():
                raise np.linalg.LinAlgError("Eigenvalues did not converge")
            return usual(y_N, *others)

        return forecast

    options = OPTIONS | {"regressions": "ridge"}
    medians = rows.group_by("unique_id").agg(pl.col("y").median()).sort("unique_id")["y"].to_list()
    monkeypatch.setattr(ridge, "_forecast", fails_for((medians[0],)))
    with pytest.warns(DataWarning, match="ridge has no forecast of 1 of 3 series that are long enough, such as 'east'"):
        fc.forecast(rows, **options)
    monkeypatch.setattr(ridge, "_forecast", fails_for((medians[0], medians[1])))
    with pytest.raises(SourceError, match="ridge has no forecast of 2 of 3 series"):
        fc.forecast(rows, **options)
