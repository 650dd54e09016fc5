"""`fleetcast query`, `tables` and `leaderboard` over a small store."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from forecasting.store.tables import Store

Fleetcast = Callable[..., Any]


def test_query_reads_the_view_of_champions(fleetcast: Fleetcast, store: Store) -> None:
    sql = "SELECT unique_id, count(*) AS n, min(model) AS model FROM latest_forecasts GROUP BY 1 ORDER BY 1"
    ended = fleetcast("query", sql, "--format", "csv")
    assert ended.out == "unique_id,n,model\nEWR,3,lstm\nJ'FK,3,lstm\n"
    assert "EWR" in fleetcast("query", sql).out
    assert json.loads(fleetcast("query", sql, "--format", "json", "--limit", "1").out) == [
        {"unique_id": "EWR", "n": 3, "model": "lstm"}
    ]


@pytest.mark.parametrize("sql", ["DROP TABLE forecasts", "SELECT nothing FROM forecasts", "SELECT 1; SELECT 2", ""])
def test_query_that_is_not_a_valid_select_is_a_user_error(fleetcast: Fleetcast, store: Store, sql: str) -> None:
    ended = fleetcast("query", sql)
    assert (ended.exit_code, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1


def test_store_that_does_not_exist_is_empty_and_is_not_created(fleetcast: Fleetcast, tmp_path: Any) -> None:
    ended = fleetcast("query", "SELECT count(*) AS n FROM forecasts", "--format", "csv")
    assert (ended.exit_code, ended.out) == (0, "n\n0\n")
    assert "does not exist yet, so every table is empty" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_store_that_is_a_file_is_refused(fleetcast: Fleetcast, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows.csv").write_text("")
    monkeypatch.setenv("FLEETCAST_STORE", "rows.csv")
    ended = fleetcast("tables")
    assert (ended.exit_code, ended.out) == (2, "")
    assert (
        ended.err
        == f"error: store root: '{tmp_path}/rows.csv' is a file; it must be a folder, which need not exist yet\n"
    )


def test_tables_lists_all_tables_or_the_columns_of_one(fleetcast: Fleetcast, store: Store) -> None:
    listed = {row["table"]: row for row in json.loads(fleetcast("tables", "--format", "json").out)}
    assert listed["forecasts"]["rows"] == 12
    assert listed["forecasts"]["meaning"] == "forecasts of every requested model, with quantiles"
    assert "latest_forecasts" in listed
    columns = {
        row["column"]: row["meaning"] for row in json.loads(fleetcast("tables", "scores", "--format", "json").out)
    }
    assert columns["mae"] == "mean absolute error, in units of y"
    wrong = fleetcast("tables", "score")
    assert wrong.exit_code == 2
    assert "table 'score' does not exist" in wrong.err


@pytest.mark.parametrize("words", [[], ["--scores"]])
def test_leaderboard_ranks_models_and_the_champion(fleetcast: Fleetcast, store: Store, words: list[str]) -> None:
    rows = json.loads(fleetcast("leaderboard", *words, "--format", "json").out)
    assert [(row["model"], row["mase"]) for row in rows] == [
        ("champion", 0.5),
        ("lstm", 0.5),
        ("seasonal_naive_6", 1.0),
    ]
    assert {(row["spec"], row["cutoff"], row["num_series"]) for row in rows} == {("demo", "2024-01-01T09:00:00", 2)}
    shown = fleetcast("leaderboard", *words).out
    assert shown.startswith("demo: realised errors" if words else "demo: backtests")


def test_leaderboard_without_results_states_what_is_missing(fleetcast: Fleetcast, store: Store) -> None:
    ended = fleetcast("leaderboard", "--spec", "other")
    assert ended.exit_code == 2
    assert "spec 'other' has no backtests yet" in ended.err
