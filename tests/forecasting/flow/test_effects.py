"""Effects: the mean response to a covariate that is moved, and how many series agree."""

from typing import Any

import numpy as np
import polars as pl
import pytest

import forecasting as fc
from forecasting.errors import DataWarning, SpecError
from forecasting.flow.effects import Grid, make_grid, summarise
from forecasting.series.covariate_names import code_of
from forecasting.spec.spec import make_spec
from tests.forecasting.flow.test_explain import OPTIONS, PRICE, PROMOTION, rows

__all__ = ["rows"]

SPEC = make_spec(
    {
        "name": "sales",
        "source": {"uri": "/tmp/sales.csv"},
        "freq": "1d",
        "season_lengths": [7],
        "horizon": 3,
        "covariates": {"future": ["price", "kind"]},
    },
    subject="spec",
)
PRICES = pl.Series([1.0, 2.0, 3.0, None, 9.0])
KINDS = pl.Series([code_of("rain"), code_of("snow")])


def test_fleet_responds_as_planted_and_all_series_agree(rows: pl.DataFrame) -> None:
    fleet = fc.fit(rows, known_ahead=["promotion", "price", "noise"], **OPTIONS)
    before = fleet.predict(progress=False).forecasts
    found = fleet.effects("price", [4.0, 5.0, 6.0])
    assert found.columns == ["value", "mean_forecast", "difference", "relative_difference", "agreeing", "num_series"]
    assert found["difference"].to_list() == pytest.approx([0.0, PRICE, 2 * PRICE], abs=1)
    assert found["agreeing"].to_list() == [None, 1.0, 1.0]
    assert found["num_series"].to_list() == [2, 2, 2]
    promoted = fleet.effects("promotion")
    assert promoted["value"].to_list() == [0.0, 1.0]
    assert promoted["difference"][1] == pytest.approx(PROMOTION, abs=2)
    assert promoted["relative_difference"][1] == pytest.approx(PROMOTION * (1 / 83 + 1 / 43) / 2, rel=0.15)
    assert fleet.predict(progress=False).forecasts.equals(before)


def test_covariates_of_the_past_take_part_in_scenarios_and_explanations(rows: pl.DataFrame) -> None:
    known = rows.with_columns(visitors=pl.when(pl.col("y").is_not_null()).then(pl.col("noise")), size=pl.lit(3.0))
    options = OPTIONS | {"known_ahead": "promotion", "past": "visitors", "static_covariates": "size"}
    fleet = fc.fit(known.drop("price", "noise"), **options)
    plan = rows.filter(pl.col("y").is_null()).select("unique_id", "ds", promotion=pl.lit(True))
    result = fleet.predict(future=plan, progress=False)
    assert result.forecasts["forecast"].mean() > fleet.predict(progress=False).forecasts["forecast"].mean() + 10
    parts = result.explain("north")
    assert parts.filter(step=1)["component"].to_list() == ["reference", "past", "promotion", "visitors"]
    with pytest.raises(SpecError, match="'visitors' is not a covariate that is known ahead"):
        fleet.effects("visitors")


def test_shares_count_the_series_with_the_sign_of_the_mean() -> None:
    responses = pl.DataFrame(
        {"unique_id": ["a", "b", "c", "d"] * 2, "place": [0] * 4 + [1] * 4, "forecast": [10.0, 10, 0, 5, 16, 9, 1, 5]}
    )
    found = summarise(responses, Grid("price", (1.0, 2.0), (1.0, 2.0)))
    assert found["difference"].to_list() == [0.0, 1.5]
    assert found["relative_difference"][1] == pytest.approx((0.6 - 0.1 + 0.0) / 3), "not of a forecast of zero"
    assert found["agreeing"].to_list() == [None, 0.5]


def test_grid_is_chosen_from_the_known_values() -> None:
    assert make_grid("price", None, pl.Series([0.0, 1.0, None]), SPEC).numbers == (0.0, 1.0)
    chosen = make_grid("price", None, pl.Series(np.arange(101.0)), SPEC).numbers
    assert (len(chosen), chosen[0], chosen[-1]) == (7, 5.0, 95.0)
    assert make_grid("kind", ["snow", "rain"], KINDS, SPEC).numbers == (code_of("snow"), code_of("rain"))


@pytest.mark.parametrize(
    ("covariate", "grid", "known", "message"),
    [
        ("prize", None, PRICES, "'prize' is not a covariate that is known ahead; is 'price' meant"),
        ("price", [1.0], PRICES, "needs at least two different ones"),
        ("price", [1.0, "dear"], PRICES, "grid has 'dear', but covariate 'price' has numbers"),
        ("price", [1.0, float("nan")], PRICES, "grid has nan"),
        ("price", None, pl.Series([2.0, 2.0]), "covariate 'price' is constant; grid must list values"),
        ("kind", None, KINDS, "covariate 'kind' has names; grid must list those"),
        ("kind", ["rain", "fog"], KINDS, "'fog', which covariate 'kind' never had"),
        ("kind", [1, 2], KINDS, "grid has 1, but covariate 'kind' has names"),
    ],
)
def test_grid_that_cannot_be_meant_is_refused(covariate: str, grid: Any, known: pl.Series, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make_grid(covariate, grid, known, SPEC)


def test_values_outside_of_the_known_range_are_warned_of() -> None:
    with pytest.warns(DataWarning, match="grid has 12, outside of the known values of covariate 'price', 1 to 9"):
        make_grid("price", [1.0, 12.0], PRICES, SPEC)
