"""Opening times as text, and as a part of a frequency."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.spec.frequency import (
    customary_seasons,
    fixed_width,
    num_months,
    open_frequency,
    opening_of,
    parse_frequency,
    step_of,
)
from forecasting.spec.opening import MINUTES, Opening, parse_opening, parse_week, spell_week
from forecasting.spec.spec import Spec, make_spec

HOURS = st.lists(st.integers(0, MINUTES), min_size=2, max_size=6, unique=True).map(
    lambda minutes: tuple(zip(*[iter(sorted(minutes))] * 2, strict=False))
)
WEEKS = st.lists(st.one_of(st.just(()), HOURS), min_size=7, max_size=7).map(tuple).filter(any)


@given(week=WEEKS, holidays=st.sampled_from([None, "DE", "DE-BY", "XNYS", "B3"]))
def test_opening_is_read_as_it_is_written(week: tuple, holidays: str | None) -> None:
    opening = Opening(week, holidays)
    assert parse_opening(str(opening)) == opening


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("Mon-Sun", "Mon-Sun"),
        ("monday-FRIDAY", "Mon-Fri"),
        ("sa-mo", "Mon,Sat-Sun"),
        ("Mon,Wed,Fri 8:00-12:00, 13:00-17:00", "Mon,Wed,Fri 08:00-12:00,13:00-17:00"),
        ("08:00-24:00", "Mon-Sun 08:00-24:00"),
        ("Mon-Fri 8:00-18:00;Sat 09:00-14:00", "Mon-Fri 08:00-18:00; Sat 09:00-14:00"),
        ("Mon 08:00-10:00,10:00-12:00", "Mon 08:00-12:00"),
    ],
)
def test_days_and_hours_have_one_spelling(text: str, spelling: str) -> None:
    assert spell_week(parse_week(text)) == spelling


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Mon-Sta", "must be days"),
        ("", "must be days"),
        ("Mon-", "must be days"),
        ("Mon 8-18", "must be days"),
        ("Mon 08:75-18:00", "must be days"),
        ("Mon 22:00-06:00", "a night is two parts"),
        ("Mon 08:00-12:00,11:00-13:00", "overlap"),
        ("Mon-Fri 08:00-18:00; Fri 08:00-12:00", "gives Fri twice"),
        ("Mon,Mon", "gives a day twice"),
    ],
)
def test_other_texts_are_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_week(text)


@pytest.mark.parametrize("freq", ["1b", "B", "1d Mon-Fri", " 1b "])
def test_business_days_are_days_from_monday_to_friday(freq: str) -> None:
    assert parse_frequency(freq) == "1d Mon-Fri"


@pytest.mark.parametrize(
    ("freq", "seasons"),
    [
        ("1d Mon-Sat closed DE", (6,)),
        ("1h Mon-Fri 08:00-18:00", (10, 50)),
        ("1h Mon-Fri 09:30-16:00", (7, 35)),
        ("1h Mon-Fri 08:00-18:00; Sat 09:00-14:00", (55,)),
        ("15m Mon-Fri", (96, 480)),
        ("1m Mon-Fri 08:00-18:00", (60, 600)),
        ("1d Mon-Sun closed DE", (7,)),
        ("12h Mon", (2,)),
    ],
)
def test_seasons_count_open_steps(freq: str, seasons: tuple[int, ...]) -> None:
    assert parse_frequency(freq) == freq
    assert customary_seasons(freq) == seasons
    assert fixed_width(freq) == fixed_width(step_of(freq))
    assert num_months(freq) is None


@pytest.mark.parametrize(
    ("freq", "problem"),
    [
        ("1w Mon-Fri", "need a frequency that divides a day"),
        ("1mo Mon-Fri", "need a frequency that divides a day"),
        ("5h Mon-Fri", "need a frequency that divides a day"),
        ("1d Mon-Fri 08:00-18:00", "need a frequency below a day.*'Mon-Fri'"),
        ("1h Mon-Fri 08:00-18:00; Sat 09:30-12:00", "must begin whole steps of 1h apart"),
        ("2b", "must be a duration"),
        ("C", "write '1b', with source.open"),
        ("bh", "write '1h', with source.open"),
    ],
)
def test_frequency_that_cannot_be_open_so_is_refused(freq: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_frequency(freq)


def spec_of(freq: str | int, **source: str) -> Spec:
    fields = {"name": "x", "freq": freq, "season_lengths": [5], "horizon": 2}
    return make_spec(fields | {"source": {"uri": "x.csv"} | source}, subject="x")


@pytest.mark.parametrize(
    ("freq", "source", "whole"),
    [
        ("1d", {"open": "Mon-Sat"}, "1d Mon-Sat"),
        ("1b", {"open": "Mon-Sat"}, "1d Mon-Sat"),
        ("1b", {"closed_holidays": "DE"}, "1d Mon-Fri closed DE"),
        ("1d", {"closed_holidays": "DE"}, "1d Mon-Sun closed DE"),
        ("1d Mon-Fri", {"open": "Mon-Sun"}, "1d"),
        ("15m Mon-Fri", {"open": "Mon-Sat 08:00-18:00"}, "15m Mon-Sat 08:00-18:00"),
        ("1d", {}, "1d"),
        (1, {}, 1),
    ],
)
def test_source_opens_the_frequency_of_a_spec(freq: str | int, source: dict[str, str], whole: str | int) -> None:
    spec = spec_of(freq, **source)
    assert spec.freq == whole
    assert Spec.model_validate_json(spec.model_dump_json()) == spec
    assert open_frequency(spec.freq) == whole
    assert (opening_of(spec.freq) is None) == (whole in ("1d", 1))
