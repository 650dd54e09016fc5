"""Estimate from backtests how a model's errors are correlated over the steps of the horizon.

A forecast's quantiles describe each step separately. Backtests show the joint distribution (a Gaussian copula): each
actual becomes a normal score, by its place among its forecast's quantiles, and the scores of all the fleet's forecasts
by one model are correlated between steps. Sample correlations are shrunk towards a level and an exponential decay, more
the fewer forecasts there are (Schäfer & Strimmer 2005). Sums add up over shards, exactly, because scores are whole
numbers.
"""

# R forecasts, of one model · F horizon steps · Q quantiles · L lags, from 1 · P pairs of steps

from collections.abc import Iterable, Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.schemas import table
from forecasting.spec.quantiles import quantile_column

PARTS_PER_SCORE = 64
"""Scores are rounded to whole multiples of this part of a standard deviation."""
MOST_SCORE = 3.0
"""Largest absolute score, which limits the influence of one outlier."""
DECAYS = np.concatenate([np.arange(0, 0.9, 0.02), 1 - np.geomspace(0.1, 1e-4, 60)])
"""Candidates for the ratio of the correlations at two successive lags; the best fit is used."""
MOST_LEVEL = 0.999
LEAST_VARIANCE = 1e-6
"""Smallest eigenvalue of a matrix of correlations."""

SUMS = {
    "model": pl.String(),
    "step": pl.Int32(),
    "products": pl.List(pl.Int64()),
    "num_pairs": pl.List(pl.Int64()),
}
CORRELATIONS = table("correlations").row_schema("timestamp")

Floats = npt.NDArray[np.float64]


