"""Write frames to parquet or CSV files that appear only when they are complete."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from forecasting.errors import SpecError

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".parquet", ".csv")


def refuse_path(path: Path, *, option: str, suffixes: tuple[str, ...] = SUFFIXES) -> None:
    """Check that a file can be written, before any work is done for it.

    Args:
        path: The file.
        option: The option that sets it, for the message.
        suffixes: The suffixes that are allowed.

    Raises:
        SpecError: The suffix is another one, the path is a folder, or the folder does not exist or is not writable.
    """
    problem = None
    if path.suffix.lower() not in suffixes:
        problem = f"must end in {' or '.join(suffixes)}"
    elif path.is_dir():
        problem = "is a folder; it needs the name of a file"
    elif not path.parent.is_dir():
        problem = f"cannot be written: folder {path.parent} does not exist"
    elif not os.access(path.parent, os.W_OK):
        problem = f"cannot be written: folder {path.parent} is not writable"
    if problem:
        raise SpecError(option, [f"{str(path)!r} {problem}"])


def refuse_files(files: Mapping[str, Path | None], *, inputs: Sequence[str]) -> None:
    """Check that files can be written, before any work is done for them.

    Args:
        files: Files by the options that set them; None for those that were not requested.
        inputs: The files that are read.

    Raises:
        SpecError: A file cannot be written, is an input, or is meant by two options.
    """
    options: dict[Path, str] = {}
    for option, path in files.items():
        if path is None:
            continue
        refuse_path(path, option=option)
        if str(path.resolve()) in inputs:
            raise SpecError(option, [f"'{path}' is one of the inputs"])
        other = options.setdefault(path.resolve(), option)
        if other != option:
            raise SpecError(option, [f"'{path}' is also {other}"])


def write_frame(rows: pl.DataFrame, path: Path) -> None:
    """Write a frame as parquet or CSV, by the suffix of the path; the file appears when it is complete."""
    with whole_file(path) as temporary:
        if path.suffix.lower() == ".csv":
            _with_times_as_text(rows).write_csv(temporary)
        else:
            rows.write_parquet(temporary)


def write_frames(frames: Iterable[pl.DataFrame], path: Path) -> None:
    """Write frames as a single file, with one of them in memory at a time.

    Args:
        frames: At least one frame, which may be empty; all have the same schema.
        path: The file, parquet or CSV by its suffix; it appears when it is complete.
    """
    frames = iter(frames)
    first = next(frames)
    with whole_file(path) as temporary:
        if path.suffix.lower() == ".csv":
            with temporary.open("wb") as file:
                for place, rows in enumerate(chain([first], frames)):
                    _with_times_as_text(rows).write_csv(file, include_header=place == 0)
        else:
            import pyarrow.parquet as pq

            with pq.ParquetWriter(temporary, _to_arrow(first).schema, compression="zstd") as writer:
                for rows in chain([first], frames):
                    writer.write_table(_to_arrow(rows))


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file, which replaces `path` at the end or is removed after an error.

    Args:
        path: The file to write.

    Yields:
        A path in the same folder, with the same suffix.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _to_arrow(rows: pl.DataFrame) -> "pa.Table":
    return rows.to_arrow(compat_level=pl.CompatLevel.oldest())


def _with_times_as_text(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(_as_text(column) for column in rows if column.dtype == pl.Datetime)


def _as_text(times: pl.Series) -> pl.Series:
    """Write times as ISO 8601 with a blank, which most tools read; with a fraction and an offset only if they exist."""
    dtype = times.dtype
    assert isinstance(dtype, pl.Datetime)
    is_whole = bool((times.dt.nanosecond() == 0).all())
    return times.dt.to_string("%Y-%m-%d %H:%M:%S" + ("" if is_whole else "%.f") + ("%:z" if dtype.time_zone else ""))
