"""What a run says about its covariates: which models read them, what backtests assume, and which series have no use."""

from collections.abc import Iterator, Mapping

import polars as pl

from forecasting.classical import covariate_effect, ridge, trees
from forecasting.errors import SourceError
from forecasting.series.columns import KNOWN
from forecasting.spec.spec import Spec


def describe_use(spec: Spec) -> str:
    """Return which models read the covariates of a spec, and what its backtests assume; empty without covariates."""
    covariates, names = spec.covariates, spec.covariate_names
    if not names:
        return ""
    parts = [f"covariates: {', '.join(names)}; all forecasts but those of naives depend on them"]
    # Of holidays, and of what was published at times that are known, nothing is assumed.
    if foreseen := [name for name in covariates.known_ahead if name not in covariates.vintages]:
        which = "their values" if len(foreseen) == len(names) else f"the values of {', '.join(foreseen)}"
        parts.append(f"backtests assume that {which} were known ahead as now")
    if covariates.of_past:
        parts.append(f"{', '.join(covariates.of_past)} are read at their values {spec.past_lag} steps before")
    return ", and ".join(parts)


def describe_short(spec: Spec, lengths: Mapping[str, int]) -> Iterator[str]:
    """Yield a sentence about series that are too short for covariates, if there are any and the spec has covariates.

    Args:
        spec: The spec.
        lengths: Grid points of each series, by its name.

    Yields:
        The sentence.
    """
    if not spec.covariate_names:
        return
    least = [covariate_effect.least_points(season_lengths=spec.season_lengths)]
    if "lightgbm" in spec.chosen_regressions:
        least.append(trees.least_points(spec.season_lengths))
    needed = min(least)
    short = [name for name, num_points in lengths.items() if num_points < needed]
    if short:
        have = "series has" if len(short) == 1 else "series have"
        yield (
            f"{len(short)} of {len(lengths)} {have} fewer than the {needed} grid points that models with covariates"
            f" need, such as '{short[0]}'; such forecasts do not depend on covariates"
        )


def check_regressions(
    spec: Spec, forecasts: pl.LazyFrame, lengths: Mapping[str, int], features: pl.LazyFrame
) -> Iterator[str]:
    """Yield a sentence about series that are long enough for `ridge` but have no forecast by it, if there are any.

    Args:
        spec: The spec.
        forecasts: unique_id, model and forecast of every series.
        lengths: Grid points of each series, by its name.
        features: unique_id, ds, y and covariates on even grids.

    Yields:
        The sentence. It leaves out series whose covariates are constant, unless the spec names its regressions.

    Raises:
        SourceError: Most series are such.
    """
    if "ridge" not in spec.chosen_regressions:
        return
    needed = ridge.least_points(horizon=spec.horizon, season_lengths=spec.season_lengths)
    has_ridge = (pl.col("model") == "ridge").any()
    served = forecasts.filter(pl.col("forecast").is_not_null()).group_by("unique_id").agg(has_ridge=has_ridge)
    has = {name: has for name, has in served.collect(engine="streaming").iter_rows() if lengths.get(name, 0) >= needed}
    without = [name for name, has_one in has.items() if not has_one]
    if not without:
        return
    # A series counts from its first measurement on.
    first = pl.col("ds").filter(pl.col("y").is_not_null()).min().over("unique_id")
    rows = features.filter(pl.col("unique_id").is_in(without)).filter(pl.col("ds") >= first)
    counts = rows.group_by("unique_id").agg(pl.len(), is_due=_is_due(spec)).filter("is_due", pl.col("len") >= needed)
    failed = counts.select("unique_id").sort("unique_id").collect()["unique_id"]
    if failed.is_empty():
        return
    num_long = len(has) - len(without) + len(failed)
    found = (
        f"ridge has no forecast of {len(failed)} of {num_long} series that are long enough, such as '{failed[0]}': its"
        " equations have no finite solution, as happens with values of extreme size"
    )
    if 2 * len(failed) > num_long:
        raise SourceError(f"{found}; leave such covariates out, or ridge out of regressions")
    yield f"{found}; other models forecast them"


def _is_due(spec: Spec) -> pl.Expr:
    """Return whether a series has ridge: where the spec does not name it, only with a covariate that varies."""
    values = [pl.col(KNOWN).list.get(number) for number in range(len(spec.covariate_names))]
    is_named = spec.regressions is not None
    return pl.lit(is_named) if is_named else pl.any_horizontal(value.min() < value.max() for value in values)
