"""Refuse files of one source whose times or names of series are of different types."""

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from forecasting.errors import SourceError
from forecasting.series.columns import OFFSET, read_times, well_formed
from forecasting.series.files import is_csv
from forecasting.spec.frequency import Clock

NUM_READ = 100
"""First rows of a file of text that show whether its times have offsets."""
_NAIVE, _OFFSETS = "have no time zone", "have offsets or names of zones"


class ScannedFile(NamedTuple):
    """A file of a source: its URI, its rows in the columns of `scan_source`, and its own dtype of the series' names."""

    uri: str
    rows: pl.LazyFrame
    id_dtype: pl.DataType


def refuse_different_types(files: Sequence[ScannedFile], clock: Clock, *, timezone: str | None = None) -> None:
    """Check that the files of a source have the same kind of times and of names. First rows of text are read.

    Args:
        files: The files.
        clock: Whether times are timestamps or integer steps.
        timezone: The zone of times that have none.

    Raises:
        SourceError: Times have a zone in one file and none in another, or another zone; or names are whole numbers in
            one parquet file and text in another.
    """
    if len(files) < 2:
        return
    names = [(file.uri, "whole numbers" if file.id_dtype.is_integer() else "text") for file in files if _is_typed(file)]
    if differing := _first_two(names):
        (one, is_one), (other, is_other) = differing
        raise SourceError(f"names of series are {is_one} in {one} but {is_other} in {other}; files must have one type")
    if clock == "step":
        return
    times = [(file.uri, kind) for file, kind in zip(files, _kinds_of_times(files), strict=True) if kind is not None]
    if timezone is not None:
        times = [(uri, kind) for uri, kind in times if kind != _NAIVE]
    stated = [each for each in times if each[1] != _OFFSETS]
    has_naive = any(kind == _NAIVE for _, kind in stated)
    if differing := _first_two(times if has_naive else stated):
        (one, is_one), (other, is_other) = differing
        option = "; --timezone (source.timezone) names the zone of times without one" if has_naive else ""
        raise SourceError(
            f"times in {one} {is_one}, but those in {other} {is_other}; the files of a source must be on one clock"
            f"{option}"
        )


def _is_typed(file: ScannedFile) -> bool:
    return file.id_dtype != pl.Null and not is_csv(file.uri)


def _first_two(kinds: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], tuple[str, str]] | None:
    """Return the first file, and the first one of another kind."""
    return next(((kinds[0], each) for each in kinds if each[1] != kinds[0][1]), None)


def _kinds_of_times(files: Sequence[ScannedFile]) -> list[str | None]:
    """Return what times of each file state about their zone; None where its first rows do not show it."""
    dtypes = [file.rows.collect_schema()["ds"] for file in files]
    texts = {
        number: well_formed(file.rows).select("ds").head(NUM_READ)
        for number, (file, dtype) in enumerate(zip(files, dtypes, strict=True))
        if dtype == pl.String
    }
    heads = dict(zip(texts, pl.collect_all(texts.values()), strict=True))
    return [
        _kind_of_texts(heads[number]["ds"])
        if dtype == pl.String
        else f"are in {dtype.time_zone}"
        if isinstance(dtype, pl.Datetime) and dtype.time_zone
        else _NAIVE
        for number, dtype in enumerate(dtypes)
    ]


def _kind_of_texts(texts: pl.Series) -> str | None:
    if texts.str.strip_chars().str.contains(OFFSET).any():
        return _OFFSETS
    readable = read_times(texts.to_frame("ds").lazy(), "ds", clock="timestamp").collect()["ds"]
    return _NAIVE if readable.drop_nulls().len() else None
