"""Rolling origins: their number, the data that a forecaster sees, and the points that are compared."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.classical.baselines import seasonal_naive
from forecasting.classical.naive2 import naive2
from forecasting.evaluate.backtest import backtest, place_origins
from forecasting.evaluate.metrics import METRICS
from forecasting.schemas import table
from forecasting.series.panel import Panel

QUANTILES = (0.1, 0.5, 0.9)


def repeat_last(panel: Panel) -> np.ndarray:
    return np.repeat(panel.y_SN[:, -1], panel.horizon * len(QUANTILES)).reshape(-1, panel.horizon, len(QUANTILES))


def every(num_origins: list[int], *, step: int, horizon: int = 4) -> np.ndarray:
    """Place the given number of origins of each series, `step` grid points apart."""
    number_J = np.arange(max(num_origins))
    return np.where(number_J < np.array(num_origins)[:, None], horizon + step * number_J, 0)


def run(panel: Panel, forecasters: dict | None = None, *, origins: list[int], step: int = 4) -> pl.DataFrame:
    return backtest(
        panel,
        forecasters=forecasters or {"last": repeat_last},
        origins_SJ=every(origins, step=step),
        quantiles=QUANTILES,
        season_length=2,
    )


def place(length: int, *, step: int = 3, horizon: int = 4, season: int = 1, minimum: int = 10) -> list[int]:
    (origins,) = place_origins(
        np.array([length]), wanted=3, step=step, horizon=horizon, season_length=season, minimum_length=minimum
    ).tolist()
    return [after for after in origins if after]


@pytest.mark.parametrize(("length", "expected"), [(0, 0), (33, 0), (34, 1), (36, 1), (37, 2), (40, 3), (500, 3)])
def test_origins_leave_the_minimum_before_and_a_horizon_after_them(length: int, expected: int) -> None:
    assert place(length, minimum=30) == [4, 7, 10][:expected]


@pytest.mark.parametrize(("length", "expected"), [(14, 1), (27, 1), (28, 2), (39, 2), (40, 3), (500, 3)])
def test_a_second_origin_costs_candidates_no_more_than_a_quarter_of_their_series(length: int, expected: int) -> None:
    assert place(length) == [4, 7, 10][:expected]


@pytest.mark.parametrize(("length", "season", "expected"), [
    (207, 52, [4, 7, 10]),
    (208, 52, [4, 7, 52]),
    (47, 4, [4, 7, 10]),
    (48, 4, [4, 7, 12]),
    (500, 5, [4, 7, 10]),
    (39, 7, [4, 7]),
])  # fmt: skip
def test_the_oldest_origin_lies_whole_seasons_back_where_the_history_allows(
    length: int, season: int, expected: list[int]
) -> None:
    assert place(length, season=season) == expected


def test_a_single_origin_is_the_newest() -> None:
    lengths = np.array([999])
    origins_SJ = place_origins(lengths, wanted=1, step=3, horizon=4, season_length=52, minimum_length=10)
    assert origins_SJ.tolist() == [[4]]


@given(
    length=st.integers(0, 300),
    wanted=st.integers(1, 9),
    step=st.integers(1, 40),
    horizon=st.integers(1, 40),
    season=st.integers(1, 60),
    minimum=st.integers(0, 60),
)
def test_a_series_has_all_origins_that_it_has_room_for(
    length: int, wanted: int, step: int, horizon: int, season: int, minimum: int
) -> None:
    (origins,) = place_origins(
        np.array([length]), wanted=wanted, step=step, horizon=horizon, season_length=season, minimum_length=minimum
    ).tolist()
    placed = [after for after in origins if after]
    assert origins == placed + [0] * (wanted - len(placed)), "newest first"
    assert placed == sorted(set(placed))
    assert not placed or placed[0] == horizon
    assert not placed or length - placed[-1] >= max(minimum, 1)
    assert len(placed) <= 1 or length - placed[-1] >= 0.75 * length
    if len(placed) < wanted:
        kept = length - horizon - step * len(placed)
        assert kept < max(minimum, 1) or (placed and kept < 0.75 * length)
    elif wanted > 1 and (placed[-1] % season or placed[-1] < horizon + step * (wanted - 1)):
        kept = length - season * -(-(horizon + step * (wanted - 1)) // season)
        assert kept < max(minimum, 1) or kept < 0.75 * length


@pytest.mark.parametrize("step", [2, 4, 7])
def test_each_origin_is_compared_with_the_whole_horizon_that_followed_it(make_panel, step: int) -> None:
    values = np.random.default_rng(0).normal(size=40)
    scores = run(make_panel([values]), origins=[3], step=step)
    assert scores["origin"].to_list() == [40 - 4 - 2 * step, 40 - 4 - step, 40 - 4]
    assert scores["num_points"].to_list() == [4, 4, 4]
    for origin, mae in scores.select("origin", "mae").iter_rows():
        assert mae == pytest.approx(np.abs(values[origin : origin + 4] - values[origin - 1]).mean())


def test_mase_is_scaled_by_what_was_known_at_the_origin(make_panel) -> None:
    values = np.concatenate([np.arange(20.0), [19.0, 19.0, 19.0, 1000.0]])
    scores = run(make_panel([values]), origins=[1])
    assert scores["mase"].item() == pytest.approx((981 / 4) / 2)


def test_columns_are_those_of_the_table_without_bookkeeping(make_panel) -> None:
    panel = make_panel([np.arange(20.0)])
    expected = ["unique_id", "model", "origin", *METRICS, "covered_80_by_step", "covered_95_by_step"]
    scores, declared = run(panel, origins=[1]), table("backtests").schema("step")
    assert scores.columns == expected
    assert scores.schema == {name: declared[name] for name in expected}
    empty = run(panel, origins=[0])
    assert (empty.height, empty.columns, empty.schema) == (0, expected, run(panel, origins=[1]).schema)


def test_naive2_knows_no_more_than_the_origin_and_scores_as_a_forecaster_would(make_panel) -> None:
    y = np.resize([5.0, 15.0], 60) + np.random.default_rng(0).normal(0, 1, 60)

    def forecast(panel: Panel) -> np.ndarray:
        return np.repeat(naive2(panel, season_length=2)[:, :, None], len(QUANTILES), axis=2)

    scores = run(make_panel([y]), {"naive2": forecast}, origins=[3])
    assert scores["naive2_mase"].to_list() == pytest.approx(scores["mase"].to_list())
    assert scores["naive2_smape"].to_list() == pytest.approx(scores["smape"].to_list())
    y[20] = math.nan
    assert run(make_panel([y]), origins=[1])["naive2_mase"].to_list() == [None]


def test_coverage_is_recorded_for_each_step_and_null_in_a_gap(make_panel) -> None:
    def between_0_and_10(panel: Panel) -> np.ndarray:
        return np.tile([0.0, 5.0, 10.0], (len(panel.unique_ids), panel.horizon, 1))

    values = np.concatenate([np.arange(20.0), [0.0, 11.0, math.nan, 10.0], [-1.0, 5.0, 5.0, 5.0]])
    scores = run(make_panel([values, values]), {"interval": between_0_and_10}, origins=[2, 1])
    rows = scores.select("unique_id", "origin", "covered_80_by_step", "covered_95_by_step").rows()
    first, second = [True, False, None, True], [False, True, True, True]
    assert rows == [("s0", 20, first, None), ("s0", 24, second, None), ("s1", 24, second, None)]
    assert scores["coverage_80"].to_list() == pytest.approx([2 / 3, 3 / 4, 3 / 4])


def test_timestamps_stay_timestamps(make_panel) -> None:
    panel = make_panel([np.arange(20.0)])
    hours = np.datetime64("2024-01-01", "us") + panel.ds_SN * np.timedelta64(1, "h")
    for origins in ([1], [0]):
        assert run(replace(panel, ds_SN=hours), origins=origins).schema["origin"] == pl.Datetime("us")
    assert run(replace(panel, ds_SN=hours), origins=[1])["origin"].item().hour == 16


def test_series_may_have_origins_of_their_own(make_panel) -> None:
    panel, origins_SJ = make_panel([np.arange(30.0), np.arange(30.0)]), np.array([[4, 10], [4, 20]])
    scores = backtest(
        panel, forecasters={"last": repeat_last}, origins_SJ=origins_SJ, quantiles=QUANTILES, season_length=2
    )
    assert scores.select("unique_id", "origin").rows() == [("s0", 20), ("s0", 26), ("s1", 10), ("s1", 26)]


def test_series_without_room_for_an_origin_is_left_out_of_it(make_panel) -> None:
    panel = make_panel([np.arange(30.0), np.arange(12.0), np.arange(5.0)], unique_ids=["long", "short", "tiny"])
    scores = run(panel, origins=[2, 1, 0])
    assert scores.select("unique_id", "origin").rows() == [("long", 22), ("long", 26), ("short", 8)]


def test_more_origins_than_a_series_has_room_for_are_refused(make_panel) -> None:
    with pytest.raises(ValueError, match="series 's1' has 8 grid points, but its first rolling origin needs 9"):
        run(make_panel([np.arange(30.0), np.arange(8.0)]), origins=[2, 2])


def test_forecast_that_is_not_finite_has_no_row_and_its_neighbours_keep_theirs(make_panel) -> None:
    def broken(panel: Panel) -> np.ndarray:
        quantiles_SFQ = repeat_last(panel)
        quantiles_SFQ[1, 2, 0] = math.nan
        return quantiles_SFQ

    panel = make_panel([np.arange(20.0), np.arange(20.0)])
    scores = run(panel, {"broken": broken, "last": repeat_last}, origins=[1, 1])
    assert scores.select("unique_id", "model").rows() == [("s0", "broken"), ("s0", "last"), ("s1", "last")]


def test_origin_that_is_followed_by_gaps_alone_has_a_row_without_points(make_panel) -> None:
    scores = run(make_panel([np.concatenate([np.arange(20.0), np.full(4, math.nan)])]), origins=[1])
    assert scores.select("num_points", "mae").rows() == [(0, None)]


def test_forecaster_sees_neither_the_future_nor_what_others_wrote(make_panel) -> None:
    shown = []

    def spoil(panel: Panel) -> np.ndarray:
        shown.append(panel)
        forecast = repeat_last(panel)
        panel.y_SN[:] = 0
        return forecast

    panel = make_panel([np.arange(1.0, 31.0)])
    scores = run(panel, {"first": spoil, "second": spoil}, origins=[2])
    assert panel.y_SN[0].tolist() == np.arange(1.0, 31.0).tolist()
    assert scores["mae"].to_list() == [2.5] * 4
    for known, length in zip(shown, (22, 22, 26, 26), strict=True):
        assert known.y_SN.shape == (1, length)
        assert known.length_S.tolist() == [length]
        assert known.ds_SN.shape == (1, length + 4)
        assert known.calendar_SNC.shape[1] == length + 4
        assert all(array.base is None for array in (known.y_SN, known.ds_SN, known.calendar_SNC))


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), origins=st.integers(1, 3), step=st.integers(1, 6))
def test_values_after_the_first_origin_do_not_change_what_is_forecast_there(
    make_panel, seed: int, origins: int, step: int
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(2, 40))
    altered = values.copy()
    future = int(every([origins], step=step).max())
    altered[:, -future:] = rng.normal(size=(2, future)) * 1e3

    def forecasts(series: np.ndarray) -> np.ndarray:
        made = []

        def remember(panel: Panel) -> np.ndarray:
            made.append(seasonal_naive(panel, season_length=2, quantiles=QUANTILES))
            return made[-1]

        run(make_panel(series), {"remember": remember}, origins=[origins] * 2, step=step)
        return made[0]

    np.testing.assert_array_equal(forecasts(values), forecasts(altered))
