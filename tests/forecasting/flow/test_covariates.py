"""Covariates in a forecast, in a fleet that is fitted once, and in scenarios."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

import forecasting as fc
from forecasting.errors import DataWarning, SourceError, SpecError

BEGIN = datetime(2024, 1, 1)
DAYS, HORIZON = 150, 14
PROMOTION = 30.0
"""What a promotion adds to a day."""

OPTIONS: dict[str, Any] = {
    "freq": "1d",
    "season_lengths": 7,
    "horizon": HORIZON,
    "models": "gru",
    "statistics": [],
    "recipe": "fast",
    "overrides": {"max_steps": 20},
    "progress": False,
    "processes": 1,
}


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    """Daily sales of two shops, with promotions that are known for the horizon, and the truth without noise."""
    rng = np.random.default_rng(3)
    parts = []
    for name, level in (("north", 100.0), ("south", 60.0)):
        is_promoted = rng.random(DAYS + HORIZON) < 0.2
        weekday = np.arange(DAYS + HORIZON) % 7
        truth = level + 10 * (weekday >= 5) + PROMOTION * is_promoted
        y = (truth + rng.normal(0, 1, len(truth))).tolist()
        parts.append(
            pl.DataFrame(
                {
                    "unique_id": name,
                    "ds": [BEGIN + timedelta(days=day) for day in range(DAYS + HORIZON)],
                    "y": [*y[:DAYS], *[None] * HORIZON],
                    "promotion": is_promoted,
                    "truth": truth,
                }
            )
        )
    return pl.concat(parts)


def error_of(result: Any, frame: pl.DataFrame) -> float:
    joined = result.forecasts.join(frame, on=["unique_id", "ds"])
    assert joined.height == 2 * HORIZON
    return float((joined["forecast"] - joined["truth"]).abs().mean())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def rows(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.drop("truth")


@pytest.fixture(scope="module")
def fleet(rows: pl.DataFrame) -> Any:
    return fc.fit(rows, known_ahead="promotion", **OPTIONS)


def test_forecast_knows_the_promotions_of_its_horizon(frame: pl.DataFrame, rows: pl.DataFrame) -> None:
    without = error_of(fc.forecast(rows.drop("promotion"), **OPTIONS), frame)
    with_them = error_of(fc.forecast(rows, known_ahead=["promotion"], **OPTIONS), frame)
    assert without > 8
    assert with_them < 0.5 * without


def test_fleet_gives_the_same_forecast_and_so_does_a_saved_one(rows: pl.DataFrame, fleet: Any, tmp_path: Any) -> None:
    whole = fc.forecast(rows, known_ahead="promotion", **OPTIONS).forecasts
    assert fleet.predict(progress=False).forecasts.equals(whole)
    fleet.save(tmp_path / "fleet")
    assert fc.load(tmp_path / "fleet").predict(progress=False).forecasts.equals(whole)


def test_scenario_changes_the_forecasts_of_all_models_but_naives(rows: pl.DataFrame, fleet: Any) -> None:
    ahead = rows.filter(pl.col("y").is_null()).drop("y").with_columns(promotion=pl.lit(True))
    before, after = fleet.predict(progress=False).candidates, fleet.predict(future=ahead, progress=False).candidates
    joined = before.join(after, on=["unique_id", "model", "ds"], suffix="_after")
    moved = joined.group_by("model").agg((pl.col("forecast_after") - pl.col("forecast")).max().round(6)).rows()
    assert {model for model, gain in moved if gain > 0.5 * PROMOTION} == {"gru", "ridge", "combination"}
    assert {model for model, gain in moved if gain == 0} == {"seasonal_naive_7"}


def test_scenario_changes_one_forecast_and_is_not_kept(rows: pl.DataFrame, fleet: Any) -> None:
    before = fleet.predict(progress=False).forecasts
    ahead = rows.filter(pl.col("y").is_null()).drop("y")
    without, with_all = (
        fleet.predict(future=ahead.with_columns(promotion=pl.lit(value)), progress=False).forecasts
        for value in (False, True)
    )
    gain = with_all["forecast"] - without["forecast"]
    assert abs(float(gain.mean()) - PROMOTION) < 0.3 * PROMOTION  # type: ignore[arg-type]
    assert fleet.predict(progress=False).forecasts.equals(before)
    some = ahead.with_columns(promotion=pl.when(pl.col("unique_id") == "north").then(True))
    one = fleet.predict(future=some, progress=False).forecasts
    is_south = pl.col("unique_id") == "south"
    assert one.filter(is_south).equals(before.filter(is_south)), "a null keeps what is known"
    assert not one.equals(before)


def test_scenario_changes_nothing_up_to_the_cutoff(rows: pl.DataFrame, fleet: Any) -> None:
    ahead = rows.filter(pl.col("y").is_null()).drop("y").with_columns(promotion=pl.lit(True))
    other_past = rows.filter(pl.col("y").is_not_null()).drop("y").with_columns(~pl.col("promotion"))
    expected = fleet.predict(future=ahead, progress=False).forecasts
    with pytest.warns(DataWarning, match="300 rows of future are not used, because they are not after the cutoff"):
        found = fleet.predict(future=pl.concat([other_past, ahead]), progress=False).forecasts
    assert found.equals(expected)


def test_scenario_of_the_past_or_of_a_fleet_without_covariates_is_refused(rows: pl.DataFrame, fleet: Any) -> None:
    past = rows.filter(pl.col("y").is_not_null()).drop("y")
    with pytest.raises(SourceError, match=r"future ends at 2024-05-29T00:00:00; it needs values after the cutoff"):
        fleet.predict(future=past, progress=False)
    with pytest.raises(SourceError, match="lacks its"):
        fleet.predict(future=past.drop("promotion"), progress=False)
    other = fc.fit(rows.drop("promotion"), **OPTIONS)
    with pytest.raises(SpecError, match="needs covariates that are known ahead"):
        other.predict(future=past, progress=False)


def test_scenario_of_a_frame_of_one_series_needs_no_column_of_series(rows: pl.DataFrame) -> None:
    one = rows.filter(unique_id="north").drop("unique_id")
    ahead = one.filter(pl.col("y").is_null()).drop("y")
    fleet = fc.fit(one, known_ahead="promotion", **OPTIONS)
    without, with_all = (
        fleet.predict(future=ahead.with_columns(promotion=pl.lit(value)), progress=False).forecasts["forecast"]
        for value in (False, True)
    )
    assert (with_all - without).mean() > 0.5 * PROMOTION


def test_newer_rows_bring_newer_covariates(rows: pl.DataFrame, fleet: Any, tmp_path: Any) -> None:
    fleet.save(tmp_path / "fleet")
    mine = fc.load(tmp_path / "fleet")
    changed = rows.filter(pl.col("y").is_null()).with_columns(promotion=pl.lit(True))
    assert mine.predict(changed, progress=False).forecasts.equals(
        fleet.predict(future=changed.drop("y"), progress=False).forecasts
    )


def test_values_after_the_horizon_and_a_constant_covariate_change_nothing(rows: pl.DataFrame) -> None:
    cutoff = BEGIN + timedelta(days=DAYS - HORIZON - 5)
    later = pl.col("ds") > cutoff + timedelta(days=HORIZON)
    forecasts = [
        fc.forecast(given, known_ahead="promotion", cutoff=cutoff, **OPTIONS).forecasts
        for given in (rows, rows.with_columns(promotion=pl.when(later).then(True).otherwise("promotion")))
    ]
    assert forecasts[0].equals(forecasts[1])
    constant = rows.with_columns(promotion=pl.lit(True))
    with pytest.warns(DataWarning, match="constant"):
        same = fc.forecast(constant, known_ahead="promotion", regressions="ridge", **OPTIONS).forecasts
    assert same.equals(fc.forecast(rows.drop("promotion"), regressions="ridge", **OPTIONS).forecasts)


def test_forecast_with_constant_covariates_alone_has_the_bits_of_one_without(rows: pl.DataFrame) -> None:
    constant = rows.with_columns(promotion=pl.lit(True))
    with pytest.warns(DataWarning, match="'promotion' is constant in 2 of 2 series, such as 'north'"):
        same = fc.forecast(constant, known_ahead="promotion", **OPTIONS)
    plain = fc.forecast(rows.drop("promotion"), **OPTIONS)
    assert same.forecasts.equals(plain.forecasts)
    assert same.champions["model"].equals(plain.champions["model"])


def test_series_whose_covariates_are_constant_has_the_bits_of_one_without(rows: pl.DataFrame) -> None:
    mixed = rows.with_columns(promotion=pl.col("promotion") | (pl.col("unique_id") == "north"))
    with pytest.warns(DataWarning, match="constant in 1 of 2 series, such as 'north'"):
        both = fc.forecast(mixed, known_ahead="promotion", **OPTIONS).forecasts
    plain = fc.forecast(rows.drop("promotion"), **OPTIONS).forecasts
    is_north = pl.col("unique_id") == "north"
    assert both.filter(is_north)["forecast"].equals(plain.filter(is_north)["forecast"])
    assert not both.filter(~is_north)["forecast"].equals(plain.filter(~is_north)["forecast"])


def test_backtest_reads_the_covariates_of_each_cutoff(rows: pl.DataFrame) -> None:
    found = fc.backtest(rows, cutoffs=2, refit=False, known_ahead="promotion", **OPTIONS)
    errors = found.group_by("model").agg((pl.col("y") - pl.col("forecast")).abs().mean()).rows()
    assert dict(errors)["ridge"] < 0.5 * dict(errors)["seasonal_naive_7"]


@pytest.fixture(scope="module")
def sales(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("y").is_not_null()).drop("promotion").with_columns(shop="unique_id")


@pytest.fixture(scope="module")
def plan(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select("unique_id", "ds", "promotion")


@pytest.fixture(scope="module")
def expected(rows: pl.DataFrame) -> Any:
    return fc.forecast(rows, known_ahead="promotion", **OPTIONS).forecasts


class TestTables:
    """Covariates in a table of their own."""

    def test_forecast_is_that_of_columns_of_the_source(
        self, sales: pl.DataFrame, plan: pl.DataFrame, expected: Any, tmp_path: Any
    ) -> None:
        plan.write_csv(tmp_path / "plan.csv")
        by_shop = plan.rename({"unique_id": "shop"})
        for table in (
            plan,
            tmp_path / "plan.csv",
            [{"data": by_shop.to_pandas().set_index("ds").rename_axis(None), "by": "shop"}],
        ):
            assert fc.forecast(sales, covariates=table, **OPTIONS).forecasts.equals(expected)

    def test_fleet_keeps_the_table_and_takes_newer_rows(
        self, sales: pl.DataFrame, plan: pl.DataFrame, expected: Any, tmp_path: Any
    ) -> None:
        fc.fit(sales, covariates={"data": plan.rename({"unique_id": "shop"}), "by": "shop"}, **OPTIONS).save(
            tmp_path / "fleet"
        )
        fleet = fc.load(tmp_path / "fleet")
        assert fleet.predict(progress=False).forecasts.equals(expected)
        is_ahead = pl.col("ds") >= BEGIN + timedelta(days=DAYS)
        changed = plan.filter(is_ahead).with_columns(promotion=pl.lit(True))
        scenario = fleet.predict(future=changed, progress=False).forecasts
        assert not scenario.equals(expected)
        newer = fleet.predict(covariates=changed.rename({"unique_id": "shop"}), progress=False).forecasts
        assert newer.equals(scenario)
        with pytest.raises(SpecError, match="has 2 tables, but the fleet was fitted with 1"):
            fleet.predict(covariates=[None, None])

    def test_new_series_has_the_table_of_its_class(self, sales: pl.DataFrame, plan: pl.DataFrame) -> None:
        by_shop = plan.rename({"unique_id": "shop"})
        fleet = fc.fit(sales, covariates={"data": by_shop, "by": "shop"}, **OPTIONS)
        more = sales.filter(unique_id="north").with_columns(unique_id=pl.lit("further north"))
        found = fleet.predict(more, progress=False).forecasts
        assert set(found["unique_id"]) == {"further north", "north", "south"}

    def test_backtest_joins_the_table_at_each_cutoff(self, sales: pl.DataFrame, plan: pl.DataFrame) -> None:
        found = fc.backtest(sales, cutoffs=2, refit=False, covariates=plan, **OPTIONS)
        errors = found.group_by("model").agg((pl.col("y") - pl.col("forecast")).abs().mean()).rows()
        assert dict(errors)["ridge"] < 0.5 * dict(errors)["seasonal_naive_7"]

    def test_what_is_no_table_is_refused(self, sales: pl.DataFrame, plan: pl.DataFrame) -> None:
        for table, said in (
            (3, "covariates has a int: each must be a frame, a path"),
            ({"data": plan, "by": 3}, "covariates: by = 3: must be text"),
            (plan.select("unique_id", "ds"), "no column besides 'unique_id', 'ds'"),
        ):
            with pytest.raises((SpecError, SourceError), match=said):
                fc.forecast(sales, covariates=table, **OPTIONS)


def test_past_covariate_is_read_before_the_horizon_and_never_within_it(rows: pl.DataFrame) -> None:
    """Demand follows bookings of two weeks before, which are not known ahead."""
    rng = np.random.default_rng(5)
    booked = rng.random(DAYS + 2 * HORIZON) < 0.3
    days = [BEGIN + timedelta(days=day) for day in range(DAYS)]
    demand = 50 + PROMOTION * booked[:DAYS] + rng.normal(0, 1, DAYS)
    given = pl.DataFrame({"ds": days, "y": demand, "booked": booked[HORIZON : DAYS + HORIZON]})
    found = fc.forecast(given, past="booked", **OPTIONS)
    truth = 50 + PROMOTION * booked[DAYS : DAYS + HORIZON]
    ridge = found.candidates.filter(model="ridge").sort("ds")["forecast"].to_numpy()
    assert np.abs(ridge - truth).mean() < 0.3 * PROMOTION
    late = pl.DataFrame({"ds": [BEGIN + timedelta(days=DAYS)], "y": [None], "booked": [True]})
    with_more = pl.concat([given, late], how="vertical_relaxed")
    assert fc.forecast(with_more, past=["booked"], **OPTIONS).forecasts.equals(found.forecasts)