def normal_scores(y_RF: Floats, quantiles_RFQ: Floats, *, quantiles: Sequence[float]) -> Floats:
    """Return the normal scores of actuals by their place among their forecast's quantiles.

    Between two quantiles, scores are linear in y. Beyond the outermost one, they follow the normal distribution with
    the median and that quantile. Where y equals several quantiles (counts), its score is that of their middle.

    Args:
        y_RF: Actuals, NaN where unknown.
        quantiles_RFQ: Forecasts, rising along Q.
        quantiles: Their levels; must hold 0.5.

    Returns:
        Scores (R, F), in standard deviations. NaN for a point without an actual, and on a side of zero width.
    """
    levels_Q, middle = np.asarray(quantiles), list(quantiles).index(0.5)
    scores_Q, last = np.array([_score(level) for level in levels_Q]), len(levels_Q) - 1
    lowest_RF, median_RF, highest_RF = (quantiles_RFQ[..., place] for place in (0, middle, last))
    below_RF, up_to_RF = ((compare(quantiles_RFQ, y_RF[..., None])).sum(-1) for compare in (np.less, np.less_equal))
    left_RF, right_RF = np.clip(below_RF - 1, 0, last), np.clip(below_RF, 0, last)
    start_RF, end_RF = (
        np.take_along_axis(quantiles_RFQ, place_RF[..., None], axis=-1)[..., 0] for place_RF in (left_RF, right_RF)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        part_RF = (y_RF - start_RF) / (end_RF - start_RF)
        score_RF = scores_Q[left_RF] + part_RF * (scores_Q[right_RF] - scores_Q[left_RF])
        low_RF = (y_RF - median_RF) * scores_Q[0] / (lowest_RF - median_RF)
        high_RF = (y_RF - median_RF) * scores_Q[last] / (highest_RF - median_RF)
    score_RF = np.where(up_to_RF == 0, low_RF, np.where(below_RF > last, high_RF, score_RF))
    score_RF = np.where(up_to_RF > below_RF, _middles(levels_Q)[below_RF, up_to_RF], score_RF)
    has_width_RF = ((y_RF <= median_RF) & (lowest_RF < median_RF)) | ((y_RF >= median_RF) & (highest_RF > median_RF))
    return np.where(has_width_RF & np.isfinite(score_RF), score_RF, np.nan)


def count_products(comparison: pl.DataFrame, *, quantiles: Sequence[float], horizon: int) -> pl.DataFrame:
    """Add up, by model, the products of the normal scores of each two steps of the same forecast.

    Scores are about the median, not about their own mean: an error that the whole fleet has in common is one that
    steps share.

    Args:
        comparison: One row per point of the whole horizon of each forecast: `unique_id, model, origin, ds, y` and the
            quantile columns.
        quantiles: The quantiles that it has columns for.
        horizon: Steps of each forecast.

    Returns:
        One row per `model` and `step`, with lists over the other step: the sum of `products`, and its `num_pairs`.
    """
    parts = [pl.DataFrame(schema=SUMS)]
    for model in comparison["model"].unique().sort():  # one at a time, for a sorted copy of all would be large
        points = comparison.filter(pl.col("model") == model).sort("unique_id", "origin", "ds")
        y_RF = points["y"].fill_null(np.nan).to_numpy().reshape(-1, horizon)
        columns = [points[quantile_column(q)].to_numpy().reshape(-1, horizon) for q in quantiles]
        score_RF = normal_scores(y_RF, np.stack(columns, axis=-1), quantiles=quantiles)
        is_known_RF = np.isfinite(score_RF)
        whole_RF = np.rint(np.where(is_known_RF, score_RF, 0.0).clip(-MOST_SCORE, MOST_SCORE) * PARTS_PER_SCORE)
        known_RF = is_known_RF.astype(np.float64)  # exact, as sums of whole numbers are up to 2^53
        parts.append(_lay_out(model, products=whole_RF.T @ whole_RF, num_pairs=known_RF.T @ known_RF))
    return pl.concat(parts)


def find_correlations(sums: Iterable[pl.DataFrame], *, horizon: int) -> pl.DataFrame:
    """Return the correlations of the errors of each two steps, by model.

    Args:
        sums: Rows of `count_products` of each shard.
        horizon: Steps of each forecast.

    Returns:
        Rows of the table `correlations`, sorted. The matrix of a model is positive definite; `num_forecasts` is the
        number of forecasts behind it, `shrinkage` the share of the level and decay in it. A model without any pair of
        scores has no rows.
    """
    parts = [pl.DataFrame(schema=CORRELATIONS)]
    for model, (products_FF, num_pairs_FF) in sorted(_add_up(sums, horizon).items()):
        is_pair_FF = (num_pairs_FF > 0) & ~np.eye(horizon, dtype=bool)
        if not is_pair_FF.any():
            continue
        num_forecasts = int(num_pairs_FF.max())
        sample_FF = _correlate(products_FF, num_pairs_FF)
        smooth_FF = _smooth(sample_FF, np.where(is_pair_FF, num_pairs_FF, 0))
        shrinkage = _shrinkage(sample_FF[is_pair_FF], smooth_FF[is_pair_FF], num_pairs_FF[is_pair_FF])
        share_FF = np.where(is_pair_FF, shrinkage, 1.0)
        matrix_FF = _positive(share_FF * smooth_FF + (1 - share_FF) * sample_FF)
        parts.append(
            pl.DataFrame(
                {
                    "model": [model] * horizon,
                    "step": range(1, horizon + 1),
                    "correlations": list(matrix_FF),
                    "num_forecasts": [num_forecasts] * horizon,
                    "shrinkage": [shrinkage] * horizon,
                },
                schema=CORRELATIONS,
            )
        )
    return pl.concat(parts)


def _lay_out(model: str, *, products: Floats, num_pairs: Floats) -> pl.DataFrame:
    horizon = len(products)
    return pl.DataFrame(
        {
            "model": [model] * horizon,
            "step": range(1, horizon + 1),
            "products": list(products.astype(np.int64)),
            "num_pairs": list(num_pairs.astype(np.int64)),
        },
        schema=SUMS,
    )


def _add_up(sums: Iterable[pl.DataFrame], horizon: int) -> dict[str, tuple[Floats, Floats]]:
    """Return products and numbers of pairs of each model, with one shard in memory at a time."""
    totals: dict[str, tuple[Floats, Floats]] = {}
    for shard in sums:
        for (model,), rows in shard.sort("model", "step").group_by("model", maintain_order=True):
            nothing = np.zeros((horizon, horizon)), np.zeros((horizon, horizon))
            for name, total_FF in zip(("products", "num_pairs"), totals.setdefault(str(model), nothing), strict=True):
                total_FF += rows[name].explode().to_numpy().reshape(horizon, horizon)
    return totals


def _correlate(products_FF: Floats, num_pairs_FF: Floats) -> Floats:
    """Return sample correlations about zero; they are 0 where all scores of a step are."""
    mean_FF = products_FF / np.maximum(num_pairs_FF, 1)
    scale_F = np.sqrt(np.diag(mean_FF))
    scale_FF = scale_F[:, None] * scale_F[None, :]
    ratio_FF = np.divide(mean_FF, scale_FF, out=np.zeros_like(mean_FF), where=scale_FF > 0)
    sample_FF: Floats = ratio_FF.clip(-1, 1)
    np.fill_diagonal(sample_FF, 1.0)
    return sample_FF


def _smooth(sample_FF: Floats, num_pairs_FF: Floats) -> Floats:
    """Fit a level and an exponential decay to sample correlations, weighted by their numbers of pairs."""
    horizon = len(sample_FF)
    lag_FF = np.abs(np.subtract.outer(np.arange(horizon), np.arange(horizon)))
    num_L = np.bincount(lag_FF.ravel(), num_pairs_FF.ravel())[1:]
    sum_L = np.bincount(lag_FF.ravel(), (num_pairs_FF * sample_FF).ravel())[1:]
    mean_L = sum_L / np.maximum(num_L, 1)
    best = (np.inf, 0.0, 0.0)
    for decay in DECAYS:
        shape_L = decay ** np.arange(1, horizon)
        away_L = 1 - shape_L  # level + (1 - level) * shape is shape + level * away
        weight = (num_L * away_L**2).sum()
        level = float(np.clip((num_L * away_L * (mean_L - shape_L)).sum() / weight, 0.0, MOST_LEVEL))
        loss = float((num_L * (shape_L + level * away_L - mean_L) ** 2).sum())
        best = min(best, (loss, float(decay), level))
    _, decay, level = best
    return level + (1 - level) * np.asarray(decay, dtype=np.float64) ** lag_FF


def _shrinkage(sample_P: Floats, smooth_P: Floats, num_pairs_P: Floats) -> float:
    """Return the share of the smooth correlations: the samples' variance over their squared distance from these.

    The variance is taken at the smooth correlations. At those of a single forecast, which are 1 or -1, it would be 0.
    """
    variance = ((1 - smooth_P**2) ** 2 / num_pairs_P).sum()
    distance = ((sample_P - smooth_P) ** 2).sum()
    return float(min(1.0, variance / distance)) if distance > 0 else 1.0


def _positive(matrix_FF: Floats) -> Floats:
    """Raise eigenvalues to `LEAST_VARIANCE`: gaps can make a matrix of pairwise correlations indefinite."""
    values_F, vectors_FF = np.linalg.eigh((matrix_FF + matrix_FF.T) / 2)
    if values_F[0] < LEAST_VARIANCE:
        matrix_FF = (vectors_FF * np.maximum(values_F, LEAST_VARIANCE)) @ vectors_FF.T
        scale_F = np.sqrt(np.diag(matrix_FF))
        matrix_FF = matrix_FF / (scale_F[:, None] * scale_F[None, :])
    return (matrix_FF + matrix_FF.T) / 2


def _middles(levels: Floats) -> Floats:
    """Return the score of y by the number of quantiles below it, and of those not above it."""
    num = len(levels)
    result = np.full((num + 1, num + 1), np.nan)
    for below in range(num):
        for up_to in range(below + 1, num + 1):
            is_alone = up_to == below + 1
            low = 0.0 if below == 0 and not is_alone else levels[below]
            high = 1.0 if up_to == num and not is_alone else levels[up_to - 1]
            result[below, up_to] = _score((low + high) / 2)
    return result


def _score(level: float) -> float:
    return NormalDist().inv_cdf(float(level))
