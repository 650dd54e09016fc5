"""The mirror of a spec's source: its rows as earlier runs have read them, which later runs update.

    mirrors/spec=<name>/<digest>/     a Delta table, for the fields of the source that the digest is made of

One commit has all rows that a run has read: a whole read replaces all of them, and one of changed rows is appended. Of
several rows with the same key, the one of the highest batch counts. Each commit is a transaction of the next batch. Of
two runs that have updated the same version, Delta Lake therefore refuses the second, which reads again.

The table has the columns `column_0`, `column_1`, … of the source, and three of its own: `modified`, in a type that can
be compared; `batch`; and `read_at`, the time in UTC before the batch was read.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from forecasting.errors import StoreError, first_line
from forecasting.series.columns import unused_name
from forecasting.store.publish import ROW_GROUP_ROWS
from forecasting.store.rows import BATCH_ROWS
from forecasting.store.tables import Store

MIRRORS_FOLDER = "mirrors"
_MODIFIED, _READ_AT, _BATCH = "modified", "read_at", "batch"
MOST_APPENDED = 0.2
"""Share of appended rows from which all rows are written again."""
MOST_BATCHES = 50
_APPLICATION = "mirror"


class Contested(Exception):
    """Raised where another run has updated a mirror since this one opened it."""


@dataclass(frozen=True)
class Mirror:
    """The mirror of a source.

    Attributes:
        store: The store.
        folder: Its folder, relative to the store.
        columns: The columns of the source in order.
        key: Those of them that identify a row.
        snapshot: The version that is read; None where the source has no mirror yet.
    """

    store: Store
    folder: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    snapshot: DeltaTable | None

    @property
    def modified(self) -> str:
        """The column of `rows` with the value that says when each was modified; the source has none of this name."""
        return unused_name(_MODIFIED, self.columns)

    @property
    def is_written(self) -> bool:
        """Whether a run has written rows."""
        return self.snapshot is not None and self.snapshot.transaction_version(_APPLICATION) is not None

    @property
    def rows(self) -> pl.LazyFrame:
        """The rows in the columns of the source, and `modified`; in no particular order, one per key."""
        names = {name: _stored_name(place) for place, name in enumerate(self.columns)}
        wanted = [pl.col(stored).alias(name) for name, stored in (names | {self.modified: _MODIFIED}).items()]
        first, last = self._batches()
        if first == last:
            return self._scan().select(wanted)
        key = [names[name] for name in self.key]
        later = self._scan().filter(pl.col(_BATCH) > first).collect(engine="streaming")
        later = later.sort(_BATCH, descending=True).unique(key, keep="first", maintain_order=True)
        kept = self._scan().filter(pl.col(_BATCH) == first)
        kept = kept.join(later.lazy().select(key), on=key, how="anti", nulls_equal=True)
        return pl.concat([kept.select(wanted), later.lazy().select(wanted)])

    @property
    def watermark(self) -> Any:
        """The newest modification that is known; None where no row has one.

        Times after the newest read are left out: a wrong one in the future would hide all later changes.
        """
        stored = self._scan()
        known = stored
        if stored.collect_schema()[_MODIFIED].is_temporal():
            known = stored.filter(pl.col(_MODIFIED) <= pl.col(_READ_AT).max())
        return known.select(pl.col(_MODIFIED).max()).collect(engine="streaming").item()

    def append(self, changed: pl.DataFrame, *, read_at: datetime) -> None:
        """Add rows that have changed, or that are new; they replace those with their keys.

        Args:
            changed: Rows in the columns of `rows`.
            read_at: The time before they were read.

        Raises:
            Contested: Another run has updated the mirror.
            StoreError: The mirror could not be written.
        """
        self._commit(changed.lazy(), read_at, mode="append")

    def replace(self, rows: pl.LazyFrame, *, read_at: datetime) -> None:
        """Replace all rows, and the types of the columns.

        Args:
            rows: Rows in the columns of `rows`.
            read_at: The time before they were read.

        Raises:
            Contested: Another run has updated the mirror.
            StoreError: The mirror could not be written.
        """
        mirror = self
        if self.snapshot is None:
            _create(self, rows)
            mirror = open_at(self.store, self.folder, self.columns, self.key)
        mirror._commit(rows, read_at, mode="overwrite")

    def should_be_replaced(self, num_changed: int) -> bool:
        """Return whether so many rows are appended, with these, that all rows are to be written again."""
        first, last = self._batches()
        counts = self._scan().select(pl.len(), later=(pl.col(_BATCH) > first).sum()).collect(engine="streaming")
        num_rows, num_later = counts.row(0)
        return last - first >= MOST_BATCHES or num_later + num_changed > MOST_APPENDED * num_rows

    def _scan(self) -> pl.LazyFrame:
        assert self.snapshot is not None, "the mirror has been written"
        return self.store.scan_snapshot(self.snapshot)

    def _batches(self) -> tuple[int, int]:
        first, last = self._scan().select(first=pl.col(_BATCH).min(), last=pl.col(_BATCH).max()).collect().row(0)
        return first, last

    def _as_stored(self, rows: pl.LazyFrame, read_at: datetime, batch: int) -> pl.LazyFrame:
        return rows.select(
            *(pl.col(name).alias(_stored_name(place)) for place, name in enumerate(self.columns)),
            pl.col(self.modified).alias(_MODIFIED),
            pl.lit(read_at, pl.Datetime("us")).alias(_READ_AT),
            pl.lit(batch, pl.Int64).alias(_BATCH),
        )

    def _commit(self, rows: pl.LazyFrame, read_at: datetime, *, mode: Any) -> None:
        assert self.snapshot is not None
        batch = (self.snapshot.transaction_version(_APPLICATION) or 0) + 1
        stored = self._as_stored(rows, read_at, batch)
        try:
            write_deltalake(
                self.snapshot,
                _to_arrow(stored),
                mode=mode,
                schema_mode="overwrite" if mode == "overwrite" else None,
                writer_properties=WriterProperties(compression="ZSTD", max_row_group_size=ROW_GROUP_ROWS),
                commit_properties=CommitProperties(app_transactions=[Transaction(_APPLICATION, batch)]),
            )
        except CommitFailedError as error:
            raise Contested(self.folder) from error
        except (DeltaError, OSError) as error:
            raise StoreError(
                f"{self.folder} of store {self.store.root} could not be written: {first_line(error)}"
            ) from error


def open_mirror(store: Store, spec: str, columns: Sequence[str], key: Sequence[str], *, of: object) -> Mirror:
    """Open the mirror of a spec's source, which need not exist yet.

    Args:
        store: The store.
        spec: The name of the spec.
        columns: The columns of the source, in order.
        key: Those of them that identify a row.
        of: What else decides which rows the source has, as JSON; another value is another mirror.

    Returns:
        The mirror, at its newest version.

    Raises:
        StoreError: The mirror could not be read.
    """
    text = json.dumps([of, list(columns), list(key)], sort_keys=True)
    folder = f"{MIRRORS_FOLDER}/spec={spec}/{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return open_at(store, folder, tuple(columns), tuple(key))


def open_at(store: Store, folder: str, columns: tuple[str, ...], key: tuple[str, ...]) -> Mirror:
    """Open the newest version of the mirror in a folder.

    Args:
        store: The store.
        folder: The folder, relative to the store.
        columns: The columns of the source, in order.
        key: Those of them that identify a row.

    Returns:
        The mirror; one that was created, but never written, has no snapshot.

    Raises:
        StoreError: The mirror could not be read.
    """
    try:
        table = DeltaTable(store.files.uri(folder), storage_options=store.storage_options or None)
    except TableNotFoundError:
        return Mirror(store, folder, columns, key, None)
    except (DeltaError, OSError) as error:
        raise StoreError(f"{folder} of store {store.root} could not be read: {first_line(error)}") from error
    return Mirror(store, folder, columns, key, table)


def find_mirrors(store: Store) -> dict[str, list[tuple[str, datetime]]]:
    """Return the folders of all mirrors by that of their spec, each with its last write, the newest first."""
    written: dict[str, datetime] = {}
    for file in store.files.find_all(MIRRORS_FOLDER):
        folder = "/".join(file.path.split("/")[:3])
        written[folder] = max(written.get(folder, file.modified), file.modified)
    found: dict[str, list[tuple[str, datetime]]] = {}
    for folder, modified in sorted(written.items(), key=lambda each: each[1], reverse=True):
        found.setdefault(folder.rpartition("/")[0], []).append((folder, modified))
    return found


def _create(mirror: Mirror, rows: pl.LazyFrame) -> None:
    """Create an empty table, unless another run has created it in the meantime."""
    stored = mirror._as_stored(rows.head(0), datetime(1970, 1, 1), 0).collect()
    schema = stored.to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    options = mirror.store.storage_options or None
    try:
        DeltaTable.create(mirror.store.files.uri(mirror.folder), schema, mode="error", storage_options=options)
    except (DeltaError, OSError) as error:
        if open_at(mirror.store, mirror.folder, mirror.columns, mirror.key).snapshot is None:
            raise StoreError(
                f"{mirror.folder} of store {mirror.store.root} could not be created: {first_line(error)}"
            ) from error


def _to_arrow(rows: pl.LazyFrame) -> pa.RecordBatchReader:
    empty = rows.head(0).collect().to_arrow(compat_level=pl.CompatLevel.oldest())
    batches = (
        batch
        for frame in rows.collect_batches(maintain_order=True)
        for batch in frame.to_arrow(compat_level=pl.CompatLevel.oldest()).to_batches(BATCH_ROWS)
    )
    return pa.RecordBatchReader.from_batches(empty.schema, batches)


def _stored_name(place: int) -> str:
    """Return the name of a column in the table, where names of a source might be refused or already taken."""
    return f"column_{place}"
