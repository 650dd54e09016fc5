"""Scores of many series (`backtests` or `scores`) go in; one row per model, and one for the champions, comes out."""

import polars as pl

CHAMPION = "champion"
"""The row of the leaderboard that takes for each series the model that serves it."""

_PER_POINT = ("coverage_80", "coverage_95", "bias")
_PER_SERIES = ("mase", "smape")
_SERIES = ["unique_id", "model"]


def leaderboard(scores: pl.DataFrame, champions: pl.DataFrame | None) -> pl.DataFrame:
    """Rank models by their mean MASE over series, best first, with a row `champion` for what serves.

    Every series counts once: its MASE and sMAPE are means over its rows (origins or past forecasts), weighted by
    `num_points`. The champion of a series is its row in `champions` (`unique_id`, `model`); where that is None, it is
    the rows of `scores` that have `is_champion`, and without such a column there is no champion's row. Rows in which
    nothing could be compared are left out; a model that serves without having been scored has `num_series` 0.

    Returns:
        `model`; `num_series` that were scored and `num_points`; `share_served`, the share of series that the model
        serves (of `champions`, null where it is unknown); `mase` with `mase_se`, the standard error of the mean over
        series; `smape`; `wql`, the sum of quantile losses over that of |y|; `coverage_80`, `coverage_95` and `bias` as
        means over points, the bias in units of y.
    """
    compared = scores.filter(pl.col("num_points") > 0).with_columns(pl.col("num_points").cast(pl.Int64))
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
        .with_columns(pl.col("num_series", "num_points").fill_null(0))
        .select("model", "num_series", "num_points", "share_served", "mase", "mase_se", "smape", "wql", *_PER_POINT)
        .sort("mase", "model", nulls_last=True)
    )


def _served_rows(compared: pl.DataFrame, champions: pl.DataFrame | None) -> pl.DataFrame | None:
    if champions is not None:
        return compared.join(champions.select(_SERIES), on=_SERIES, how="semi")
    return compared.filter("is_champion") if "is_champion" in compared.columns else None


def _shares_served(compared: pl.DataFrame, champions: pl.DataFrame | None) -> pl.DataFrame:
    """Count what each model serves; a series that several models served in turn counts in parts."""
    if champions is not None:
        served = champions.select(_SERIES)
    elif "is_champion" in compared.columns:
        served = compared.filter("is_champion").select(_SERIES)
    else:
        served = pl.DataFrame(schema={"unique_id": pl.String(), "model": pl.String()})
    return served.group_by("model").agg(share_served=pl.len() / max(served.height, 1))


def _summarise(compared: pl.DataFrame) -> pl.DataFrame:
    by_series = compared.group_by(_SERIES).agg(
        pl.col("num_points", "quantile_loss_sum", "abs_y_sum").sum(),
        *(_weighted_mean(name) for name in (*_PER_SERIES, *_PER_POINT)),
    )
    return by_series.group_by("model").agg(
        pl.len().alias("num_series"),
        pl.col("num_points").sum(),
        (pl.col("mase").std() / pl.col("mase").count().sqrt()).alias("mase_se"),
        _ratio(pl.col("quantile_loss_sum").sum(), pl.col("abs_y_sum").sum()).alias("wql"),
        *(pl.col(name).mean() for name in _PER_SERIES),
        *(_weighted_mean(name) for name in _PER_POINT),
    )


def _weighted_mean(name: str) -> pl.Expr:
    """Average by points compared; rows where the score is null have no say."""
    weight = pl.col("num_points").filter(pl.col(name).is_not_null())
    return _ratio((pl.col(name) * pl.col("num_points")).sum(), weight.sum()).alias(name)


def _ratio(above: pl.Expr, below: pl.Expr) -> pl.Expr:
    return pl.when(below > 0).then(above / below)
