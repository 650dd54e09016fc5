"""The files behind a source's URI: a single file, a folder or a glob, on a local disk or in an object store.

The URI of a Delta table is listed as itself, with a slash at its end, and never as the files in its folder.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from forecasting.errors import ServiceError, SourceError, first_line
from forecasting.series.delta import is_table, refuse_files_of_tables
from forecasting.series.objects import list_objects
from forecasting.series.places import local_path
from forecasting.series.stores import storage_options_of
from forecasting.series.table_formats import refuse_tables
from forecasting.spec.source import Source

CSV_SUFFIXES = (".csv", ".csv.gz")
SUFFIXES = (".parquet", ".pq", *CSV_SUFFIXES)
NUM_SHOWN = 5
"""Files that a message names."""
_WILDCARDS = frozenset("*?[")


def list_files(uri: str, *, storage_options: dict[str, str]) -> list[str]:
    """List the files of a source.

    Args:
        uri: A file, a glob, or a folder, which is searched recursively. Below a folder, hidden files (`.x`, `_x`) are
            left out.
        storage_options: Options of the object store, as Polars takes them.

    Returns:
        Paths or URIs, sorted; of a Delta table, its own one with a slash at its end.

    Raises:
        SourceError: The file does not exist, none has a known suffix, or one belongs to a table with versions.
        ServiceError: The object store cannot be listed.
    """
    files = _list(uri, storage_options)
    is_single_remote = files == [uri] and local_path(uri) is None  # `scan_files` checks it when it has been reached
    if not is_single_remote and not files[0].endswith("/"):
        refuse_files_of_tables(uri, files, storage_options=storage_options)
    return files


def list_all_files(uris: Sequence[str], *, storage_options: dict[str, str]) -> list[str]:
    """List the files of several URIs, each file once.

    Args:
        uris: Files, globs and folders.
        storage_options: Options of the object store, as Polars takes them.

    Returns:
        Paths or URIs, sorted.

    Raises:
        SourceError: A URI has no files; see `list_files`.
        ServiceError: The object store cannot be listed.
    """
    return sorted({file for uri in uris for file in list_files(uri, storage_options=storage_options)})


def describe_skipped(source: Source, storage_options: Mapping[str, str] | None = None) -> str | None:
    """Return a sentence about files that a source does not read because of their suffix; None if there are none.

    Args:
        source: The source, of which local and S3 folders and globs are listed. Hidden files (`.x`, `_x`) are left out.
        storage_options: Options of the object store, as Polars takes them; None lists local files alone.

    Returns:
        The sentence.
    """
    options = None if storage_options is None else storage_options_of(source, storage_options)
    skipped = sorted({file for uri in source.uris for file in _find_skipped(uri, options)})
    if not skipped:
        return None
    others = f" and {len(skipped) - NUM_SHOWN} more" if len(skipped) > NUM_SHOWN else ""
    return (
        f"source {source}: files that do not end in {', '.join(SUFFIXES)} are not read:"
        f" {', '.join(skipped[:NUM_SHOWN])}{others}"
    )


def is_csv(uri: str) -> bool:
    """Return whether a name is that of a CSV file, compressed or not."""
    return has_suffix(uri, CSV_SUFFIXES)


def describe_unused_dialect(source: Source, rows: pl.LazyFrame) -> str | None:
    """Return a sentence about `source.csv` where it is declared, but no file is a CSV file; None otherwise.

    Args:
        source: The source.
        rows: Its rows; their `source_file` is read unless a URI is that of a CSV file.

    Returns:
        The sentence.
    """
    if not source.csv.model_fields_set or any(map(is_csv, source.uris)):
        return None
    files = rows.select(pl.col("source_file").unique()).collect(engine="streaming")["source_file"]
    if any(map(is_csv, files)):
        return None
    fields = ", ".join(f"{name} (--csv-{name})" for name in sorted(source.csv.model_fields_set))
    return f"source {source} has no CSV file, so that source.csv is not used: {fields}"


def name_row(file: str, row: int) -> str:
    """Return the place of a row for a message, by the line on which a CSV row begins.

    >>> name_row("a.csv", 1), name_row("a.parquet", 1)
    ('a.csv, line 2', 'a.parquet, row 1')
    """
    return f"{file}, line {row + 1}" if is_csv(file) else f"{file}, row {row}"


def has_suffix(uri: str, suffixes: tuple[str, ...] = SUFFIXES) -> bool:
    """Return whether a name ends in one of the suffixes, regardless of case."""
    return uri.lower().endswith(suffixes)


def list_remote(uri: str, *, storage_options: dict[str, str]) -> list[str]:
    """List the files of an object store, with Polars.

    Args:
        uri: A file, which is returned without a check; a glob; or a folder, which is searched recursively.
        storage_options: Options of the object store, as Polars takes them.

    Returns:
        URIs, sorted.

    Raises:
        SourceError: No file has a known suffix.
        ServiceError: The object store cannot be listed.
    """
    if has_suffix(uri) and _WILDCARDS.isdisjoint(uri):
        return [uri]
    spellings = [spelling for suffix in SUFFIXES for spelling in (suffix, suffix.upper())]  # as `_is_read` has them
    patterns = [uri] if has_suffix(uri) else [uri.rstrip("/") + "/**/*" + suffix for suffix in spellings]
    files = [file for pattern in patterns for file in _expand(pattern, uri, storage_options)]
    return _require(uri, files, storage_options)


def _list(uri: str, storage_options: dict[str, str]) -> list[str]:
    path = local_path(uri)
    if path is None:
        may_be_table = not has_suffix(uri) and _WILDCARDS.isdisjoint(uri)
        if may_be_table and is_table(uri, storage_options=storage_options):
            return [uri.rstrip("/") + "/"]
        return list_remote(uri, storage_options=storage_options)
    if path.is_file():
        return [str(path)]
    if is_table(uri, storage_options=storage_options):
        return [f"{path}/"]
    if not path.is_dir() and _WILDCARDS.isdisjoint(str(path)):
        raise SourceError(f"source {uri} does not exist; it needs a parquet or CSV file, a folder or a glob of them")
    files = [file for file in _expand_local(path) if has_suffix(file.name)]
    refuse_tables(uri, files)
    return _require(uri, [str(file) for file in files])


def _expand(pattern: str, uri: str, storage_options: dict[str, str]) -> list[str]:
    try:
        if is_csv(pattern):
            rows = pl.scan_csv(
                pattern,
                include_file_paths="file",
                infer_schema=False,
                truncate_ragged_lines=True,
                missing_columns="insert",
                storage_options=storage_options,
            )
        else:
            rows = pl.scan_parquet(
                pattern,
                include_file_paths="file",
                missing_columns="insert",
                extra_columns="ignore",
                storage_options=storage_options,
            )
        return rows.select(pl.col("file").unique()).collect(engine="streaming")["file"].to_list()
    except (pl.exceptions.PolarsError, OSError) as error:
        if isinstance(error, FileNotFoundError) or "expanded paths were empty" in str(error):
            return []
        raise ServiceError(f"source {uri} cannot be listed: {first_line(error)}") from error


def _expand_local(path: Path) -> list[Path]:
    """Return the files below a folder without hidden ones, or those that a glob matches."""
    if path.is_dir():
        found = [file for file in path.rglob("*") if _is_plain(file.relative_to(path))]
    else:
        found = list(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    return [file for file in found if file.is_file()]


def _find_skipped(uri: str, storage_options: Mapping[str, str] | None = None) -> list[str]:
    path = local_path(uri)
    if path is None:
        is_listed = storage_options is not None and not has_suffix(uri)
        found = (list_objects(uri, storage_options or {}) or []) if is_listed else []
        return [
            file for file in found if not _is_read(file) and _is_plain(Path(file.removeprefix(f"{uri.rstrip('/')}/")))
        ]
    if path.is_file() or not (path.is_dir() or _WILDCARDS & set(str(path))) or is_table(uri, storage_options={}):
        return []
    return [str(file) for file in _expand_local(path) if not has_suffix(file.name) and _is_plain(Path(file.name))]


def _is_read(uri: str) -> bool:
    """Return whether Polars finds an object by its suffix, in lower or in upper case."""
    return any(uri.endswith((suffix, suffix.upper())) for suffix in SUFFIXES)


def _is_plain(path: Path) -> bool:
    return not any(part.startswith((".", "_")) for part in path.parts)


def _require(uri: str, files: list[str], storage_options: Mapping[str, str] | None = None) -> list[str]:
    if not files:
        skipped = _find_skipped(uri, storage_options)
        others = f"; it has {', '.join(skipped[:NUM_SHOWN])}" if skipped else ""
        raise SourceError(f"source {uri} has no file that ends in {', '.join(SUFFIXES)}{others}")
    return sorted(files)
