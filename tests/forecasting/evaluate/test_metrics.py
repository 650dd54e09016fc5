"""Scores: their definitions, the points they leave out, and where they are undefined."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from utilsforecast import losses

from forecasting.classical.baselines import seasonal_naive
from forecasting.evaluate.metrics import METRICS, overall_weighted_average, score_forecasts, seasonal_scale, step_scale
from forecasting.evaluate.yardstick import yardsticks
from forecasting.schemas import table
from forecasting.spec.quantiles import DEFAULT_QUANTILES

NAN = math.nan


def compare(y: list[float | None], forecast: list[float | None], **columns: object) -> pl.DataFrame:
    points = {"unique_id": "a", "model": "lstm", "ds": range(1, len(y) + 1), "scale": 1.0, "q50": forecast}
    return pl.DataFrame(
        points | columns | {"y": y, "forecast": forecast}, schema_overrides={"y": pl.Float64, "forecast": pl.Float64}
    )


def score_one(comparison: pl.DataFrame, quantiles: tuple[float, ...] = (0.5,)) -> dict[str, object]:
    return score_forecasts(comparison, quantiles=quantiles).row(0, named=True)


def test_scores_of_a_small_example_equal_those_computed_by_hand() -> None:
    scores = score_one(compare([10.0, 20.0], [12.0, 16.0], scale=2.0))
    assert scores["num_points"] == 2
    assert scores["mae"] == 3
    assert scores["mase"] == 1.5
    assert scores["smape"] == pytest.approx((200 * 2 / 22 + 200 * 4 / 36) / 2)
    assert scores["bias"] == -1
    assert scores["quantile_loss_sum"] == pytest.approx(6)
    assert scores["abs_y_sum"] == 30
    assert scores["wql"] == pytest.approx(0.2)


def test_score_columns_and_dtypes_are_those_of_the_tables() -> None:
    scores = score_forecasts(compare([1.0], [1.0]), quantiles=(0.5,))
    for name in ("backtests", "scores"):
        declared = table(name).schema("timestamp")
        assert {metric: declared[metric] for metric in METRICS} == {metric: scores.schema[metric] for metric in METRICS}
        assert list(METRICS) == [column for column in declared if column in METRICS]


def test_wql_averages_twice_the_pinball_loss_over_quantiles() -> None:
    comparison = compare([10.0], [10.0], q10=[6.0], q90=[9.0])
    scores = score_one(comparison, (0.1, 0.5, 0.9))
    assert scores["quantile_loss_sum"] == pytest.approx(2 * (0.1 * 4 + 0 + 0.9 * 1) / 3)
    assert scores["wql"] == pytest.approx(2 * (0.1 * 4 + 0 + 0.9 * 1) / 3 / 10)


def test_wql_is_over_the_nine_deciles_where_the_quantiles_have_them() -> None:
    deciles = {f"q{tenth}0": [6.0] for tenth in range(1, 10)}
    tails = {name: [-1e6] for name in ("q02_5", "q05", "q95", "q97_5")}
    scores = score_one(compare([10.0], [6.0], **(deciles | tails)), DEFAULT_QUANTILES)
    assert scores["quantile_loss_sum"] == pytest.approx(2 * 4 * np.mean([tenth / 10 for tenth in range(1, 10)]))
    assert scores["wql"] == pytest.approx(0.4)


def test_msis_of_a_small_example_equals_that_computed_by_hand() -> None:
    # The width is 10; 3 below and 1 above the interval cost 2 / 0.05 = 40 times as much.
    comparison = compare([5.0, -3.0, 11.0, 10.0], [5.0] * 4, q02_5=[0.0] * 4, q97_5=[10.0] * 4, scale=2.0)
    assert score_one(comparison, (0.025, 0.5, 0.975))["msis"] == pytest.approx((10 + 40 * (3 + 1) / 4) / 2)
    assert score_one(comparison)["msis"] is None


def test_msis_is_the_winkler_score_of_utilsforecast_over_the_scale() -> None:
    rng = np.random.default_rng(0)
    y, low, high = rng.normal(size=50), rng.normal(-1, 1, 50), rng.normal(1, 1, 50)
    ours = score_one(compare(list(y), [0.0] * 50, q02_5=low, q97_5=high, scale=3.0), (0.025, 0.5, 0.975))["msis"]
    test = pl.DataFrame({"unique_id": "a", "y": y, "lstm-lo-95": low, "lstm-hi-95": high})
    assert ours == pytest.approx(losses.winkler_score(test, ["lstm"], 95)["lstm"].item() / 3)


def test_naive2_is_scored_at_the_points_that_are_compared() -> None:
    scores = score_one(compare([10.0, None, 20.0, 30.0], [9.0, 9.0, None, 9.0], naive2=[20.0] * 4, scale=4.0))
    assert scores["naive2_mase"] == pytest.approx((10 + 10) / 2 / 4)
    assert scores["naive2_smape"] == pytest.approx((200 * 10 / 30 + 200 * 10 / 50) / 2)


@pytest.mark.parametrize("columns", [{}, {"naive2": [5.0, None]}, {"naive2": [5.0, NAN]}])
def test_scores_of_naive2_are_null_where_it_lacks_a_compared_point(columns: dict[str, object]) -> None:
    scores = score_one(compare([1.0, 2.0], [1.0, 2.0], **columns))
    assert (scores["naive2_mase"], scores["naive2_smape"]) == (None, None)


def test_coverage_counts_actuals_on_the_bounds_and_is_null_without_its_quantiles() -> None:
    comparison = compare([1.0, 5.0, 9.0, 9.1], [5.0] * 4, q10=[1.0] * 4, q90=[9.0] * 4)
    scores = score_one(comparison, (0.1, 0.5, 0.9))
    assert scores["coverage_80"] == 0.75
    assert scores["coverage_95"] is None


def test_both_coverages_are_measured_with_the_default_quantiles() -> None:
    bounds = {"q02_5": [0.0] * 2, "q97_5": [10.0] * 2, "q10": [4.0] * 2, "q90": [6.0] * 2}
    others = {name: [5.0] * 2 for name in ("q05", "q20", "q30", "q40", "q60", "q70", "q80", "q95")}
    scores = score_one(compare([1.0, 5.0], [5.0] * 2, **bounds, **others), DEFAULT_QUANTILES)
    assert (scores["coverage_80"], scores["coverage_95"]) == (0.5, 1.0)


@pytest.mark.parametrize("gap", [None, NAN])
def test_points_without_an_actual_or_a_forecast_are_left_out(gap: float | None) -> None:
    scores = score_one(compare([10.0, gap, 30.0], [11.0, 500.0, gap]))
    assert scores["num_points"] == 1
    assert scores["mae"] == 1
    assert scores["abs_y_sum"] == 10


def test_group_without_an_observed_point_has_no_points_and_null_scores() -> None:
    comparison = pl.concat([compare([None, NAN], [1.0, 2.0]), compare([1.0, 2.0], [1.0, 2.0], unique_id="b")])
    first, second = score_forecasts(comparison, quantiles=(0.5,)).to_dicts()
    assert first["num_points"] == 0
    assert all(first[metric] is None for metric in METRICS if metric != "num_points")
    assert second["num_points"] == 2


def test_frame_without_rows_gives_scores_without_rows() -> None:
    scores = score_forecasts(compare([], []).cast({"unique_id": pl.String, "q50": pl.Float64}), quantiles=(0.5,))
    assert scores.height == 0
    assert scores.columns == ["unique_id", "model", *METRICS]


def test_forecast_of_zero_for_an_actual_of_zero_costs_nothing_in_smape() -> None:
    assert score_one(compare([0.0, 0.0], [0.0, 1.0]))["smape"] == 100


def test_wql_is_null_where_every_actual_is_zero() -> None:
    scores = score_one(compare([0.0], [1.0]))
    assert scores["wql"] is None
    assert scores["quantile_loss_sum"] == 1


@pytest.mark.parametrize("scale", [None, NAN, 0.0])
def test_mase_is_null_where_its_scale_is_undefined(scale: float | None) -> None:
    comparison = compare([1.0], [2.0]).with_columns(scale=pl.lit(scale, pl.Float64))
    assert score_one(comparison)["mase"] is None
    assert score_one(comparison)["mae"] == 1


def test_scale_may_be_a_frame_by_series_and_origin() -> None:
    comparison = pl.concat([compare([1.0], [3.0], origin=1), compare([1.0], [3.0], origin=2)])
    scale = pl.DataFrame({"unique_id": ["a", "a"], "origin": [1, 2], "scale": [1.0, 4.0]}).cast(
        {"origin": comparison.schema["origin"]}
    )
    scores = score_forecasts(comparison, quantiles=(0.5,), scale=scale, by=["origin"])
    assert scores["mase"].to_list() == [2.0, 0.5]


def test_groups_stay_apart_and_a_column_named_cutoff_does_not_split_them() -> None:
    comparison = pl.concat(
        compare([1.0, 1.0], [1.0 + error] * 2, unique_id=unique_id, model=model, cutoff=[1, 2])
        for error, (unique_id, model) in enumerate([("a", "gru"), ("a", "lstm"), ("b", "gru"), ("b", "lstm")])
    )
    scores = score_forecasts(comparison.sample(fraction=1, shuffle=True, seed=3), quantiles=(0.5,))
    assert scores.select("unique_id", "model").rows() == [("a", "gru"), ("a", "lstm"), ("b", "gru"), ("b", "lstm")]
    assert scores["mae"].to_list() == [0, 1, 2, 3]


def test_mase_equals_that_of_utilsforecast_on_a_series_without_gaps(make_panel) -> None:
    y = np.random.default_rng(0).gamma(2, 10, 40)
    scale_S = seasonal_scale(make_panel([y[:36]]), season_length=7)
    ours = score_one(compare(list(y[36:]), [15.0] * 4, scale=scale_S[0]))["mase"]
    train = pl.DataFrame({"unique_id": "a", "ds": range(36), "y": y[:36]})
    test = pl.DataFrame({"unique_id": "a", "ds": range(36, 40), "y": y[36:], "lstm": 15.0})
    theirs = losses.mase(test, ["lstm"], seasonality=7, train_df=train)["lstm"].item()
    assert ours == pytest.approx(theirs, rel=1e-12)


def test_scale_leaves_out_pairs_with_a_gap(make_panel) -> None:
    scale_S = seasonal_scale(make_panel([[1.0, 5.0, NAN, 8.0, 100.0, 10.0]]), season_length=2)
    assert scale_S.tolist() == [(3 + 2) / 2]


@pytest.mark.parametrize(
    "values",
    [[1.0, 2.0], [3.0] * 9, [1.0, 2.0] * 5, [1.0, NAN, NAN, 2.0], [NAN] * 9, [1e308, 1.0, -1e308] * 3],
)
def test_scale_is_undefined_where_short_constant_repeating_huge_or_unpaired(make_panel, values: list[float]) -> None:
    panel = make_panel([values, [float(n * n) for n in range(9)]])
    scale_S = seasonal_scale(panel, season_length=2)
    assert np.isnan(scale_S[0])
    assert scale_S[1] > 0


def test_scale_of_a_panel_shorter_than_a_season_is_undefined(make_panel) -> None:
    assert np.isnan(seasonal_scale(make_panel([[1.0, 2.0]]), season_length=24)).all()


def test_series_too_short_for_a_season_has_the_scale_of_a_step_and_is_marked(make_panel) -> None:
    long, flat = [1.0, 5.0, 3.0, 8.0, 4.0, 9.0], [2.0] * 6
    panel = make_panel([[1.0, 2.0, 5.0], long, flat, [7.0]])
    np.testing.assert_array_equal(step_scale(panel, season_length=3), [2.0, NAN, NAN, NAN])
    measures = yardsticks(panel, season_length=3).unique("unique_id", maintain_order=True)
    assert measures["scaled_by_step"].to_list() == [True, False, False, False]
    np.testing.assert_array_equal(measures["scale"], [2.0, (7 + 1 + 6) / 3, NAN, NAN])
    points = measures.select("unique_id", model=pl.lit("x"), y=pl.lit(4.0), forecast=pl.lit(1.0), q50=pl.lit(1.0))
    scores = score_forecasts(points, quantiles=[0.5], scale=measures.select("unique_id", "scale", "scaled_by_step"))
    assert scores["mase"].to_list() == [1.5, 3 / (14 / 3), None, None]
    assert scores["scaled_by_step"].to_list() == [True, False, None, None]


@given(seed=st.integers(0, 2**32 - 1), season_length=st.integers(1, 6), num_gaps=st.integers(0, 5))
def test_mase_of_the_seasonal_naive_is_one_in_sample(make_panel, seed: int, season_length: int, num_gaps: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.normal(50, 10, 40)
    y[rng.choice(40, num_gaps, replace=False)] = NAN
    last_season = np.concatenate([np.full(season_length, NAN), y[:-season_length]])
    scale_S = seasonal_scale(make_panel([y]), season_length=season_length)
    mase = score_one(compare(list(y), list(last_season), scale=scale_S[0]))["mase"]
    assert mase == pytest.approx(1)


@given(factor=st.floats(1e-3, 1e3), seed=st.integers(0, 2**32 - 1))
def test_unit_of_measurement_does_not_change_relative_scores(make_panel, factor: float, seed: int) -> None:
    y = np.random.default_rng(seed).gamma(2, 10, 28)

    def score(values: np.ndarray) -> dict[str, object]:
        known = make_panel([values[:24]])
        forecast = seasonal_naive(known, season_length=4, quantiles=[0.5])[0, :, 0]
        return score_one(compare(list(values[24:]), list(forecast), scale=seasonal_scale(known, season_length=4)[0]))

    ours, scaled = score(y), score(y * factor)
    for metric in ("mase", "smape", "wql"):
        assert scaled[metric] == pytest.approx(ours[metric], rel=1e-9)
    assert scaled["mae"] == pytest.approx(ours["mae"] * factor, rel=1e-9)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=20))
def test_smape_lies_between_0_and_200(points: list[tuple[float, float]]) -> None:
    smape = score_one(compare([y for y, _ in points], [forecast for _, forecast in points]))["smape"]
    assert 0 <= smape <= 200 + 1e-9


def test_owa_of_naive2_is_one_and_halves_with_both_errors() -> None:
    assert overall_weighted_average(smape=18.0, mase=2.4, naive2_smape=18.0, naive2_mase=2.4) == 1
    assert overall_weighted_average(smape=9.0, mase=1.2, naive2_smape=18.0, naive2_mase=2.4) == 0.5
