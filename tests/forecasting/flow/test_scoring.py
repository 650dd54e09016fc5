"""Scores of stored forecasts: their scale, and the points that have arrived."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from forecasting.classical.naive2 import naive2
from forecasting.evaluate.metrics import seasonal_scale
from forecasting.flow.scoring import score
from forecasting.series.ingest import ingest, panel_of
from forecasting.series.panel import Panel
from forecasting.spec.spec import Spec, make_spec

START = datetime(2024, 1, 1)
NUM_POINTS, HORIZON, SEASON = 72, 4, 6
NAMES = ("plain", "plain_too")


def wave(seed: int) -> np.ndarray:
    points = np.arange(NUM_POINTS)
    noise = np.random.default_rng(seed).normal(0, 0.4, NUM_POINTS)
    return 20 + 5 * np.sin(2 * np.pi * points / SEASON + seed) + noise


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    hours = [START + timedelta(hours=hour) for hour in range(NUM_POINTS)]
    rows = pl.concat(
        pl.DataFrame({"unique_id": [name] * NUM_POINTS, "ds": hours, "y": wave(seed)})
        for seed, name in enumerate(NAMES, 1)
    )
    rows.write_parquet(tmp_path / "rows.parquet")
    fields = {"name": "quick", "freq": "1h", "season_lengths": [SEASON], "horizon": HORIZON}
    return make_spec(fields | {"source": {"uri": str(tmp_path / "rows.parquet")}}, subject="the test's spec")


@pytest.fixture
def panel(spec: Spec) -> Panel:
    grown = ingest(spec)
    return panel_of(grown.features, spec, grown.unique_ids, run_cutoff=grown.cutoff)


def forecasts_at(spec: Spec, num_later: dict[str, int]) -> pl.DataFrame:
    """Forecasts of 20 at every step, made so many hours before the end of each series."""
    return pl.DataFrame(
        [
            (name, "lstm", True, cutoff, cutoff + timedelta(hours=step), *[20.0] * (1 + len(spec.quantile_columns)))
            for name, later in num_later.items()
            for cutoff in [START + timedelta(hours=NUM_POINTS - later - 1)]
            for step in range(1, HORIZON + 1)
        ],
        schema=["unique_id", "model", "is_champion", "cutoff", "ds", "forecast", *spec.quantile_columns],
        orient="row",
    )


LAST = START + timedelta(hours=NUM_POINTS - 1)


def test_scores_are_scaled_by_what_each_series_knew_at_its_own_cutoff(spec: Spec, panel: Panel) -> None:
    num_later = {"plain": HORIZON, "plain_too": HORIZON + 2}
    scores = score(panel, forecasts_at(spec, num_later), spec, run_cutoff=LAST)
    rows = {row["unique_id"]: row for row in scores.iter_rows(named=True)}
    for seed, (name, later) in enumerate(num_later.items(), 1):
        known = panel.select(np.array([panel.unique_ids.index(name)])).until(later)
        scale = seasonal_scale(known, season_length=SEASON)[0]
        actual = wave(seed)[NUM_POINTS - later :][:HORIZON]
        assert rows[name]["mase"] == pytest.approx(np.abs(actual - 20).mean() / scale)
        assert rows[name]["msis"] == pytest.approx(40 * np.abs(actual - 20).mean() / scale)
        yardstick = naive2(known, season_length=SEASON)[0]
        assert rows[name]["naive2_mase"] == pytest.approx(np.abs(actual - yardstick).mean() / scale)


def test_score_counts_only_points_that_have_arrived(spec: Spec, panel: Panel) -> None:
    (plain,) = score(panel, forecasts_at(spec, {"plain": 2}), spec, run_cutoff=LAST).iter_rows(named=True)
    assert (plain["model"], plain["is_champion"]) == ("lstm", True)
    assert plain["num_points"] == 2
    assert plain["is_complete"] is False
    assert plain["mae"] == pytest.approx(np.abs(wave(1)[-2:] - 20).mean())
    complete = score(panel, forecasts_at(spec, {"plain": HORIZON}), spec, run_cutoff=LAST)
    assert complete["is_complete"].to_list() == [True]


def test_forecast_of_a_series_that_has_ended_is_complete_two_horizons_after_its_run(spec: Spec, panel: Panel) -> None:
    made = forecasts_at(spec, {"plain": 2})
    made_at = made["cutoff"][0]
    for num_hours, is_complete in ((2 * HORIZON - 1, False), (2 * HORIZON, True)):
        later = made_at + timedelta(hours=num_hours)
        assert score(panel, made, spec, run_cutoff=later)["is_complete"].to_list() == [is_complete]
        of_run = score(
            panel, made, spec, run_cutoff=later + timedelta(hours=5), forecast_run_cutoff=made_at + timedelta(hours=5)
        )
        assert of_run["is_complete"].to_list() == [is_complete]
