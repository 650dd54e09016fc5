"""Calibrate prediction intervals by the fleet's backtests, with one factor per model and central interval.

The factor is that by which all backtested intervals would have to be stretched about their medians to cover their
nominal share of the actuals: split conformal prediction with the interval's own width as the scale (Lei et al. 2018;
Romano, Patterson & Candès 2019). Three quarters of its logarithm are applied, less where forecasts were few, because
candidates are older than serving networks and so more often wrong. Counts add up over shards.

An interval whose lower end is the median is one on one side, which is usual of a demand that is zero most of the time.
It is not calibrated: stretched to cover its share, its upper end would no longer be the quantile that it is called.
"""

from collections.abc import Sequence

import polars as pl

from forecasting.schemas import table
from forecasting.spec.quantiles import quantile_column

BELIEF = 0.75
"""Share of a factor's logarithm that is applied where backtested forecasts are many."""
FEW_FORECASTS = 20
"""Number of backtested forecasts at which half of that share is applied."""
BINS_PER_DOUBLING, MOST_DOUBLINGS = 32, 10

COUNTS = {"model": pl.String(), "quantile": pl.Float64(), "bin": pl.Int32(), "num_points": pl.Int64()}
FACTORS = table("calibrations").row_schema("timestamp")


def lower_quantiles(quantiles: Sequence[float]) -> list[float]:
    """Return the lower ends of the central intervals whose both ends are among the quantiles.

    Args:
        quantiles: Levels between 0 and 1.

    Returns:
        Levels below 0.5, in the order given.

    >>> lower_quantiles((0.025, 0.1, 0.5, 0.9))
    [0.1]
    """
    return [low for low in quantiles if low < 0.5 and any(abs(1 - low - high) < 1e-9 for high in quantiles)]


def count_ratios(comparison: pl.DataFrame, *, quantiles: Sequence[float]) -> pl.DataFrame:
    """Count actuals by model, interval and distance from the median, in units of the width of their side.

    Args:
        comparison: One row per point: `model, y, forecast` and the quantile columns. Points without an actual,
            intervals on one side, and sides of zero width, do not count.
        quantiles: The quantiles that it has columns for.

    Returns:
        The number of points by `model`, `quantile` (the interval's lower end) and `bin` of the ratio's logarithm to
        the base 2, with `BINS_PER_DOUBLING`.
    """
    error = pl.col("y") - pl.col("forecast")
    most = BINS_PER_DOUBLING * MOST_DOUBLINGS
    counts = [pl.DataFrame(schema=COUNTS)]
    for low in lower_quantiles(quantiles):
        ends = [pl.col(quantile_column(q)) for q in (low, 1 - low)]
        width = pl.when(error >= 0).then(ends[1] - pl.col("forecast")).otherwise(pl.col("forecast") - ends[0])
        place = ((error.abs() / width).log(2) * BINS_PER_DOUBLING).floor().clip(-most, most)
        counts.append(
            comparison.filter(
                error.is_finite() & (ends[0] < pl.col("forecast")) & (width > 1e-12 * pl.col("forecast").abs())
            )
            .group_by("model", bin=place.cast(pl.Int32))
            .agg(num_points=pl.len().cast(pl.Int64))
            .select("model", pl.lit(low).alias("quantile"), "bin", "num_points")
        )
    return pl.concat(counts)


def find_factors(counts: pl.DataFrame, *, horizon: int) -> pl.DataFrame:
    """Return the factor of each model and interval.

    Args:
        counts: Rows of `count_ratios` of all shards.
        horizon: Points of a forecast; the factor depends on the number of forecasts, not of points.

    Returns:
        Rows of the table `calibrations`, sorted: `coverage` is the share of actuals inside the uncalibrated interval,
        `num_points` their number.
    """
    by_bin = counts.group_by("model", "quantile", "bin").agg(pl.col("num_points").sum()).sort("bin")
    rows = []
    for (model, low), bins in by_bin.group_by("model", "quantile", maintain_order=True):
        num_points = int(bins["num_points"].sum())
        rank = (1 - 2 * float(low)) * (num_points + 1)
        reached = bins.with_columns(up_to=pl.col("num_points").cum_sum()).filter(pl.col("up_to") >= rank)
        last = int(reached["bin"][0] if reached.height else bins["bin"][-1])
        num_forecasts = num_points / horizon
        share = BELIEF * num_forecasts / (num_forecasts + FEW_FORECASTS)
        inside = bins.filter(pl.col("bin") < 0)["num_points"].sum()
        rows.append((model, low, 2 ** (share * (last + 0.5) / BINS_PER_DOUBLING), num_points, inside / num_points))
    return pl.DataFrame(rows, schema=FACTORS, orient="row").sort("model", "quantile")


def calibrate(forecasts: pl.DataFrame, factors: pl.DataFrame, *, quantiles: Sequence[float]) -> pl.DataFrame:
    """Stretch the intervals of forecasts about their medians.

    Quantiles keep their order: none passes an outer one.

    Args:
        forecasts: `model, forecast` and quantile columns.
        factors: Rows of the table `calibrations`; a model without a factor keeps its intervals.
        quantiles: The quantiles that `forecasts` has columns for.

    Returns:
        `forecasts` with calibrated quantiles.
    """
    lows = lower_quantiles(quantiles)
    if factors.is_empty() or not lows:
        return forecasts
    by_model = (
        forecasts.select(pl.col("model").unique())
        .join(factors.select("model", "quantile", "factor"), on="model", how="left")
        .pivot("quantile", index="model", values="factor")
    )
    names = {low: f"factor of {low}" for low in lows}
    by_model = by_model.select(
        "model",
        *(
            (pl.col(str(low)) if str(low) in by_model.columns else pl.lit(1.0)).fill_null(1.0).alias(name)
            for low, name in names.items()
        ),
    )
    stretched = forecasts.join(by_model, on="model", how="left", maintain_order="left")
    columns = {}
    for side in (sorted((q for q in quantiles if q < 0.5), reverse=True), sorted(q for q in quantiles if q > 0.5)):
        inner = median = pl.col("forecast")
        for q in side:
            column, low = pl.col(quantile_column(q)), min(q, 1 - q)
            name = next((name for known, name in names.items() if abs(known - low) < 1e-9), None)
            moved = column
            if name is not None:
                is_two_sided = pl.col(quantile_column(low if q > 0.5 else q)) < median
                moved = pl.when(is_two_sided).then(median + (column - median) * pl.col(name)).otherwise(column)
            inner = pl.min_horizontal(inner, moved) if q < 0.5 else pl.max_horizontal(inner, moved)
            columns[quantile_column(q)] = pl.when(column.is_not_null()).then(inner)
    return stretched.with_columns(**columns).drop(names.values())
