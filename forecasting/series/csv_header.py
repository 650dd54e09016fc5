"""Find rows of a CSV file that repeat its header, as where files with headers are joined."""

import csv
from collections.abc import Callable, Iterator, Sequence

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


def reorders_header(fields: Sequence[str], header: Sequence[str]) -> bool:
    """Return whether fields are the names of a header in another order, regardless of blanks around them and of case.

    >>> reorders_header(["ds", "ID", "y"], ["id", "ds", "y"]), reorders_header(["id", "ds", "y"], ["id", "ds", "y"])
    (True, False)
    """
    if len(fields) != len(header) or repeats_header(fields, header):
        return False
    return sorted(map(_fold, fields)) == sorted(map(_fold, header))


def find_headers(
    block: bytes,
    byte_of: Bytes,
    lines: tuple[Places, Places],
    at: Places,
    num_of_line: Places | None,
    header: Sequence[str],
    quote: str | None,
) -> Iterator[tuple[int, bool]]:
    """Find the lines of a block that repeat the header, quoted in any way and with its columns in any order.

    Only lines whose first and last fields are both names are read one by one.

    Args:
        block: Whole lines of a file.
        byte_of: The same bytes.
        lines: Where each line starts and ends.
        at: Where its fields are separated.
        num_of_line: The number of separators of each line; None if it is that of the header everywhere.
        header: The names.
        quote: The quote of the dialect; None without one.

    Yields:
        The numbers of the lines, from 0, and whether the columns are in another order.
    """
    names = {name.strip() for name in header}
    if len(header) < 2 or not len(at):
        return
    of_width, fields = _fields_of(lines, at, num_of_line, len(header))
    may_be = np.arange(len(of_width))
    for place in (0, len(header) - 1):
        begin, end = fields(place)
        of_field = begin[may_be], end[may_be]
        found = [_have_name(name, byte_of, of_field, quote) for name in names]
        may_be = may_be[np.unique(np.concatenate(found))]
    starts, ends = lines
    separator = chr(byte_of[at[0]])
    for line in of_width[may_be].tolist():
        names_of_line = split_line(block[starts[line] : ends[line]].decode(errors="replace"), separator, quote)
        if repeats_header(names_of_line, header):
            yield line, False
        elif reorders_header(names_of_line, header):
            yield line, True


def _fields_of(
    lines: tuple[Places, Places], at: Places, num_of_line: Places | None, width: int
) -> tuple[Places, Callable[[int], tuple[Places, Places]]]:
    """Return the lines with as many fields as the header, and where the field at a place of each begins and ends."""
    starts, ends = lines
    each = width - 1
    if num_of_line is None:
        of_width, at_of_line = np.arange(len(ends)), at.reshape(len(ends), each)
    else:
        of_width = np.flatnonzero(num_of_line == each)
        first = (np.cumsum(num_of_line) - num_of_line)[of_width]
        at_of_line = at[first[:, None] + np.arange(each)]

    def field(place: int) -> tuple[Places, Places]:
        begin = starts[of_width] if place == 0 else at_of_line[:, place - 1] + 1
        return begin, ends[of_width] if place == each else at_of_line[:, place]

    return of_width, field


def _have_name(name: str, byte_of: Bytes, fields: tuple[Places, Places], quote: str | None) -> Places:
    """Return which fields, by where they begin and end, may be a name."""
    begin, end = fields
    # Quotes within the name are doubled, so that only the text before the first one is compared.
    known = (name if quote is None else name.split(quote)[0]).encode()
    longest = len(name.encode()) + name.count(quote or "\0") + _MOST_AROUND
    may_be = np.flatnonzero((end - begin >= len(known)) & (end - begin <= longest))
    return may_be[_begin_with(known, byte_of, begin[may_be], quote)] if known else may_be


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
    return field == name or _fold(field) == _fold(name)


def _fold(name: str) -> str:
    return name.strip().casefold()
