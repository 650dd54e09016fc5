"""Cron expressions: which ones are accepted and refused, and that Airflow's own reader agrees."""

from itertools import product

import pytest

from forecasting.spec.cron import PRESETS, check_cron

ITEMS = ("*", "?", "5", "0", "31", "7", "JAN", "fri", "1-5", "22-2", "FRI-MON", "*/5", "*/0", "31/2", "1,,2", "2", "#")


@pytest.mark.parametrize(
    "cron",
    [
        *PRESETS,
        "0 6 * * *",
        "*/15 6-22 * * MON-FRI",
        "5/15 0,12 1 jan-MAR ?",
        "0 0 29 2 *",
        "0 0 31 2 1",
        "0 0 31 2-4 *",
        "0 0 10-5 2 *",
        "0 0 L * *",
        "0 0 * * FRI#2",
        "0 0 * * L5",
        "0 0 * * 7",
    ],
)
def test_cron_that_comes_due_is_returned_unchanged(cron: str) -> None:
    assert check_cron(cron) == cron


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("daily", "must be a cron expression of five fields"),
        ("0 6 * *", "must be a cron expression of five fields"),
        ("@once", "must be a cron expression of five fields"),
        ("foo * * * *", r"'foo' \(minute\) cannot be read: 'foo' is not a number between 0 and 59"),
        ("1,,2 * * * *", r"'1,,2' \(minute\) has an empty item"),
        ("? # * * *", r"'\?' \(minute\) cannot be read.*; cron field '#' \(hour\) cannot be read"),
        ("JAN * * * *", "'jan' is not a number between 0 and 59"),
        ("0 0 * MON *", "names are JAN, FEB, MAR"),
        ("0 0 * * JAN", "names are SUN, MON"),
        ("0 25 * * *", r"'25' \(hour\) must lie between 0 and 23"),
        ("*/0 * * * *", "must have a step of 1 or more"),
        ("1-2-3 * * * *", "cannot be read"),
        ("0 0 * * 1,2#2", "must not mix"),
        ("0 0 31 2 *", "day 31 never comes in the months of cron field '2'"),
        ("0 0 31 APR,6 ?", "day 31 never comes"),
        ("0 0 30 2 *,1", "day 30 never comes"),
    ],
)
def test_cron_that_no_scheduler_can_use_is_refused_with_its_field(cron: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        check_cron(cron)


@pytest.mark.airflow
def test_grammar_agrees_with_that_of_croniter() -> None:
    from croniter import CroniterError, croniter

    def is_accepted(cron: str) -> bool:
        try:
            check_cron(cron)
        except ValueError:
            return False
        return True

    def comes_due(cron: str) -> bool:
        try:
            croniter(cron).get_next()
        except CroniterError:
            return False
        return True

    for fields in [*product(ITEMS, ITEMS, "*", "*", "*"), *product("0", "0", ITEMS, ITEMS, ITEMS)]:
        cron = " ".join(fields)
        assert (cron, is_accepted(cron)) == (cron, comes_due(cron))
