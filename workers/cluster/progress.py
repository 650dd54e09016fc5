"""Progress of a job, as lines that a reader of a log can follow."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

from forecasting.flow.estimate import seconds_left
from workers.arguments import PROGRESS_MARK


class Progress:
    """Reports how many series are done, at which rate, and how long the rest takes once that can be estimated.

    A terminal shows one line that changes. A log gets a line at most every few seconds.

    Args:
        name: Name of the job in the lines.
        num_all: How many series the job has.
        already: How many of them were done before this run.
        noun: What is counted, in the plural.
        every: Seconds between two lines, at least.
        stream: Where lines are written; standard output by default.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        name: str,
        num_all: int,
        *,
        already: int = 0,
        noun: str = "series",
        every: float = 5.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._num_all = num_all
        self._noun = noun
        self._already = self._num_done = already
        self._every = every
        self._stream = stream or sys.stdout
        self._clock = clock
        self._began = clock()
        self._reported_at = -float("inf")

    def add(self, num_new: int) -> None:
        """Count finished series and report them if it is time; the last ones are always reported."""
        self._num_done += num_new
        is_last = self._num_done >= self._num_all
        now = self._clock()
        if is_last or now - self._reported_at >= self._every:
            self._reported_at = now
            self._report(is_last, now - self._began)

    def _report(self, is_last: bool, seconds: float) -> None:
        num_new = self._num_done - self._already
        line = describe(self._name, self._num_done, self._num_all, num_new, seconds, self._noun)
        if self._stream.isatty():
            self._stream.write(f"\r\x1b[K{line}" + ("\n" if is_last else ""))
        else:
            self._stream.write(f"{line}\n")
        self._stream.flush()


def describe(name: str, num_done: int, num_all: int, num_new: int, seconds: float, noun: str = "series") -> str:
    """Write one line of progress.

    Args:
        name: Name of the job in the line.
        num_done: How many series are done.
        num_all: How many series the job has.
        num_new: How many of the finished series this run has done.
        seconds: How long this run has taken so far.
        noun: What is counted, in the plural.

    Returns:
        The line, without an end of line.

    >>> describe("train", 64, 250, 64, 20.6)
    'train: 64 of 250 series · 3.1 series/s · 1 min left'
    """
    parts = [f"{name}: {num_done} of {num_all} {noun}"]
    if num_new and seconds > 0:
        rate = num_new / seconds
        singular = noun if noun == "series" else noun.removesuffix("s")
        parts.append(f"{rate:.1f} {noun}/s" if rate >= 0.1 else f"{1 / rate:.0f} s a {singular}")
        left = seconds_left(seconds, num_new / (num_new + num_all - num_done))
        if num_done >= num_all:
            parts.append(f"took {_duration(seconds)}")
        elif left is not None:
            parts.append(f"{_duration(left)} left")
    return PROGRESS_MARK.join(parts)


def _duration(seconds: float) -> str:
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
