"""Find out whether Polars reads a CSV file without losing a row, and which rows are blank, ragged or headers."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from forecasting.series.csv_bytes import read_blocks
from forecasting.series.csv_header import Bytes, Places, find_headers, split_line
from forecasting.series.places import is_remote
from forecasting.spec.dialect import CsvDialect

MOST_ODD_ROWS = 10_000
"""Odd rows of a file, at most, that Polars reads; it looks up every row among their numbers."""
LONGEST_LINE = 64 << 20
_BOM = b"\xef\xbb\xbf"
_LF, _CR = 10, 13


class Shape(NamedTuple):
    """Odd rows of a plain file, by their numbers from 0, as Polars counts the lines after the header.

    Attributes:
        blank: Blank lines, also those of all separators of a row alone, as spreadsheets write empty rows.
        longer: Rows with more fields than the header.
        shorter: Rows with fewer fields than the header.
        header: Rows that repeat the header, as where files with headers are joined.
        reordered: Rows that repeat it with its columns in another order.
    """

    blank: tuple[int, ...]
    longer: tuple[int, ...]
    shorter: tuple[int, ...]
    header: tuple[int, ...]
    reordered: tuple[int, ...] = ()


def find_shape(uri: str, options: Mapping[str, str], dialect: CsvDialect) -> Shape | None:
    """Return the odd rows of a plain file; None of any other file. The file is read.

    In a plain file every line is a row, or blank. Quotes enclose whole fields within a line, a quote within them is
    doubled (RFC 4180), lines end in LF or CRLF, no byte is NUL, and the text is UTF-8, without a byte order mark but at
    its beginning. At most `MOST_ODD_ROWS` are odd. An empty last field that the header lacks is none if the first row
    has one.

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
    finder = _Finder(separator, quote)
    return finder.shape if all(finder.read(block) for block in _whole_lines(blocks)) else None


class _Finder:
    """The odd rows of a file up to the last block that was read."""

    def __init__(self, separator: str, quote: str | None) -> None:
        self._separator, self._quote = separator, quote
        self._header: list[str] = []
        self._ends_in_separator: bool | None = None
        self._num_lines = 0
        self._odd: tuple[list[int], ...] = ([], [], [], [], [])

    @property
    def shape(self) -> Shape:
        """The odd rows."""
        return Shape(*map(tuple, self._odd))

    def read(self, block: bytes) -> bool:
        """Read whole lines, and return whether the file may be plain."""
        byte_of = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(byte_of == _LF)
        at = _find_separators(block, byte_of, ends, self._separator, self._quote)
        if at is None:
            return False
        starts = np.concatenate([[0], ends[:-1] + 1])
        is_blank = (ends == starts) | ((ends == starts + 1) & (byte_of[starts] == _CR))
        if not self._header:
            if is_blank[0]:
                return False
            first = block[: ends[0]].decode(errors="replace").removesuffix("\r")
            self._header = split_line(first, self._separator, self._quote)
        each = len(self._header) - 1
        is_even = not is_blank.any() and _are_even(at, starts, ends, each)
        num_of_line = None if is_even and not _may_be_bare(at, starts, ends, each) else _count(at, ends)
        if num_of_line is not None:
            is_blank |= (num_of_line >= max(each, 1)) & (ends - starts - (byte_of[ends - 1] == _CR) == num_of_line)
            is_blank[:1] &= self._num_lines > 0  # the header is none
        repeats = find_headers(block, byte_of, (starts, ends), at, num_of_line, self._header, self._quote)
        headers = {line: is_reordered for line, is_reordered in repeats if line or self._num_lines}
        for line, is_reordered in headers.items():
            self._odd[4 if is_reordered else 3].append(line + self._num_lines - 1)
        is_row = ~is_blank
        is_row[[*headers, *([] if self._num_lines else [0])]] = False
        if num_of_line is not None:
            num_of_line = self._without_last(byte_of, ends, at, num_of_line, is_row)
            is_odd = [is_blank, ~is_blank & (num_of_line > each), ~is_blank & (num_of_line < each)]
            for numbers, flags in zip(self._odd, is_odd, strict=False):
                numbers.extend((np.flatnonzero(flags) + self._num_lines - 1).tolist())
        elif is_row.any() and self._ends_in_separator is None:
            self._ends_in_separator = False
        self._num_lines += len(ends)
        return sum(map(len, self._odd)) <= MOST_ODD_ROWS

    def _without_last(
        self, byte_of: Bytes, ends: Places, at: Places, num_of_line: Places, is_row: npt.NDArray[np.bool_]
    ) -> Places:
        """Return the number of separators, without those before an empty last field that the header lacks."""
        if self._ends_in_separator is False or not is_row.any():
            return num_of_line
        has_one_more = is_row & (num_of_line == len(self._header))
        has_one_more &= _are_last_empty(byte_of, ends, at, num_of_line, self._quote)
        if self._ends_in_separator is None:
            self._ends_in_separator = bool(has_one_more[is_row.argmax()])
        return num_of_line - has_one_more if self._ends_in_separator else num_of_line


def _count(at: Places, ends: Places) -> Places:
    """Return the number of separators of each line."""
    return np.diff(np.searchsorted(at, ends), prepend=0)


def _may_be_bare(at: Places, starts: Places, ends: Places, each: int) -> bool:
    """Return whether a line of even ones, each with as many separators, may consist of separators alone."""
    return each > 0 and bool((ends - starts <= each + 1).any())


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
    # A single byte is found several times faster than two, and few files have these.
    if b"\0" in block or (b"\r" in block and block.count(b"\r") != block.count(b"\r\n")):
        return None
    if _BOM[:1] in block and (block.startswith(_BOM) or b"\n" + _BOM in block):
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


def _are_last_empty(
    byte_of: Bytes, ends: Places, at: Places, num_of_line: Places, quote: str | None
) -> npt.NDArray[np.bool_]:
    """Return whether a separator, or one and an empty pair of quotes, ends each line."""
    if not len(at):
        return np.zeros(len(ends), np.bool_)
    last = at[np.maximum(np.cumsum(num_of_line) - 1, 0)]
    num_after = ends - (byte_of[ends - 1] == _CR) - last - 1
    is_quoted = False if quote is None else (num_after == 2) & (byte_of[last + 1] == ord(quote))
    is_empty: npt.NDArray[np.bool_] = (num_of_line > 0) & ((num_after == 0) | is_quoted)
    return is_empty


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
