"""Progress of a job: counts of finished series go in; lines that a log reader can follow come out."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

from workers.arguments import PROGRESS_MARK


class Progress:
    """Says how many series are done, how fast it goes and how long it will take: at most once every few seconds.

    A terminal sees one line that changes; a log gets a line each time.
    """

    def __init__(
        self,
        name: str,
        num_series: int,
        *,
        already: int = 0,
        unit: str = "series",
        every: float = 5.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._num_series = num_series
        self._unit = unit
        self._already = self._num_done = already
        self._every = every
        self._stream = stream or sys.stdout
        self._clock = clock
        self._began = clock()
        self._said_at = -float("inf")

    def add(self, num_series: int) -> None:
        """Count finished series; the last ones are always told."""
        self._num_done += num_series
        is_last = self._num_done >= self._num_series
        now = self._clock()
        if is_last or now - self._said_at >= self._every:
            self._said_at = now
            self._say(is_last, now - self._began)

    def _say(self, is_last: bool, seconds: float) -> None:
        line = describe(
            self._name, self._num_done, self._num_series, self._num_done - self._already, seconds, self._unit
        )
        if self._stream.isatty():
            self._stream.write(f"\r\x1b[K{line}" + ("\n" if is_last else ""))
        else:
            self._stream.write(f"{line}\n")
        self._stream.flush()


def describe(name: str, num_done: int, num_series: int, num_new: int, seconds: float, unit: str = "series") -> str:
    """Write one line of progress.

    >>> describe("train", 64, 250, 64, 20.6)
    'train: 64 of 250 series · 3.1 series/s · 1 min left'
    """
    parts = [f"{name}: {num_done} of {num_series} {unit}"]
    if num_new and seconds > 0:
        rate = num_new / seconds
        single = unit if unit == "series" else unit.removesuffix("s")
        parts.append(f"{rate:.1f} {unit}/s" if rate >= 0.1 else f"{1 / rate:.0f} s a {single}")
        left = (num_series - num_done) / rate
        parts.append(_duration(left) + " left" if num_done < num_series else f"took {_duration(seconds)}")
    return PROGRESS_MARK.join(parts)


def _duration(seconds: float) -> str:
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
