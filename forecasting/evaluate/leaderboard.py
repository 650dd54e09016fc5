"""Rank models over many series, from rows of `backtests` or `scores`.

Every mean has its standard error over series. That of a ratio of sums over series is the first-order Taylor
approximation: the standard error of the mean of numerator - ratio * denominator, over the mean denominator (Cochran,
"Sampling Techniques", 1977, section 6.4). Where all denominators are equal, it is the standard error of a mean.
"""

import polars as pl

CHAMPION = "champion"
"""Name of the leaderboard's row that takes the champion of each series."""
SCORES = ("mase", "smape", "owa", "wql", "msis", "coverage_80", "coverage_95", "bias")
"""The scores of the leaderboard; the standard error of each is in a column that ends in `_se`."""

_PER_SERIES = ("mase", "smape", "msis")
_PER_POINT = ("coverage_80", "coverage_95", "bias")
_OF_OWA = ("mase", "smape", "naive2_mase", "naive2_smape")
_COUNTS = ("num_scaled", "num_scaled_by_step")
_SERIES = ["unique_id", "model"]


def leaderboard(scores: pl.DataFrame, champions: pl.DataFrame | None) -> pl.DataFrame:
    """Rank models by their mean MASE over series, best first, with a row `champion` for the champions.

    Every series counts once: its MASE, sMAPE and MSIS are means over its rows (origins or past forecasts), weighted by
    `num_points`. Rows without any compared point are left out.

    Args:
        scores: Rows of `backtests` or `scores`.
        champions: The champion of each series (`unique_id`, `model`). None takes the rows of `scores` that have
            `is_champion`; without such a column, the row `champion` is absent.

    Returns:
        One row per model: `model`; `num_series` that were scored and `num_points`; `num_scaled`, the series that have a
        MASE, and `num_scaled_by_step`, those of them that are too short for a season; `share_served`, the share of
        series whose champion it is (null where it is unknown); then `SCORES`, each with its standard error. `mase`,
        `smape` and `msis` are means over series. `owa` is as in M4, the mean of sMAPE's and MASE's ratio to Naive2's,
        over the rows that have all four. `wql` is the sum of quantile losses over that of |y|. `coverage_80`,
        `coverage_95` and `bias` are means over points, the bias in units of y. Undefined values are null, never NaN; so
        is the standard error of a single series. A champion that was never scored has `num_series` 0.
    """
    compared = scores.filter(pl.col("num_points") > 0).with_columns(pl.col("num_points").cast(pl.Int64))
    compared = compared.with_columns(pl.col(pl.Float64).fill_nan(None))
    if "scaled_by_step" not in compared.columns:
        compared = compared.with_columns(scaled_by_step=pl.lit(False))
    served = _served_rows(compared, champions)
    board = _summarise(compared)
    if served is not None:
        board = pl.concat([board, _summarise(served.with_columns(model=pl.lit(CHAMPION)))])
    return (
        board.join(_shares_served(compared, champions), on="model", how="full", coalesce=True)
        .with_columns(
            share_served=pl.lit(None, pl.Float64)
            if served is None
            else pl.when(pl.col("model") == CHAMPION).then(1.0).otherwise(pl.col("share_served").fill_null(0.0))
        )
        .with_columns(pl.col("num_series", "num_points", *_COUNTS).fill_null(0))
        .select(
            "model",
            "num_series",
            "num_points",
            *_COUNTS,
            "share_served",
            *(c for name in SCORES for c in (name, f"{name}_se")),
        )
        .sort("mase", "model", nulls_last=True)
    )


def _served_rows(compared: pl.DataFrame, champions: pl.DataFrame | None) -> pl.DataFrame | None:
    if champions is not None:
        return compared.join(champions.select(_SERIES), on=_SERIES, how="semi")
    return compared.filter("is_champion") if "is_champion" in compared.columns else None


