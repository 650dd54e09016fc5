"""The spec's `[holidays]`: whose holidays are covariates of the series, and which days beside them."""

from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from forecasting.spec.frequency import DAY, fixed_width
from forecasting.spec.opening import check_holidays
from forecasting.spec.problems import check_whole_and_parts

NAME, WORKING_DAY, BRIDGE = "holiday", "working_day", "bridge_day"
COUNT, WORKING_DAYS = "holidays", "working_days"
"""Covariates that holidays have."""
_WINDOW = (-1, 1)
LONGEST_WINDOW = 7
"""Most days before and after a holiday."""


class Holidays(BaseModel, frozen=True, extra="forbid"):
    """Holidays as covariates; with neither `country` nor `by` there are none."""

    country: str | None = Field(
        None,
        description="country whose holidays are covariates, such as `DE`, a part of it such as `DE-BY`, or a market,"
        " such as `XNYS`; with `by`, that of series without a code",
    )
    by: Annotated[str, StringConstraints(min_length=1)] | None = Field(
        None, description="column of the source with such a code for each series"
    )
    window: tuple[StrictInt, ...] | None = Field(
        None,
        description="first and last day around a holiday with a covariate of its own, `[0, 0]` for none; where not"
        " given, `[-1, 1]` at a day or less",
    )
    bridge_days: StrictBool = Field(
        False, description="whether working days between a holiday and a weekend, or another holiday, are a covariate"
    )

    @field_validator("country")
    @classmethod
    def _is_code(cls, code: str | None) -> str | None:
        return None if code is None else check_holidays(code)

    @field_validator("window", mode="wrap")
    @classmethod
    def _is_around_the_day(cls, window: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        return check_whole_and_parts(window, handler, _find_window_problem)

    @model_validator(mode="after")
    def _have_a_country(self) -> Self:
        if not self.are_used and self.need_days:
            raise ValueError("window and bridge_days need the holidays of a country, or those by a column")
        return self

    @property
    def are_used(self) -> bool:
        """Whether holidays are covariates."""
        return self.country is not None or self.by is not None

    def covariates(self, freq: str | int) -> tuple[str, ...]:
        """Return the names of the covariates at a frequency.

        A day or less has the name of its holiday, and whether it is a working day. A longer period has the numbers of
        its holidays and working days, and below a month also the name of its first holiday.

        Args:
            freq: The frequency of the grid.

        Returns:
            The names; none without holidays.

        >>> Holidays(country="US").covariates("1h")
        ('holiday', 'holiday_before_1', 'holiday_after_1', 'working_day')
        >>> Holidays(country="US").covariates("1w"), Holidays(country="US").covariates("1mo")
        (('holiday', 'holidays', 'working_days'), ('holidays', 'working_days'))
        """
        if not self.are_used:
            return ()
        if not has_days(freq):
            names = () if fixed_width(freq) is None else (NAME,)
            return (*names, COUNT, WORKING_DAYS)
        around = [around_name(offset) for offset in self.offsets]
        return (NAME, *around, WORKING_DAY, *((BRIDGE,) if self.bridge_days else ()))

    @property
    def need_days(self) -> bool:
        """Whether the block asks for covariates of single days."""
        return self.window is not None or self.bridge_days

    @property
    def offsets(self) -> tuple[int, ...]:
        """The days around a holiday, without the holiday itself; negative ones lie before it."""
        first, last = self.window or _WINDOW
        return (*range(first, 0), *range(1, last + 1))


def around_name(offset: int) -> str:
    """Return the covariate of a day around a holiday.

    >>> around_name(-2), around_name(1)
    ('holiday_before_2', 'holiday_after_1')
    """
    return f"{NAME}_{'before' if offset < 0 else 'after'}_{abs(offset)}"


def has_days(freq: str | int) -> bool:
    """Return whether a grid point of a frequency lies within one day."""
    width = fixed_width(freq)
    return width is not None and width <= DAY


def _find_window_problem(window: Any) -> str | None:
    if window is None:
        return None
    is_pair = isinstance(window, (list, tuple)) and len(window) == 2
    if is_pair and -LONGEST_WINDOW <= window[0] <= 0 <= window[1] <= LONGEST_WINDOW:
        return None
    return f"must be two numbers of days from -{LONGEST_WINDOW} to 0 and from 0 to {LONGEST_WINDOW}, such as [-1, 1]"
