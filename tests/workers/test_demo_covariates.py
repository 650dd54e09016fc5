"""What the demo reports about covariates: forecasts that are kept, scores and words."""

import inspect
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import forecasting as fc
from forecasting.datasets import bike_sharing
from workers import demo_covariates
from workers.demo_covariates import (
    COVARIATES,
    WITH,
    WITHOUT,
    backtest_bikes,
    describe_gain,
    keep_forecasts,
    read_forecasts,
    score_gains,
)

REAL = fc.backtest
CUTOFF = datetime(2012, 12, 29, 23)


def backtest_of(factor: float) -> pl.DataFrame:
    """Rows of a backtest whose champion is off by a share of the measurement, and its naive by one half."""
    actual = pl.read_parquet(bike_sharing()).filter(pl.col("ds") > CUTOFF).select("unique_id", "ds", "y")
    rows = actual.with_columns(cutoff=pl.lit(CUTOFF), step=pl.int_range(1, pl.len() + 1))
    parts = [
        rows.with_columns(model=pl.lit(model), is_champion=pl.lit(is_champion), forecast=pl.col("y") * scale)
        for model, is_champion, scale in (("combination", True, factor), ("seasonal_naive_24", False, 0.5))
    ]
    found = pl.concat(parts)
    return found.with_columns(q10=pl.col("forecast") - 1, q50=pl.col("forecast"), q90=pl.col("forecast") + 1)


@pytest.fixture
def forecasts() -> pl.DataFrame:
    named = [(WITH, 0.9), (WITHOUT, 0.8)]
    return pl.concat([backtest_of(factor).with_columns(covariates=pl.lit(name)) for name, factor in named])


@pytest.mark.parametrize("covariates", [(), COVARIATES])
def test_backtest_sees_the_covariates_and_nothing_else(
    covariates: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def backtest(frame: pl.DataFrame, **options: Any) -> pl.DataFrame:
        inspect.signature(REAL).bind(frame, **options)
        seen.update(options, columns=frame.columns)
        return frame

    monkeypatch.setattr(demo_covariates.fc, "backtest", backtest)
    backtest_bikes(covariates)
    assert seen["columns"] == ["unique_id", "ds", "y", *covariates]
    assert seen["known_ahead"] == (covariates or None)


def test_forecasts_are_found_again_by_the_same_code_alone(
    forecasts: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_forecasts(forecasts, tmp_path)
    found = read_forecasts(tmp_path)
    assert found is not None
    assert found.equals(forecasts)
    assert read_forecasts(tmp_path / "elsewhere") is None
    monkeypatch.setattr(demo_covariates, "code_version", lambda: "other")
    assert read_forecasts(tmp_path) is None


def test_file_that_is_cut_off_is_forecast_again(forecasts: pl.DataFrame, tmp_path: Path) -> None:
    keep_forecasts(forecasts, tmp_path)
    path = tmp_path / demo_covariates.FORECASTS
    path.write_bytes(path.read_bytes()[:100])
    assert read_forecasts(tmp_path) is None


def test_scores_are_mase_of_the_daily_naive_over_what_each_window_knew(forecasts: pl.DataFrame) -> None:
    scores = score_gains(forecasts)
    assert scores["forecast"].to_list() == [WITH, WITHOUT, "seasonal_naive_24"]
    y_of = dict(pl.read_parquet(bike_sharing()).select("ds", "y").iter_rows())
    changes = [
        abs(y - y_of[ds - timedelta(days=1)])
        for ds, y in y_of.items()
        if ds <= CUTOFF and ds - timedelta(days=1) in y_of
    ]
    mean = sum(y for ds, y in y_of.items() if ds > CUTOFF) / sum(ds > CUTOFF for ds in y_of)
    scale = sum(changes) / len(changes)
    assert scores["mase"].to_list() == pytest.approx([0.1 * mean / scale, 0.2 * mean / scale, 0.5 * mean / scale])


def test_gain_is_said_with_its_sign_and_with_what_it_assumes() -> None:
    better, worse = (
        describe_gain(pl.DataFrame({"forecast": [WITH, WITHOUT], "mase": [mase, 1.0]})) for mase in (0.75, 1.25)
    )
    assert "lower MASE by 25%" in better
    assert "raise MASE by 25%" in worse
    assert "Measured weather stands for its forecast" in better
