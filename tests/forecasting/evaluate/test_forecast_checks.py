"""Checks of forecasts: each kind, against history and against earlier forecasts."""

from typing import Any

import polars as pl
import pytest

from forecasting.evaluate.forecast_checks import check_forecasts
from forecasting.series.verdicts import find_held
from forecasting.spec.spec import Spec, make_spec

WAVE = [0.0, 10.0, 5.0, 10.0, 0.0, 5.0, 10.0, 0.0]


def spec_of(*checks: Any) -> Spec:
    described = {"name": "x", "source": {"uri": "/x.csv"}, "freq": 1, "season_lengths": [1], "horizon": 2}
    return make_spec(described | {"checks": list(checks)}, subject="x")


def long(column: str, first: int, series: Any) -> pl.LazyFrame:
    rows = [(name, first + place, value) for name, values in series.items() for place, value in enumerate(values)]
    return pl.LazyFrame(rows, {"unique_id": pl.String, "ds": pl.Int64, column: pl.Float64}, orient="row")


def check(kind: Any, forecasts: Any, history: Any, earlier: Any = None) -> tuple[Any, dict[str, Any]]:
    """Return the verdict as a whole, and value and message of each series that fails."""
    verdicts = check_forecasts(
        long("forecast", 8, forecasts),
        long("y", 0, history),
        spec_of(kind),
        earlier=None if earlier is None else long("forecast", 7, earlier),
    )
    (whole,) = verdicts.filter(pl.col("unique_id").is_null()).iter_rows(named=True)
    failed = verdicts.drop_nulls("unique_id").select("unique_id", "found", "message").rows()
    return whole, {name: (found, message) for name, found, message in failed}


def test_forecast_may_lie_a_range_beyond_its_measurements() -> None:
    forecasts = {"a": [5, 21], "b": [20, -10], "c": [5, -15], "gone": [None, None]}
    whole, failed = check({"kind": "forecast_range"}, forecasts, dict.fromkeys("abc", WAVE))
    assert failed == {
        "a": (1.1, "its forecast of 21 at 9 lies 1.1 ranges beyond its measurements, 0 to 10; max = 1"),
        "c": (1.5, "its forecast of -15 at 9 lies 1.5 ranges beyond its measurements, 0 to 10; max = 1"),
    }
    assert whole["message"].startswith("2 of 3 series fail")


def test_forecast_of_a_constant_series_must_be_that_constant() -> None:
    history = {"a": [5.0] * 4, "b": [5.0] * 4}
    forecasts = {"a": [5.0 + 1e-12, 5.0], "b": [5.1, 5.0]}
    _, failed = check({"kind": "forecast_range"}, forecasts, history)
    assert set(failed) == {"b"}
    _, failed = check({"kind": "forecast_constant"}, {"a": [5.0, 5.0]}, history)
    assert not failed


def test_forecast_that_does_not_vary_fails() -> None:
    forecasts = {"a": [5.0, 5.0], "b": [5.0, 5.5], "c": [4.0, 6.0]}
    _, failed = check({"kind": "forecast_constant"}, forecasts, dict.fromkeys("abc", WAVE))
    assert failed == {"a": (0, "its forecast varies by 0, around 5, but its measurements from 0 to 10; min = 0")}
    _, failed = check({"kind": "forecast_constant", "min": 0.05}, forecasts, dict.fromkeys("abc", WAVE))
    assert set(failed) == {"a", "b"}


def test_jump_is_from_the_last_forecast_of_the_same_time_in_robust_spreads() -> None:
    history = {"a": WAVE, "b": WAVE, "new": WAVE}
    forecasts, earlier = {"a": [5, 90], "b": [60, 5], "new": [900, 900]}, {"a": [1, 4, 5], "b": [1, 4, 5]}
    whole, failed = check({"kind": "forecast_jump"}, forecasts, history, earlier)
    assert failed["a"][1] == "its forecast of 90 at 9 was 5 in the last good one, 11.5 spreads away; max = 5"
    assert failed["b"][1].startswith("its forecast of 60 at 8 was 4 in the last good one, 7.6 spreads")
    assert whole["message"].endswith("; 1 have no earlier forecast of the same times")
    assert set(failed) == {"a", "b"}


def test_spread_of_an_intermittent_series_is_not_zero() -> None:
    history = {"a": [0.0] * 12 + [6.0, 0.0], "b": [3.0] * 9}
    _, failed = check({"kind": "forecast_jump"}, {"a": [4, 0], "b": [3, 3]}, history, {"a": [0, 0, 0], "b": [3, 3, 3]})
    assert not failed
    _, failed = check({"kind": "forecast_jump"}, {"a": [60, 0], "b": [4, 3]}, history, {"a": [0, 0, 0], "b": [3, 3, 3]})
    assert set(failed) == {"a", "b"}
    assert failed["b"][0] == float("inf")


def test_jump_is_skipped_without_a_store() -> None:
    whole, _ = check({"kind": "forecast_jump"}, {"a": [1, 2]}, {"a": WAVE})
    assert (whole["verdict"], whole["message"]) == (
        "skipped",
        "not checked: earlier forecasts are in a store, which only scheduled runs have",
    )


@pytest.mark.parametrize(("pattern", "verdict"), [("b*", "pass"), ("a", "fail"), ("z", "fail")])
def test_check_is_of_the_series_that_it_names(pattern: str, verdict: str) -> None:
    kind = {"kind": "forecast_range", "series": pattern}
    whole, _ = check(kind, {"a": [50, 1], "b": [1, 2]}, {"a": WAVE, "b": WAVE})
    assert whole["verdict"] == verdict


def test_series_that_fails_several_checks_is_held_for_all_of_them() -> None:
    spec = spec_of({"kind": "forecast_range"}, {"kind": "forecast_constant"})
    verdicts = check_forecasts(long("forecast", 8, {"a": [50, 50]}), long("y", 0, {"a": WAVE}), spec, earlier=None)
    (why,) = find_held(verdicts).values()
    assert why.startswith("held: check 'forecast_range' fails: its forecast of 50 at 8 lies 4.0 ranges beyond")
    assert "; check 'forecast_constant' fails: its forecast varies by 0" in why
