"""Periods that nothing learns from, such as a pandemic or a strike: the entries of `source.ignore`."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, StringConstraints, field_validator, model_validator

from forecasting.spec.frequency import Clock

_MUST_BE = "must be a year, a month, a day or a time, such as '2020', '2020-03', '2020-03-15' or '2020-03-15T08:00'"
_MONTH = re.compile(r"(\d{4})(?:-(\d{2}))?", re.ASCII)
_STEP = re.compile(r"[+-]?\d+", re.ASCII)


class Period(BaseModel):
    """A period from one time to another, both included, of all series or of some."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    first: str = Field(alias="from", description="where it begins: a year, a month, a day or a time; or a step")
    last: str = Field(alias="to", description="where it ends, as a whole: `2020-06` is all of June")
    series: tuple[Annotated[str, StringConstraints(min_length=1)], ...] | None = Field(
        None, min_length=1, description="series that it holds for; all by default"
    )

    @model_validator(mode="before")
    @classmethod
    def _reads_text(cls, given: Any) -> Any:
        """Read the text of an option: FROM..TO, or FROM..TO=SERIES."""
        if not isinstance(given, str):
            return given
        times, sign, series = given.partition("=")
        first, dots, last = times.partition("..")
        if not dots:
            raise ValueError("must be FROM..TO, or FROM..TO=SERIES, such as 2020-03..2020-06")
        return {"from": first.strip(), "to": last.strip()} | ({"series": [series]} if sign else {})

    @field_validator("first", "last", mode="before")
    @classmethod
    def _is_time(cls, value: Any) -> Any:
        if isinstance(value, (date, datetime)):
            return value.isoformat()
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return value

    @field_validator("series", mode="before")
    @classmethod
    def _is_list(cls, series: Any) -> Any:
        return [series] if isinstance(series, str) else series

    _zone: str | None = PrivateAttr(None)

    def in_zone(self, zone: str) -> Self:
        """Return the same period of a zone's wall clock, with bounds in UTC."""
        period = self.model_copy()
        period._zone = zone
        return period

    def bounds(self, clock: Clock) -> tuple[Any, Any]:
        """Return where the period begins and ends.

        Args:
            clock: Whether times are timestamps or integer steps.

        Returns:
            The first time of the period, and the first one after it; naive datetimes or steps.

        Raises:
            ValueError: The period is on the other clock, or ends before it begins.

        >>> Period.model_validate("2020-03..2020-06").bounds("timestamp")[1]
        datetime.datetime(2020, 7, 1, 0, 0)
        """
        spans = [_span_on(each, clock) for each in (self.first, self.last)]
        begin, end = spans[0][0], spans[1][1]
        if begin >= end:
            raise ValueError(f"{self} ends before it begins")
        if self._zone is not None:
            zone = ZoneInfo(self._zone)
            begin, end = (each.replace(tzinfo=zone).astimezone(UTC).replace(tzinfo=None) for each in (begin, end))
        return begin, end

    def __str__(self) -> str:
        of = "" if self.series is None else f"={','.join(self.series)}"
        return f"{self.first}..{self.last}{of}"


def _span_on(text: str, clock: Clock) -> tuple[Any, Any]:
    if clock == "step":
        if not _STEP.fullmatch(text):
            raise ValueError(f"{text!r} must be an integer, because the frequency is an integer step")
        return int(text), int(text) + 1
    return _span(text)


def _span(text: str) -> tuple[datetime, datetime]:
    """Return the beginning of a year, a month, a day or an instant, and the first time after it."""
    try:
        if (found := _MONTH.fullmatch(text)) is not None:
            year, month = int(found[1]), found[2]
            begin = datetime(year, int(month or 1), 1)
            later = year * 12 + begin.month - 1 + (12 if month is None else 1)
            return begin, datetime(later // 12, later % 12 + 1, 1)
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} {_MUST_BE}") from error
    if time.tzinfo is not None:
        raise ValueError(f"{text!r} must be without an offset; it is on the wall clock of the data")
    is_day = re.fullmatch(r"\d{4}-\d{2}-\d{2}|\d{8}", text, re.ASCII) is not None
    return time, time + (timedelta(days=1) if is_day else timedelta(microseconds=1))


def as_periods(given: Any) -> Any:
    """Return one period, or the text of one, as a list of it, before validation."""
    return [given] if isinstance(given, (str, Mapping)) else given
