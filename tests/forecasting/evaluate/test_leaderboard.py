"""The leaderboard: means over series with their standard errors, the champion's row, and undefined values."""

import math
from typing import Any

import polars as pl
import pytest

from forecasting.evaluate.leaderboard import SCORES, leaderboard

NAN = math.nan


def row(unique_id: str, model: str, **scores: Any) -> dict[str, Any]:
    defaults = {
        "origin": 1,
        "num_points": 10,
        "mae": 1.0,
        "mase": 1.0,
        "smape": 10.0,
        "bias": 0.0,
        "quantile_loss_sum": 1.0,
        "abs_y_sum": 10.0,
        "wql": 0.1,
        "msis": 5.0,
        "coverage_80": 0.8,
        "coverage_95": 0.95,
        "naive2_mase": 2.0,
        "naive2_smape": 20.0,
    }
    return {"unique_id": unique_id, "model": model} | defaults | scores


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, infer_schema_length=None).cast(
        {"num_points": pl.Int32, "mase": pl.Float64, "smape": pl.Float64}
    )


def board(*rows: dict[str, Any], champions: dict[str, str] | None = None) -> dict[str, dict[str, Any]]:
    chosen = None
    if champions is not None:
        chosen = pl.DataFrame({"unique_id": list(champions), "model": list(champions.values())})
    return {line["model"]: line for line in leaderboard(frame(*rows), chosen).iter_rows(named=True)}


def test_models_are_ranked_by_mase_with_undefined_ones_last() -> None:
    ranked = leaderboard(frame(row("a", "x", mase=None), row("a", "y", mase=2.0), row("a", "z", mase=0.5)), None)
    assert ranked["model"].to_list() == ["z", "y", "x"]


def test_series_counts_once_however_many_origins_it_has() -> None:
    lines = board(
        row("a", "lstm", mase=1.0, num_points=30, origin=1),
        row("a", "lstm", mase=5.0, num_points=10, origin=2),
        row("b", "lstm", mase=4.0),
    )
    assert lines["lstm"]["mase"] == pytest.approx((2.0 + 4.0) / 2)
    assert lines["lstm"]["mase_se"] == pytest.approx(math.sqrt(2) / math.sqrt(2))
    assert (lines["lstm"]["num_series"], lines["lstm"]["num_points"]) == (2, 50)


def test_wql_is_a_ratio_of_sums_and_coverage_and_bias_are_means_over_points() -> None:
    lines = board(
        row("a", "lstm", num_points=30, quantile_loss_sum=1.0, abs_y_sum=10.0, coverage_80=1.0, bias=2.0),
        row("b", "lstm", num_points=10, quantile_loss_sum=9.0, abs_y_sum=90.0 - 60.0, coverage_80=0.0, bias=-2.0),
    )
    assert lines["lstm"]["wql"] == pytest.approx(10 / 40)
    assert lines["lstm"]["coverage_80"] == 0.75
    assert lines["lstm"]["bias"] == pytest.approx(1.0)


def test_board_says_over_how_many_series_mase_goes() -> None:
    short, long = row("a", "lstm", scaled_by_step=True, mase=2.0), row("b", "lstm", scaled_by_step=False, mase=1.0)
    undefined = row("c", "lstm", scaled_by_step=False, mase=None)
    line = board(short, long, undefined)["lstm"]
    assert (line["num_series"], line["num_scaled"], line["num_scaled_by_step"], line["mase"]) == (3, 2, 1, 1.5)


def test_standard_errors_of_means_over_series_equal_those_computed_by_hand() -> None:
    lines = board(
        row("a", "lstm", mase=1.0, smape=10.0, msis=4.0),
        row("b", "lstm", mase=2.0, smape=10.0, msis=8.0),
        row("c", "lstm", mase=6.0, smape=40.0, msis=None),
    )
    errors = {name: lines["lstm"][f"{name}_se"] for name in ("mase", "smape", "msis")}
    assert errors["mase"] == pytest.approx(math.sqrt((4 + 1 + 9) / 2 / 3))
    assert errors["smape"] == pytest.approx(math.sqrt((100 + 100 + 400) / 2 / 3))
    assert (lines["lstm"]["msis"], errors["msis"]) == (6.0, pytest.approx(math.sqrt(8 / 1 / 2)))


def test_error_of_a_ratio_of_sums_is_taylors() -> None:
    lines = board(
        row("a", "lstm", num_points=30, quantile_loss_sum=1.0, abs_y_sum=10.0, coverage_80=1.0),
        row("b", "lstm", num_points=10, quantile_loss_sum=9.0, abs_y_sum=30.0, coverage_80=0.0),
    )
    # 1 - 10/4 and 9 - 30/4 lie 1.5 off their mean, over a mean denominator of 20.
    assert lines["lstm"]["wql_se"] == pytest.approx(math.sqrt(2 * 1.5**2 / 1 / 2) / 20)
    assert lines["lstm"]["coverage_80_se"] == pytest.approx(math.sqrt(2 * 7.5**2 / 1 / 2) / 20)


