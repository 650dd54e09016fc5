"""Where the rows of a source are: files, a Delta table or a database, and which fields each of them takes."""

import contextlib
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, NamedTuple

from pydantic import PlainValidator

from forecasting.spec.frequency import average_width, clock_of, step_of

STORES = ("s3://", "s3a://")
"""What URIs begin with whose object store a connection opens."""
_OTHER_STORES = frozenset({"file", "gs", "gcs", "az", "azure", "abfs", "abfss", "adl", "http", "https", "hf", "memory"})
"""Further schemes that Polars reads."""
POSTGRES = ("postgresql://", "postgres://")
SQLITE = "sqlite:///"
DATABASES = (*POSTGRES, SQLITE)
PLACE = ("connection", "version", "table", "query")
"""Fields that say where rows are, besides the URI."""
_MARGIN = timedelta(days=3)
"""More than the distance of any two clocks, and than the parts of a month that an average one lacks."""


class Scope(NamedTuple):
    """The part of a database that a run reads; a run that reads more has the same results.

    Attributes:
        columns: Categories, besides the columns that the source names.
        until: The last time, in UTC or on any other clock; None for all times.
        most_rows: Number of rows, to check a source; None for all.
    """

    columns: tuple[str, ...] = ()
    until: datetime | None = None
    most_rows: int | None = None


def find_end(cutoff: str | None, freq: str | int) -> datetime | None:
    """Return a time after which a run up to a cutoff needs no rows, regardless of the clock of the cutoff.

    Args:
        cutoff: A requested cutoff, or the time of a run, in ISO 8601.
        freq: The frequency, since the period that begins at the cutoff is part of the run.

    Returns:
        The time; None without a cutoff, for integer steps, and where nothing is certain.

    >>> find_end("2024-01-31 05:00+02:00", "1h")
    datetime.datetime(2024, 2, 3, 5, 0)
    >>> find_end("400", 1) is None
    True
    """
    if cutoff is None or clock_of(freq) == "step":
        return None
    with contextlib.suppress(ValueError, OverflowError):
        time = datetime.fromisoformat(cutoff.strip())
        naive = time if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None)
        return naive + timedelta(microseconds=2 * average_width(str(step_of(freq)))) + _MARGIN
    return None


def find_place_problem(given: Callable[[str], Any]) -> str | None:
    """Return what is wrong with the fields that say where rows are.

    Args:
        given: Returns the value of a field of a source.

    Returns:
        The problems; None if there are none.
    """
    uri = given("uri")
    listed = uri if isinstance(uri, (list, tuple)) else [uri]
    uris = [each for each in listed if isinstance(each, str)]
    connection, table, query = given("connection"), given("table"), given("query")
    in_database = [each for each in uris if each.startswith(DATABASES)]
    problems = []
    if in_database and len(uris) > 1:
        problems.append(f"{in_database[0]!r} is a database, which must be the only URI")
    elif in_database or (connection is not None and not uris):
        problems += _find_database_problems(connection, table, query, in_database)
    elif uris and (table is not None or query is not None):
        name = "query (--query)" if table is None else "table (--table)"
        problems.append(f"{name} needs a database, such as postgresql://host/database, and {_spell(uris)} is not one")
    elif connection is not None and (others := [each for each in uris if not each.startswith(STORES)]):
        problems.append(f"connection opens s3:// URIs, and {_spell(others)} is another place; leave it out")
    if given("version") is not None and (len(uris) != 1 or in_database):
        problems.append("version (--source version=N) needs the URI of one Delta table, and nothing else")
    return "; ".join(problems) or None


def _find_database_problems(connection: Any, table: Any, query: Any, uris: list[str]) -> list[str]:
    problems = []
    if table is None and query is None:
        problems.append("a database needs table (--table) or query (--query), which has the rows")
    if table is not None and query is not None:
        problems.append("table (--table) and query (--query) exclude each other")
    if connection is not None and uris:
        problems.append(f"connection has a host and a database of its own; leave it out, or {uris[0]!r}")
    return problems


def find_kind_problem(uri: str) -> str | None:
    """Return why nothing is read from a URI because of its beginning, or its end where it is a database; else None.

    >>> find_kind_problem("mysql://host/db")
    'must be a path or begin with postgresql://, sqlite:/// or s3://, not with mysql://'
    >>> find_kind_problem("s3://bucket/sales/"), find_kind_problem("a:b.csv")
    (None, None)
    """
    scheme, sign, _ = uri.partition("://")
    if sign and not uri.startswith((*DATABASES, *STORES)) and scheme.lower() not in _OTHER_STORES:
        return f"must be a path or begin with postgresql://, {SQLITE} or s3://, not with {scheme}://"
    if not sign and re.search(r"(?i)\.(db|sqlite3?)$", uri):
        return f"must begin with {SQLITE} where it is a SQLite database"
    return None


def _spell(uris: list[str]) -> str:
    return repr(uris[0])


def _read_version(version: Any) -> Any:
    """Read a version, which an option has as text."""
    if isinstance(version, str) and version.strip().isdecimal():
        version = int(version)
    if isinstance(version, str):
        with contextlib.suppress(ValueError):
            version = datetime.fromisoformat(version.strip())
    if isinstance(version, date) and not isinstance(version, datetime):
        version = datetime(version.year, version.month, version.day)
    if isinstance(version, datetime) or (isinstance(version, int) and not isinstance(version, bool) and version >= 0):
        return version
    raise ValueError("must be a whole number from 0, or a time in ISO 8601 such as 2024-01-31 05:00+00:00")


Version = Annotated[int | datetime, PlainValidator(_read_version)]
"""A version of a Delta table."""
