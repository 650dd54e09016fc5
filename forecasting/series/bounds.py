"""Measurements that the forecasts of a spec cannot reach: beyond its bounds, or fractions where forecasts are whole."""

from collections.abc import Iterator

import polars as pl

from forecasting.spec.spec import Spec

NEGLIGIBLE = 1e-6
"""Distance from a whole number, relative to the measurement, below which it is one."""

DUST = 1e-12
"""Distance beyond a bound, relative to the largest measurement, that is an error of rounding: 1.0000000000000002."""


def describe_beyond(observations: pl.LazyFrame, spec: Spec) -> Iterator[str]:
    """Describe measurements that contradict the bounds of a spec, or that forecasts are whole numbers.

    Args:
        observations: Accepted rows: unique_id, ds and y.
        spec: The spec.

    Yields:
        A sentence for each option that measurements contradict.
    """
    y = pl.col("y")
    lower, upper = spec.lower_bound, spec.upper_bound
    if lower is None and upper is None and not spec.integer_valued:
        return
    measured = observations.select(y.abs().max().alias("largest"), y.count().alias("num"))
    largest, num_measured = measured.collect(engine="streaming").row(0)
    dust = DUST * max(largest or 0.0, abs(lower or 0.0), abs(upper or 0.0))
    kinds = []
    if lower is not None:
        words = f"lie below lower_bound = {lower:g} (--lower-bound), and no forecast does"
        kinds.append((y < lower - dust, words))
    if upper is not None:
        words = f"lie above upper_bound = {upper:g} (--upper-bound), and no forecast does"
        kinds.append((y > upper + dust, words))
    if spec.integer_valued:
        is_fraction = (y - y.round()).abs() > NEGLIGIBLE * pl.max_horizontal(y.abs(), 1)
        kinds.append(
            (is_fraction, "are not whole numbers, but with integer_valued (--integer-valued) all forecasts are")
        )
    for is_beyond, words in kinds:
        beyond = observations.filter(is_beyond)
        num_beyond = beyond.select(pl.len()).collect(engine="streaming").item()
        if not num_beyond:
            continue
        name, time, value = beyond.select("unique_id", "ds", "y").head(1).collect(engine="streaming").row(0)
        yield (
            f"{num_beyond:,} of {num_measured:,} measurements {words}, such as {value:g} at {time} of"
            f" '{name}'; leave the option out if such values are to be forecast"
        )
