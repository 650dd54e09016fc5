"""Check forecasts before they are published: against the measurements of their series, and earlier forecasts."""

from functools import singledispatch
from typing import Any

import polars as pl

from forecasting.series.checks import FILTERED
from forecasting.series.measurement_checks import write_number, write_time
from forecasting.series.verdicts import FINDINGS, join_verdicts, of_series, of_whole, skipped
from forecasting.spec.checks import ForecastCheck, ForecastConstantCheck, ForecastJumpCheck, ForecastRangeCheck, matches
from forecasting.spec.spec import Spec

NORMAL_IQR = 1.349
"""Interquartile range of the normal distribution, in standard deviations."""
ROUNDING = 1e-9
"""Share of a value by which forecasts differ from equal measurements without a meaning."""
NO_STORE = "earlier forecasts are in a store, which only scheduled runs have"


def check_forecasts(
    forecasts: pl.LazyFrame,
    history: pl.LazyFrame,
    spec: Spec,
    *,
    earlier: pl.LazyFrame | None,
    is_filtered: bool = False,
) -> pl.DataFrame:
    """Evaluate the checks of a spec's forecasts.

    Args:
        forecasts: Forecasts of the serving models: unique_id, ds and forecast. Series without a forecast are left out.
        history: Grid points of these series up to the cutoff: unique_id and y.
        spec: The spec.
        earlier: The last good forecasts of earlier runs, one row per series and time; None where there is no store.
        is_filtered: Whether the run is of some series alone.

    Returns:
        Rows of verdicts; nothing is raised.
    """
    checks = [check for check in spec.checks if isinstance(check, ForecastCheck)]
    if not checks:
        return join_verdicts([])
    served = forecasts.select("unique_id", "ds", "forecast").drop_nulls("forecast").collect(engine="streaming")
    ids = served["unique_id"].unique().sort()
    scales = _scales_of(history.filter(pl.col("unique_id").is_in(ids.implode())), checks).collect(engine="streaming")
    scaled = served.join(scales, on="unique_id", how="left")
    parts = []
    for check in checks:
        names = [name for name in ids if check.series is None or matches(name, check.series)]
        if isinstance(check, ForecastJumpCheck) and earlier is None:
            parts.append(skipped(check, NO_STORE))
        elif not names and is_filtered:
            parts.append(skipped(check, FILTERED))
        elif not names:
            parts.append(of_whole(check, "no series that it is of has a forecast", has_failed=bool(check.series)))
        else:
            of_check = scaled if check.series is None else scaled.filter(pl.col("unique_id").is_in(names))
            parts.append(_check(check, of_check, earlier))
    return join_verdicts(parts)


def _check(check: Any, scaled: pl.DataFrame, earlier: pl.LazyFrame | None) -> pl.DataFrame:
    num_series, more = scaled["unique_id"].n_unique(), ""
    if isinstance(check, ForecastJumpCheck):
        assert earlier is not None
        last = earlier.select("unique_id", "ds", last="forecast")
        scaled = scaled.lazy().join(last, on=["unique_id", "ds"]).drop_nulls("last").collect(engine="streaming")
        num_compared = scaled["unique_id"].n_unique()
        if num_compared < num_series:
            more = f"; {num_series - num_compared:,} have no earlier forecast of the same times"
        num_series = num_compared
    findings = _find(check, scaled.lazy(), scaled.schema["ds"]).select(FINDINGS.names()).collect()
    return of_series(check, findings.cast(FINDINGS), num_checked=num_series, more=more)


def _scales_of(history: pl.LazyFrame, checks: list[Any]) -> pl.LazyFrame:
    """Return the smallest and largest measurement of each series, and a robust spread where a check needs it."""
    y = pl.col("y")
    scales = [y.min().alias("low"), y.max().alias("high")]
    if any(isinstance(check, ForecastJumpCheck) for check in checks):
        # Half of the measurements of an intermittent series may be the same, so that their quartiles are.
        quartiles = (y.quantile(0.75, "linear") - y.quantile(0.25, "linear")) / NORMAL_IQR
        scales.append(pl.when(quartiles > 0).then(quartiles).otherwise(y.std()).fill_null(0.0).alias("spread"))
    return history.filter(y.is_not_null()).group_by("unique_id").agg(scales)


