"""Show the progress of a forecast: a bar on a terminal or in a notebook, or lines for a log."""

import html
import sys
import threading
import time
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from forecasting.flow.estimate import seconds_left

SECONDS_BETWEEN_LINES = 5.0
SECONDS_BETWEEN_REDRAWS = 0.25


class FitProgress:
    """Counts finished series, and within running shards the optimiser steps of their fits.

    Before `expect` it only shows that something is going on.
    """

    def __init__(self, stream: TextIO | None = None, *, is_shown: bool | None = True) -> None:
        """Open a progress that is shown on entering it.

        Args:
            stream: Where a terminal's bar or a log's lines go; stderr where not given.
            is_shown: True shows a bar on a terminal and in a notebook, and lines elsewhere; None shows no lines;
                False shows nothing.
        """
        self._stream = stream or sys.stderr
        self._is_shown = is_shown
        self._began = self._said_at = time.monotonic()
        self._shard_size: int | None = 1
        self._num_fits = self._max_steps = 1
        self._num_series: int | None = None
        self._num_done = 0
        self._beginning = "reading"
        self._running: dict[int, tuple[int, int]] = {}
        """Of each running shard: its finished fits, and the steps of the current one."""
        self._bar: _Bar | None = None
        self._lock = threading.RLock()
        """Validation passes are counted by a thread of their own."""

    def __enter__(self) -> Self:
        if self._is_shown is not False:
            if self._stream.isatty():
                self._bar = _TerminalBar(self._stream)
            elif is_notebook():
                self._bar = _NotebookBar(self._began)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.close()

    def expect(self, *, shard_size: int | None, num_fits: int, max_steps: int) -> None:
        """Set the size of a shard.

        Args:
            shard_size: Series of a shard; None where one shard has all series.
            num_fits: Fits of a shard, one after the other.
            max_steps: Optimiser steps of a fit at most.
        """
        self._shard_size, self._num_fits, self._max_steps = shard_size, num_fits, max_steps

    def on_prior(self, num_done: int, num_priors: int) -> None:
        """Count trained priors; series follow when all are trained."""
        self._beginning = f"{num_done} of {num_priors} priors"
        self._show()

    def on_validation(self, shard: int, num_steps: int) -> None:
        """Count a validation pass within a shard's current fit; when steps decrease, the next fit has begun."""
        with self._lock:
            num_fits, last_step = self._running.get(shard, (0, 0))
            if num_steps <= last_step:
                num_fits = min(num_fits + 1, self._num_fits - 1)
            self._running[shard] = (num_fits, num_steps)
            self._show()

    def on_end(self, shard: int) -> None:
        """Stop counting a shard's fits; `on_shard` then counts its series."""
        with self._lock:
            self._running.pop(shard, None)

    def on_shard(self, num_done: int, num_series: int) -> None:
        """Count finished series; the first call, with none done, sets their number."""
        with self._lock:
            self._num_done, self._num_series = num_done, num_series
            self._show(is_last=num_done == num_series)

    @property
    def series_done(self) -> float:
        """Finished series, those of running shards in parts."""
        if self._num_series is None:
            return 0.0
        shares = ((fits + min(steps / self._max_steps, 1.0)) / self._num_fits for fits, steps in self._running.values())
        shard_size = self._num_series if self._shard_size is None else self._shard_size
        return min(self._num_done + shard_size * sum(shares), float(self._num_series))

    def _show(self, *, is_last: bool = False) -> None:
        if self._bar:
            of = "" if self._num_series is None else f" of {self._num_series}"
            forecasting = f"forecasting, {self._num_done}{of} series done"
            self._bar.show(
                self._beginning if self._num_series is None else forecasting, self.series_done, self._num_series
            )
            return
        now = time.monotonic()
        if self._is_shown and (is_last or now - self._said_at >= SECONDS_BETWEEN_LINES):
            self._said_at = now
            print(self._line(now - self._began), file=self._stream, flush=True)

    def _line(self, seconds: float) -> str:
        if self._num_series is None:
            return f"forecast: {self._beginning} · {seconds:.0f} s"
        share = self.series_done / self._num_series if self._num_series else 1.0
        line = f"forecast: {self._num_done} of {self._num_series} series · {share:.0%} · {seconds:.0f} s"
        left = seconds_left(seconds, share)
        return line if left is None else f"{line} · about {left:.0f} s left"


def is_notebook() -> bool:
    """Return whether this process is the kernel of a notebook, which shows HTML."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and hasattr(shell, "kernel")


class _Bar(Protocol):
    def show(self, description: str, num_done: float, num_all: int | None) -> None: ...

    def close(self) -> None: ...


class _TerminalBar:
    def __init__(self, stream: TextIO) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            _TimeLeft(),
            console=Console(file=stream),
            transient=True,
        )
        self._task = self._progress.add_task("reading", total=None)
        self._progress.start()

    def show(self, description: str, num_done: float, num_all: int | None) -> None:
        self._progress.update(self._task, completed=num_done, total=num_all, description=description)

    def close(self) -> None:
        self._progress.stop()


class _TimeLeft(TextColumn):
    """The estimated time that is left; nothing before the estimate means something."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        share = (task.percentage or 0.0) / 100
        left = seconds_left(task.elapsed or 0.0, share)
        return Text("" if left is None else f"about {left:.0f} s left", style="progress.remaining")


class _NotebookBar:
    """A bar of HTML below the cell, which needs no widgets."""

    def __init__(self, began: float) -> None:
        self._began, self._drawn_at = began, time.monotonic()
        self._display: Any = sys.modules["IPython"].display.display(
            _Html(_bar_html("reading", None, 0)), display_id=True
        )

    def show(self, description: str, num_done: float, num_all: int | None) -> None:
        now = time.monotonic()
        if now - self._drawn_at >= SECONDS_BETWEEN_REDRAWS:
            self._drawn_at = now
            share = num_done / num_all if num_all else None
            self._display.update(_Html(_bar_html(description, share, now - self._began)))

    def close(self) -> None:
        self._display.update(_Html(""))


class _Html:
    def __init__(self, text: str) -> None:
        self._text = text

    def _repr_html_(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "progress of a forecast"


def _bar_html(description: str, share: float | None, seconds: float) -> str:
    bar = "<progress></progress>" if share is None else f'<progress max="1" value="{share:.3f}"></progress>'
    percent = "" if share is None else f"{100 * share:.0f} % · "
    return f"<div>{bar} {percent}{seconds:.0f} s · {html.escape(description)}</div>"
