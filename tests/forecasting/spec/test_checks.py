"""The blocks [[checks]] of a spec: accepted ones, names, and messages about refused ones."""

from typing import Any

import pytest

from forecasting.errors import SpecError
from forecasting.spec.checks import CHECKS, matches
from forecasting.spec.spec import Spec, make_spec

BASE = {"name": "x", "source": {"uri": "/x.csv"}, "freq": "1h", "season_lengths": [24], "horizon": 2}


def spec_of(*checks: Any, **fields: Any) -> Spec:
    return make_spec(BASE | {"checks": list(checks)} | fields, subject="spec")


def problems_of(*checks: Any, **fields: Any) -> tuple[str, ...]:
    with pytest.raises(SpecError) as refused:
        spec_of(*checks, **fields)
    return tuple(refused.value.problems)


def test_checks_are_named_after_their_kind_and_keep_their_names_through_json() -> None:
    named = {"kind": "range", "max": 9, "name": "range_2", "series": "a*", "on_failure": "warn"}
    spec = spec_of({"kind": "range", "min": 0}, named, {"kind": "range", "min": 1}, {"kind": "forecast_jump"})
    assert [check.name for check in spec.checks] == ["range", "range_2", "range_3", "forecast_jump"]
    assert [check.on_failure for check in spec.checks] == ["fail", "warn", "fail", "hold"]
    assert Spec.model_validate_json(spec.model_dump_json()) == spec
    assert make_spec(spec.model_dump(exclude_unset=True), subject="spec") == spec


@pytest.mark.parametrize(
    ("check", "problem"),
    [
        ({"kind": "rang"}, "checks.0: 'kind' must be 'range', 'monotone', "),
        ({"min": 1}, "checks.0: needs 'kind'"),
        (3, "checks.0 = 3: must be a table of fields"),
        ({"kind": "range"}, "checks.0.range: needs min or max, or both"),
        ({"kind": "range", "min": 3, "max": 1}, "checks.0.range: max = 1 must not be below min = 3"),
        ({"kind": "range", "min": float("nan")}, "checks.0.range.min = nan: must be a finite number"),
        ({"kind": "range", "min": 1, "limit": 3}, "checks.0.range.limit = 3 is not a known field"),
        ({"kind": "range", "min": 1, "points": 0}, "checks.0.range.points = 0: must be 1 or more"),
        ({"kind": "range", "min": 1, "series": []}, "checks.0.range.series = []: must not be empty"),
        ({"kind": "range", "min": 1, "series": ["a", "a"]}, "must not name anything twice"),
        ({"kind": "range", "min": 1, "on_failure": "hold"}, "must be 'warn', 'set_aside' or 'fail'"),
        ({"kind": "monotone", "direction": "left"}, "must be 'up' or 'down'"),
        ({"kind": "missing_share", "max": 40}, "checks.0.missing_share.max = 40: must be 1 or less"),
        ({"kind": "flatline"}, "checks.0.flatline.max is missing"),
        ({"kind": "num_series", "min": 1, "on_failure": "set_aside"}, "because it checks the whole source"),
        ({"kind": "freshness", "max": 1, "on_failure": "set_aside"}, "needs per_series = true"),
        ({"kind": "ids"}, "checks.0.ids: needs allowed or expected, or both"),
        ({"kind": "forecast_range", "on_failure": "set_aside"}, "must be 'warn', 'hold' or 'fail'"),
        ({"kind": "ids", "expected": "a", "on_failure": "set_aside"}, "needs allowed alone"),
    ],
)
def test_refused_check_is_named_with_what_it_needs(check: Any, problem: str) -> None:
    (found,) = problems_of(check)
    assert problem in found


def test_two_checks_of_the_same_name_are_refused_in_a_short_message() -> None:
    one = {"kind": "range", "min": 1, "name": "level"}
    assert problems_of(one, one) == ("checks: must have different names; 'level' is there more than once",)


def test_freshness_needs_timestamps_and_constant_forecasts_several_steps_() -> None:
    (stale,) = problems_of({"kind": "freshness", "max": 1}, freq=1)
    assert stale == "checks: 'freshness' needs timestamps, but the frequency is an integer step"
    (constant,) = problems_of({"kind": "forecast_constant"}, horizon=1)
    assert constant == "checks: 'forecast_constant' needs a horizon of 2 steps or more, not 1"


def test_patterns_match_names_and_brackets_are_not_special_in_a_name() -> None:
    assert matches("north/12", ["south", "north/*"])
    assert matches("a[1]", ["a[1]"])
    assert not matches("A1", ["a?"])
    assert not matches("a1b", ["a?"])


def test_every_kind_of_check_says_what_it_is_of() -> None:
    kinds = [check.model_fields["kind"].annotation.__args__[0] for check in CHECKS]  # type: ignore[union-attr]
    assert len(set(kinds)) == len(kinds) == 10
    assert all(check.__doc__ for check in CHECKS)
