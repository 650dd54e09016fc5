"""Attributions sum to the forecast, recover planted effects, and leave out what no model reads."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

import forecasting as fc
from forecasting.errors import SpecError, UserError
from forecasting.flow import explain as module

BEGIN = datetime(2024, 1, 1)
DAYS, HORIZON, WEEK = 150, 14, 7
PROMOTION, PRICE = 30.0, -4.0
"""What a promotion and each unit of the price add to a day."""
OPTIONS: dict[str, Any] = {
    "freq": "1d",
    "season_lengths": WEEK,
    "horizon": HORIZON,
    "models": "gru",
    "statistics": [],
    "recipe": "fast",
    "overrides": {"max_steps": 20},
    "progress": False,
    "processes": 1,
}


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """Daily sales of two shops with planted effects of a promotion and of the price, and a covariate without any."""
    rng = np.random.default_rng(3)
    parts = []
    for name, level in (("north", 100.0), ("south", 60.0)):
        promotion, price = rng.random(DAYS + HORIZON) < 0.2, rng.normal(5, 1, DAYS + HORIZON).round(2)
        is_weekend = np.arange(DAYS + HORIZON) % 7 >= 5
        y = level + 10 * is_weekend + PROMOTION * promotion + PRICE * price + rng.normal(0, 1, DAYS + HORIZON)
        parts.append(
            pl.DataFrame(
                {
                    "unique_id": name,
                    "ds": [BEGIN + timedelta(days=day) for day in range(DAYS + HORIZON)],
                    "y": [*y[:DAYS].tolist(), *[None] * HORIZON],
                    "promotion": promotion,
                    "price": price,
                    "noise": rng.normal(size=DAYS + HORIZON),
                }
            )
        )
    return pl.concat(parts)


@pytest.fixture(scope="module")
def result(rows: pl.DataFrame) -> Any:
    return fc.forecast(rows, known_ahead=["promotion", "price", "noise"], **OPTIONS)


def sums(parts: pl.DataFrame) -> pl.DataFrame:
    return parts.group_by("unique_id", "ds").agg(pl.col("contribution").sum()).sort("unique_id", "ds")


def test_parts_sum_to_the_forecast(result: Any) -> None:
    parts = result.explain()
    forecasts = result.forecasts.sort("unique_id", "ds")
    assert sums(parts)["contribution"].to_list() == pytest.approx(forecasts["forecast"].to_list(), rel=1e-12)
    assert parts.columns == ["unique_id", "ds", "step", "cutoff", "model", "kind", "component", "contribution"]
    first = parts.filter(unique_id="north", step=1)
    assert first["component"].to_list() == ["reference", "past", "promotion", "price", "noise"]


def test_planted_effects_are_recovered(rows: pl.DataFrame, result: Any) -> None:
    """Each effect is the difference from the last week before the cutoff, within a tenth of a promotion."""
    parts = result.explain().pivot(on="component", index=["unique_id", "ds", "step"], values="contribution")
    back = timedelta(days=1) * (WEEK * (1 + (pl.col("step") - 1) // WEEK))
    joined = parts.with_columns(before=pl.col("ds") - back).join(rows, on=["unique_id", "ds"], suffix="_ahead")
    joined = joined.join(rows, left_on=["unique_id", "before"], right_on=["unique_id", "ds"], suffix="_before")
    assert joined.height == 2 * HORIZON
    assert joined["reference"].to_list() == pytest.approx(joined["y_before"].to_list())
    is_promoted, was_promoted = (joined[f"promotion_{when}"].cast(pl.Float64) for when in ("ahead", "before"))
    planted = {
        "promotion": PROMOTION * (is_promoted - was_promoted),
        "price": PRICE * (joined["price_ahead"] - joined["price_before"]),
        "noise": pl.zeros(joined.height, eager=True),
    }
    for name, effect in planted.items():
        assert (joined[name] - effect).abs().max() < 0.1 * PROMOTION, name  # type: ignore[operator]
    assert (joined["promotion"] - planted["promotion"]).abs().mean() < 1  # type: ignore[operator]


def test_covariate_as_at_the_reference_makes_nothing(rows: pl.DataFrame) -> None:
    fleet = fc.fit(rows, known_ahead=["promotion", "price", "noise"], **OPTIONS)
    last = rows.filter(pl.col("y").is_not_null()).group_by("unique_id", maintain_order=True).tail(WEEK).drop("y")
    same = pl.concat([last.with_columns(pl.col("ds") + timedelta(days=WEEK * week)) for week in (1, 2)])
    parts = fleet.predict(future=same, progress=False).explain("south")
    assert parts.filter(kind="covariate")["contribution"].abs().max() == 0
    assert set(parts["unique_id"]) == {"south"}


@pytest.mark.parametrize(
    ("network", "kinds"), [("seq2seq", ["reference", "past", "calendar"]), ("gru", ["reference", "past"])]
)
def test_calendar_is_a_part_where_a_network_reads_that_of_the_horizon(
    rows: pl.DataFrame, network: str, kinds: list[str]
) -> None:
    options = OPTIONS | {"models": network, "regressions": [], "overrides": {"max_steps": 2, "hidden_size": 4}}
    fleet = fc.fit(rows.drop("promotion", "price", "noise"), **options)
    parts = fleet.predict(progress=False).explain("north")
    assert parts["kind"].unique(maintain_order=True).to_list() == kinds
    forecasts = fleet.predict(progress=False).forecasts.filter(unique_id="north")
    assert sums(parts)["contribution"].to_list() == pytest.approx(forecasts["forecast"].to_list())


def test_holidays_are_a_part_of_the_calendar(rows: pl.DataFrame) -> None:
    """Memorial Day lies in the last week before the cutoff, and no holiday in the horizon."""
    plain = rows.drop("promotion", "price", "noise")
    memorial_day = datetime(2024, 5, 27)
    closed = [datetime(2024, 1, 1), datetime(2024, 1, 15), datetime(2024, 2, 19), memorial_day]
    rested = plain.with_columns(y=pl.when(pl.col("ds").is_in(closed)).then(pl.col("y") * 0.2).otherwise("y"))
    fleet = fc.fit(rested, holidays="US", **OPTIONS)
    result = fleet.predict(progress=False)
    parts = result.explain("north")
    assert parts["component"].unique(maintain_order=True).to_list() == ["reference", "past", "calendar"]
    after = parts.filter(ds=memorial_day + timedelta(days=7), kind="calendar")["contribution"].item()
    others = parts.filter(pl.col("step") <= 4, kind="calendar")["contribution"].abs().max()
    assert after > 0
    assert after > others  # type: ignore[operator]
    forecasts = result.forecasts.filter(unique_id="north")
    assert sums(parts)["contribution"].to_list() == pytest.approx(forecasts["forecast"].to_list())


def test_more_covariates_than_are_tried_in_all_combinations_are_sampled(
    result: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a model that is nearly additive, samples find what all combinations find."""
    exact = result.explain("north")
    monkeypatch.setattr("forecasting.classical.shapley.MOST_EXACT", 1)
    sampled = result.explain("north")
    assert (sampled["contribution"] - exact["contribution"]).abs().max() < 0.5
    assert sums(sampled)["contribution"].to_list() == pytest.approx(sums(exact)["contribution"].to_list())


