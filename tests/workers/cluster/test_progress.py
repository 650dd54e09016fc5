import io

from workers.cluster.progress import Progress, describe


class Terminal(io.StringIO):
    def isatty(self):
        return True


def progress_of(stream, steps, **options):
    """Advance 10 of 100 series at each of the given seconds."""
    times = iter([0.0, *steps])
    progress = Progress("train", 100, stream=stream, clock=lambda: next(times), **options)
    for _ in steps:
        progress.add(10)
    return stream.getvalue()


def test_a_log_gets_a_plain_line_at_most_every_five_seconds_and_always_the_last():
    lines = progress_of(io.StringIO(), [1, 2, 5.9, 6, 7, 8, 9, 10, 11.5, 11.6]).splitlines()
    assert lines == [
        "train: 10 of 100 series · 10.0 series/s",
        "train: 40 of 100 series · 6.7 series/s · 9 s left",
        "train: 90 of 100 series · 7.8 series/s · 1 s left",
        "train: 100 of 100 series · 8.6 series/s · took 12 s",
    ]


def test_a_terminal_sees_one_line_that_changes():
    text = progress_of(Terminal(), range(1, 11), every=0)
    assert text.count("\n") == 1
    assert text.count("\r") == 10


def test_series_that_were_done_before_do_not_make_it_look_faster():
    text = progress_of(io.StringIO(), [10.0], already=50)
    assert text == "train: 60 of 100 series · 1.0 series/s · 40 s left\n"


def test_slow_work_is_reported_in_seconds_a_series_and_long_work_in_hours():
    assert describe("train", 3, 300, 3, 90) == "train: 3 of 300 series · 30 s a series · 2 h 28 min left"


def test_first_series_of_many_give_no_estimate():
    """Actors have just started; a second look is ten times more optimistic."""
    assert describe("train", 1, 300, 1, 1.5) == "train: 1 of 300 series · 0.7 series/s"
    assert describe("train", 1, 300, 1, 30) == "train: 1 of 300 series · 30 s a series"
