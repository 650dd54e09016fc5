"""Calibration: intervals with too few actuals become wider, with too many narrower, and quantiles stay in order."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.evaluate.conformal import FACTORS, calibrate, count_ratios, find_factors

QUANTILES = (0.025, 0.1, 0.5, 0.9, 0.975)
HORIZON = 10
NORMAL = np.array([-1.96, -1.2816, 0.0, 1.2816, 1.96])
COLUMNS = ("q02_5", "q10", "q50", "q90", "q97_5")


def forecasts(num_points: int, *, spread: float, seed: int = 0, model: str = "lstm") -> pl.DataFrame:
    """Normal actuals around medians of different size, and intervals for a normal of another spread."""
    rng = np.random.default_rng(seed)
    median = rng.normal(50, 20, num_points)
    width = rng.uniform(0.5, 5, num_points)
    quantiles = median[:, None] + spread * width[:, None] * NORMAL
    columns = {name: quantiles[:, place] for place, name in enumerate(COLUMNS)}
    y = median + width * rng.normal(size=num_points)
    return pl.DataFrame({"model": [model] * num_points, "y": y, "forecast": median, **columns})


def coverage(frame: pl.DataFrame, low: str, high: str) -> float:
    return float(frame.select(pl.col("y").is_between(low, high).mean()).item())


@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_intervals_move_three_quarters_of_the_way_to_the_right_width(spread: float) -> None:
    counts = count_ratios(forecasts(100_000, spread=spread), quantiles=QUANTILES)
    factors = find_factors(counts, horizon=HORIZON)
    assert factors["quantile"].to_list() == [0.025, 0.1]
    assert factors["factor"].to_numpy() == pytest.approx(spread**-0.75, rel=0.03)
    made = forecasts(100_000, spread=spread)
    for low, row in zip((("q02_5", "q97_5"), ("q10", "q90")), factors.iter_rows(named=True), strict=True):
        assert row["coverage"] == pytest.approx(coverage(made, *low), abs=1e-9)


def test_calibrated_intervals_are_nearer_to_their_nominal_coverage() -> None:
    factors = find_factors(count_ratios(forecasts(50_000, spread=0.5), quantiles=QUANTILES), horizon=HORIZON)
    later = forecasts(50_000, spread=0.5, seed=1)
    better = calibrate(later, factors, quantiles=QUANTILES)
    assert coverage(later, "q10", "q90") < coverage(better, "q10", "q90") < 0.8
    assert better["forecast"].equals(later["forecast"])
    assert better["q50"].equals(later["q50"])


def test_few_forecasts_change_little() -> None:
    few, many = (
        find_factors(count_ratios(forecasts(num, spread=0.3), quantiles=QUANTILES), horizon=HORIZON)["factor"].max()
        for num in (20, 100_000)
    )
    assert 1 < few < 1.5 < many  # type: ignore[operator]


def test_counts_of_shards_add_up_in_any_order() -> None:
    made = forecasts(3000, spread=0.7)
    parts = [count_ratios(made[begin : begin + 1000], quantiles=QUANTILES) for begin in (2000, 0, 1000)]
    whole = count_ratios(made, quantiles=QUANTILES)
    assert find_factors(pl.concat(parts), horizon=HORIZON).equals(find_factors(whole, horizon=HORIZON))


def test_points_without_an_actual_or_width_do_not_count() -> None:
    made = forecasts(200, spread=0.7)
    gap = made.with_columns(y=pl.lit(None, pl.Float64))
    flat = made.with_columns(pl.col("forecast").alias(name) for name in COLUMNS)
    nothing = count_ratios(pl.concat([gap, flat, made.with_columns(y=pl.lit(np.nan))]), quantiles=QUANTILES)
    assert nothing.is_empty()
    assert find_factors(nothing, horizon=HORIZON).is_empty()
    assert calibrate(made, find_factors(nothing, horizon=HORIZON), quantiles=QUANTILES).equals(made)


def test_a_perfect_forecast_and_huge_errors_are_counted() -> None:
    made = forecasts(100, spread=1.0).with_columns(y=pl.col("forecast"))
    far = forecasts(100, spread=1.0).with_columns(y=pl.lit(1e300))
    for rows in (made, far):
        factors = find_factors(count_ratios(rows, quantiles=QUANTILES), horizon=HORIZON)
        assert factors["factor"].is_finite().all()


def test_models_have_factors_of_their_own_and_others_stay() -> None:
    both = pl.concat([forecasts(5000, spread=0.5), forecasts(5000, spread=2.0, model="gru")])
    factors = find_factors(count_ratios(both, quantiles=QUANTILES), horizon=HORIZON)
    assert (factors.filter(model="lstm")["factor"] > 1).all()
    assert (factors.filter(model="gru")["factor"] < 1).all()
    naive = forecasts(10, spread=1.0, model="naive")
    assert calibrate(naive, factors, quantiles=QUANTILES).equals(naive)


@given(st.lists(st.floats(0.05, 20), min_size=2, max_size=2), st.integers(0, 20))
def test_quantiles_stay_in_order_with_any_factors(numbers: list[float], seed: int) -> None:
    factors = pl.DataFrame(
        {
            "model": ["lstm"] * 2,
            "quantile": [0.025, 0.1],
            "factor": numbers,
            "num_points": [9, 9],
            "coverage": [0.5] * 2,
        },
        schema=FACTORS,
    )
    grid = (0.01, *QUANTILES)  # one without its counterpart
    made = forecasts(50, spread=1.0, seed=seed).with_columns(q01=pl.col("q02_5") - 0.1)
    values = calibrate(made, factors, quantiles=grid).select("q01", *COLUMNS).to_numpy()
    assert (np.diff(values, axis=1) >= 0).all()


def test_null_quantiles_stay_null() -> None:
    made = forecasts(50, spread=0.5)
    factors = find_factors(count_ratios(made, quantiles=QUANTILES), horizon=HORIZON)
    unknown = made.with_columns(pl.lit(None, pl.Float64).alias(name) for name in ("forecast", *COLUMNS))
    assert calibrate(unknown, factors, quantiles=QUANTILES)["q97_5"].null_count() == 50


def demands(num_points: int, *, stretch: float, chance: float = 0.3, seed: int = 0) -> pl.DataFrame:
    """Actuals that are zero or exponential, and quantiles that are zero or too large by a factor."""
    rng = np.random.default_rng(seed)
    y = (rng.random(num_points) < chance) * rng.exponential(5.0, num_points)
    true = [0.0, 0.0, 0.0, *(5.0 * np.log(chance / np.array([0.1, 0.025])))]
    columns = {name: [stretch * each] * num_points for name, each in zip(COLUMNS, true, strict=True)}
    return pl.DataFrame({"model": ["lstm"] * num_points, "y": y, "forecast": [0.0] * num_points, **columns})


def test_an_interval_on_one_side_is_neither_counted_nor_calibrated() -> None:
    made = demands(2_000, stretch=2.0)
    assert count_ratios(made, quantiles=QUANTILES).is_empty()
    both = pl.concat([forecasts(40_000, spread=0.5), made])
    factors = find_factors(count_ratios(both, quantiles=QUANTILES), horizon=HORIZON)
    assert factors["factor"].min() > 1.5  # type: ignore[operator]
    calibrated = calibrate(both, factors, quantiles=QUANTILES)
    assert calibrated[-2_000:].equals(made)
    assert (calibrated["q90"] > both["q90"])[:40_000].all()
