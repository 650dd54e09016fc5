"""Events of the operator, as OpenLineage's provider and its client write them to a file."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.openlineage.extractors.manager import ExtractorManager
from airflow.providers.openlineage.plugins.adapter import OpenLineageAdapter
from airflow.utils.state import TaskInstanceState
from openlineage.client import OpenLineageClient
from openlineage.client.transport.file import FileConfig, FileTransport

from forecasting.spec.spec import make_spec
from workers.airflow.operator import FleetcastJobOperator
from workers.arguments import RunResult

FIELDS = {"name": "small", "source": {"uri": "/data/small.csv"}, "freq": "1h", "season_lengths": [24], "horizon": 24}
RUN_ID = "01941f29-7c00-7087-a7b6-7b8a5c9d1e2f"


def emit(path: Path, operator: Any) -> Any:
    """Do what the provider's listener does when a task has succeeded; return the event."""
    state = TaskInstanceState.SUCCESS
    lineage = ExtractorManager().extract_metadata(SimpleNamespace(run_id="r"), operator, state, None)
    client = OpenLineageClient(transport=FileTransport(FileConfig(log_file_path=str(path), append=True)))
    common = {"nominal_start_time": None, "nominal_end_time": None, "owners": None, "tags": None}
    OpenLineageAdapter(client=client).complete_task(
        run_id=RUN_ID, job_name="small", end_time="2024-01-06T00:00:00Z", task=lineage, job_description=None, **common
    )
    return json.loads(path.read_text().splitlines()[-1])


def make(job: Any, **fields: Any) -> FleetcastJobOperator:
    return FleetcastJobOperator(job=job, flow="forecast", spec=make_spec(FIELDS | fields, subject="spec"))


def facets_of(datasets: Any) -> dict[str, Any]:
    return {one["name"]: one.get("facets", {}) | one.get("outputFacets", {}) for one in datasets}


def test_features_have_the_source_as_input_and_tables_with_versions_counts_and_checks_as_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEETCAST_STORE", "s3://lake/fleetcast")
    operator = make("features", checks=[{"kind": "range", "min": 0}])
    operator.result = RunResult(
        run_id="r", job="features", status="success", cutoff="2024-01-05T00:00:00", num_rows=48, num_rejects=2,
        versions={"features": 3, "observations": 4, "rejects": 5},
        checks={"range": "pass", "flatline": "fail", "ids": "skipped"},
    )  # fmt: skip
    event = emit(tmp_path / "events", operator)
    assert [(one["namespace"], one["name"]) for one in event["inputs"]] == [("file", "/data/small.csv")]
    assert {one["namespace"] for one in event["outputs"]} == {"s3://lake"}
    outputs = {name.split("/")[1]: facets for name, facets in facets_of(event["outputs"]).items()}
    assert set(outputs) == {"observations", "rejects", "features", "checks"}
    versions = {table: facets["version"]["datasetVersion"] for table, facets in outputs.items() if "version" in facets}
    assert versions == {"features": "3", "observations": "4", "rejects": "5"}
    counts = {
        name: facets["outputStatistics"]["rowCount"] for name, facets in outputs.items() if "outputStatistics" in facets
    }
    assert counts == {"features": 48, "rejects": 2}
    assertions = outputs["observations"]["dataQualityAssertions"]["assertions"]
    assert {one["assertion"]: one["success"] for one in assertions} == {"range": True, "flatline": False}


def test_forecasts_have_the_version_of_the_features_that_they_were_made_of(tmp_path: Path) -> None:
    operator = make("predict")
    operator.read_versions = {"features": 3}
    operator.result = RunResult(
        run_id="r",
        job="predict",
        status="success",
        cutoff="2024-01-05T00:00:00",
        num_rows=96,
        versions={"forecasts": 7},
    )
    event = emit(tmp_path / "events", operator)
    inputs, outputs = facets_of(event["inputs"]), facets_of(event["outputs"])
    assert inputs["small/features"]["version"]["datasetVersion"] == "3"
    assert set(inputs) == {f"small/{table}" for table in ("features", "models", "priors", "champions", "calibrations")}
    assert outputs["small/forecasts"]["version"]["datasetVersion"] == "7"
    assert outputs["small/forecasts"]["outputStatistics"]["rowCount"] == 96


def test_task_that_has_not_ended_has_inputs_and_outputs_alone() -> None:
    lineage = make("predict").get_openlineage_facets_on_start()
    assert [one.name for one in lineage.outputs] == ["small/forecasts"]
    assert not lineage.outputs[0].facets
