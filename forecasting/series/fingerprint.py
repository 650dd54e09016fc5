"""Values by which the observations of a source are compared with those that an earlier run has stored."""

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from forecasting.series.columns import categories_of
from forecasting.series.gather import observed_rows
from forecasting.series.judged_blocks import Block, JudgedBlocks, Judging, Round
from forecasting.series.plausible import wall_clock
from forecasting.series.unfinished import is_unfinished
from forecasting.series.validate import split_judged
from forecasting.spec.spec import Spec

_NUM_HASHES = 2**64


@dataclass(frozen=True)
class Fingerprint:
    """A value of a set of rows, in any order; different rows have the same one with a chance of 2^-64.

    Fingerprints are not to be stored, because versions of Polars hash differently.

    Attributes:
        num_rows: The number of rows.
        total: The sum of their hashes.
    """

    num_rows: int = 0
    total: int = 0

    def __add__(self, other: "Fingerprint") -> "Fingerprint":
        return Fingerprint(self.num_rows + other.num_rows, (self.total + other.total) % _NUM_HASHES)


def fingerprint(observations: pl.LazyFrame) -> Fingerprint:
    """Return the fingerprint of rows, in one pass.

    Args:
        observations: Rows with unique_id, ds, y and categories.

    Returns:
        The fingerprint.
    """
    of_row = pl.struct("unique_id", "ds", "y", *categories_of(observations)).hash()
    totals = observations.select(num_rows=pl.len(), total=of_row.sum()).collect(engine="streaming").row(0)
    return Fingerprint(*totals)


def fingerprint_of_source(
    rows: pl.LazyFrame, spec: Spec, *, cutoff: datetime | int, as_of: datetime | int | None
) -> Fingerprint:
    """Return the fingerprint of the observations that `ingest` would return, without keeping them.

    Args:
        rows: Rows of `scan_source`.
        spec: The spec of the rows.
        cutoff: The last time of observations.
        as_of: The run's time, as of `ingest`.

    Returns:
        The fingerprint.
    """
    now = wall_clock()
    unfinished = is_unfinished(rows.collect_schema(), spec.source, freq=spec.freq, now=now, as_of=as_of)
    with JudgedBlocks(rows, Judging(spec.freq, spec.source, now, unfinished)) as blocks:
        return blocks.run(lambda: _Pass(spec, cutoff), until=cutoff).found


class _Pass:
    """Add the fingerprints of blocks."""

    def __init__(self, spec: Spec, cutoff: datetime | int) -> None:
        self._spec, self._cutoff = spec, cutoff
        self.found = Fingerprint()

    def add(self, block: Block, round: Round) -> None:
        spec, judged = self._spec, block.judge(self._cutoff, round.lives).rows.lazy()
        split = split_judged(judged, block.rows.schema, freq=spec.freq, cutoff=self._cutoff, source=spec.source)
        self.found += fingerprint(observed_rows(split, spec))
