"""Periods that are ignored: how they are written, and where they begin and end."""

import tomllib
from datetime import date, datetime
from typing import Any

import pytest

from forecasting.errors import SpecError
from forecasting.spec.spec import Spec, make_spec


def spec_of(ignore: Any, freq: str | int = "1d") -> Spec:
    fields = {"name": "x", "freq": freq, "season_lengths": [5], "horizon": 2}
    return make_spec(fields | {"source": {"uri": "x.csv", "ignore": ignore}}, subject="x")


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        ("2019..2020", datetime(2019, 1, 1), datetime(2021, 1, 1)),
        ("2020-03..2020-12", datetime(2020, 3, 1), datetime(2021, 1, 1)),
        ("2020-02-28..2020-02-29", datetime(2020, 2, 28), datetime(2020, 3, 1)),
        ("2020-03-01T08:00..2020-03-01T12:00", datetime(2020, 3, 1, 8), datetime(2020, 3, 1, 12, 0, 0, 1)),
    ],
)
def test_both_ends_are_included_as_a_whole(text: str, begin: datetime, end: datetime) -> None:
    (period,) = spec_of([text]).source.ignore
    assert period.bounds("timestamp") == (begin, end)
    assert str(period) == text


def test_steps_are_included() -> None:
    assert spec_of("10..20", 1).source.ignore[0].bounds("step") == (10, 21)


def test_tables_of_a_file_and_texts_are_the_same() -> None:
    table = tomllib.loads('[[ignore]]\nfrom = 2020-03-01\nto = "2020-06"\nseries = "a"')["ignore"]
    assert table[0]["from"] == date(2020, 3, 1)
    spec = spec_of(table)
    assert spec == spec_of(["2020-03-01..2020-06=a"])
    assert Spec.model_validate_json(spec.model_dump_json()) == spec
    assert make_spec(spec.model_dump(exclude_unset=True), subject="x") == spec


@pytest.mark.parametrize(
    ("ignore", "freq", "problem"),
    [
        ("2020-03", "1d", r"source.ignore.0 = '2020-03': must be FROM..TO, or"),
        ("2020-13..2021", "1d", "'2020-13' must be a year, a month"),
        ("2021..2020", "1d", "2021..2020 ends before it begins"),
        ("2020..2021=", "1d", "source.ignore.0.series.0 = '': must not be empty"),
        ("2020-01-01T00:00+01:00..2021", "1d", "must be without an offset"),
        ("2020-01..2021-02", 1, "must be an integer"),
        ([{"from": "2020"}], "1d", "source.ignore.0.to is missing"),
        ([{"from": "2020", "to": "2021", "until": 3}], "1d", "is not a known field"),
    ],
)
def test_other_periods_are_refused(ignore: Any, freq: str | int, problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        spec_of(ignore, freq)
