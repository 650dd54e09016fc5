"""The metrics, the seasonal naive and Naive2 reproduce the published figures of M4 Hourly."""

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from forecasting.classical.baselines import seasonal_naive
from forecasting.classical.naive2 import naive2
from forecasting.evaluate.metrics import overall_weighted_average, score_forecasts, seasonal_scale
from forecasting.series.panel import Panel

SEASON_LENGTH = 24
HORIZON = 48


@pytest.fixture(scope="module")
def m4_hourly() -> tuple[Panel, np.ndarray]:
    """The 414 training series, right-aligned, and the 48 points that follow each."""
    root = os.environ.get("FLEETCAST_BENCHMARK_DATA")
    if not root:
        pytest.skip("FLEETCAST_BENCHMARK_DATA does not name a folder with benchmark data")
    folder = Path(root) / "m4_hourly"
    if not folder.is_dir():
        pytest.skip(f"FLEETCAST_BENCHMARK_DATA holds no folder m4_hourly: {folder}")
    train = pl.read_parquet(folder / "m4_hourly.parquet").sort("unique_id", "ds")
    test = pl.read_parquet(folder / "m4_hourly_test.parquet").sort("unique_id", "ds")
    series = train.group_by("unique_id", maintain_order=True).agg("y")
    length_S = series["y"].list.len().to_numpy().astype(np.int64)
    y_SN = np.full((series.height, length_S.max()), np.nan)
    for row, values in enumerate(series["y"]):
        y_SN[row, -len(values) :] = values.to_numpy()
    num_columns = y_SN.shape[1] + HORIZON
    ds_SN = np.arange(num_columns) - y_SN.shape[1] + 1 + length_S[:, None]
    calendar_SNC = np.zeros((series.height, num_columns, 0), dtype=np.float32)
    panel = Panel(tuple(series["unique_id"]), y_SN, length_S, calendar_SNC, ds_SN, HORIZON)
    assert test["unique_id"].unique(maintain_order=True).to_list() == list(panel.unique_ids)
    return panel, test["y"].to_numpy().reshape(-1, HORIZON)


@pytest.fixture(scope="module")
def means(m4_hourly: tuple[Panel, np.ndarray]) -> dict[str, dict[str, float]]:
    """Mean sMAPE and MASE over the series, by method, from the product's own metrics."""
    panel, actual_SF = m4_hourly
    forecasts = {
        "sNaive": seasonal_naive(panel, season_length=SEASON_LENGTH, quantiles=[0.5])[:, :, 0],
        "Naive2": naive2(panel, season_length=SEASON_LENGTH),
    }
    ids = pl.Series(panel.unique_ids).gather(np.repeat(np.arange(len(panel.unique_ids)), HORIZON))
    comparison = pl.concat(
        pl.DataFrame({"unique_id": ids, "y": actual_SF.ravel(), "forecast": forecast_SF.ravel()}).with_columns(
            model=pl.lit(model), q50=pl.col("forecast")
        )
        for model, forecast_SF in forecasts.items()
    )
    scale_S = seasonal_scale(panel, season_length=SEASON_LENGTH)
    scale = pl.DataFrame({"unique_id": panel.unique_ids, "scale": scale_S})
    scores = score_forecasts(comparison, quantiles=[0.5], scale=scale)
    assert scores["num_points"].unique().to_list() == [HORIZON]
    averages = scores.group_by("model").agg(pl.col("smape", "mase").mean())
    return {row["model"]: row for row in averages.iter_rows(named=True)}


@pytest.mark.parametrize(("method", "smape", "mase"), [("sNaive", 13.912, 1.193), ("Naive2", 18.383, 2.395)])
def test_published_smape_and_mase_are_reproduced_to_three_decimals(
    means: dict[str, dict[str, float]], method: str, smape: float, mase: float
) -> None:
    assert round(means[method]["smape"], 3) == smape
    assert round(means[method]["mase"], 3) == mase


def test_published_msis_and_coverage_of_the_naives_interval_are_reproduced(
    m4_hourly: tuple[Panel, np.ndarray],
) -> None:
    """The organisers' Naive has normal intervals from its one-step errors, widened by the square root of the step."""
    panel, actual_SF = m4_hourly
    variance_S1 = np.nanmean(np.diff(panel.y_SN, axis=1) ** 2, axis=1, keepdims=True)
    half_SF = 1.959964 * np.sqrt(variance_S1 * np.arange(1, HORIZON + 1))
    last_SF = np.broadcast_to(panel.y_SN[:, -1:], half_SF.shape)
    comparison = pl.DataFrame(
        {
            "unique_id": pl.Series(panel.unique_ids).gather(np.repeat(np.arange(len(panel.unique_ids)), HORIZON)),
            "model": "naive",
            "y": actual_SF.ravel(),
            "forecast": last_SF.ravel(),
            "q02_5": (last_SF - half_SF).ravel(),
            "q50": last_SF.ravel(),
            "q97_5": (last_SF + half_SF).ravel(),
        }
    )
    scale = pl.DataFrame({"unique_id": panel.unique_ids, "scale": seasonal_scale(panel, season_length=SEASON_LENGTH)})
    scores = score_forecasts(comparison, quantiles=[0.025, 0.5, 0.975], scale=scale)
    assert scores["msis"].mean() == pytest.approx(71.245, abs=5e-4)
    assert abs(scores["coverage_95"].to_numpy().mean() - 0.95) == pytest.approx(0.011, abs=5e-4)


def test_published_owa_of_the_seasonal_naive_is_reproduced_to_three_decimals(
    means: dict[str, dict[str, float]],
) -> None:
    ours, yardstick = means["sNaive"], means["Naive2"]
    owa = overall_weighted_average(
        smape=ours["smape"], mase=ours["mase"], naive2_smape=yardstick["smape"], naive2_mase=yardstick["mase"]
    )
    assert round(owa, 3) == 0.628
