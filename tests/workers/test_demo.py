"""The demo's report; `make demo` itself is run as it stands."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from forecasting.spec.spec import read_spec
from forecasting.store.publish import append_run
from forecasting.store.tables import Store
from forecasting.version import code_version
from workers import demo
from workers.arguments import Flow, find_progress


def test_report_opens_the_store_as_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    class Opened(Exception):
        pass

    def open_store(*arguments: Any) -> None:
        raise Opened(*arguments)

    monkeypatch.setenv("FLEETCAST_STORE", "s3://bucket/prefix")
    monkeypatch.setenv("FLEETCAST_STORAGE_OPTIONS", '{"aws_region": "eu-central-1"}')
    monkeypatch.setattr(demo, "Store", open_store)
    with pytest.raises(Opened) as opened:
        demo._report(Console(), {}, pl.DataFrame())
    assert opened.value.args == ("s3://bucket/prefix", {"aws_region": "eu-central-1"})


def test_steps_count_as_done_in_order_and_only_with_the_same_code_and_spec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEETCAST_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("FLEETCAST_SETTINGS", raising=False)
    root = Path(__file__).parents[2]
    spec = read_spec(root / "dags" / "specs" / f"{demo.SPEC}.toml").model_dump(mode="json")
    steps: list[tuple[Flow, str]] = [("train", demo.TRAINED), ("forecast", demo.CUTOFFS[0]), ("forecast", demo.END)]
    began = datetime(2026, 1, 1, tzinfo=UTC)

    def record(job: str, cutoff: str, *, hour: int, code: str = "", spec: Any = spec, status: str = "success") -> None:
        row = {"run_id": f"{job}.{cutoff}.{hour}", "job": job, "spec": demo.SPEC, "run_cutoff": cutoff}
        known = {"status": status, "code_version": code or code_version(), "arguments": json.dumps({"spec": spec})}
        append_run(Store(tmp_path / "store"), row | known | {"started_at": began + timedelta(hours=hour)})

    assert demo._count_done(root, steps) == 0
    record("score", demo.CUTOFFS[0], hour=0)
    assert demo._count_done(root, steps) == 0
    record("backtest", demo.TRAINED, hour=1)
    assert demo._count_done(root, steps) == 1  # the forecast was made before the training
    record("score", demo.CUTOFFS[0], hour=2, code="other")
    record("score", demo.CUTOFFS[0], hour=3, spec=spec | {"horizon": 1})
    assert demo._count_done(root, steps) == 1
    record("score", demo.CUTOFFS[0], hour=4, status="skipped")  # there is nothing to score yet
    record("score", demo.END, hour=5)
    assert demo._count_done(root, steps) == 3


@pytest.mark.parametrize(
    "progress",
    ["train: 64 of 250 series · 3.1 series/s · 1 min left", "train: 1 of 4 priors · 36 s a prior · 2 min left"],
)
@pytest.mark.parametrize("end", ["", "  loc=trigger.py:75", " \x1b[0m loc=trigger.py:75"])
def test_progress_of_any_noun_is_shown_without_time_and_place(progress: str, end: str) -> None:
    assert find_progress(f"2026-11-28T23:46:25.395715Z [info] {progress}{end}\n") == progress


@pytest.mark.parametrize(
    "line", ["error: series 'a · b' has no row", 'fleetcast-result: {"message": "9 rows · 1 used"}']
)
def test_other_lines_with_the_mark_are_not_progress(line: str) -> None:
    assert find_progress(line) is None
