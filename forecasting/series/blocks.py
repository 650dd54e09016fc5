"""Split the rows of a source into blocks of whole series, so that a large source is read in bounded memory.

A source that is sorted by series is read once, from its beginning to its end. Another one is sorted into temporary
files first, each with a range of names. A source of one block stays in memory.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import polars as pl

from forecasting.temporary import temporary_folder

BLOCK_ROWS = 1_000_000
"""Rows of a block; a series with more rows is never split."""


class Unsorted(Exception):
    """Raised while blocks are read where the rows of a series turn out not to lie together."""


class Blocks:
    """The rows of a source in blocks of whole series, which can be read repeatedly.

    Blocks are in the order of their names. Rows without a name may be in any block.

    Args:
        rows: Rows with `unique_id`, in the columns of `scan_source`.
        most_rows: The most rows of a block that has more than one series; `BLOCK_ROWS` where not given.
    """

    def __init__(self, rows: pl.LazyFrame, *, most_rows: int | None = None) -> None:
        self._rows = rows
        self._most = BLOCK_ROWS if most_rows is None else most_rows
        self._single: pl.DataFrame | None = None
        self._is_known = False
        self._files: list[list[Path]] | None = None
        self._exits = ExitStack()

    def close(self) -> None:
        """Remove temporary files."""
        self._exits.close()

    def scan(self) -> pl.LazyFrame:
        """Return all rows, from memory if they are one block."""
        return self._single.lazy() if self.is_single and self._single is not None else self._rows

    @property
    def is_single(self) -> bool:
        """Whether the source is one block; its first rows are read."""
        if not self._is_known:
            first = self._rows.head(self._most + 1).collect(engine="streaming")
            self._single = first if first.height <= self._most else None
            self._is_known = True
        return self._single is not None

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """Yield the blocks; rows of a series are in the order of the source.

        Yields:
            Rows in the columns of the source.

        Raises:
            Unsorted: The source is not sorted by series; `partition` must be called before it is read again.
        """
        if self.is_single and self._single is not None:
            yield self._single
        elif self._files is not None:
            for files in self._files:
                yield pl.concat([pl.read_parquet(file) for file in files])
        else:
            yield from self._sorted_blocks()

    def partition(self) -> None:
        """Sort the rows into temporary files, each with the rows of a range of names."""
        folder = self._exits.enter_context(temporary_folder())
        counts = self._rows.group_by("unique_id").len().collect(engine="streaming").drop_nulls().sort("unique_id")
        part = ((pl.col("len").cum_sum() - 1) // self._most).alias("part")
        last = counts.group_by(part, maintain_order=True).agg(pl.col("unique_id").last())["unique_id"]
        files: list[list[Path]] = [[] for _ in range(max(1, len(last)))]
        for number, batch in enumerate(self._batches()):
            place = last.search_sorted(batch["unique_id"].fill_null(""), side="left").cast(pl.UInt32)
            for (key,), rows in batch.with_columns(_part=place).partition_by("_part", as_dict=True).items():
                file = folder / f"{key}-{number}.parquet"
                rows.drop("_part").write_parquet(file, compression="lz4")
                files[int(key)].append(file)
        self._files = [each for each in files if each]

    def _sorted_blocks(self) -> Iterator[pl.DataFrame]:
        pending: list[pl.DataFrame] = []
        num_rows, newest = 0, ""
        for batch in self._batches():
            known = batch["unique_id"].rle().struct.field("value").drop_nulls()
            if (known < known.shift()).any() or (len(known) and known[0] < newest):
                raise Unsorted
            newest = known[-1] if len(known) else newest
            pending.append(batch)
            num_rows += batch.height
            if num_rows < self._most:
                continue
            rows = pl.concat(pending)
            # Rows without a name at the beginning sort before all names.
            begin = rows["unique_id"].forward_fill().fill_null("").search_sorted(newest, side="left")
            if begin:
                yield rows.head(begin)
            pending = [rows.slice(begin)]
            num_rows = pending[0].height
        if num_rows:
            yield pl.concat(pending)

    def _batches(self) -> Iterator[pl.DataFrame]:
        yield from self._rows.collect_batches(chunk_size=max(1, self._most // 2), engine="streaming")
