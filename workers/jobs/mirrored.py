"""Incremental reading, by `source.modified`: a run reads the rows that have changed, and judges those of the mirror.

A run commits the mirror before it publishes tables. A run that dies between the two loses nothing: its retry judges all
rows of the mirror again, and reads what has been modified since.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from forecasting.connections import find_connection
from forecasting.errors import SourceError, StoreError
from forecasting.series.changes import Changes, read_changes
from forecasting.series.lacking import changed_columns
from forecasting.series.modified import Watermark, add_modified, lower
from forecasting.series.once import find_once, temporary_folder
from forecasting.series.plausible import wall_clock
from forecasting.series.supplied import Supplied, supply_rows
from forecasting.spec.place import SQLITE
from forecasting.spec.source import Source
from forecasting.spec.spec import Spec
from forecasting.store.mirror import Contested, Mirror, find_mirrors, open_mirror
from forecasting.store.tables import Store
from workers.arguments import RunArguments

NUM_ATTEMPTS = 5


@dataclass(frozen=True)
class Read:
    """What a run has read of a source.

    Attributes:
        num_rows: Rows that the source has.
        since: Value of `source.modified` from which rows were read; None where all were.
        reason: Why all rows were read.
        num_new: Rows with a key that was not known.
        num_changed: Rows that differ from those of the same key.
        num_same: Rows that were known as they are.
    """

    num_rows: int
    since: Watermark | None
    reason: str = ""
    num_new: int = 0
    num_changed: int = 0
    num_same: int = 0

    def __str__(self) -> str:
        if self.since is None:
            return f"all {self.num_rows:,} rows of the source were read, because {self.reason}"
        num_read = self.num_new + self.num_changed + self.num_same
        return (
            f"{num_read:,} of {self.num_rows:,} rows of the source were read, those modified since {self.since}:"
            f" {self.num_new:,} new, {self.num_changed:,} changed, {self.num_same:,} as they were"
        )


def read_changed(arguments: RunArguments, store: Store) -> Read | None:
    """Update the mirror of a spec's source once in a run, and make all scans of the source take its rows.

    Args:
        arguments: What the run is requested to do.
        store: The store.

    Returns:
        What was read; None for a spec without `source.modified`.

    Raises:
        SourceError: The source cannot be read, two rows have the same key, or rows have no order in time.
        StoreError: The mirror cannot be read or written.
        ServiceError: The source cannot be reached.
    """
    if arguments.spec.source.modified is None:
        return None
    return find_once(("changed", arguments.run_id), lambda: _read(arguments, store))


def supply_stored(spec: Spec, store: Store) -> None:
    """Make scans of a spec's source take the rows of its mirror as it is, if there is one.

    Args:
        spec: The spec.
        store: The store.
    """
    if spec.source.modified is not None and (mirror := _open(spec, store)).is_written:
        supply_rows(spec.source, Supplied(mirror.rows.select(mirror.columns), f"mirror of {spec.source}"))


def _read(arguments: RunArguments, store: Store) -> Read:
    for attempt in range(NUM_ATTEMPTS):
        try:
            return _update(arguments, store)
        except Contested:
            time.sleep(random.uniform(0, 0.1 * 2**attempt))
    raise StoreError(
        f"the mirror of {arguments.spec.source} is contested: other runs won {NUM_ATTEMPTS} times in a row"
    )


def _update(arguments: RunArguments, store: Store) -> Read:
    spec, mirror = arguments.spec, _open(arguments.spec, store)
    reason = _find_reason(arguments, mirror)
    if not reason:
        watermark = mirror.watermark
        since = None if watermark is None else lower(watermark, spec.source)
        if since is None:
            reason = f"no row has a value of '{spec.source.modified}' that is over"
        else:
            found = _read_since(spec, mirror, since)
            if isinstance(found, Read):
                return found
            reason = found
    return _read_all(spec, mirror, reason)


def _find_reason(arguments: RunArguments, mirror: Mirror) -> str:
    """Return why all rows are to be read; empty where those that have changed may do."""
    if arguments.full_read:
        return "the run requests it"
    if mirror.is_written:
        return ""
    others = [folder for folder, _ in find_mirrors(mirror.store).get(mirror.folder.rpartition("/")[0], [])]
    return "the spec's source has changed" if set(others) - {mirror.folder} else "this is the first time"


def _read_since(spec: Spec, mirror: Mirror, since: Watermark) -> Read | str:
    """Read changed rows; return why all are to be read where the mirror would not have the rows of the source."""
    source, key, read_at = spec.source, list(mirror.key), wall_clock()
    changes = _fetch(spec, mirror, since)
    extent, fetched = changes.extent, _with_modified(changes, source, mirror)
    known = mirror.rows.filter(extent.has_begun(source.time))
    if fetched.collect_schema() != known.collect_schema():
        return "its columns have other types"
    _refuse_repeated(fetched, changes, source)
    before = known.join(fetched.select(key), on=key, how="semi", nulls_equal=True).collect(engine="streaming")
    same = before.lazy().join(fetched, on=list(mirror.columns), how="semi", nulls_equal=True).select(key)
    changed = fetched.join(same, on=key, how="anti", nulls_equal=True).collect(engine="streaming")
    num_changed = _count(before.lazy().join(changed.lazy(), on=key, how="semi", nulls_equal=True))
    kept = known.join(changed.lazy().select(key), on=key, how="anti", nulls_equal=True)
    path = _sort(pl.concat([kept, changed.lazy()]), mirror, source)
    num_known, num_read = _count(pl.scan_parquet(path)), _count(changes.rows)
    if num_known != extent.num_rows:
        return (
            f"it has {extent.num_rows:,} rows, but with the changed ones {num_known:,} are known: some were deleted or"
            " got another key, or were committed later than source.modified_overlap"
        )
    if mirror.should_be_replaced(changed.height):
        mirror.replace(pl.scan_parquet(path), read_at=read_at)
    elif changed.height:
        mirror.append(changed, read_at=read_at)
    _supply(source, path, mirror, changes)
    num_new = changed.height - num_changed
    return Read(extent.num_rows, since, "", num_new, num_changed, num_read - changed.height)


def _read_all(spec: Spec, mirror: Mirror, reason: str) -> Read:
    read_at = wall_clock()
    changes = _fetch(spec, mirror, None)
    fetched = _with_modified(changes, spec.source, mirror)
    _refuse_repeated(fetched, changes, spec.source)
    path = _sort(fetched, mirror, spec.source)
    mirror.replace(pl.scan_parquet(path), read_at=read_at)
    _supply(spec.source, path, mirror, changes)
    return Read(changes.extent.num_rows, None, reason)


def _open(spec: Spec, store: Store) -> Mirror:
    """Open the mirror for the fields that decide which rows a source has, and in which columns."""
    source = spec.source
    columns = dict.fromkeys(name for _, name in changed_columns(source, spec.static_columns))
    of = source.model_dump(mode="json", include={"uri", "table", "query", "id", "time", "target", "newer", "modified"})
    if source.connection is not None and source.is_database:
        connection = find_connection(source.connection)
        of["database"] = [connection.host, connection.port, connection.database]
    return open_mirror(store, spec.name, tuple(columns), source.keys, of=of)


def _fetch(spec: Spec, mirror: Mirror, since: Watermark | None) -> Changes:
    static, options = spec.static_columns, mirror.store.storage_options
    return read_changes(spec.source, static, since, path=_new_path(), storage_options=options)


def _with_modified(changes: Changes, source: Source, mirror: Mirror) -> pl.LazyFrame:
    column = str(source.modified)
    return add_modified(changes.rows, source, column=column, name=mirror.modified, place=changes.name)


def _refuse_repeated(rows: pl.LazyFrame, changes: Changes, source: Source) -> None:
    """Refuse rows of which two have the same key, because one would replace the other."""
    key = list(source.keys)
    hashes = pl.struct(key).hash().sort()  # twice as fast as a count of the keys, which is exact
    if not rows.select((hashes == hashes.shift()).any()).collect(engine="streaming").item():
        return
    repeated = rows.group_by(key).len().filter(pl.col("len") > 1).head(1).collect(engine="streaming")
    if repeated.height:
        *values, number = repeated.row(0)
        raise SourceError(
            f"{changes.name}: {number} rows have the {_spell(key)} {_spell(list(map(str, values)))}, of which"
            " source.modified would keep only one; source.key (--source key=COLUMN) names the column or columns that"
            " identify a row"
        )


def _sort(rows: pl.LazyFrame, mirror: Mirror, source: Source) -> Path:
    """Write rows into a file in the order in which a database returns them, by times and then all columns."""
    order = list(dict.fromkeys([source.time, *mirror.columns]))
    path, is_sqlite = _new_path(), source.uris != () and source.uris[0].startswith(SQLITE)
    rows.sort(order, nulls_last=not is_sqlite).sink_parquet(path, compression="lz4")
    return path


def _supply(source: Source, path: Path, mirror: Mirror, changes: Changes) -> None:
    supply_rows(source, Supplied(pl.scan_parquet(path).select(mirror.columns), changes.name))


def _new_path() -> Path:
    folder = temporary_folder()
    assert folder is not None, "a run reads once"
    return folder / f"{len(list(folder.iterdir()))}.parquet"


def _count(rows: pl.LazyFrame) -> int:
    return int(rows.select(pl.len()).collect(engine="streaming").item())


def _spell(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
