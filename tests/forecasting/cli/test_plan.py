"""`fleetcast plan`: what runs of a spec need, without running them."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forecasting.flow.job_parts import Machine
from forecasting.flow.needs import predict_train
from forecasting.flow.workload import Workload
from forecasting.spec.spec import read_spec

Fleetcast = Callable[..., Any]
SPEC = """
name = "sales"
freq = "1h"
season_lengths = [24]
horizon = 12

[source]
uri = "sales.parquet"
"""
REFERENCE = ("--pace", "1")
SIZE = ("--series", "500", "--length", "800")


@pytest.fixture
def spec(fleetcast: Fleetcast) -> Path:
    """A spec whose source does not exist, in the working directory."""
    path = Path("sales.toml")
    path.write_text(SPEC, encoding="utf-8")
    return path


def test_tables_show_parts_cores_memory_and_storage_of_both_flows(fleetcast: Fleetcast, spec: Path) -> None:
    ended = fleetcast("plan", spec, *SIZE, *REFERENCE, "--cores", "4", "--minutes", "2")
    assert (ended.exit_code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == "sales: 500 series of 800 grid points, recipe standard, lstm, gru"
    needs = predict_train(Workload(read_spec(spec), 500, 800), Machine(4))
    total, _ = (line for line in lines if line.startswith("│ all "))
    cells = [cell.strip() for cell in total.strip("│").split("│")]
    assert [float(cell) for cell in cells[1:3]] == [round(needs.cpu_seconds, 1), round(needs.wall_seconds / 60, 2)]
    for name in ("priors", "networks", "statistics", "forecasts", "scores", "a worker", "weights"):
        assert any(line.startswith(f"│ {name} ") for line in lines), name
    assert any(line.startswith("train: ") and line.endswith("it under 2 min") for line in lines)
    for stated in ("as --pace states", "series of equal length", "no GPU", "the source is not read"):
        assert any(stated in line for line in lines), stated


def test_rows_have_the_same_figures_and_notes_do_not_mix_with_them(fleetcast: Fleetcast, spec: Path) -> None:
    as_json = fleetcast("plan", spec, *SIZE, *REFERENCE, "--minutes", "2", "--format", "json")
    as_csv = fleetcast("plan", spec, *SIZE, *REFERENCE, "--minutes", "2", "--format", "csv")
    rows = json.loads(as_json.out)
    assert len(rows) == len(list(csv.DictReader(io.StringIO(as_csv.out)))) > 40
    assert "no GPU" in as_json.err
    values = {(row["flow"], row["kind"], row["name"]): row["value"] for row in rows}
    assert values["train", "cpu", "all"] == pytest.approx(
        sum(value for (flow, kind, name), value in values.items() if (flow, kind) == ("train", "cpu") and name != "all")
    )
    assert values["train", "cores", "within 2 min"] >= 1


def test_what_is_not_given_is_counted_in_the_source(
    fleetcast: Fleetcast, spec: Path, hourly: Callable[..., pl.DataFrame]
) -> None:
    hourly("a", "b", num_points=60).write_parquet("sales.parquet")
    ended = fleetcast("plan", spec, *REFERENCE)
    assert ended.exit_code == 0
    assert ended.out.startswith("sales: 2 series of 60 grid points")
    assert "2 series that a run would forecast are counted in the source, with 120 grid points, 60 to 60" in ended.out
    assert fleetcast("plan", spec, *REFERENCE, "--series", "9").out.startswith("sales: 9 series of 60 grid points")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--series", "0", "--length", "10"), "--series 0 must be 1 or more"),
        (("--series", "5", "--length", "-3"), "--length -3 must be 1 or more"),
        (("--cores", "0"), "--cores 0 must be 1 or more"),
        (("--gpus", "0"), "--gpus 0 must be 1 or more"),
        (("--minutes", "nan"), "--minutes nan must be a number above 0"),
        (("--pace", "-1"), "--pace -1 must be a number above 0"),
        (("--series", "5"), "sales.parquet"),
    ],
)
def test_nonsense_is_refused(fleetcast: Fleetcast, spec: Path, options: tuple[str, ...], message: str) -> None:
    ended = fleetcast("plan", spec, *options)
    assert (ended.exit_code, ended.out) == (2, "")
    assert message in ended.err


def test_gpus_take_over_the_training_of_networks(fleetcast: Fleetcast, spec: Path) -> None:
    large = ("--series", "5000", "--length", "800", *REFERENCE, "--cores", "4", "--format", "json")
    cores, gpus = (fleetcast("plan", spec, *large, *more) for more in ((), ("--gpus", "2")))
    values = [
        {(row["flow"], row["kind"], row["name"]): row["value"] for row in json.loads(x.out)} for x in (cores, gpus)
    ]
    assert values[1]["train", "wall", "networks"] < values[0]["train", "wall", "networks"] / 2
    assert values[1]["train", "gpu", "networks"] > 0
    assert ("train", "gpu", "networks") not in values[0]
    for part in ("statistics", "features", "backtest"):
        assert values[1]["train", "wall", part] == values[0]["train", "wall", part]
    assert values[1]["forecast", "wall", "all"] == values[0]["forecast", "wall", "all"]
    assert "NVIDIA H200" in gpus.err
    table = fleetcast("plan", spec, *large[:-2], "--gpus", "2").out
    assert "duration by number of GPUs, with 4 cores" in table
    assert "train, GPU s" in table


def test_gpus_that_little_work_does_not_use_are_named(fleetcast: Fleetcast, spec: Path) -> None:
    ended = fleetcast("plan", spec, "--series", "5", "--length", "200", *REFERENCE, "--gpus", "2")
    assert "the GPUs are not used: so little work is done in the job's own process" in ended.out


def test_gpus_are_refused_for_networks_without_a_program_there(fleetcast: Fleetcast, spec: Path) -> None:
    spec.write_text(SPEC.replace("horizon = 12", 'horizon = 12\nmodels = ["jordan"]'), encoding="utf-8")
    ended = fleetcast("plan", spec, *SIZE, *REFERENCE, "--gpus", "2")
    assert (ended.exit_code, ended.out) == (2, "")
    assert "--gpus: one of jordan has no program for GPUs" in ended.err


def test_spec_that_does_not_exist_is_refused(fleetcast: Fleetcast) -> None:
    ended = fleetcast("plan", "none.toml", *SIZE, *REFERENCE)
    assert (ended.exit_code, ended.out) == (2, "")
    assert "none.toml" in ended.err


def test_limit_that_no_number_of_cores_reaches_is_stated(fleetcast: Fleetcast, spec: Path) -> None:
    ended = fleetcast("plan", spec, *SIZE, *REFERENCE, "--minutes", "0.01")
    assert "train: no number of cores brings it under 0.01 min" in ended.out
