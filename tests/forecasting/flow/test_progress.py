"""Progress of a fit, as a log and as a bar."""

import io
import sys
import threading
from collections.abc import Iterator

import pytest

from forecasting.flow import estimate, progress
from forecasting.flow.progress import FitProgress


def test_two_threads_may_count_at_once(fit: FitProgress, switch_often: None) -> None:
    errors: list[Exception] = []
    is_over = threading.Event()

    def validate() -> None:
        try:
            for number in range(2_000):
                fit.on_validation(number % 500, 1)
                fit.on_end((number + 250) % 500)
        except RuntimeError as error:
            errors.append(error)
        is_over.set()

    threading.Thread(target=validate).start()
    while not is_over.is_set():
        fit.on_shard(1, 1000)
    assert not errors


@pytest.fixture
def switch_often() -> Iterator[None]:
    """Let threads take turns a hundred times as often as usual."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(interval / 100)
    yield
    sys.setswitchinterval(interval)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def fit(monkeypatch: pytest.MonkeyPatch) -> FitProgress:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    fit = FitProgress(io.StringIO())
    fit.expect(shard_size=4, num_fits=2, max_steps=100)
    return fit


def test_steps_of_a_shards_fits_count_as_parts_of_its_series(fit: FitProgress) -> None:
    fit.on_shard(0, 6)
    assert fit.series_done == 0
    fit.on_validation(0, 50)
    assert fit.series_done == pytest.approx(1.0)
    fit.on_validation(0, 100)
    assert fit.series_done == pytest.approx(2.0)
    fit.on_validation(0, 50)
    assert fit.series_done == pytest.approx(3.0)
    fit.on_validation(1, 50)
    assert fit.series_done == pytest.approx(4.0)
    fit.on_end(0)
    fit.on_shard(4, 6)
    assert fit.series_done == pytest.approx(5.0)
    fit.on_end(1)
    fit.on_shard(6, 6)
    assert fit.series_done == 6


def test_log_gets_lines_that_can_be_read(fit: FitProgress) -> None:
    stream = fit._stream
    assert isinstance(stream, io.StringIO)
    with fit:
        fit.on_shard(0, 6)
        fit.on_validation(0, 100)
        fit.on_shard(6, 6)
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("forecast: 0 of 6 series · 0% ·")
    assert "33%" in lines[1]
    assert "left" not in lines[1], "too little time has passed for an estimate"
    assert lines[-1].startswith("forecast: 6 of 6 series · 100% ·")
    assert "\x1b" not in stream.getvalue()


def test_estimate_comes_when_a_tenth_is_done_and_some_time_has_passed(fit: FitProgress) -> None:
    fit.on_shard(0, 6)
    fit.on_validation(0, 2)
    assert "left" not in fit._line(10.0)
    fit.on_validation(0, 100)
    assert fit._line(10.0).endswith("· about 20 s left")


def test_bar_shows_an_estimate_only_when_it_means_something(monkeypatch: pytest.MonkeyPatch) -> None:
    for least, is_shown in ((5.0, False), (0.0, True)):
        monkeypatch.setattr(estimate, "LEAST_SECONDS", least)
        stream = Terminal()
        with FitProgress(stream) as fit:
            fit.on_shard(0, 6)
            fit.on_shard(3, 6)
        assert ("s left" in stream.getvalue()) == is_shown


def test_log_gets_no_line_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    with FitProgress(stream) as fit:
        fit.on_shard(0, 100)
        for done in range(1, 100):
            fit.on_shard(done, 100)
    assert stream.getvalue() == ""


def test_terminal_gets_a_bar_that_goes_away() -> None:
    stream = Terminal()
    with FitProgress(stream) as fit:
        fit.on_shard(0, 6)
        fit.on_validation(0, 1)
        fit.on_shard(6, 6)
    assert "forecasting, 6 of 6 series done" in stream.getvalue()


def test_calls_that_share_the_members_of_all_series_count_as_parts_of_one_shard() -> None:
    bar = FitProgress(io.StringIO(), is_shown=False)
    bar.expect(shard_size=None, num_fits=4, max_steps=10)
    bar.on_shard(0, 3)
    bar.on_validation(0, 10)
    bar.on_validation(1, 5)
    assert bar.series_done == pytest.approx(3 * (1 / 4 + 0.5 / 4))
