"""`fleetcast specs`: every problem of every file."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

Fleetcast = Callable[..., Any]
GOOD = 'name = "{name}"\nfreq = "1h"\nseason_lengths = [24]\nhorizon = 4\n[source]\nuri = "rows.csv"\n'


def write_spec(name: str, text: str) -> Path:
    folder = Path("dags/specs")
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"unique_id": ["a"], "ds": ["2024-01-01 05:00"], "y": [1]}).write_csv(folder / "rows.csv")
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_valid_specs_pass(fleetcast: Fleetcast) -> None:
    write_spec("a", GOOD.format(name="a"))
    ended = fleetcast("specs", "check")
    assert (ended.exit_code, ended.out, ended.err) == (0, "ok: dags/specs/a.toml (a)\n", "")


def test_every_problem_of_every_file_is_reported(fleetcast: Fleetcast) -> None:
    write_spec("a", GOOD.format(name="a").replace('"1h"', '"1x"').replace("horizon = 4", "horizon = 0"))
    write_spec("b", "name =")
    write_spec("c", GOOD.format(name="c"))
    write_spec("d", GOOD.format(name="c"))
    write_spec("e", GOOD.format(name="e").replace("rows.csv", "nowhere.csv"))
    write_spec("f", GOOD.format(name="f").replace('"1h"', "1"))
    ended = fleetcast("specs", "check")
    assert ended.exit_code == 2
    assert ended.out == "ok: dags/specs/c.toml (c)\n"
    for expected in (
        "freq = '1x'",
        "horizon = 0",
        "b.toml: is not TOML",
        "name = 'c' is already used by",
        "nowhere.csv does not exist",
    ):
        assert expected in ended.err
    assert "f.toml: " in ended.err
    assert "needs whole numbers" in ended.err


@pytest.mark.airflow
def test_schedule_that_croniter_refuses_is_reported(fleetcast: Fleetcast, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only croniter knows that the nth day of a week also needs a matching day of the month.
    text = GOOD.format(name="a") + '[schedule]\ntrain = "@daily"\nforecast = "0 0 1-5 * 5#2"\n'
    path = write_spec("a", text)
    ended = fleetcast("specs", "check")
    assert (ended.exit_code, ended.out) == (2, "")
    expected = "schedule.forecast = '0 0 1-5 * 5#2' cannot be scheduled: failed to find next date"
    assert ended.err == f"error: spec {path}: {expected}\n"
    monkeypatch.setitem(sys.modules, "croniter", None)
    assert fleetcast("specs", "check").exit_code == 0


def test_single_files_are_checked_and_missing_paths_refused(fleetcast: Fleetcast) -> None:
    path = write_spec("a", GOOD.format(name="a"))
    write_spec("b", "name =")
    assert fleetcast("specs", "check", path).exit_code == 0
    missing = fleetcast("specs", "check", "nowhere")
    assert (missing.exit_code, missing.err) == (2, "error: spec file or folder nowhere does not exist\n")
    Path("empty").mkdir()
    assert fleetcast("specs", "check", "empty").exit_code == 2


def test_show_prints_the_complete_spec_with_its_training_configuration(fleetcast: Fleetcast) -> None:
    path = write_spec("file", GOOD.format(name="a") + "[overrides]\nmax_steps = 9\n")
    for word in ("a", path):
        shown = json.loads(fleetcast("specs", "show", word).out)
        assert shown["backtest"]["origins"] == 3
        assert shown["training"]["max_steps"] == 9
    assert fleetcast("specs", "show").out == "a  dags/specs/file.toml\n"
    assert fleetcast("specs", "show", "b").err == (
        "error: spec 'b' does not exist in dags/specs; fleetcast specs show lists the specs\n"
    )
