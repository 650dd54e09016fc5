"""Delta tables as sources: which rows a table has is what its log says, never what files lie in its folder."""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

import polars as pl

from forecasting.errors import ServiceError, SourceError, first_line, naming_extras
from forecasting.series.once import find_once
from forecasting.series.places import is_remote, local_path

LOG = "_delta_log"
SUFFIX = r"(?i)\.(parquet|pq|csv|csv\.gz)$"
_FIRST_COMMIT, _LAST_CHECKPOINT = f"{0:020}.json", "_last_checkpoint"
"""Files of which each log has one: the first commit, until a checkpoint makes it superfluous."""
_UNSUPPORTED = re.compile(r"Unsupported|Invalid protocol|[Ff]eature")
"""What errors say that a retry repeats."""


def is_table(uri: str, *, storage_options: dict[str, str]) -> bool:
    """Return whether a folder is a Delta table.

    Args:
        uri: The folder.
        storage_options: Options of the object store, as Polars takes them.

    Returns:
        Whether it has a log.

    Raises:
        ServiceError: The object store cannot be listed.
    """
    path = local_path(uri)
    return _has_log(uri.rstrip("/"), uri, storage_options) if path is None else (path / LOG).is_dir()


def refuse_files_of_tables(uri: str, files: Sequence[str], *, storage_options: dict[str, str]) -> None:
    """Refuse files that belong to Delta tables, which have also files of removed and rewritten rows.

    Args:
        uri: The file, folder or glob that a source names.
        files: The files that it has.
        storage_options: Options of the object store, as Polars takes them.

    Raises:
        SourceError: A file lies in the folder of a table; the error names the table.
        ServiceError: The object store cannot be listed.
    """
    if is_remote(uri) and local_path(uri) is None:
        tables = find_once(("tables", uri), lambda: _remote_tables(uri, storage_options))
        found = next((table for file in files for table in sorted(tables) if file.startswith(f"{table}/")), None)
    else:
        own = {Path(folder).absolute() for folder in sorted({os.path.dirname(file) for file in files})}
        folders = {each for folder in own for each in (folder, *folder.parents)}
        found = next((str(folder) for folder in sorted(folders) if (folder / LOG).is_dir()), None)
    if found is not None:
        raise SourceError(
            f"source {uri} has files of the Delta table {found}, which are not its rows by themselves; name the table"
            f" itself, {found}/"
        )


def scan_table(
    uri: str, version: int | datetime | None, *, storage_options: dict[str, str]
) -> tuple[pl.LazyFrame, str]:
    """Scan a version of a Delta table. Its log is read.

    Args:
        uri: The table.
        version: A number, or a time, which is in UTC if it has no offset; None for the newest version, which stays the
            same within `reading_once`.
        storage_options: Options of the object store, as Polars and deltalake take them.

    Returns:
        The rows, and what messages and refused rows call the table: its URI with the number of the version.

    Raises:
        SourceError: There is no such version, or the table has features that cannot be read.
        ServiceError: The table cannot be read.
    """
    with naming_extras():
        from deltalake import DeltaTable
    root = uri.rstrip("/")
    with _reading(root):
        number = find_once(("version", root, version), lambda: _find_version(root, version, storage_options))
        table = DeltaTable(root, version=number, storage_options=storage_options or None)
        if unquote(table.table_uri) != table.table_uri:  # whose files Polars looks for under the escaped name
            raise SourceError(
                f"{root} cannot be read as a Delta table, because its path has blanks or other characters that URIs"
                " escape; it must have letters, digits, /, -, ., _, ~ and + alone"
            )
        rows = pl.scan_delta(table, storage_options=storage_options or None)
        rows.collect_schema()  # checks the features that readers of the table need
    return rows, f"{root}@v{number}"


def _find_version(root: str, version: int | datetime | None, options: dict[str, str]) -> int:
    from deltalake import DeltaTable

    table = DeltaTable(root, storage_options=options or None)
    newest: int = table.version()
    if version is None or version == newest:
        return newest
    if isinstance(version, int):
        if version > newest:
            raise SourceError(f"{root} has no version {version} (source.version); its newest one is {newest}")
        return version
    instant = version.replace(tzinfo=version.tzinfo or UTC)
    table.load_as_version(instant)
    number: int = table.version()
    commits = [each["timestamp"] for each in table.history() if each["version"] == number]
    if commits and (written := datetime.fromtimestamp(commits[0] / 1000, UTC)) > instant:
        # deltalake returns the oldest version for any earlier time
        raise SourceError(f"{root} has no version of {version} (source.version); its oldest one is of {written}")
    return number


@contextlib.contextmanager
def _reading(root: str) -> Iterator[None]:
    from deltalake.exceptions import DeltaError, DeltaProtocolError, TableNotFoundError

    try:
        yield
    except (DeltaError, OSError, pl.exceptions.PolarsError) as error:
        can_be_tried_again = is_remote(root) and not isinstance(error, (DeltaProtocolError, TableNotFoundError))
        kind = ServiceError if can_be_tried_again and not _UNSUPPORTED.search(str(error)) else SourceError
        raise kind(f"{root} cannot be read as a Delta table: {first_line(error)}") from error


def _remote_tables(uri: str, options: dict[str, str]) -> set[str]:
    """Return the roots of the tables in which a file, folder or glob of an object store lies, or that lie below it."""
    fixed = re.split(r"[*?[]", uri, maxsplit=1)[0]
    is_folder = fixed == uri and not re.search(SUFFIX, uri)
    root = uri.rstrip("/") if is_folder else fixed.rpartition("/")[0]
    bucket, *folders = root.removeprefix(scheme := root[: root.index("://") + 3]).split("/")
    above = [scheme + "/".join([bucket, *folders[:depth]]) for depth in range(len(folders) + 1)]
    found = {folder for folder in above if _has_log(folder, uri, options)}
    if fixed == uri and not is_folder:
        return found
    logs = [f"{root}/**/{LOG}/{name}" for name in (_FIRST_COMMIT, _LAST_CHECKPOINT)]
    files = [file for pattern in logs for file in _list(pattern, uri, options)]
    return found | {file.rpartition(f"/{LOG}/")[0] for file in files}


def _has_log(folder: str, uri: str, options: dict[str, str]) -> bool:
    return find_once(("log", folder), lambda: bool(_list(f"{folder}/{LOG}/*.json", uri, options, head=True)))


def _list(pattern: str, uri: str, options: dict[str, str], *, head: bool = False) -> list[str]:
    """Return the files of a pattern, or the first one; none where the keys open files, but may not list them."""
    rows = pl.scan_lines(pattern, include_file_paths="file", storage_options=options).select("file")
    try:
        return (rows.head(1) if head else rows.unique()).collect(engine="streaming")["file"].to_list()
    except (pl.exceptions.PolarsError, OSError) as error:
        if isinstance(error, FileNotFoundError) or re.search(r"\b403\b", str(error)):
            return []
        raise ServiceError(f"source {uri} cannot be read: {first_line(error)}") from error
