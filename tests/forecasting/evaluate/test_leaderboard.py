"""The leaderboard: means over series, the champion's row, and what it does not know."""

import math
from typing import Any

import polars as pl
import pytest

from forecasting.evaluate.leaderboard import leaderboard


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
        "coverage_80": 0.8,
        "coverage_95": 0.95,
    }
    return {"unique_id": unique_id, "model": model} | defaults | scores


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, infer_schema_length=None).cast({"num_points": pl.Int32, "mase": pl.Float64})


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


def test_champion_takes_for_each_series_the_model_that_serves_it() -> None:
    lines = board(
        row("a", "lstm", mase=1.0),
        row("a", "gru", mase=2.0),
        row("b", "lstm", mase=4.0),
        row("b", "gru", mase=3.0),
        champions={"a": "lstm", "b": "gru"},
    )
    assert lines["champion"]["mase"] == pytest.approx(2.0)
    assert {model: line["share_served"] for model, line in lines.items()} == {"lstm": 0.5, "gru": 0.5, "champion": 1.0}


def test_rows_that_served_are_the_champion_where_no_champions_are_given() -> None:
    lines = board(row("a", "lstm", mase=1.0, is_champion=True), row("a", "gru", mase=0.5, is_champion=False))
    assert lines["champion"]["mase"] == 1.0
    assert (lines["lstm"]["share_served"], lines["gru"]["share_served"]) == (1.0, 0.0)


def test_model_that_serves_without_scores_is_still_listed() -> None:
    lines = board(row("a", "lstm"), champions={"a": "lstm", "b": "naive"})
    assert (lines["naive"]["num_series"], lines["naive"]["share_served"], lines["naive"]["mase"]) == (0, 0.5, None)
    assert lines["champion"]["num_series"] == 1


def test_without_champions_nothing_is_said_about_serving() -> None:
    lines = board(row("a", "lstm"))
    assert set(lines) == {"lstm"}
    assert lines["lstm"]["share_served"] is None


def test_rows_without_compared_points_and_null_scores_have_no_say() -> None:
    lines = board(
        row("a", "lstm", num_points=0, mase=None, smape=None, coverage_80=None),
        row("b", "lstm", mase=None, coverage_80=None),
        row("c", "lstm", mase=3.0, coverage_80=0.5),
    )
    assert lines["lstm"]["num_series"] == 2
    assert (lines["lstm"]["mase"], lines["lstm"]["coverage_80"]) == (3.0, 0.5)


def test_scores_without_rows_give_a_leaderboard_without_rows() -> None:
    assert leaderboard(frame(row("a", "lstm")).clear(), None).height == 0
