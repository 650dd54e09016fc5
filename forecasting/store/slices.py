"""A slice of a table: the rows that a run may replace, as a SQL predicate and as a Polars expression."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from forecasting.errors import StoreError
from forecasting.schemas import Table, ds_dtype
from forecasting.spec.frequency import Clock


@dataclass(frozen=True)
class Slice:
    """The rows of one spec that a run replaces, which are also the only rows that it may write.

    Cutoffs are naive datetimes, or integers for tables of steps.

    Args:
        spec: The name of the spec.
        run_cutoff: The run's cutoff; dated tables need it, and other tables do not have it.
        until: The last ds of the slice, for tables with one row per (spec, unique_id, ds).
        unique_ids: The series of a filtered run; None for all.
        models: The models of a filtered run; None for all.
        job: The job whose verdicts are meant, in `checks`; None in other tables.
        scenario: The scenario that is meant, in `scenarios`; None for all.
        run_id: The run whose rows are replaced, for tables that keep the rows of every run; None for all.

    Raises:
        StoreError: `unique_ids` or `models` is empty or not a list of names.
    """

    spec: str
    run_cutoff: datetime | int | None = None
    until: datetime | int | None = None
    unique_ids: Sequence[str] | None = None
    models: Sequence[str] | None = None
    job: str | None = None
    scenario: str | None = None
    run_id: str | None = None

    def __post_init__(self) -> None:
        for name in ("unique_ids", "models"):
            values = getattr(self, name)
            if values is not None:
                if isinstance(values, str) or not values or not all(isinstance(value, str) for value in values):
                    raise StoreError(
                        f"slice of spec '{self.spec}': {name} = {values!r} must be a list of at least one name"
                    )
                object.__setattr__(self, name, tuple(dict.fromkeys(values)))

    def check(self, table: Table, clock: Clock) -> None:
        """Check that a table can have this slice.

        Args:
            table: The table's declaration.
            clock: The clock of the spec.

        Raises:
            StoreError: The table lacks a column that the slice needs, or a cutoff is not on the clock.
        """
        stored_as, columns = table.stored_as(clock), table.schema(clock)
        if not table.has_clock:
            raise StoreError(f"table '{stored_as}' has no slices, because its rows are replaced one by one")
        if table.is_dated and self.run_cutoff is None:
            raise StoreError(f"a slice of table '{stored_as}' needs a run_cutoff")
        for option, column in (
            ("run_cutoff", "run_cutoff"), ("until", "ds"), ("unique_ids", "unique_id"), ("models", "model"),
            ("job", "job"), ("scenario", "scenario"),
            ("run_id", "run_id"),
        ):  # fmt: skip
            if getattr(self, option) is not None and column not in columns:
                raise StoreError(f"table '{stored_as}' has no column '{column}', so its slices cannot have {option}")
        if self.until is not None and (table.is_dated or columns["ds"] != ds_dtype(clock)):
            raise StoreError(f"table '{stored_as}' belongs to run cutoffs, so its slices cannot have until")
        for option in ("run_cutoff", "until"):
            _check_on_clock(option, getattr(self, option), stored_as, clock)

    def predicate(self, table: Table, clock: Clock) -> str:
        """Return the slice as the SQL condition of Delta Lake's overwrite.

        Args:
            table: The table's declaration.
            clock: The clock of the spec.

        Returns:
            A conjunction that begins with the partition columns.

        Raises:
            StoreError: The table cannot have this slice.
        """
        self.check(table, clock)
        parts = [f"spec = {quote(self.spec)}"]
        if isinstance(self.run_cutoff, datetime):
            parts.append(f"cutoff_date = {quote(self.run_cutoff.date().isoformat())}")
        if self.run_cutoff is not None:
            parts.append(f"run_cutoff = {_literal(self.run_cutoff)}")
        if self.until is not None:
            parts.append(f"ds <= {_literal(self.until)}")
        for column, values in (("unique_id", self.unique_ids), ("model", self.models)):
            if values is not None:
                parts.append(f"{column} IN ({', '.join(map(quote, values))})")
        if self.job is not None:
            parts.append(equals("job", self.job))
        if self.scenario is not None:
            parts.append(equals("scenario", self.scenario))
        if self.run_id is not None:
            parts.append(equals("run_id", self.run_id))
        return " AND ".join(parts)

    def contains(self, table: Table, clock: Clock) -> pl.Expr:
        """Return the slice as a Polars condition.

        Args:
            table: The table's declaration.
            clock: The clock of the spec.

        Returns:
            The condition of `predicate`; null where one of its columns is null.

        Raises:
            StoreError: The table cannot have this slice.
        """
        self.check(table, clock)
        condition = pl.col("spec") == self.spec
        if isinstance(self.run_cutoff, datetime):
            condition &= pl.col("cutoff_date") == self.run_cutoff.date()
        if self.run_cutoff is not None:
            condition &= pl.col("run_cutoff") == pl.lit(self.run_cutoff, ds_dtype(clock))
        if self.until is not None:
            condition &= pl.col("ds") <= pl.lit(self.until, ds_dtype(clock))
        for column, values in (("unique_id", self.unique_ids), ("model", self.models)):
            if values is not None:
                condition &= pl.col(column).is_in(list(values))
        if self.job is not None:
            condition &= pl.col("job") == self.job
        if self.scenario is not None:
            condition &= pl.col("scenario") == self.scenario
        if self.run_id is not None:
            condition &= pl.col("run_id") == self.run_id
        return condition


def equals(column: str, value: str) -> str:
    """Return the SQL condition that a column equals a text."""
    return f"{column} = {quote(value)}"


def _check_on_clock(option: str, value: object, stored_as: str, clock: Clock) -> None:
    if value is None:
        return
    if clock == "step":
        is_on_clock = isinstance(value, int) and not isinstance(value, bool)
    else:
        is_on_clock = isinstance(value, datetime) and value.tzinfo is None
    if not is_on_clock:
        needed = "an integer" if clock == "step" else "a datetime without a time zone"
        raise StoreError(f"{option} = {value!r} is not on the clock of table '{stored_as}', which needs {needed}")


def _literal(value: datetime | int) -> str:
    return quote(value.isoformat(sep=" ", timespec="microseconds")) if isinstance(value, datetime) else str(value)


def quote(text: str) -> str:
    """Quote a text as an SQL string. Its only escape is the doubled quote; a backslash is an ordinary character.

    Args:
        text: The text.

    Returns:
        The SQL literal.

    Raises:
        StoreError: The text contains a zero byte.
    """
    if "\x00" in text:
        raise StoreError(f"{text!r} contains a zero byte, which a predicate cannot express")
    return "'" + text.replace("'", "''") + "'"
