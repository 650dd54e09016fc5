"""Find rows of a CSV file that repeat its header, as where files with headers are joined."""

import csv
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.intp]

_MOST_AROUND = 8
"""Bytes that quotes, blanks and a line end may add to a name."""
_LOWER = 0x20
"""The bit in which upper and lower case of an ASCII letter differ."""


def repeats_header(fields: Sequence[str], header: Sequence[str]) -> bool:
    """Return whether fields are the names of a header, regardless of blanks around them and of case."""
    return len(fields) == len(header) and all(map(_is_name, fields, header))


def find_headers(
    block: bytes,
    byte_of: Bytes,
    lines: tuple[Places, Places],
    at: Places,
    num_of_line: Places | None,
    header: Sequence[str],
    quote: str | None,
) -> Iterator[int]:
    """Find the lines of a block that repeat the header, quoted in any way.

    Only lines that have its longest name, in the place of that name, are read one by one.

    Args:
        block: Whole lines of a file.
        byte_of: The same bytes.
        lines: Where each line starts and ends.
        at: Where its fields are separated.
        num_of_line: The number of separators of each line; None if it is that of the header everywhere.
        header: The names.
        quote: The quote of the dialect; None without one.

    Yields:
        The numbers of the lines, from 0.
    """
    place = max(range(len(header)), key=lambda number: len(header[number].strip()))
    name = header[place].strip().encode()
    each = len(header) - 1
    if not name or not each or not len(at):
        return
    starts, ends = lines
    if num_of_line is None:
        of_width, at_of_line = np.arange(len(ends)), at.reshape(len(ends), each)
    else:
        of_width = np.flatnonzero(num_of_line == each)
        first = (np.cumsum(num_of_line) - num_of_line)[of_width]
        at_of_line = at[first[:, None] + np.arange(each)]
    begin = starts[of_width] if place == 0 else at_of_line[:, place - 1] + 1
    end = ends[of_width] if place == each else at_of_line[:, place]
    length = end - begin
    may_be = (length >= len(name)) & (length <= len(name) + _MOST_AROUND)
    separator = chr(byte_of[at[0]])
    for number in np.flatnonzero(may_be)[_begin_with(name, byte_of, begin[may_be], quote)]:
        line = int(of_width[number])
        text = block[starts[line] : ends[line]].decode(errors="replace")
        if repeats_header(split_line(text, separator, quote), header):
            yield line


def _begin_with(name: bytes, byte_of: Bytes, begin: Places, quote: str | None) -> Places:
    """Return which of some places a name follows, after quotes and blanks, regardless of case."""
    is_around = np.zeros(256, np.bool_)
    is_around[list(f" \t{quote or ''}".encode())] = True
    found = np.arange(len(begin))
    for _ in range(_MOST_AROUND):
        first = byte_of[begin]
        is_before = is_around[first]
        may_be = is_before | (first | _LOWER == name[0] | _LOWER)
        begin, found = (begin + is_before)[may_be], found[may_be]
        if not is_before.any():
            break
    for number, byte in enumerate(name):
        is_same = byte_of[np.minimum(begin + number, len(byte_of) - 1)] | _LOWER == byte | _LOWER
        begin, found = begin[is_same], found[is_same]
        if not len(found):
            break
    return found


def split_line(line: str, separator: str, quote: str | None) -> list[str]:
    """Split a line that is a whole record into its fields."""
    if quote is None:
        return line.split(separator)
    return next(csv.reader([line], delimiter=separator, quotechar=quote), [])


def _is_name(field: str, name: str) -> bool:
    return field == name or field.strip().casefold() == name.strip().casefold()
