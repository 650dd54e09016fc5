"""A path and a frame go in; the whole file, parquet or CSV by its suffix, appears under its name or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from forecasting.errors import SpecError

SUFFIXES = (".parquet", ".csv")


def refuse_path(path: Path, *, option: str, suffixes: tuple[str, ...] = SUFFIXES) -> None:
    """Raise SpecError for a path that could not be written, before any work is done for it."""
    problem = None
    if path.suffix.lower() not in suffixes:
        problem = f"must end in {' or '.join(suffixes)}"
    elif path.is_dir():
        problem = "is a folder; it needs the name of a file"
    elif not path.parent.is_dir():
        problem = f"cannot be written: there is no folder {path.parent}"
    elif not os.access(path.parent, os.W_OK):
        problem = f"cannot be written: folder {path.parent} does not let you"
    if problem:
        raise SpecError(option, [f"{str(path)!r} {problem}"])


def write_frame(rows: pl.DataFrame, path: Path) -> None:
    """Write a frame under a temporary name beside its own, then rename it."""
    with whole_file(path) as temporary:
        if path.suffix.lower() == ".csv":
            rows.with_columns(_as_text(column) for column in rows if column.dtype == pl.Datetime).write_csv(temporary)
        else:
            rows.write_parquet(temporary)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; what is written there takes its place at the end, or is removed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _as_text(times: pl.Series) -> pl.Series:
    """Write times as ISO 8601 with a blank, as most tools read them, fraction and offset only where there are any."""
    dtype = times.dtype
    assert isinstance(dtype, pl.Datetime)
    is_whole = bool((times.dt.nanosecond() == 0).all())
    return times.dt.to_string("%Y-%m-%d %H:%M:%S" + ("" if is_whole else "%.f") + ("%:z" if dtype.time_zone else ""))