def test_forecast_whose_networks_are_gone_and_unknown_series_are_refused(rows: pl.DataFrame, result: Any) -> None:
    with pytest.raises(UserError, match="west"):
        result.explain("west")
    without = fc.forecast(rows.drop("promotion", "price", "noise"), **OPTIONS)
    with pytest.raises(SpecError, match="networks of this forecast were not kept"):
        without.explain()


def test_gap_at_the_reference_takes_the_season_before_and_a_short_series_its_last_value() -> None:
    nan = np.nan
    y = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [nan, 2.0, 3.0, 4.0, nan, 6.0], [nan] * 6])
    found = module._newest_of_phase(y, np.array([3, 4, 5, 3]), 3)
    assert found.tolist() == [[3, 4, 5, 3], [3, 1, 5, 3], [3, 4, 5, 3]]


def test_missing_covariate_at_the_reference_is_the_last_known_one_before() -> None:
    nan = np.nan
    value = np.array([nan, 1.0, nan, 2.0, nan, 7.0, 8.0])[None, :, None]
    found = module._at_references(value, 2, np.array([[2, 4]]))
    assert found[0, :, 0].tolist() == [1.0, 2.0]
    assert module._at_references(value, 2, np.array([[0, 0]]))[0, :, 0].tolist() == [7.0, 8.0]
