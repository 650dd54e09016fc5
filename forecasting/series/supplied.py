"""Rows that a run has read by `source.modified` before, so that every scan of the source within the run takes them."""

from typing import NamedTuple

import polars as pl

from forecasting.series.once import find_once
from forecasting.spec.source import Source


class Supplied(NamedTuple):
    """Rows in the columns of a source.

    Attributes:
        rows: The rows, in the order by which refused rows are numbered.
        name: What messages and refused rows call their place.
    """

    rows: pl.LazyFrame
    name: str


def supply_rows(source: Source, supplied: Supplied) -> None:
    """Make all scans of a source within `reading_once` take these rows, in place of those that it has now.

    Args:
        source: The source, with `modified`.
        supplied: Its rows.
    """
    _of(source).append(supplied)


def find_supplied(source: Source) -> Supplied | None:
    """Return the rows that were supplied for a source last; None where there are none."""
    supplied = [] if source.modified is None else _of(source)
    return supplied[-1] if supplied else None


def _of(source: Source) -> list[Supplied]:
    fields = {name: getattr(source, name) for name in Source.model_fields if name != "ignore"}
    return find_once(("supplied", repr(fields)), list[Supplied])
