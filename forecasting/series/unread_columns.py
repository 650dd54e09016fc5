"""Columns that a source has, and those of them that no field of its spec names, so that nothing reads them."""

from collections.abc import Mapping

from forecasting.series.arrow_types import scan_parquet
from forecasting.series.csv_records import read_header
from forecasting.series.delta import scan_table
from forecasting.series.files import is_csv, list_all_files
from forecasting.series.lacking import incremental_columns, needed_columns
from forecasting.series.partitions import path_keys
from forecasting.series.read import reading
from forecasting.series.stores import storage_options_of
from forecasting.spec.source import Source
from forecasting.spec.spec import Spec


def unread_columns(spec: Spec, storage_options: Mapping[str, str] | None = None) -> list[str]:
    """List the columns of a source's first file, or of its Delta table, that are not read.

    Args:
        spec: The spec.
        storage_options: Options of the object store, as Polars takes them.

    Returns:
        Their names, in the order of the file; none of a database, whose query names its columns.

    Raises:
        SourceError: The source has no files, or the file cannot be read.
        ServiceError: A remote file cannot be reached.
    """
    source = spec.source
    columns = columns_of(source, storage_options)
    named = {name for _, name in (*needed_columns(source, spec.static_columns), *incremental_columns(source))}
    read = named | {*spec.covariates.of_source, *spec.covariates.by_columns}
    return [name for name in columns if name not in read]


def columns_of(
    source: Source, storage_options: Mapping[str, str] | None = None, *, has_keys: bool = False
) -> list[str]:
    """List the columns of a source's first file, or of its Delta table.

    Args:
        source: The source.
        storage_options: Options of the object store, as Polars takes them.
        has_keys: Whether keys of the file's path are columns too.

    Returns:
        Their names, in the order of the file; none of a database.

    Raises:
        SourceError: The source has no files, or the file cannot be read.
        ServiceError: A remote file cannot be reached.
    """
    if source.is_database:
        return []
    options = storage_options_of(source, storage_options)
    first = list_all_files(source.uris, storage_options=options)[0]
    if first.endswith("/"):
        columns = scan_table(first, source.version, storage_options=options)[0].collect_schema().names()
    else:
        with reading(first):
            if is_csv(first):
                columns = read_header(first, options, source.csv)
            else:
                columns = scan_parquet(first, [source.time], options).collect_schema().names()
    keys = path_keys(first)
    return list(dict.fromkeys([*columns, *keys])) if has_keys else [name for name in columns if name not in keys]
