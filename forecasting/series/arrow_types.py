"""Types of Arrow that Polars does not have: times at a part of an hour from UTC, and decimals of 256 bits."""

import base64
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import polars as pl

from forecasting.errors import SourceError
from forecasting.series.local_times import zone_at_offset
from forecasting.series.places import is_remote

_OFFSET = r"([+-])(\d\d):(\d\d)"
_PART_OF_HOUR = re.compile(rb"[+-]\d\d:(?!00)\d\d")


def with_known_types(table: Any, *, subject: str) -> Any:
    """Return an Arrow table with types that Polars has.

    Args:
        table: A table.
        subject: What an error's message begins with.

    Returns:
        The table, with times at an offset in a zone that always has it, and decimals of 256 bits as floats.

    Raises:
        SourceError: No zone always has the offset of a column.
    """
    import pyarrow as pa

    for place, field in enumerate(table.schema):
        known = field.type
        if pa.types.is_decimal256(field.type):
            known = pa.float64()
        elif offset := re.fullmatch(_OFFSET, getattr(field.type, "tz", None) or ""):
            sign = -1 if offset[1] == "-" else 1
            zone = zone_at_offset(sign * timedelta(hours=int(offset[2]), minutes=int(offset[3])))
            if zone is None:
                raise SourceError(
                    f"{subject}: column '{field.name}' has the time zone {offset[0]}, which no IANA zone always has; it"
                    " must be such a zone as 'Europe/Paris', an offset of whole hours, or UTC"
                )
            known = pa.timestamp(field.type.unit, zone)
        if known != field.type:
            table = table.set_column(place, field.name, table.column(place).cast(known))
    return table


def scan_parquet(uri: str, columns: Sequence[str], options: dict[str, str], *, row: str | None = None) -> pl.LazyFrame:
    """Scan a parquet file, or read it if its times are at a part of an hour from UTC, which Polars cannot.

    Args:
        uri: The file.
        columns: The columns that are needed.
        options: Options of the object store, as Polars takes them.
        row: The name of a column that numbers the rows from 0; None for none.

    Returns:
        The rows, with the needed columns that the file has, and maybe others.

    Raises:
        SourceError: No zone always has the offset of a column.
    """
    rows = _read_offsets(uri, columns)
    if rows is not None:
        return rows if row is None else rows.with_row_index(row)
    return pl.scan_parquet(uri, row_index_name=row, glob=False, hive_partitioning=False, storage_options=options)


def _read_offsets(uri: str, columns: Sequence[str]) -> pl.LazyFrame | None:
    """Return the columns of a file whose times are at a part of an hour from UTC; None of others and remote ones."""
    if is_remote(uri):
        return None
    # Writers on Arrow store its schema; others cannot store an offset.
    stored = base64.b64decode(pl.read_parquet_metadata(uri).get("ARROW:schema", ""))
    if not _PART_OF_HOUR.search(stored):
        return None
    import pyarrow.parquet as pq

    present = [name for name in columns if name in pq.read_schema(uri).names]
    return pl.DataFrame(with_known_types(pq.read_table(uri, columns=present, partitioning=None), subject=uri)).lazy()
