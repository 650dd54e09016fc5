"""The share of regressions in the combination: by a series' own backtests, shrunk, tested without its own errors."""

import numpy as np
import polars as pl
import pytest

from forecasting.classical.combination import COMBINATION
from forecasting.flow.blend import DEFAULT_SHARE, SHARES, blend, choose_shares, keep_chosen, shares_of, variants

# S series · F horizon steps · Q quantiles


def points(errors: dict[str, list[tuple[float, float]]]) -> pl.DataFrame:
    """Points whose truth is 0: by series, the forecasts of the combination and of the regression at each origin."""
    rows = []
    for name, origins in errors.items():
        for origin, (combined, regression) in enumerate(origins):
            forecasts = variants(np.full((1, 1, 1), combined), np.full((1, 1, 1), regression))
            for model, forecast in {**forecasts, "ridge": np.full((1, 1, 1), regression)}.items():
                rows.append((name, model, origin, 0.0, 1.0, forecast.item()))
    columns = ["unique_id", "model", "origin", "y", "scale", "forecast"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def shares(chosen: pl.DataFrame) -> dict[str, float]:
    return dict(chosen.iter_rows())


def test_share_follows_the_smaller_error_and_is_half_where_both_are_alike() -> None:
    both = {"regression": [(4.0, 1.0)] * 3, "combination": [(1.0, 4.0)] * 3, "alike": [(2.0, 2.0)] * 3}
    chosen, _ = choose_shares(points(both))
    assert shares(chosen) == {"alike": 0.5, "combination": 0.0, "regression": 1.0}


def test_errors_of_opposite_signs_are_averaged() -> None:
    chosen, _ = choose_shares(points({"a": [(-3.0, 1.0), (3.0, -1.0)]}))
    assert shares(chosen) == {"a": 0.75}


def test_regression_that_is_clearly_worse_has_no_share_though_a_mean_is_better() -> None:
    chosen, tested = choose_shares(points({"far": [(-3.0, 4.0), (3.0, -4.0)], "near": [(-3.0, 3.6), (3.0, -3.6)]}))
    assert shares(chosen) == {"far": 0.0, "near": 0.5}
    assert dict(tested.select("unique_id", "model").iter_rows())["far"] == f"{COMBINATION}/0"


def test_small_gain_at_one_origin_moves_no_share_but_the_same_at_many_does() -> None:
    slight = (1.08, 1.0)
    chosen, _ = choose_shares(points({"one": [slight], "many": [slight] * 12}))
    assert shares(chosen) == {"many": 1.0, "one": 0.5}


def test_variant_of_an_origin_is_chosen_by_the_other_origins() -> None:
    compared = points({"a": [(1.0, 9.0), (9.0, 1.0), (9.0, 1.0)]})
    _, tested = choose_shares(compared)
    assert dict(tested.select("origin", "model").iter_rows())[0] == f"{COMBINATION}/1"
    kept = keep_chosen(compared, tested).filter(pl.col("model") == COMBINATION)
    assert kept.filter(pl.col("origin") == 0)["forecast"].to_list() == [9.0], "its own error would choose the other"
    assert kept.height == 3
    assert set(keep_chosen(compared, tested)["model"]) == {COMBINATION, "ridge"}


def test_single_origin_tests_the_default() -> None:
    _, tested = choose_shares(points({"a": [(1.0, 9.0)]}))
    assert tested["model"].to_list() == [f"{COMBINATION}/{DEFAULT_SHARE:g}"]


def test_gap_in_the_actuals_chooses_nothing() -> None:
    chosen, tested = choose_shares(points({"a": [(1.0, 9.0)]}).with_columns(y=pl.lit(None, pl.Float64)))
    assert chosen.is_empty()
    assert tested.is_empty()


@pytest.mark.parametrize("share", SHARES)
def test_blend_has_the_bits_of_a_part_at_the_ends_and_what_there_is_where_one_is_missing(share: float) -> None:
    rng = np.random.default_rng(0)
    combined, regression = rng.normal(size=(2, 3, 4, 5))
    combined[1], regression[2] = np.nan, np.nan
    mixed = blend(combined, regression, share)
    if share in (0.0, 1.0):
        assert np.array_equal(mixed[0], (combined, regression)[int(share)][0])
    assert np.allclose(mixed[0], (1 - share) * combined[0] + share * regression[0])
    assert np.array_equal(mixed[1], regression[1])
    assert np.array_equal(mixed[2], combined[2])


def test_series_without_a_champion_has_the_default_share() -> None:
    champions = pl.DataFrame({"unique_id": ["a", "b"], "regression_share": [0.25, None]})
    assert shares_of(champions, ("b", "a", "c")).tolist() == [0.5, 0.25, 0.5]