def _shares_served(compared: pl.DataFrame, champions: pl.DataFrame | None) -> pl.DataFrame:
    """Return the share of series of each champion; a series with several champions in turn counts in parts."""
    if champions is not None:
        served = champions.select(_SERIES)
    elif "is_champion" in compared.columns:
        served = compared.filter("is_champion").select(_SERIES)
    else:
        served = pl.DataFrame(schema={"unique_id": pl.String(), "model": pl.String()})
    return served.group_by("model").agg(share_served=pl.len() / max(served.height, 1))


def _summarise(compared: pl.DataFrame) -> pl.DataFrame:
    has_owa = pl.all_horizontal(pl.col(name).is_not_null() for name in _OF_OWA)
    by_series = compared.group_by(_SERIES).agg(
        pl.col("num_points", "quantile_loss_sum", "abs_y_sum").sum(),
        pl.col("scaled_by_step").any(),
        *(_weighted_mean(pl.col(name)).alias(name) for name in _PER_SERIES),
        *(_weighted_mean(pl.when(has_owa).then(name)).alias(f"owa_{name}") for name in _OF_OWA),
        *((pl.col(name) * pl.col("num_points")).sum().alias(f"{name}_sum") for name in _PER_POINT),
        *(pl.col("num_points").filter(pl.col(name).is_not_null()).sum().alias(f"{name}_num") for name in _PER_POINT),
    )
    return by_series.group_by("model").agg(
        pl.len().alias("num_series"),
        pl.col("num_points").sum(),
        pl.col("mase").count().alias("num_scaled"),
        (pl.col("scaled_by_step").fill_null(False) & pl.col("mase").is_not_null()).sum().alias("num_scaled_by_step"),
        *(pl.col(name).mean() for name in _PER_SERIES),
        *(_error_of_mean(pl.col(name)).alias(f"{name}_se") for name in _PER_SERIES),
        _ratio(pl.col("quantile_loss_sum"), pl.col("abs_y_sum")).alias("wql"),
        _error_of_ratio(pl.col("quantile_loss_sum"), pl.col("abs_y_sum")).alias("wql_se"),
        *(_ratio(pl.col(f"{name}_sum"), pl.col(f"{name}_num")).alias(name) for name in _PER_POINT),
        *(_error_of_ratio(pl.col(f"{name}_sum"), pl.col(f"{name}_num")).alias(f"{name}_se") for name in _PER_POINT),
        *_overall_weighted_average(),
    )


def _overall_weighted_average() -> tuple[pl.Expr, pl.Expr]:
    """Return the average of the two ratios of means, and its standard error from their sum for each series."""
    pairs = [(pl.col(f"owa_{name}"), pl.col(f"owa_naive2_{name}")) for name in ("mase", "smape")]
    owa = sum((_ratio(ours, naive2) for ours, naive2 in pairs), start=pl.lit(0.0)) / 2
    excess = sum((_excess(ours, naive2) for ours, naive2 in pairs), start=pl.lit(0.0)) / 2
    return owa.alias("owa"), _error_of_mean(excess).alias("owa_se")


def _weighted_mean(score: pl.Expr) -> pl.Expr:
    """Average by compared points, without rows whose score is null."""
    num_points = pl.col("num_points")
    return _ratio(score * num_points, num_points.filter(score.is_not_null()))


def _ratio(above: pl.Expr, below: pl.Expr) -> pl.Expr:
    return pl.when(below.sum() > 0).then(above.sum() / below.sum())


def _error_of_mean(values: pl.Expr) -> pl.Expr:
    return values.std() / values.count().sqrt()


def _error_of_ratio(above: pl.Expr, below: pl.Expr) -> pl.Expr:
    return _error_of_mean(_excess(above, below))


def _excess(above: pl.Expr, below: pl.Expr) -> pl.Expr:
    """Return each series' numerator minus ratio times denominator, over the mean denominator; its mean is 0."""
    return pl.when(below.sum() > 0).then((above - _ratio(above, below) * below) / below.mean())
