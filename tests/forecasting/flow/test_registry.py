"""Rows of the registry: the columns of their tables, with nulls where a value does not exist."""

from datetime import datetime
from typing import Any

import numpy as np
import pytest
import torch

from forecasting.fleet.fitted import FittedFleet, Prior
from forecasting.fleet.plan import Refusal
from forecasting.fleet.scaling import Scaling
from forecasting.fleet.task import ForecastTask
from forecasting.flow.registry import prior_row, registry_rows
from forecasting.schemas import BOOKKEEPING, table
from forecasting.series.panel import Panel
from forecasting.spec.recipes import configure
from forecasting.spec.spec import Spec, make_spec
from forecasting.version import code_version


def spec_of(freq: str | int = 1) -> Spec:
    fields = {"name": "a", "source": {"uri": "/a.csv"}, "freq": freq, "season_lengths": [4], "horizon": 3}
    return make_spec(fields, subject="the test's spec")


def fleet_of(*unique_ids: str, **fields: Any) -> FittedFleet:
    """Serving networks of some series with weights of zero, and a refused series `one`."""
    spec, num_series = spec_of(), len(unique_ids)
    scales = np.ones(num_series)
    return FittedFleet(
        **{
            "role": "serving",
            "model": "gru",
            "task": ForecastTask.of(spec),
            "config": configure(spec).of_member(0),
            "seed": 7,
            "kernel": "reference",
            "unique_ids": unique_ids,
            "weights": {"w": torch.zeros(num_series, 2)},
            "scaling": Scaling(*(scales,) * 6),
            "num_steps_S": np.full(num_series, 20),
            "num_windows_S": np.full(num_series, 9),
            "validation_loss_S": np.full(num_series, 0.5),
            "refused": (Refusal("one", "too_short", "series 'one' has 1 points; gru needs 24"),),
        }
        | fields
    )


@pytest.fixture
def panel(make_panel: Any) -> Panel:
    return make_panel([np.arange(9.0), np.arange(8.0), [1.0]], horizon=3, unique_ids=["b", "a", "one"])


def test_columns_are_those_of_the_table_without_those_that_the_job_adds(panel: Panel) -> None:
    rows = registry_rows(fleet_of("b", "a"), panel)
    added = ["weights_uri", "data_version", "architecture"]
    assert rows.schema == table("models").row_schema("step", without=added)
    assert rows["unique_id"].to_list() == ["a", "b", "one"]
    assert rows["cutoff"].to_list() == [8, 9, 1]
    assert rows["code_version"].unique().to_list() == [code_version()]


def test_networks_have_their_own_values_and_a_refused_series_its_reason(panel: Panel) -> None:
    fleet = fleet_of(
        "b",
        "a",
        trained_until_S=np.array([9, 8]),
        started_from=("old b", "old a"),
        strength_S=np.array([1.0, 0.25]),
        validation_loss_S=np.array([0.5, np.nan]),
    )
    a, b, one = registry_rows(fleet, panel, reasons={"b": "because"}).rows(named=True)
    wanted = ("version", "weights_slot", "trained_until", "started_from", "strength", "validation_loss", "reason")
    assert [a[name] for name in wanted] == [fleet.versions()[1], 1, 8, "old a", 0.25, None, None]
    assert [b[name] for name in wanted] == [fleet.versions()[0], 0, 9, "old b", 1.0, 0.5, "because"]
    assert (a["status"], one["status"], one["reason"]) == ("trained", "too_short", fleet.refused[0].reason)
    assert [one[name] for name in wanted[:-1]] == [None] * 6


def prior_of(spec: Spec, trained_until: dict[str, int] | None) -> Prior:
    config = configure(spec).of_member(0)
    weights = {"w": torch.ones(1, 2)}
    task = ForecastTask.of(spec)
    return Prior(
        "candidate", "lstm", task, config, 7, 2, "reference", weights, 5, 20, 0.9, (0.0, -0.1), trained_until, "older"
    )


def test_row_of_a_prior_has_every_column_that_the_job_does_not_add() -> None:
    prior = prior_of(spec_of(), {"a": 8, "b": 9})
    row = prior_row(prior)
    added = {*BOOKKEEPING, "weights_uri", "data_version", "architecture", "from_scratch"}
    assert set(row) == set(table("priors").schema("timestamp")) - added
    assert (row["model"], row["member"], row["role"], row["version"]) == ("lstm", 2, "candidate", prior.version)
    assert row["config"] == prior.config.model_dump_json()
    assert (row["seed"], row["code_version"], row["started_from"]) == (7, code_version(), "older")
    assert (row["num_series"], row["num_steps"], row["loss"], row["gains"]) == (5, 20, 0.9, [0.0, -0.1])


def test_last_point_of_a_prior_is_on_the_clock_of_its_spec() -> None:
    assert prior_row(prior_of(spec_of(), {"a": 8, "b": 9}))["trained_until"] == 9
    newest = datetime(2024, 5, 1, 3)
    micros = int((newest - datetime(1970, 1, 1)).total_seconds()) * 1_000_000
    assert prior_row(prior_of(spec_of("1h"), {"a": micros - 1, "b": micros}))["trained_until"] == newest
    assert prior_row(prior_of(spec_of(), None))["trained_until"] is None