def test_error_of_a_ratio_is_that_of_a_mean_where_series_weigh_the_same() -> None:
    lines = board(
        *(row(str(number), "lstm", coverage_95=share, bias=share) for number, share in enumerate([1, 0.9, 0.8]))
    )
    for name in ("coverage_95", "bias"):
        assert lines["lstm"][f"{name}_se"] == pytest.approx(0.1 / math.sqrt(3))


def test_owa_averages_the_ratios_of_mean_errors_to_those_of_naive2() -> None:
    lines = board(
        row("a", "lstm", mase=1.0, smape=10.0, naive2_mase=2.0, naive2_smape=10.0),
        row("b", "lstm", mase=2.0, smape=20.0, naive2_mase=4.0, naive2_smape=50.0),
    )
    assert lines["lstm"]["owa"] == pytest.approx((1.5 / 3 + 15 / 30) / 2)
    # MASE: 1 - 0.5 × 2 = 0 and 2 - 0.5 × 4 = 0; sMAPE: 10 - 0.5 × 10 = 5 and 20 - 0.5 × 50 = -5, over a mean of 30.
    assert lines["lstm"]["owa_se"] == pytest.approx(5 / 30 / 2)


def test_owa_of_naive2_itself_is_one_without_error() -> None:
    yardstick = [(0.5, 7.0), (3.0, 40.0), (1.0, 11.0)]
    lines = board(
        *(
            row(str(number), "naive2", mase=mase, smape=smape, naive2_mase=mase, naive2_smape=smape)
            for number, (mase, smape) in enumerate(yardstick)
        )
    )
    assert lines["naive2"]["owa"] == pytest.approx(1)
    assert lines["naive2"]["owa_se"] == pytest.approx(0)


def test_owa_leaves_out_rows_for_which_either_side_is_undefined() -> None:
    lines = board(
        row("a", "lstm", mase=1.0, smape=10.0),
        row("a", "lstm", origin=2, mase=100.0, naive2_mase=None, naive2_smape=None),
        row("b", "lstm", mase=None, smape=100.0),
        row("c", "gru", naive2_mase=None, naive2_smape=None),
    )
    assert lines["lstm"]["owa"] == 0.5
    assert lines["gru"]["owa"] is None


def test_nothing_undefined_is_nan() -> None:
    undefined = dict.fromkeys(("mase", "smape", "wql", "msis", "coverage_80", "naive2_mase"), NAN)
    lines = board(row("a", "lstm", abs_y_sum=0.0, **undefined), row("b", "gru", abs_y_sum=0.0, naive2_smape=0.0))
    for line in lines.values():
        shown = [line[column] for name in SCORES for column in (name, f"{name}_se")]
        assert not any(value is not None and math.isnan(value) for value in shown)
    assert [lines["lstm"][name] for name in ("mase", "smape", "owa", "wql", "msis", "coverage_80")] == [None] * 6
    assert (lines["gru"]["mase"], lines["gru"]["mase_se"], lines["gru"]["owa"]) == (1.0, None, None)


def test_row_champion_takes_the_champion_of_each_series() -> None:
    lines = board(
        row("a", "lstm", mase=1.0),
        row("a", "gru", mase=2.0),
        row("b", "lstm", mase=4.0),
        row("b", "gru", mase=3.0),
        champions={"a": "lstm", "b": "gru"},
    )
    assert lines["champion"]["mase"] == pytest.approx(2.0)
    assert {model: line["share_served"] for model, line in lines.items()} == {"lstm": 0.5, "gru": 0.5, "champion": 1.0}


def test_rows_marked_is_champion_are_the_row_champion_without_champions() -> None:
    lines = board(row("a", "lstm", mase=1.0, is_champion=True), row("a", "gru", mase=0.5, is_champion=False))
    assert lines["champion"]["mase"] == 1.0
    assert (lines["lstm"]["share_served"], lines["gru"]["share_served"]) == (1.0, 0.0)


def test_champion_without_scores_is_still_listed() -> None:
    lines = board(row("a", "lstm"), champions={"a": "lstm", "b": "naive"})
    assert (lines["naive"]["num_series"], lines["naive"]["share_served"], lines["naive"]["mase"]) == (0, 0.5, None)
    assert lines["champion"]["num_series"] == 1


def test_without_champions_shares_are_null_and_the_row_is_missing() -> None:
    lines = board(row("a", "lstm"))
    assert set(lines) == {"lstm"}
    assert lines["lstm"]["share_served"] is None


def test_rows_without_compared_points_and_null_scores_do_not_count() -> None:
    lines = board(
        row("a", "lstm", num_points=0, mase=None, smape=None, coverage_80=None),
        row("b", "lstm", mase=None, coverage_80=None),
        row("c", "lstm", mase=3.0, coverage_80=0.5),
    )
    assert lines["lstm"]["num_series"] == 2
    assert (lines["lstm"]["mase"], lines["lstm"]["coverage_80"]) == (3.0, 0.5)


def test_scores_without_rows_give_a_leaderboard_without_rows() -> None:
    assert leaderboard(frame(row("a", "lstm")).clear(), None).height == 0
