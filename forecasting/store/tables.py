"""The store: lazy frames of its tables, their versions, and files of weights.

    <root>/<stored table name>/            a Delta Lake table
    <root>/staging/run_id=<id>/…           results of workers that are not published yet
    <root>/weights/…                       safetensors files that `models` and `priors` name
    <root>/mirrors/spec=<name>/…           rows of sources that are read by `source.modified`; see `mirror`

All specs share these tables; `spec` is part of every key and partition.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import polars as pl
import pyarrow as pa
import pyarrow.fs as arrow_fs
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from forecasting.errors import NothingStored, SpecError, StoreError, first_line
from forecasting.schemas import TABLES, Table
from forecasting.schemas import table as declared_table
from forecasting.spec.frequency import CLOCKS, Clock
from forecasting.store.files import Files

WEIGHTS_FOLDER = "weights"


@dataclass(frozen=True)
class StoredTable:
    """The current state of one table.

    Attributes:
        name: The name in the store.
        num_rows: Rows.
        version: The number of the newest commit, from 0.
        num_bytes: Bytes of its files, compressed.
        num_files: Files of the newest version.
    """

    name: str
    num_rows: int
    version: int
    num_bytes: int
    num_files: int


class Store:
    """The tables and files below one root.

    A store can be pickled. Nothing is opened or created before something is read or written.

    Args:
        root: A local folder, which need not exist yet, or `s3://bucket/prefix`.
        storage_options: Options of the object store, as deltalake takes them.

    Raises:
        SpecError: The root is of another kind, or in the home of an unknown user.
    """

    def __init__(self, root: str | Path, storage_options: Mapping[str, str] | None = None) -> None:
        self.root = _normalise(str(root))
        self.storage_options = dict(storage_options or {})
        self.files = Files(self.root, self.storage_options)

    def __repr__(self) -> str:
        return f"Store({self.root!r})"

    def scan(self, table: str, clock: Clock, *, version: int | None = None) -> pl.LazyFrame:
        """Scan a table. Filters are pushed down to Delta's partitions and Parquet's row groups.

        Args:
            table: The declared name of the table.
            clock: The clock of its rows.
            version: The version to read; None for the newest.

        Returns:
            Rows in no particular order: the declared columns in order, then quantile columns that specs have added. A
            table that does not exist yet is empty.

        Raises:
            NothingStored: No table has this name, or the table does not have the version.
            StoreError: The table could not be read.
        """
        declared = declared_table(table)
        schema = declared.schema(clock)
        snapshot = self.open(table, clock, version=version)
        if snapshot is None:
            if version is not None:
                raise NothingStored(
                    f"table '{declared.stored_as(clock)}' does not exist yet, so it has no version {version}"
                )
            return pl.LazyFrame(schema=schema)
        rows = self.scan_snapshot(snapshot)
        stored = rows.collect_schema()
        added = [name for name in stored if name not in schema]
        return rows.select(
            *(pl.col(name) if name in stored else pl.lit(None, dtype).alias(name) for name, dtype in schema.items()),
            *added,
        )

    def version(self, table: str, clock: Clock) -> int | None:
        """Return the number of a table's newest commit, from 0; None if the table does not exist yet."""
        snapshot = self.open(table, clock)
        return None if snapshot is None else snapshot.version()

    def tables(self) -> list[StoredTable]:
        """Return the tables that exist, in the order of their declaration; timestamps before steps."""
        stored = []
        for declared, clock in each_table():
            snapshot = self.open(declared.name, clock)
            if snapshot is not None:
                actions = pl.DataFrame(snapshot.get_add_actions(flatten=True))
                stored.append(
                    StoredTable(
                        declared.stored_as(clock),
                        int(actions["num_records"].sum()),
                        snapshot.version(),
                        int(actions["size_bytes"].sum()),
                        actions.height,
                    )
                )
        return stored

    def open(self, table: str, clock: Clock, *, version: int | None = None) -> DeltaTable | None:
        """Open a table.

        Args:
            table: The declared name of the table.
            clock: The clock of its rows.
            version: The version to open; None for the newest.

        Returns:
            A snapshot; None if the table does not exist yet.

        Raises:
            NothingStored: The table does not have the version.
            StoreError: The table could not be read.
        """
        stored_as = declared_table(table).stored_as(clock)
        try:
            snapshot = DeltaTable(self.table_uri(table, clock), storage_options=self.storage_options or None)
            if version is not None:
                if not 0 <= version <= snapshot.version():
                    raise NothingStored(f"table '{stored_as}' has versions 0 to {snapshot.version()}, not {version}")
                snapshot.load_as_version(version)
        except TableNotFoundError:
            return None
        except (DeltaError, OSError) as error:
            what = f"table '{stored_as}'" + ("" if version is None else f", version {version},")
            raise StoreError(f"{what} of store {self.root} could not be read: {first_line(error)}") from error
        return snapshot

    def create(self, table: str, clock: Clock) -> None:
        """Create an empty table as declared, unless another writer has created it in the meantime.

        Args:
            table: The declared name of the table.
            clock: The clock of its rows.

        Raises:
            StoreError: The table could not be created.
        """
        declared = declared_table(table)
        schema = declared.schema(clock)
        arrow_schema = pl.DataFrame(schema=schema).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
        meanings = {column.name: column.meaning for column in declared.columns}
        try:
            DeltaTable.create(
                self.table_uri(table, clock),
                pa.schema([field.with_metadata({"comment": meanings[field.name]}) for field in arrow_schema]),
                mode="error",
                name=declared.stored_as(clock),
                description=declared.meaning,
                partition_by=list(declared.partition_by(clock)),
                storage_options=self.storage_options or None,
            )
        except (DeltaError, OSError) as error:
            if self.open(table, clock) is None:
                raise StoreError(
                    f"table '{declared.stored_as(clock)}' could not be created: {first_line(error)}"
                ) from error

    def table_uri(self, table: str, clock: Clock) -> str:
        """Return the path or URI of a table's folder."""
        return self.files.uri(declared_table(table).stored_as(clock))

    def read_bytes(self, relative_uri: str) -> bytes:
        """Read a file of weights.

        Args:
            relative_uri: Its path below the root, in `weights/`.

        Returns:
            Its content.

        Raises:
            NothingStored: The file does not exist.
            StoreError: The file could not be read.
        """
        return self.files.read_bytes(_check_weights(relative_uri))

    def local_path(self, relative_uri: str) -> Path | None:
        """Return the local path of a file in `weights/`; None if it does not exist or the store is remote."""
        path = Path(self.root) / _check_weights(relative_uri)
        return path if self.files.is_local and path.is_file() else None

    def write_bytes(self, relative_uri: str, content: bytes) -> None:
        """Write a file of weights. Readers see the complete file or none.

        Args:
            relative_uri: Its path below the root, in `weights/`.
            content: Its content.

        Raises:
            StoreError: The file could not be written.
        """
        self.files.write_bytes(_check_weights(relative_uri), content)

    def scan_snapshot(self, snapshot: DeltaTable) -> pl.LazyFrame:
        """Scan the rows of a snapshot of a table below the root."""
        if self.files.is_local and "%" in snapshot.table_uri:
            # Delta Lake names files by URIs, which Polars reads as paths: a space in the root would become "%20".
            folder = unquote(urlsplit(snapshot.table_uri).path)
            files = arrow_fs.SubTreeFileSystem(folder, arrow_fs.LocalFileSystem())
            return pl.scan_pyarrow_dataset(snapshot.to_pyarrow_dataset(filesystem=files))
        return pl.scan_delta(snapshot)


def each_table() -> Iterator[tuple[Table, Clock]]:
    """Yield every declared table with each clock that it has a stored table for."""
    for clock in CLOCKS:
        for declared in TABLES.values():
            if declared.has_clock or clock == "timestamp":
                yield declared, clock


def _normalise(root: str) -> str:
    if root.startswith("file://"):
        root = unquote(urlsplit(root).path)
    if "://" in root:
        return root.rstrip("/")
    try:
        return str(Path(root).expanduser().absolute())
    except RuntimeError as error:
        raise SpecError("store root", [f"'{root}' begins with the home of an unknown user"]) from error


def _check_weights(relative_uri: str) -> str:
    if not relative_uri.startswith(f"{WEIGHTS_FOLDER}/"):
        raise StoreError(f"'{relative_uri}' must be a path below {WEIGHTS_FOLDER}/")
    return relative_uri
