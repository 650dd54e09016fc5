"""Score forecasts against their actuals, one row per series and model.

The losses are those of utilsforecast. They differ from it, or from M4 (Makridakis et al., "The M4 Competition: 100,000
time series and 61 forecasting methods", 2020), as follows:

- `smape` is M4's: the mean of 200 |y - f| / (|y| + |f|), from 0 to 200. utilsforecast returns the fraction
  |y - f| / (|y| + |f|), so ours is 200 times it. Where y and f are both 0, a forecast without an error, the term is 0;
  M4 leaves it undefined, and none of its series holds a zero.
- `mase` is M4's: the mean absolute error over the in-sample mean absolute difference of one season (`seasonal_scale`).
  Gaps are left out pairwise, which changes nothing where there are none. A series that is too short for its season has
  the difference of one step (`step_scale`), and `scaled_by_step` marks it; M4 has no such series.
- `quantile_loss_sum` and `wql` are those of GIFT-Eval: twice the pinball loss, mean over the nine deciles, summed over
  points; `wql` is that over the sum of |y|. Where a decile is missing, the mean is over all quantiles.
- `msis` is M4's: the mean interval score of the 95 % interval (Gneiting and Raftery, "Strictly proper scoring rules,
  prediction, and estimation", 2007; utilsforecast calls it Winkler's) over the scale of `mase`.
- `naive2_mase` and `naive2_smape` are those of Naive2 at the same points, which the OWA divides by.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from utilsforecast import losses

from forecasting.schemas import SCORES
from forecasting.series.panel import Panel
from forecasting.spec.quantiles import quantile_column

METRICS = tuple(column.name for column in SCORES)
INTERVALS = {80: (0.1, 0.9), 95: (0.025, 0.975)}
"""Central intervals whose coverage is measured: level in percent, and the quantiles that bound it."""
DECILES = tuple(tenth / 10 for tenth in range(1, 10))

_GROUP = "group"
_FORECAST = "forecast"
_NAIVE2 = "naive2"
_LEVEL_OF_MSIS = 95


def score_forecasts(
    comparison: pl.DataFrame, *, quantiles: Sequence[float], scale: pl.DataFrame | str = "scale", by: Sequence[str] = ()
) -> pl.DataFrame:
    """Score every series and model over the points that have an actual and a forecast.

    Args:
        comparison: One row per point: `unique_id, model, y, forecast`, the columns of `quantiles` and those of `by`;
            points whose `y` or `forecast` is null or NaN are left out. An optional column `naive2` is the forecast of
            Naive2; a group that lacks it at a compared point has no `naive2_mase` and `naive2_smape`.
        quantiles: The quantiles that `comparison` has columns for; scores that need others are null.
        scale: The denominators of MASE and MSIS: the name of a column of `comparison`, or a frame with a column `scale`
            and with some or all of `unique_id` and `by` to join on. Where it is null, NaN or zero, both are null. A
            column `scaled_by_step` beside it is returned.
        by: Further columns that separate groups, such as `origin`.

    Returns:
        One row per (`unique_id`, `model`, *`by`), sorted, with the score columns of the tables `backtests` and `scores`
        (`METRICS`). A group without any compared point has `num_points` 0 and nulls.
    """
    keys = ["unique_id", "model", *by]
    yardstick = pl.col(_NAIVE2) if _NAIVE2 in comparison.columns else pl.lit(None, pl.Float64).alias(_NAIVE2)
    values = comparison.select(*keys, "y", _FORECAST, yardstick, *(quantile_column(q) for q in quantiles))
    if isinstance(scale, str):
        marks = comparison["scaled_by_step"] if "scaled_by_step" in comparison.columns else pl.lit(False)
        rows = values.with_columns(scale=comparison[scale], scaled_by_step=marks)
    else:
        marked = scale if "scaled_by_step" in scale.columns else scale.with_columns(scaled_by_step=pl.lit(False))
        shared = [name for name in marked.columns if name not in ("scale", "scaled_by_step")]
        rows = values.join(marked, on=shared, how="left")
    groups = rows.group_by(keys).agg(pl.col("scale", "scaled_by_step").first()).sort(keys).with_row_index(_GROUP)
    points = rows.join(groups.select(_GROUP, *keys), on=keys, nulls_equal=True).filter(
        pl.col("y").is_not_null(),
        pl.col("y").is_not_nan(),
        pl.col(_FORECAST).is_not_null(),
        pl.col(_FORECAST).is_not_nan(),
    )
    scored = groups
    for metric in _metrics_of(points, quantiles):
        scored = scored.join(metric, on=_GROUP, how="left")
    return scored.select(
        *keys,
        pl.col("num_points").fill_null(0).cast(pl.Int32),
        "mae",
        _scaled("mae").alias("mase"),
        pl.when(_scaled("mae").is_not_null()).then("scaled_by_step").alias("scaled_by_step"),
        pl.col("smape") * 200,
        "bias",
        _finite(pl.col("mean_quantile_loss") * 2 * pl.col("num_points")).alias("quantile_loss_sum"),
        "abs_y_sum",
        _finite(pl.col("mean_quantile_loss") * 2 * pl.col("num_points") / pl.col("abs_y_sum")).alias("wql"),
        _scaled("interval_score").alias("msis"),
        "coverage_80",
        "coverage_95",
        _scaled("naive2_mae").alias("naive2_mase"),
        _finite(pl.col("naive2_smape") * 200),
    )


def seasonal_scale(panel: Panel, *, season_length: int) -> npt.NDArray[np.float64]:
    """Return MASE's denominator of every series: its mean absolute difference over one season.

    Source: Hyndman and Koehler, "Another look at measures of forecast accuracy" (2006), with the season of M4. Pairs
    with a gap are left out.

    Args:
        panel: The series, in units of y.
        season_length: Grid points of a season.

    Returns:
        Scales (S,) in units of y. NaN, so that MASE is undefined, where no pair is left (the series is too short for a
        season), where all differences are zero (it is constant, or repeats exactly), and where their sum overflows.
    """
    scale_S, _ = _mean_change(panel, season_length)
    return scale_S


def step_scale(panel: Panel, *, season_length: int) -> npt.NDArray[np.float64]:
    """Return MASE's denominator of series too short for their season: their mean absolute difference of one step.

    Args:
        panel: The series, in units of y.
        season_length: Grid points of a season.

    Returns:
        Scales (S,) in units of y. NaN for a series that has two measurements a season apart, and where the differences
        of one step are all zero or there is none.
    """
    _, num_pairs_S = _mean_change(panel, season_length)
    scale_S, _ = _mean_change(panel, 1)
    return np.where(num_pairs_S == 0, scale_S, np.nan)


def _mean_change(panel: Panel, lag: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return the mean absolute difference of each series over a lag, NaN where undefined, and its number of pairs."""
    if panel.y_SN.shape[1] <= lag:
        return np.full(len(panel.unique_ids), np.nan), np.zeros(len(panel.unique_ids), np.int64)
    with np.errstate(over="ignore"):
        change_SN = np.abs(panel.y_SN[:, lag:] - panel.y_SN[:, :-lag])
        num_pairs_S = np.count_nonzero(~np.isnan(change_SN), axis=1)
        scale_S = np.nansum(change_SN, axis=1) / np.maximum(num_pairs_S, 1)
    return np.where((scale_S > 0) & np.isfinite(scale_S), scale_S, np.nan), num_pairs_S


