"""Tables of covariates as people name them: frames, paths of files, or either with fields that say how it is read."""

import os
from collections.abc import Mapping
from typing import Any

import polars as pl
from pydantic import ValidationError

from forecasting.errors import SourceError, SpecError
from forecasting.series.frames import IN_MEMORY, is_frame, read_whole
from forecasting.series.unread_columns import columns_of
from forecasting.spec.covariate_table import CovariateTable
from forecasting.spec.problems import describe_problems
from forecasting.spec.source import Source, as_uri

_ANY = "any covariate"
"""A covariate that stands for those that are not known yet."""


def read_tables(
    given: Any, source: Source, *, subject: str, storage_options: Mapping[str, str] | None = None
) -> tuple[list[dict[str, Any]], tuple[pl.DataFrame | None, ...]]:
    """Read what names tables of covariates as fields of a spec's `[[covariates.tables]]`, and frames.

    Args:
        given: A table or several of them. Each is a frame, a path, or a mapping with a frame or path as `data` and
            fields of `[[covariates.tables]]`. Without `future` and `past`, all columns are covariates that are known
            ahead, except those of series and time and the one that the table is joined by.
        source: The source of the measurements.
        subject: What errors name.
        storage_options: Options of an object store that holds files.

    Returns:
        The fields of each table, and its frame or None.

    Raises:
        SpecError: A table is none of these, or its fields are refused.
        SourceError: A frame or file cannot be read.
    """
    several = given if isinstance(given, (list, tuple)) else [given]
    tables, frames = [], []
    for one in several:
        fields, frame = _split(one, source, subject)
        tables.append(complete_table(fields, source, frame=frame, subject=subject, storage_options=storage_options))
        frames.append(frame)
    return tables, tuple(frames) if any(frame is not None for frame in frames) else ()


def complete_table(
    fields: Mapping[str, Any],
    source: Source,
    *,
    frame: pl.DataFrame | None = None,
    subject: str,
    storage_options: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the fields of a table with `future`, which has all its other columns where no covariate is named.

    Args:
        fields: Fields of a table.
        source: The source of the measurements.
        frame: A frame that is read in its place.
        subject: What errors name.
        storage_options: Options of an object store that holds files.

    Returns:
        The fields; unchanged where `future` or `past` is given.

    Raises:
        SpecError: Fields are refused, or no column is left.
        SourceError: The file cannot be read.
    """
    if fields.get("future") or fields.get("past"):
        return dict(fields)
    try:
        table = CovariateTable(**{**fields, "future": (_ANY,)})
    except ValidationError as error:
        raise SpecError(subject, [f"covariates: {problem}" for problem in describe_problems(error)]) from error
    if table.is_database:
        raise SpecError(subject, [f"covariates: {table} needs future, the columns that are known ahead"])
    read = table.read_as(source)
    columns = frame.columns if frame is not None else columns_of(read, storage_options, has_keys=True)
    named = {*read.ids, read.time, read.newer, table.by_column, table.available_at}
    future = [name for name in columns if name not in named]
    if not future:
        raise SourceError(f"covariates of {table} have no column besides {', '.join(map(repr, columns))}")
    return {**fields, "future": future}


def _split(one: Any, source: Source, subject: str) -> tuple[dict[str, Any], pl.DataFrame | None]:
    """Return the fields of a table, and its frame or None."""
    fields = dict(one) if isinstance(one, Mapping) else {"data": one}
    data = fields.pop("data", None)
    if isinstance(data, (str, os.PathLike)):
        return {"uri": as_uri(os.fspath(data)), **fields}, None
    if data is None:
        if isinstance(fields.get("uri"), str):
            fields["uri"] = as_uri(fields["uri"])
        return fields, None
    if not is_frame(data):
        raise SpecError(
            subject,
            [f"covariates has a {type(data).__qualname__}: each must be a frame, a path, or a table of fields"],
        )
    return {"uri": IN_MEMORY, **fields}, read_whole(data, time=str(fields.get("time") or source.time))
