"""Measurements that are used as they are, although they seem to be mistakes: a run warns of them before it trains."""

from collections.abc import Iterator

import polars as pl

from forecasting.series.bounds import describe_beyond
from forecasting.series.extremes import describe_extremes, find_extremes
from forecasting.series.runs import Runs
from forecasting.series.sentinels import describe_sentinels, find_sentinels
from forecasting.series.stuck import describe_stuck, find_stuck
from forecasting.series.zero_tail import count_zeros, describe_zero_tail
from forecasting.spec.spec import Spec


class Suspicions:
    """Measurements that seem to be mistakes, found block by block."""

    def __init__(self) -> None:
        self._extremes: list[pl.DataFrame] = []
        self._sentinels: list[pl.DataFrame] = []
        self._zeros: list[pl.DataFrame] = []
        self._stuck: list[pl.DataFrame] = []
        self._num_series = 0

    def add(self, observations: pl.DataFrame, runs: Runs | None = None) -> None:
        """Look at the accepted rows of a block.

        Args:
            observations: Rows of whole series, sorted by series and time: unique_id, ds and y, without those of
                periods that the source ignores.
            runs: The runs of their names, where they are known.
        """
        self._extremes.append(find_extremes(observations))
        self._sentinels.append(find_sentinels(observations))
        self._zeros.append(count_zeros(observations))
        stuck, num_series = find_stuck(observations, runs)
        self._stuck.append(stuck)
        self._num_series += num_series

    def describe(self, observations: pl.LazyFrame, rows: pl.LazyFrame, spec: Spec) -> Iterator[str]:
        """Describe what was found.

        Args:
            observations: The rows of all blocks, at least one; they are read where something is found, or the spec has
                bounds.
            rows: The rows of `scan_source` that they are of.
            spec: The spec.

        Yields:
            A sentence for each kind of mistake that some measurements seem to be.
        """
        found = (
            describe_extremes(pl.concat(self._extremes)),
            describe_sentinels(pl.concat(self._sentinels), rows, spec.source),
            describe_zero_tail(self._zeros, observations),
            describe_stuck(pl.concat(self._stuck), self._num_series),
        )
        yield from (note for note in found if note is not None)
        yield from describe_beyond(observations, spec)
