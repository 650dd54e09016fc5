"""Rows of whole series in parts: frames in memory, or files in a temporary folder."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl


class Parts:
    """Rows of whole series, in the order of their names, part after part.

    Args:
        name: What the rows are, for the names of files.
        folder: Where parts become files; None keeps them in memory.
    """

    def __init__(self, name: str, folder: Path | None) -> None:
        self._name, self._folder = name, folder
        self._parts: list[pl.LazyFrame] = []

    @property
    def are_in_memory(self) -> bool:
        """Whether parts are frames."""
        return self._folder is None

    def beside(self, name: str) -> "Parts":
        """Return parts without rows that are kept in the same place."""
        return Parts(name, self._folder)

    def append(self, rows: pl.DataFrame) -> pl.LazyFrame:
        """Add a part and return it."""
        part = rows.lazy()
        if self._folder is not None:
            file = self._folder / f"{self._name}-{len(self._parts)}.parquet"
            # Compression takes a third of the time of writing, and saves half of the space.
            rows.write_parquet(file, compression="uncompressed")
            part = pl.scan_parquet(file)
        self._parts.append(part)
        return part

    def append_lazy(self, part: pl.LazyFrame) -> None:
        """Add a part that is computed from another one whenever it is read."""
        self._parts.append(part)

    def scan(self) -> pl.LazyFrame:
        """Return the rows of all parts, at least one."""
        return pl.concat(self._parts)

    def __iter__(self) -> Iterator[pl.LazyFrame]:
        return iter(self._parts)
