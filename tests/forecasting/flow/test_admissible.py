"""Forecasts and sample paths stay within the bounds of a spec."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from forecasting.errors import SpecError
from forecasting.flow.admissible import admissible, calibrate
from forecasting.spec.spec import Spec, make_spec

FACTORS = pl.DataFrame(
    {"model": ["naive"], "quantile": [0.1], "factor": [3.0]},
)


def spec_of(**fields: Any) -> Spec:
    described = {"name": "x", "source": {"uri": "x.csv"}, "freq": 1, "season_lengths": [2], "horizon": 2}
    return make_spec(described | {"quantiles": [0.1, 0.5, 0.9]} | fields, subject="x")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"upper_bound": 1.5}, [-2.0, 0.4, 1.5, 1.5]),
        ({"upper_bound": 1.5, "lower_bound": 0.0}, [0.0, 0.4, 1.5, 1.5]),
        ({"upper_bound": 1.7, "integer_valued": True}, [-2.0, 0.0, 1.0, 1.0]),
    ],
)
def test_values_are_at_most_the_upper_bound(fields: dict[str, Any], expected: list[float]) -> None:
    values = np.array([-2.0, 0.4, 1.6, 9.0])
    assert admissible(values, spec_of(**fields)).tolist() == expected
    assert np.isnan(admissible(np.array([np.nan]), spec_of(**fields))).all()


def test_intervals_that_are_stretched_stay_below_the_upper_bound() -> None:
    rows = pl.DataFrame(
        {"unique_id": ["a"], "model": ["naive"], "forecast": [0.9], "q10": [0.8], "q50": [0.9], "q90": [1.0]}
    )
    wide = calibrate(rows, FACTORS, spec_of())
    assert wide["q90"].item() > 1
    assert calibrate(rows, FACTORS, spec_of(upper_bound=1.0))["q90"].item() == 1


@pytest.mark.parametrize("fields", [{"lower_bound": 2.0}, {"lower_bound": 0.2, "integer_valued": True}])
def test_bounds_that_leave_no_value_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=r"upper_bound = 0\.9: must leave a value above lower_bound"):
        spec_of(upper_bound=0.9, **fields)
