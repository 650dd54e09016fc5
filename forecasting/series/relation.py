"""SQL of the rows that a source reads from a table or a query of a database."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from forecasting.errors import SourceError
from forecasting.series.lacking import describe_lacking, incremental_columns
from forecasting.spec.place import Scope
from forecasting.spec.source import Source

_PART = re.compile(r'"((?:[^"]|"")+)"|([^."]+)')


class Extent(NamedTuple):
    """What a source has at the moment at which rows are read of it.

    Attributes:
        num_rows: The number of its rows.
        first: The smallest value of its column of times, as Polars stores it; None where values cannot be compared.
    """

    num_rows: int
    first: int | float | str | None

    def has_begun(self, time: str) -> pl.Expr:
        """Return whether a row that was read before does not lie before all rows that the source has now."""
        if self.first is None:
            return pl.lit(value=True)
        return (pl.col(time).to_physical() >= self.first).fill_null(value=True)


class Relation(NamedTuple):
    """A table or a query.

    Attributes:
        name: What messages and refused rows call it.
        sql: What follows FROM.
        needed: Roles and names of the columns to read.
        scope: The part to read.
        others: Roles and names of further columns, which must exist.
    """

    name: str
    sql: str
    needed: Sequence[tuple[str, str]]
    scope: Scope
    others: Sequence[tuple[str, str]] = ()

    @classmethod
    def of(cls, source: Source, needed: Sequence[tuple[str, str]]) -> "Relation":
        """Return the relation of a source.

        Args:
            source: A source in a database.
            needed: Roles and names of its columns.

        Returns:
            The relation.
        """
        if source.table is not None:
            parts = [(quoted or plain).replace('""', '"') for quoted, plain in _PART.findall(source.table)]
            sql = ".".join(map(quote_name, parts))
        else:
            query = (source.query or "").strip().rstrip(";")
            sql = f"(\n{query}\n) AS source_rows"  # on lines of its own, because a comment may end it
        return cls(str(source), sql, needed, source.scope, incremental_columns(source))

    @property
    def columns(self) -> list[str]:
        """The names of the columns to read, each once."""
        return list(dict.fromkeys(name for _, name in self.needed))

    def role_of(self, column: str) -> str:
        """Return the first role of a column."""
        return next(role for role, name in self.needed if name == column)

    def column_of(self, role: str) -> str:
        """Return the first column of a role."""
        return next(name for each, name in self.needed if each == role)

    def check(self, columns: Sequence[str]) -> None:
        """Refuse a relation without the needed columns.

        Args:
            columns: The columns that it has.

        Raises:
            SourceError: One is missing, or occurs twice.
        """
        if lacking := describe_lacking([*self.needed, *self.others], columns):
            raise SourceError(f"{self.name} lacks {lacking}; id, time and target name them")
        if repeated := [name for name in self.columns if columns.count(name) > 1]:
            raise SourceError(f"{self.name} has several columns '{repeated[0]}'; every column needs its own name")

    def extent(self, first: str) -> str:
        """Return the query of the number of all rows, and of the smallest value of an expression."""
        return f"SELECT count(*) AS num_rows, {first} AS first FROM {self.sql}"

    def select(self, expressions: Sequence[str], conditions: Sequence[str] = (), *, is_ordered: bool = True) -> str:
        """Return the query of the relation.

        Args:
            expressions: An expression for each column.
            conditions: What rows must meet.
            is_ordered: Whether rows are in the order of their times and then of all columns, so that the same rows are
                always read alike.

        Returns:
            The SELECT.
        """
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        places = sorted(range(len(expressions)), key=lambda place: self.role_of(self.columns[place]) != "time")
        end = f" ORDER BY {', '.join(str(place + 1) for place in places)}" if is_ordered else ""
        if self.scope.most_rows is not None:
            end = f" LIMIT {self.scope.most_rows}"
        return f"SELECT {', '.join(expressions)} FROM {self.sql}{where}{end}"


def quote_name(name: str) -> str:
    """Return a name as SQL has it, exactly as it is written."""
    return '"' + name.replace('"', '""') + '"'
