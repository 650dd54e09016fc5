"""Fields by which a scheduled run reads only the rows that were modified since the last one."""

import contextlib
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import PlainValidator

from forecasting.spec.frequency import fixed_width, parse_frequency
from forecasting.spec.place import DATABASES

INCREMENTAL = ("modified", "modified_overlap", "key")
"""Fields of a source that decide which rows a scheduled run reads again, and never what a row means."""
DEFAULT_OVERLAP = "2h"
"""More than the hour that clocks are set back by in autumn, and than most transactions last."""


def find_modified_problem(given: Callable[[str], Any]) -> str | None:
    """Return what is wrong with the fields of incremental reading.

    Args:
        given: Returns the value of a field of a source.

    Returns:
        The problems; None if there are none.
    """
    modified, key = given("modified"), given("key")
    if modified is None:
        unused = [name for name in INCREMENTAL if given(name) is not None]
        needs = "needs modified (--source modified=COLUMN), the column of modification times"
        return f"{' and '.join(unused)} {needs}" if unused else None
    problems = []
    if (uris := _not_tables(given("uri"))) and given("table") is None and given("query") is None:
        problems.append(f"modified needs a database or one Delta table, and {uris} is read as a whole; leave it out")
    if given("version") is not None:
        problems.append("modified reads the newest version of a table, so that version must be left out")
    ids = given("id")
    roles = [*(ids if isinstance(ids, (list, tuple)) else [ids]), given("time"), given("target")]
    if modified in roles:
        problems.append(
            f"modified must be another column than id, time and target, not '{modified}': a correction keeps its time,"
            " so that it would not be read"
        )
    if key is None and (duplicates := given("duplicates")) in ("last", "keep"):
        problems.append(
            f'duplicates = "{duplicates}" lets series have several rows of one time, so that modified needs key'
            " (--source key=COLUMN), the column or columns that identify a row"
        )
    return "; ".join(problems) or None


def _not_tables(uri: Any) -> str:
    """Return the URIs that can be neither a database nor one Delta table."""
    uris = [one for one in (uri if isinstance(uri, (list, tuple)) else [uri]) if isinstance(one, str)]
    if len(uris) > 1:
        return "a list of several places"
    is_file = [
        one for one in uris if not one.startswith(DATABASES) and re.search(r"(?i)\.(parquet|pq|csv|gz)$|[*?[]", one)
    ]
    return repr(is_file[0]) if is_file else ""


def _read_overlap(overlap: Any) -> str | float | int | None:
    """Read an overlap, which an option has as text."""
    if overlap is None:
        return None
    number = overlap
    if isinstance(overlap, str):
        with contextlib.suppress(ValueError):
            width = parse_frequency(overlap)
            if isinstance(width, str) and fixed_width(width) is not None:
                return width
        with contextlib.suppress(ValueError):
            number = float(overlap) if re.search(r"[.e]", overlap) else int(overlap)
    if isinstance(number, (int, float)) and not isinstance(number, bool) and 0 <= number < 2**63:
        return number
    raise ValueError("must be a duration of fixed length such as '2h', or for a column of numbers a number from 0")


Overlap = Annotated[str | float | int | None, PlainValidator(_read_overlap)]
"""How far before the newest modification that is known a run reads again."""
