"""The share that regressions have in the combination, chosen by each series' own backtests.

A fixed share is wrong for them: where covariates matter, a regression that reads them may be far better than models of
what their effects leave, and elsewhere it is one model among others. The combination is a weighted mean of the
quantiles of the other models' combination and of the regressions. A series' share is the one with the least error over
its backtest origins. It is shrunk: a share far from one half must be clearly better, and the more so, the fewer origins
there are. Regressions that are clearly worse than the others have none: what a few origins say that a mean gains is
small and uncertain, and what it loses when such a regression fails is large.
"""

# S series · F horizon steps · Q quantiles

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.classical.combination import COMBINATION, Quantiles

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
DEFAULT_SHARE = 0.5
"""Share without any backtest."""
SHRINKAGE = 0.1
"""Relative gain in error, at one origin, by which a share of 0 or 1 must be better than one half."""
MOST_EXCESS = 1.25
"""Error of the regressions, over that of the other models, above which they have no share."""
_ORIGIN = ["unique_id", "origin"]


def blend(combined: Quantiles, regression: Quantiles, share_S: npt.NDArray[np.float64] | float) -> Quantiles:
    """Return the mean of two forecasts by the share of the second; each quantile separately.

    Args:
        combined: Forecasts (S, F, Q) of the combination without regressions.
        regression: Forecasts (S, F, Q) of the regressions.
        share_S: Shares of the regressions, (S,) or one for all.

    Returns:
        Quantiles (S, F, Q). A series that only one of both can forecast has that one.
    """
    share_S11 = np.broadcast_to(np.asarray(share_S, dtype=np.float64), len(combined))[:, None, None]
    # Weights of 0 and 1 return the same bits.
    mixed = np.where(share_S11 == 0, combined, (1 - share_S11) * combined + share_S11 * regression)
    mixed = np.where(share_S11 == 1, regression, mixed)
    has_combined_S, has_regression_S = (
        np.asarray(np.isfinite(each).all((1, 2)), dtype=bool) for each in (combined, regression)
    )
    has_combined_S11, has_regression_S11 = has_combined_S[:, None, None], has_regression_S[:, None, None]
    return np.where(has_combined_S11 & has_regression_S11, mixed, np.where(has_combined_S11, combined, regression))


def variants(combined: Quantiles, regression: Quantiles) -> dict[str, Quantiles]:
    """Return the combination at each share, under names of their own, for a backtest to compare.

    Args:
        combined: Forecasts of the combination without regressions.
        regression: Forecasts of the regressions.

    Returns:
        Quantiles by the name of the variant.
    """
    return {_name(share): blend(combined, regression, share) for share in SHARES}


def choose_shares(points: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Choose each series' share of the regressions.

    Args:
        points: Compared points of the backtests, those of variants among them.

    Returns:
        Two frames. The first has `unique_id` and `regression_share`, chosen over all origins. The second has
        `unique_id`, `origin` and `model`, the variant that the other origins of the series choose: a backtest of the
        combination must not know the errors that it is scored by.
    """
    name_of = {_name(share): share for share in SHARES}
    scale = pl.when(pl.col("scale") > 0).then("scale").otherwise(1.0)
    errors = (
        points.lazy()
        .filter(pl.col("model").is_in(list(name_of)), pl.col("y").is_not_null())
        .group_by(*_ORIGIN, "model")
        .agg(error=((pl.col("y") - pl.col("forecast")).abs() / scale).mean())
        .with_columns(share=pl.col("model").replace_strict(name_of, return_dtype=pl.Float64))
    )
    total = errors.with_columns(
        whole=pl.col("error").sum().over("unique_id", "model"), number=pl.len().over("unique_id", "model")
    )
    others = total.with_columns(error=pl.col("whole") - pl.col("error"), number=pl.col("number") - 1)
    of_all = total.group_by("unique_id", "model", "share").agg(pl.col("error").sum(), pl.col("number").first())
    chosen, tested = pl.collect_all([_best(of_all, ["unique_id"]), _best(others, _ORIGIN)])
    return (
        chosen.select("unique_id", regression_share="share").sort("unique_id"),
        tested.select(*_ORIGIN, "model").sort(_ORIGIN),
    )


def keep_chosen(rows: pl.DataFrame, tested: pl.DataFrame) -> pl.DataFrame:
    """Return rows of backtests in which the variant that counts at each origin is the combination.

    Args:
        rows: Rows with `unique_id`, `origin` and `model`.
        tested: The second frame of `choose_shares`.

    Returns:
        The rows of other models, and of the combination; in the order of series, models and origins.
    """
    is_variant = pl.col("model").str.starts_with(f"{COMBINATION}/")
    chosen = rows.filter(is_variant).join(tested, on=[*_ORIGIN, "model"], how="semi", maintain_order="left")
    others = rows.filter(~is_variant)
    return pl.concat([others, chosen.with_columns(model=pl.lit(COMBINATION))])


def shares_of(champions: pl.DataFrame, unique_ids: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return the share of the regressions of each series, as its backtests chose it, (S,)."""
    known = dict(champions.select("unique_id", "regression_share").drop_nulls().iter_rows())
    return np.array([known.get(name, DEFAULT_SHARE) for name in unique_ids], dtype=np.float64)


def _best(errors: pl.LazyFrame, by: list[str]) -> pl.LazyFrame:
    """Return the rows of the share with the least shrunk error; one half where there is no error."""
    none, half, whole = (
        pl.col("error").filter(pl.col("share") == share).first().over(by) for share in (0.0, DEFAULT_SHARE, 1.0)
    )
    is_poor = (pl.col("number") > 0) & (whole > MOST_EXCESS * none)
    errors = errors.filter((pl.col("share") == 0) | ~is_poor.fill_null(value=False))
    distance = (2 * (pl.col("share") - DEFAULT_SHARE)) ** 2
    penalty = pl.when(pl.col("number") > 0).then(SHRINKAGE * half * distance / pl.col("number")).otherwise(distance)
    away = (pl.col("share") - DEFAULT_SHARE).abs()
    ranked = errors.with_columns(shrunk=pl.col("error").fill_nan(None).fill_null(0.0) + penalty, away=away)
    return ranked.sort(*by, "shrunk", "away", "share").unique(by, keep="first", maintain_order=True)


def _name(share: float) -> str:
    return f"{COMBINATION}/{share:g}"
