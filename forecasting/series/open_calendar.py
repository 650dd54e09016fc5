"""The open calendar of a frequency: numbers of consecutive open steps, and the times that they stand for.

Time is cut into slots of one step, from the Monday before 1970; a day's first slot begins when the day opens. A slot is
open if its beginning is. Open slots are numbered; the numbers leave out closed ones.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from forecasting.errors import SpecError
from forecasting.series.holiday_calendar import load_holidays
from forecasting.spec.frequency import DAY, UNITS, fixed_width, learned_frequency, opening_of
from forecasting.spec.opening import Opening

EPOCH_DAY = 3
"""Days from the Monday of the week in which 1970 began to its first day, a Thursday."""
FIRST_YEAR, LAST_YEAR = 1900, 2100
"""First and last year whose holidays are closed."""

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class OpenCalendar:
    """Slots and open slots.

    Attributes:
        width: Microseconds of a slot.
        phase: Microseconds from midnight to the beginning of a slot, less than a slot.
        before_W: The number of open slots of a week before each of its slots, and in all, (slots of a week + 1,).
        open_P: The open slots of a week, (open slots of a week,).
        closed_H: Slots that are open in the week and closed by a holiday, sorted.
    """

    width: int
    phase: int
    before_W: IntArray
    open_P: IntArray
    closed_H: IntArray

    def slot_at(self, time: IntArray) -> IntArray:
        """Return the slots of times, in microseconds since 1970."""
        return (time + (EPOCH_DAY * DAY - self.phase)) // self.width

    def begin_of(self, slot: IntArray) -> IntArray:
        """Return when slots begin, in microseconds since 1970."""
        return slot * self.width - (EPOCH_DAY * DAY - self.phase)

    def count_before(self, slot: IntArray) -> IntArray:
        """Return how many open slots lie before each slot, from the Monday before 1970."""
        num_closed = np.searchsorted(self.closed_H, slot) - np.searchsorted(self.closed_H, 0)
        return self._count_in_weeks(slot) - num_closed

    def is_open(self, slot: IntArray) -> npt.NDArray[np.bool_]:
        """Return whether slots are open."""
        return self.count_before(slot + 1) > self.count_before(slot)

    def slot_of(self, number: IntArray) -> IntArray:
        """Return the open slots that have as many open slots before them."""
        num_before_1970 = np.searchsorted(self.closed_H, 0)
        reached_H = self._count_in_weeks(self.closed_H) - np.arange(len(self.closed_H)) + num_before_1970
        in_weeks = number + np.searchsorted(reached_H, number, side="right") - num_before_1970
        week, place = np.divmod(in_weeks, len(self.open_P))
        slots: IntArray = week * self._slots_of_week + self.open_P[place]
        return slots

    @property
    def _slots_of_week(self) -> int:
        return len(self.before_W) - 1

    def _count_in_weeks(self, slot: IntArray) -> IntArray:
        week, place = np.divmod(slot, self._slots_of_week)
        count: IntArray = week * len(self.open_P) + self.before_W[place]
        return count


@lru_cache(maxsize=32)
def make_open_calendar(freq: str | int) -> OpenCalendar | None:
    """Return the calendar of a frequency; None where nothing is closed.

    Args:
        freq: A frequency that `parse_frequency` has returned.

    Returns:
        The calendar.

    Raises:
        SpecError: The holidays are not known.
    """
    opening = opening_of(freq)
    if opening is None:
        return None
    width = fixed_width(freq)
    assert width is not None
    phase = min(opening.beginnings) * UNITS["m"] % width
    is_open_W = np.concatenate([_open_slots(opening, day, width, phase) for day in range(7)])
    before_W = np.concatenate([[0], np.cumsum(is_open_W)])
    closed_H = np.empty(0, np.int64)
    if opening.holidays is not None:
        day_D = holidays_of(opening.holidays) + EPOCH_DAY
        slots_of_day = DAY // width
        slot_H = (day_D[:, None] * slots_of_day + np.arange(slots_of_day)).reshape(-1)
        closed_H = slot_H[is_open_W[slot_H % len(is_open_W)]]
    return OpenCalendar(width, phase, before_W, np.flatnonzero(is_open_W), closed_H)


def open_points_ahead(
    last_S: npt.NDArray[np.generic], *, freq: str | int, horizon: int
) -> tuple[npt.NDArray[np.generic], IntArray]:
    """Return the open points that follow the last known ones, and their places on the grid that models learn on.

    Args:
        last_S: The last known points, naive times, (S,).
        freq: A frequency with opening times.
        horizon: The number F of points.

    Returns:
        The points, (S, F), and how many points of the learned grid (`learned_frequency`) each lies after the last known
        one, (S, F): 1 to F where no holiday lies between.
    """
    calendar, learned = make_open_calendar(freq), make_open_calendar(learned_frequency(freq))
    assert calendar is not None
    time_S1 = np.where(np.isnat(last_S), 0, last_S.astype("datetime64[us]").astype(np.int64))[:, None]
    slot_S1 = calendar.slot_at(time_S1)
    slot_SF = calendar.slot_of(calendar.count_before(slot_S1 + 1) + np.arange(horizon))
    ds_SF = calendar.begin_of(slot_SF) + time_S1 - calendar.begin_of(slot_S1)
    points_SF = np.where(np.isnat(last_S)[:, None], np.datetime64("NaT", "us"), ds_SF.astype("datetime64[us]"))
    if learned is None:
        return points_SF, slot_SF - slot_S1
    return points_SF, learned.count_before(slot_SF + 1) - learned.count_before(slot_S1 + 1)


@lru_cache(maxsize=32)
def holidays_of(code: str) -> IntArray:
    """Return the holidays of a country, of a part of it or of a market.

    Args:
        code: Such as `DE`, `DE-BY` or `XNYS`.

    Returns:
        Days since 1970, sorted, of the years 1900 to 2100.

    Raises:
        SpecError: The library `holidays` does not know them.
    """
    try:
        found = load_holidays(code, FIRST_YEAR, LAST_YEAR)
    except ValueError as error:
        raise SpecError("source.closed_holidays", [f"'{code}' {error}"]) from error
    return np.sort(np.array(list(found), dtype="datetime64[D]").astype(np.int64))


def _open_slots(opening: Opening, day: int, width: int, phase: int) -> npt.NDArray[np.bool_]:
    """Return which slots of a day of the week are open."""
    begin_B = (np.arange(DAY // width) * width + phase) / UNITS["m"]
    is_open_B = np.zeros(len(begin_B), dtype=bool)
    for begin, end in opening.week[day]:
        is_open_B |= (begin_B >= begin) & (begin_B < end)
    return is_open_B