@singledispatch
def _find(check: Any, scaled: pl.LazyFrame, dtype: pl.DataType) -> pl.LazyFrame:
    raise TypeError(f"{type(check).__name__} is not a check of forecasts")


@_find.register
def _(check: ForecastRangeCheck, scaled: pl.LazyFrame, dtype: pl.DataType) -> pl.LazyFrame:
    """A forecast lies too many ranges of the measurements beyond them."""
    forecast, low, high = pl.col("forecast"), pl.col("low"), pl.col("high")
    beyond = pl.max_horizontal(low - forecast, forecast - high)
    in_ranges = _in_units(beyond, high - low, around=pl.max_horizontal(low.abs(), high.abs()))
    outside = scaled.with_columns(found=in_ranges).filter(pl.col("found") > check.max)
    worst = outside.sort("found", "ds", descending=[True, False]).unique("unique_id", keep="first", maintain_order=True)
    message = pl.format(
        f"its forecast of {{}} at {{}} lies {{}} ranges beyond its measurements, {{}} to {{}}; max = {check.max:g}",
        write_number("forecast"),
        write_time(pl.col("ds"), dtype),
        pl.col("found").round(1),
        write_number("low"),
        write_number("high"),
    )
    return worst.select("unique_id", "found", bound=pl.lit(check.max), message=message)


@_find.register
def _(check: ForecastConstantCheck, scaled: pl.LazyFrame, dtype: pl.DataType) -> pl.LazyFrame:
    """A forecast does not vary, although the measurements do."""
    del dtype
    forecast = pl.col("forecast")
    varied = scaled.group_by("unique_id").agg(
        forecast.first(), pl.col("low", "high").first(), varies_by=forecast.max() - forecast.min()
    )
    has_range = varied.filter(pl.col("high") > pl.col("low"))
    shares = has_range.with_columns(found=pl.col("varies_by") / (pl.col("high") - pl.col("low")))
    message = pl.format(
        f"its forecast varies by {{}}, around {{}}, but its measurements from {{}} to {{}}; min = {check.min:g}",
        write_number("varies_by"),
        write_number("forecast"),
        write_number("low"),
        write_number("high"),
    )
    constant = shares.filter(pl.col("found") <= check.min)
    return constant.select("unique_id", "found", bound=pl.lit(check.min), message=message)


@_find.register
def _(check: ForecastJumpCheck, scaled: pl.LazyFrame, dtype: pl.DataType) -> pl.LazyFrame:
    """A forecast is too far from the last good one of the same time."""
    distance = (pl.col("forecast") - pl.col("last")).abs()
    in_spreads = _in_units(distance, pl.col("spread").fill_null(0.0), around=pl.col("last").abs())
    far = scaled.with_columns(found=in_spreads).filter(pl.col("found") > check.max)
    worst = far.sort("found", "ds", descending=[True, False]).unique("unique_id", keep="first", maintain_order=True)
    message = pl.format(
        f"its forecast of {{}} at {{}} was {{}} in the last good one, {{}} spreads away; max = {check.max:g}",
        write_number("forecast"),
        write_time(pl.col("ds"), dtype),
        write_number("last"),
        pl.col("found").round(1),
    )
    return worst.select("unique_id", "found", bound=pl.lit(check.max), message=message)


def _in_units(distance: pl.Expr, unit: pl.Expr, *, around: pl.Expr) -> pl.Expr:
    """Return a distance in units; infinite where there is a distance, but the unit is zero."""
    is_real = distance > ROUNDING * around
    in_units = pl.when(unit > 0).then(distance / unit).otherwise(pl.lit(float("inf")))
    return pl.when(is_real).then(in_units).otherwise(0.0)
