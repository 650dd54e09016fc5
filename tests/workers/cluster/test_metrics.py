"""Metrics that a real Ray exports after the process that reported them has ended."""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.prometheus import newest, scrape
from workers.cluster import metrics
from workers.cluster.metrics import QueueMetrics, report_end
from workers.cluster.ray_head import ray_head

ROOT = Path(__file__).parents[3]
REPORT = """
from datetime import UTC, datetime
from workers.cluster.local_ray import local_ray
from workers.cluster.metrics import report_end
from workers.cluster.pool import Resources, run_units
from workers.cluster.shards import Shard

with local_ray():
    units = [Shard(0, ("a", "b"), 10), Shard(1, ("c",), 10)]
    run_units(lambda unit: unit.size, units, name="train", resources=Resources(1, 1, 0))
day = datetime(2024, 1, 2)
report_end("sales", "features", "1d Mon-Fri", status="success", cutoff=day, zone=UTC)
report_end("sales", "predict", "1d Mon-Fri", status="success", cutoff=day, zone=UTC)
report_end("sales", "score", "1d Mon-Fri", status="failed", kind="SourceError", zone=UTC)
report_end("steps", "features", 1, status="success", zone=UTC)
"""


@pytest.mark.ray
def test_queue_and_ends_of_runs_are_exported_after_their_process_has_ended():
    began = datetime.now(UTC).timestamp()
    with ray_head(num_cpus=1, dashboard=True) as head:
        subprocess.run([sys.executable, "-c", REPORT], env=os.environ | head.environment, check=True)
        found = scrape(head.folder / "prom_metrics_service_discovery.json")
    in_rules = set(re.findall(r"ray_fleetcast_\w+", (ROOT / "infra/monitoring/rules.yml").read_text()))
    assert in_rules <= set(found)
    for name in ("waiting_units", "running_units", "series_per_second"):
        assert [value for labels, value in found[f"ray_fleetcast_{name}"] if labels["step"] == "train"] == [0]
    assert newest(found, "failure_timestamp_seconds", spec="sales", step="score", kind="SourceError") >= began
    assert newest(found, "success_timestamp_seconds", spec="sales", step="predict") >= began
    day = datetime(2024, 1, 2, tzinfo=UTC).timestamp()
    for name in ("data", "forecast"):
        assert newest(found, f"{name}_timestamp_seconds", spec="sales") == day
    assert newest(found, "period_seconds", spec="sales") == 86_400
    assert {labels["spec"] for labels, _ in found["ray_fleetcast_period_seconds"]} == {"sales"}  # steps have no times


def test_speed_is_what_has_been_done_per_second_while_units_run(monkeypatch):
    shown: dict[str, float] = {}
    monkeypatch.setattr(metrics, "_set", lambda name, _, value, **tags: shown.update({f"{name} {tags['step']}": value}))
    times = iter([100.0, 104.0, 110.0])
    queue = QueueMetrics("train", "series", clock=lambda: next(times))
    queue.count(6)
    queue.show(waiting=3, running=2)
    assert shown == {"waiting_units train": 3, "running_units train": 2, "series_per_second train": 1.5}
    queue.show(waiting=0, running=0)
    assert shown["series_per_second train"] == 0


def test_a_cluster_that_cannot_be_reached_does_not_fail_the_run(monkeypatch, capsys):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    report_end("sales", "train", "1d", status="success", zone=UTC)
    assert "metrics of the run are not exported: Ray at 127.0.0.1:1 cannot be reached" in capsys.readouterr().err


def test_a_process_that_is_no_job_exports_nothing(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("workers.cluster.metrics.local_ray", None)
    report_end("sales", "train", "1d", status="success", zone=UTC)
