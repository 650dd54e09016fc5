"""Finished series and optimiser steps go in; a bar on stderr, or for a log a line every few seconds, comes out."""

import sys
import time
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 5.0


class FitProgress:
    """Tells how many series are done, counting within running shards the optimiser steps of their fits.

    Before `expect` it only says that something is going on.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._began = self._said_at = time.monotonic()
        self._shard_size = self._num_fits = self._max_steps = 1
        self._num_series: int | None = None
        self._num_done = 0
        self._beginning = "reading"
        self._running: dict[int, tuple[int, int]] = {}
        """Of each shard that has not ended: the fits that have, and the steps of the current one."""
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        if self._stream.isatty():
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(file=self._stream),
                transient=True,
            )
            self._task = self._bar.add_task("reading", total=None)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def expect(self, *, shard_size: int, num_fits: int, max_steps: int) -> None:
        """Learn how much a shard is: `num_fits` fits one after the other, each of `max_steps` at most."""
        self._shard_size, self._num_fits, self._max_steps = shard_size, num_fits, max_steps

    def on_prior(self, num_done: int, num_priors: int) -> None:
        """Count trained priors; series follow when all are."""
        self._beginning = f"{num_done} of {num_priors} priors"
        if self._bar:
            self._bar.update(self._task, description=self._beginning)
        self._show()

    def on_validation(self, shard: int, num_steps: int) -> None:
        """Count a look at validation within a shard's current fit; steps that fall tell that its next fit has begun."""
        num_fits, last_step = self._running.get(shard, (0, 0))
        if num_steps <= last_step:
            num_fits = min(num_fits + 1, self._num_fits - 1)
        self._running[shard] = (num_fits, num_steps)
        self._show()

    def on_end(self, shard: int) -> None:
        """Count a shard's fits no longer; `on_shard` then counts its series."""
        self._running.pop(shard, None)

    def on_shard(self, num_done: int, num_series: int) -> None:
        """Count finished series; the first call, with none done, tells how many there are."""
        self._num_done, self._num_series = num_done, num_series
        self._show(is_last=num_done == num_series)

    @property
    def series_done(self) -> float:
        """Finished series, those of running shards in parts."""
        if self._num_series is None:
            return 0.0
        shares = ((fits + min(steps / self._max_steps, 1.0)) / self._num_fits for fits, steps in self._running.values())
        return min(self._num_done + self._shard_size * sum(shares), float(self._num_series))

    def _show(self, *, is_last: bool = False) -> None:
        if self._bar:
            of = "" if self._num_series is None else f" of {self._num_series}"
            forecasting = f"forecasting, {self._num_done}{of} series done"
            described = self._beginning if self._num_series is None else forecasting
            self._bar.update(self._task, completed=self.series_done, total=self._num_series, description=described)
            return
        now = time.monotonic()
        if is_last or now - self._said_at >= SECONDS_BETWEEN_LINES:
            self._said_at = now
            print(self._line(now - self._began), file=self._stream, flush=True)

    def _line(self, seconds: float) -> str:
        if self._num_series is None:
            return f"forecast: {self._beginning} · {seconds:.0f} s"
        share = self.series_done / self._num_series if self._num_series else 1.0
        line = f"forecast: {self._num_done} of {self._num_series} series · {share:.0%} · {seconds:.0f} s"
        return line if not 0 < share < 1 else f"{line} · about {seconds * (1 - share) / share:.0f} s left"
