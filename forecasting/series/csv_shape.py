"""Find out whether Polars reads a CSV file without losing a row, and which rows are blank, ragged or headers."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from forecasting.series.csv_bytes import read_blocks
from forecasting.series.files import is_remote
from forecasting.spec.dialect import CsvDialect

MOST_ODD_ROWS = 10_000
"""Odd rows of a file, at most, that Polars reads; it looks up every row among their numbers."""
LONGEST_LINE = 64 << 20
_BOM = b"\xef\xbb\xbf"
_LF, _CR = 10, 13

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.intp]


class Shape(NamedTuple):
    """Odd rows of a plain file, by their numbers from 0, as Polars counts the lines after the header.

    Attributes:
        blank: Blank lines.
        longer: Rows with more fields than the header.
        shorter: Rows with fewer fields than the header.
        header: Rows that repeat the header, as where files with headers are joined.
    """

    blank: tuple[int, ...]
    longer: tuple[int, ...]
    shorter: tuple[int, ...]
    header: tuple[int, ...]


def find_shape(uri: str, options: Mapping[str, str], dialect: CsvDialect) -> Shape | None:
    """Return the odd rows of a plain file; None of any other file. The file is read.

    In a plain file every line is a row, or blank. Quotes enclose whole fields within a line, a quote within them is
    doubled (RFC 4180), lines end in LF or CRLF, no byte is NUL, and the text is UTF-8. At most `MOST_ODD_ROWS` are odd.

    Args:
        uri: A path, or the URI of an object in a store.
        options: Options of the object store, as Polars takes them.
        dialect: How the file is written.

    Returns:
        The rows that are blank or ragged.
    """
    if not dialect.is_utf_8:
        return None
    separator, quote = dialect.separator, dialect.quote or None
    if is_remote(uri):
        with closing(read_blocks(uri, options)) as blocks:
            return _find_shape(blocks, separator, quote)
    status = os.stat(uri)
    return _find_in_version(uri, status.st_size, status.st_mtime_ns, separator, quote)


@lru_cache(maxsize=4096)
def _find_in_version(uri: str, size: int, modified: int, separator: str, quote: str | None) -> Shape | None:
    """Size and time of modification identify a version, because a run scans a file several times."""
    with closing(read_blocks(uri, {})) as blocks:
        return _find_shape(blocks, separator, quote)


def _find_shape(blocks: Iterable[bytes], separator: str, quote: str | None) -> Shape | None:
    num_separators: int | None = None
    num_lines, first = 0, b""
    shape: tuple[list[int], list[int], list[int], list[int]] = ([], [], [], [])
    for block in _whole_lines(blocks):
        byte_of = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(byte_of == _LF)
        at = _find_separators(block, byte_of, ends, separator, quote)
        if at is None:
            return None
        starts = np.concatenate([[0], ends[:-1] + 1])
        is_blank = (ends == starts) | ((ends == starts + 1) & (byte_of[starts] == _CR))
        if num_separators is None:
            if is_blank[0]:
                return None
            num_separators = int(np.searchsorted(at, ends[0]))
            first = block[: ends[0]].removesuffix(b"\r")
        headers = (number + num_lines - 1 for number in _find_line(first, block, byte_of, starts, ends))
        shape[3].extend(row for row in headers if row >= 0)
        if is_blank.any() or not _are_even(at, starts, ends, num_separators):
            num_of_line = np.diff(np.searchsorted(at, ends), prepend=0)
            is_odd = [is_blank, num_of_line > num_separators, ~is_blank & (num_of_line < num_separators)]
            for numbers, flags in zip(shape[:3], is_odd, strict=True):
                numbers.extend((np.flatnonzero(flags) + num_lines - 1).tolist())
        if sum(map(len, shape)) > MOST_ODD_ROWS:
            return None
        num_lines += len(ends)
    return Shape(*map(tuple, shape))


def _whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut blocks after their last line feed; a line that is too long ends one, so that its file is not plain."""
    rest, is_first = b"", True
    for block in blocks:
        text = rest + block
        if is_first and len(text) >= len(_BOM):
            text, is_first = text.removeprefix(_BOM), False
        cut = text.rfind(b"\n") + 1
        if not cut and len(text) > LONGEST_LINE:
            text += b"\0\n"
            cut = len(text)
        rest = text[cut:]
        if cut:
            yield text[:cut]
    if rest:
        yield rest + (b"\r\n" if rest.endswith(b"\r") else b"\n")  # a lone CR stays one


def _find_separators(block: bytes, byte_of: Bytes, ends: Places, separator: str, quote: str | None) -> Places | None:
    """Return where fields are separated; None where quotes, line ends or bytes are not those of a plain file."""
    if b"\0" in block or block.count(b"\r") != block.count(b"\r\n"):
        return None
    separators = np.flatnonzero(byte_of == ord(separator))
    if quote is None or quote.encode() not in block:
        return separators
    quotes = np.flatnonzero(byte_of == ord(quote))
    opening, closing = quotes[::2], quotes[1::2]
    may_precede = np.array([ord(separator), ord(quote), _LF], np.uint8)
    before, after = byte_of[opening[opening > 0] - 1], byte_of[closing + 1]
    is_sound = (
        not _are_inside(ends, quotes).any()
        and np.isin(before, may_precede).all()
        and np.isin(after, np.append(may_precede, np.uint8(_CR))).all()
    )
    return separators[~_are_inside(separators, quotes)] if is_sound else None


def _find_line(line: bytes, block: bytes, byte_of: Bytes, starts: Places, ends: Places) -> Iterator[int]:
    """Yield the numbers of the lines of a block that are this one."""
    at = block.find(line)
    while at >= 0:
        number = int(np.searchsorted(starts, at))
        if number < len(starts) and starts[number] == at:
            length = int(ends[number]) - at
            if length == len(line) or (length == len(line) + 1 and byte_of[ends[number] - 1] == _CR):
                yield number
        at = block.find(line, at + 1)


def _are_inside(places: Places, quotes: Places) -> npt.NDArray[np.bool_]:
    """Return whether an odd number of quotes stands before each place."""
    return (np.searchsorted(quotes, places) % 2).astype(np.bool_)


def _are_even(at: Places, starts: Places, ends: Places, each: int) -> bool:
    """Return whether every line from a start to an end has the same number of separators."""
    if len(at) != each * len(starts):
        return False
    if not each:
        return True
    at = at.reshape(len(starts), each)
    return bool((at[:, 0] >= starts).all() and (at[:, -1] < ends).all())
