"""Measurements that are used as they are, although they seem to be mistakes: a run warns of them before it trains."""

from collections.abc import Iterator

import polars as pl

from forecasting.series.bounds import describe_beyond
from forecasting.series.extremes import describe_extremes
from forecasting.series.sentinels import describe_sentinels
from forecasting.series.stuck import describe_stuck
from forecasting.series.zero_tail import describe_zero_tail
from forecasting.spec.spec import Spec


def describe_suspicious(observations: pl.DataFrame, rows: pl.LazyFrame, spec: Spec) -> Iterator[str]:
    """Describe measurements that seem to be mistakes.

    Args:
        observations: Accepted rows: unique_id, ds and y, without those of periods that the source ignores.
        rows: The rows of `scan_source` that they are of.
        spec: The spec.

    Yields:
        A sentence for each kind of mistake that some measurements seem to be.
    """
    found = (
        describe_extremes(observations),
        describe_sentinels(observations, rows, spec.source),
        describe_zero_tail(observations),
        describe_stuck(observations),
    )
    yield from (note for note in found if note is not None)
    yield from describe_beyond(observations, spec)
