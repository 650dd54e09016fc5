"""Sample paths of the predict job: from the correlations that a backtest left to rows that SQL can add up."""

import random
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from forecasting.flow.sample_paths import sample_paths
from forecasting.schemas import TABLES
from forecasting.store.query import query
from tests.workers.jobs.conftest import FIRST
from workers.jobs.backtest import backtest
from workers.jobs.features import write_features
from workers.jobs.predict import predict

PATHS = 20
CUTOFF = 79


@pytest.fixture
def drawn(begin: Any, serial: Any) -> Any:
    """Three series and one point of a fourth, with the backtest of a spec that asks for paths."""
    return begin(backtest_with_paths)


def backtest_with_paths(small: Any) -> None:
    numbers = random.Random(0)
    lines = [
        f"{name},{FIRST + timedelta(hours=hour)},{10 + hour % 4 + numbers.gauss(0, 1):.3f}"
        for name in "abc"
        for hour in range(100)
    ]
    small.write(*lines, f"one,{FIRST},3")
    small.spec = small.spec.model_copy(update={"paths": PATHS, "statistics": ("theta",)})
    write_features(small.run("features", CUTOFF, cutoff="given"))
    backtest(small.run("backtest", CUTOFF, flow="train"))


def rows(small: Any, table: str) -> pl.DataFrame:
    stored = small.store.scan(table, "timestamp").collect()
    return stored.sort([name for name in TABLES[table].key if name in stored.columns])


def test_backtest_publishes_correlations_that_no_cut_of_shards_changes(drawn: Any) -> None:
    before = rows(drawn, "correlations")
    assert {"combination", "theta", "seasonal_naive_4"} <= set(before["model"])
    assert before["correlations"].list.len().unique().to_list() == [4]
    assert before.group_by("model").len()["len"].unique().to_list() == [4]
    backtest(drawn.run("backtest", CUTOFF, flow="train", shard_size=None))
    assert rows(drawn, "correlations").drop("run_id").equals(before.drop("run_id"))
    backtest(drawn.run("backtest", CUTOFF, flow="train", series=["a"]))  # some series say little of the fleet
    assert rows(drawn, "correlations").drop("run_id").equals(before.drop("run_id"))


def test_predict_publishes_the_paths_of_what_serves_with_their_bookkeeping(drawn: Any) -> None:
    run = drawn.run("predict", CUTOFF)
    outcome = predict(run)
    assert f"; {PATHS} paths each;" in outcome.message
    assert set(outcome.versions) == {"forecasts", "sample_paths"}
    paths, forecasts = rows(drawn, "sample_paths"), rows(drawn, "forecasts")
    assert paths.schema == TABLES["sample_paths"].schema("timestamp")
    assert paths.drop("zone").null_count().sum_horizontal().item() == 0
    assert paths.height == 4 * PATHS * 4
    assert paths["run_id"].unique().to_list() == [run.arguments.run_id]
    assert paths["run_cutoff"].unique().to_list() == [FIRST + timedelta(hours=CUTOFF)]
    served = forecasts.filter("is_champion").select("unique_id", "model", "cutoff", "ds").unique()
    assert_frame_equal(paths.select(served.columns).unique(), served, check_row_order=False)
    expected = pl.concat(sample_paths(forecasts, rows(drawn, "correlations"), drawn.spec, demands={}))
    values = paths.select(expected.columns)
    assert_frame_equal(values, expected, check_row_order=False, check_exact=True)


def test_a_second_run_replaces_its_paths_and_one_of_some_series_only_theirs(drawn: Any) -> None:
    predict(drawn.run("predict", CUTOFF))
    before = rows(drawn, "sample_paths")
    again = drawn.run("predict", CUTOFF, shard_size=None)
    predict(again)
    after = rows(drawn, "sample_paths")
    assert after.drop("run_id").equals(before.drop("run_id"))
    assert after["run_id"].unique().to_list() == [again.arguments.run_id]
    some = drawn.run("predict", CUTOFF, series=["b"])
    predict(some)
    last = rows(drawn, "sample_paths")
    assert last.drop("run_id").equals(before.drop("run_id"))
    assert last.filter(pl.col("run_id") == some.arguments.run_id)["unique_id"].unique().to_list() == ["b"]
    sql = (
        "SELECT unique_id, quantile_cont(total, 0.9) AS q90 FROM (SELECT unique_id, path, sum(y) AS total"
        " FROM latest_sample_paths GROUP BY ALL) GROUP BY ALL ORDER BY 1"
    )
    assert query(drawn.store, sql)["unique_id"].to_list() == ["a", "b", "c", "one"]


def test_a_spec_that_asks_for_no_paths_any_more_leaves_none_of_forecasts_that_are_replaced(drawn: Any) -> None:
    predict(drawn.run("predict", CUTOFF))
    drawn.spec = drawn.spec.model_copy(update={"paths": 0})
    write_features(drawn.run("features", CUTOFF + 4, cutoff="given"))
    assert set(predict(drawn.run("predict", CUTOFF + 4)).versions) == {"forecasts"}
    assert rows(drawn, "sample_paths").height
    outcome = predict(drawn.run("predict", CUTOFF))
    assert set(outcome.versions) == {"forecasts", "sample_paths"}
    assert "paths" not in outcome.message
    assert rows(drawn, "sample_paths").is_empty()
    assert set(backtest(drawn.run("backtest", CUTOFF + 4, flow="train")).versions) == {
        "backtests",
        "champions",
        "calibrations",
    }


def test_paths_before_any_backtest_say_that_their_steps_go_together(drawn: Any) -> None:
    predict(drawn.run("predict", CUTOFF))
    known = rows(drawn, "sample_paths")
    drawn.store.open("correlations", "timestamp").delete()
    outcome = predict(drawn.run("predict", CUTOFF))
    assert "with fully correlated steps until a backtest has measured correlations" in outcome.message
    blind = rows(drawn, "sample_paths")

    def total_widths(paths: pl.DataFrame) -> pl.Series:
        totals = paths.filter(pl.col("unique_id") != "one").group_by("unique_id", "path").agg(pl.col("y").sum())
        return totals.group_by("unique_id").agg(pl.col("y").std()).sort("unique_id")["y"]

    assert (total_widths(blind) > total_widths(known)).all()


def test_predict_says_which_series_are_forecast_zero_although_they_have_demand(small: Any, serial: Any) -> None:
    demands = [*random.Random(1).choices([0, 0, 0, 0, 0, 9], k=116), 0, 0, 0, 0]
    small.write(*(f"slow,{FIRST + timedelta(hours=hour)},{y}" for hour, y in enumerate(demands)), a=120)
    small.spec = small.spec.model_copy(update={"statistics": ("tsb",)})
    write_features(small.run("features", 119, cutoff="given"))
    backtest(small.run("backtest", 119, flow="train"))
    outcome = predict(small.run("predict", 119))
    assert "; 1 of 2 series, such as 'slow', are forecast 0 at every step" in outcome.message
