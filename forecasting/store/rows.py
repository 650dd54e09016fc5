"""Rows on their way into a table: checked, sorted and streamed as Arrow batches.

Only one stretch of series is in memory at a time, however many rows there are.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import polars as pl
import pyarrow as pa
from polars.exceptions import PolarsError

from forecasting.errors import StoreError, first_line
from forecasting.schemas import Table
from forecasting.temporary import temporary_folder

Frames = pl.DataFrame | pl.LazyFrame | Sequence[str]

STRETCH_ROWS = 1_000_000
"""Rows that are sorted at a time; a series with more rows is never split."""
BATCH_ROWS = 8192
"""Rows per batch: Delta Lake distributes batches over threads, and small batches nearly preserve the order."""


@dataclass(frozen=True)
class Rows:
    """Rows that can be read repeatedly, in the order of a table's key.

    Attributes:
        scan: The rows, in any order.
        schema: The columns that the table needs.
        key: The table's key.
        stored_as: The table's name in the store, for messages.
        null_in_key: Columns of the key that may be null.
    """

    scan: pl.LazyFrame
    schema: pl.Schema
    key: tuple[str, ...]
    stored_as: str
    null_in_key: tuple[str, ...] = ()

    def check(self, inside: pl.Expr | None) -> None:
        """Check that the rows can be published.

        Args:
            inside: The condition that all rows must meet; None for no condition.

        Raises:
            StoreError: Names or dtypes differ from the schema, a key column has nulls, rows do not meet the condition,
                or a key occurs twice.
        """
        _check_schema(self.scan.collect_schema(), self.schema, self.stored_as)
        filled = [name for name in self.key if name not in self.null_in_key]
        nulls = self.scan.select(pl.col(name).null_count() for name in filled).collect(engine="streaming").row(0)
        for name, num_nulls in zip(filled, nulls, strict=True):
            if num_nulls:
                raise StoreError(f"rows for table '{self.stored_as}': key column '{name}' is null in {num_nulls} rows")
        if inside is not None:
            self._check_inside(inside)
        for stretch in self._stretches():
            self._check_unique(stretch)

    def to_arrow(self) -> pa.RecordBatchReader:
        """Return the rows as a stream of batches, sorted, so that row-group statistics separate the series."""
        empty = pl.DataFrame(schema=self.schema).to_arrow(compat_level=pl.CompatLevel.oldest())
        return pa.RecordBatchReader.from_batches(empty.schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for stretch in self._stretches():
            rows, order = stretch.select(self.schema.names()).collect(), _sort_columns(self.key)
            rows = rows if _are_in_order(rows.select(order)) else rows.sort(order)
            yield from rows.to_arrow(compat_level=pl.CompatLevel.oldest()).to_batches(BATCH_ROWS)

    def _stretches(self) -> Iterator[pl.LazyFrame]:
        """Split the rows at values of the first sort column, so that no key lies in two stretches."""
        value = pl.col(_sort_columns(self.key)[0])
        for first, last in self._bounds.iter_rows():
            if self._bounds.height == 1:
                yield self.scan
            else:
                is_first = (value <= pl.lit(last)) | value.is_null()  # nulls are sorted before all values
                yield self.scan.filter(is_first if first is None else value.is_between(pl.lit(first), pl.lit(last)))

    @cached_property
    def _bounds(self) -> pl.DataFrame:
        """The first and the last value of the first sort column in each stretch."""
        column = _sort_columns(self.key)[0]
        counts = self.scan.group_by(column).len().collect(engine="streaming").sort(column)
        return (
            counts.group_by(((pl.col("len").cum_sum() - 1) // STRETCH_ROWS).alias("stretch"), maintain_order=True)
            .agg(first=pl.col(column).first(), last=pl.col(column).last())
            .select("first", "last")
        )

    def _check_inside(self, inside: pl.Expr) -> None:
        columns = list(dict.fromkeys([*self.key, *inside.meta.root_names()]))
        outside = self.scan.select(columns).filter(~inside.fill_null(value=False)).head(1).collect(engine="streaming")
        if not outside.is_empty():
            example = {name: outside[name][0] for name in columns}
            raise StoreError(f"rows for table '{self.stored_as}' lie outside the slice, such as {example}")

    def _check_unique(self, stretch: pl.LazyFrame) -> None:
        columns = _sort_columns(self.key)  # spec and run_cutoff are the same in every row of a slice
        keys = stretch.select(columns).collect()
        if _are_in_order(keys):
            return
        keys = keys.sort(columns)
        repeats = keys.filter(pl.all_horizontal(pl.all().eq_missing(pl.all().shift())).and_(pl.int_range(pl.len()) > 0))
        if not repeats.is_empty():
            raise StoreError(
                f"rows for table '{self.stored_as}' have duplicate keys: {repeats.height} rows repeat that of another,"
                f" such as {repeats.row(0, named=True)}"
            )


def _are_in_order(keys: pl.DataFrame) -> bool:
    """Return whether each row sorts after the one before, which costs far less than to sort; null does after none."""
    rises, is_same = pl.lit(value=False), pl.lit(value=True)
    for name in keys.columns:
        value, before = pl.col(name), pl.col(name).shift()
        rises, is_same = rises | (is_same & (value > before)), is_same & (value == before)
    in_order: bool = keys.select(rises.slice(1).fill_null(value=False).all()).item()
    return in_order


@contextmanager
def gather(
    frames: Frames, table: Table, stored_as: str, schema: pl.Schema, storage_options: dict[str, str]
) -> Iterator[Rows]:
    """Yield the rows of a frame or of staged files.

    Args:
        frames: A DataFrame; a LazyFrame, which is computed once into a temporary file; or URIs of Parquet files.
        table: The table that the rows are for.
        stored_as: Its name in the store, for messages.
        schema: The columns that it needs.
        storage_options: Options of the object store, as Polars takes them.

    Yields:
        The rows.

    Raises:
        StoreError: The rows cannot be read.
    """
    try:
        if isinstance(frames, pl.DataFrame):
            yield Rows(frames.lazy(), schema, table.key, stored_as, table.null_in_key)
        elif isinstance(frames, pl.LazyFrame):
            with temporary_folder() as folder:
                computed = folder / "rows.parquet"
                frames.sink_parquet(computed, compression="lz4", row_group_size=100_000)
                yield Rows(pl.scan_parquet(computed), schema, table.key, stored_as, table.null_in_key)
        elif not frames:
            yield Rows(pl.LazyFrame(schema=schema), schema, table.key, stored_as, table.null_in_key)
        else:
            staged = pl.scan_parquet(
                list(frames), storage_options=storage_options or None, hive_partitioning=False, glob=False
            )
            yield Rows(staged, schema, table.key, stored_as, table.null_in_key)
    except PolarsError as error:
        raise StoreError(f"rows for table '{stored_as}' cannot be read: {first_line(error)}") from error


def _check_schema(found: pl.Schema, needed: pl.Schema, stored_as: str) -> None:
    subject = f"rows for table '{stored_as}'"
    missing = [name for name in needed if name not in found]
    if missing:
        raise StoreError(f"{subject} lack the column{'s' * (len(missing) > 1)} {', '.join(missing)}")
    unknown = [name for name in found if name not in needed]
    if unknown:
        raise StoreError(f"{subject} have the undeclared column{'s' * (len(unknown) > 1)} {', '.join(unknown)}")
    wrong = [
        f"column '{name}' is {found[name]} but must be {dtype}"
        for name, dtype in needed.items()
        if found[name] != dtype
    ]
    if wrong:
        raise StoreError(f"{subject}: {'; '.join(wrong)}")


def _sort_columns(key: Sequence[str]) -> list[str]:
    """Return the sort order of rows: series, then time, then the rest of the key without spec, which is a partition."""
    leading = [name for name in ("unique_id", "ds") if name in key]
    rest = [name for name in key if name not in (*leading, "spec", "run_cutoff")]
    if leading:
        return leading + [name for name in rest if name not in leading]
    return list(reversed(rest))  # rejects: the many rows of a file before the few files
