"""Recognise folders of Iceberg and Hudi, whose parquet files include those of older versions."""

from collections.abc import Iterable
from pathlib import Path

from forecasting.errors import SourceError


def refuse_tables(uri: str, files: Iterable[Path]) -> None:
    """Check that files of a folder or a glob do not belong to a table with versions, of which a part is outdated.

    Args:
        uri: The folder or glob.
        files: Local files.

    Raises:
        SourceError: They do; the error names the format and the remedy.
    """
    for folder in sorted({place for file in files for place in _own_folders(file)}):
        if (name := _format_of(folder)) is not None:
            raise SourceError(
                f"source {uri}: {folder} is a {name} table, and some of its files are of older versions; write the"
                " version to read as parquet files or a Delta table, or read it in Python, such as with"
                " polars.scan_iceberg, and give the frame"
            )


def _own_folders(file: Path) -> Iterable[Path]:
    """Yield the folder of a file, and those that only divide it into partitions or hold the data of a table."""
    folder = file.parent
    yield folder
    while "=" in folder.name or folder.name == "data":
        folder = folder.parent
        yield folder


def _format_of(folder: Path) -> str | None:
    if (folder / ".hoodie").is_dir():
        return "Hudi"
    return "Iceberg" if any((folder / "metadata").glob("*.metadata.json")) else None