def overall_weighted_average(*, smape: float, mase: float, naive2_smape: float, naive2_mase: float) -> float:
    """Return M4's OWA of a method from means over a whole set: its sMAPE and its MASE, each over Naive2's, averaged."""
    return (smape / naive2_smape + mase / naive2_mase) / 2


def _metrics_of(points: pl.DataFrame, quantiles: Sequence[float]) -> list[pl.DataFrame]:
    """Compute one frame per metric, keyed by group; utilsforecast takes a group for a series, so one call does all."""
    model = [_FORECAST]
    yardstick = points.select(_GROUP, "y", pl.col(_NAIVE2).fill_null(math.nan).alias(_FORECAST))
    weighed = _deciles_or_all(quantiles)
    metrics = [
        points.group_by(_GROUP).agg(num_points=pl.len(), abs_y_sum=pl.col("y").abs().sum()),
        _named("mae", losses.mae(points, model, id_col=_GROUP)),
        _named("smape", losses.smape(points, model, id_col=_GROUP)),
        _named("bias", losses.bias(points, model, id_col=_GROUP)),
        _named("naive2_mae", losses.mae(yardstick, model, id_col=_GROUP)),
        _named("naive2_smape", losses.smape(yardstick, model, id_col=_GROUP)),
        _named(
            "mean_quantile_loss",
            losses.mqloss(points, {_FORECAST: [quantile_column(q) for q in weighed]}, np.array(weighed), id_col=_GROUP),
        ),
    ]
    for level in INTERVALS:
        bounded = _bounded(points, quantiles, level)
        metrics.append(_named(f"coverage_{level}", losses.coverage(bounded, model, level, id_col=_GROUP)))
    interval = _bounded(points, quantiles, _LEVEL_OF_MSIS)
    metrics.append(_named("interval_score", losses.winkler_score(interval, model, _LEVEL_OF_MSIS, id_col=_GROUP)))
    return metrics


def _deciles_or_all(quantiles: Sequence[float]) -> list[float]:
    by_column = {quantile_column(q): q for q in quantiles}
    deciles = [by_column[name] for name in map(quantile_column, DECILES) if name in by_column]
    return deciles if len(deciles) == len(DECILES) else list(quantiles)


def _bounded(points: pl.DataFrame, quantiles: Sequence[float], level: int) -> pl.DataFrame:
    """Return the bounds of an interval in utilsforecast's columns; null where the quantiles lack them."""
    bounds = INTERVALS[level]
    nothing = pl.lit(None, pl.Float64)
    low, high = (pl.col(quantile_column(q)) if set(bounds) <= set(quantiles) else nothing for q in bounds)
    return points.select(_GROUP, "y", low.alias(f"{_FORECAST}-lo-{level}"), high.alias(f"{_FORECAST}-hi-{level}"))


def _named(name: str, metric: pl.DataFrame) -> pl.DataFrame:
    return metric.select(_GROUP, pl.col(_FORECAST).alias(name))


def _scaled(name: str) -> pl.Expr:
    return _finite(pl.col(name) / pl.col("scale"))


def _finite(value: pl.Expr) -> pl.Expr:
    return pl.when(value.is_finite()).then(value)
