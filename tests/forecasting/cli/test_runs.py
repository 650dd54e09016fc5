"""`fleetcast runs` and `fleetcast runs delete` over a small store."""

import json
from collections.abc import Callable
from typing import Any

import polars as pl

from forecasting.store.publish import append_run
from forecasting.store.tables import Store

Fleetcast = Callable[..., Any]


def test_runs_are_listed_and_filtered_by_spec(fleetcast: Fleetcast, store: Store) -> None:
    assert "predict" in fleetcast("runs").out
    assert json.loads(fleetcast("runs", "--spec", "demo", "--format", "json").out)[0]["run_id"] == "run_1"
    assert json.loads(fleetcast("runs", "--spec", "other", "--format", "json").out) == []


def test_run_is_deleted_only_with_a_confirmation(fleetcast: Fleetcast, store: Store) -> None:
    row = store.scan("runs", "timestamp").collect().row(0, named=True)
    written = ("features", "forecasts", "backtests", "champions", "scores")
    versions = {name: store.version(name, "timestamp") for name in written}
    append_run(store, {**row, "run_cutoff": "2024-01-01T09:00:00", "versions": json.dumps(versions)})
    asked = fleetcast("runs", "delete", "run_1")
    assert (asked.exit_code, asked.err) == (
        2,
        "error: to delete runs needs a confirmation; --yes gives it, and --dry-run changes nothing\n",
    )
    shown = fleetcast("runs", "delete", "run_1", "--dry-run").out
    assert "forecasts" in shown
    assert store.version("forecasts", "timestamp") == versions["forecasts"]
    deleted = fleetcast("runs", "delete", "run_1", "--yes", "--reason", "a test")
    assert deleted.exit_code == 0
    assert "deleted; recorded as run 'delete.demo." in deleted.out
    for name in written:
        assert store.scan(name, "timestamp").collect().is_empty()
    recorded = store.scan("runs", "timestamp").sort("started_at").select("job", "status").collect()
    assert recorded.rows() == [("predict", "deleted"), ("delete", "success")]


def test_rows_that_cannot_be_restored_need_an_option(fleetcast: Fleetcast, store: Store) -> None:
    row = store.scan("runs", "timestamp").collect().row(0, named=True)
    append_run(store, {**row, "run_cutoff": "2024-01-01T09:00:00"})
    refused = fleetcast("runs", "delete", "run_1", "--yes")
    assert refused.exit_code == 2
    assert "cannot be restored, because their version is not recorded" in refused.err
    assert fleetcast("runs", "delete", "run_1", "--yes", "--without-restoring").exit_code == 0
    assert store.scan("forecasts", "timestamp").select(pl.len()).collect().item() == 0


def test_repeated_option_of_the_list_is_refused(fleetcast: Fleetcast) -> None:
    refused = fleetcast("runs", "--spec", "a", "--spec", "b")
    assert (refused.exit_code, refused.err) == (
        2,
        "error: Invalid value: --spec is given 2 times; it takes one value; see fleetcast --help\n",
    )
