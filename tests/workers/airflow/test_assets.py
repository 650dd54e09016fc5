from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Asset

from forecasting.spec.spec import Spec, make_spec
from workers.airflow.assets import inlets_of, inputs_of, outlets_of, source_uris, table_asset

FIELDS = {"name": "small", "source": {"uri": "/data/small.csv"}, "freq": "1h", "season_lengths": [24], "horizon": 24}


def spec_of(**fields: Any) -> Spec:
    return make_spec(FIELDS | fields, subject="spec")


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        ("s3://lake/fleetcast/", "s3://lake/fleetcast/forecasts/spec=small"),
        ("s3://ada:hunter2@lake/fleetcast?key=hunter2", "s3://lake/fleetcast/forecasts/spec=small"),
        ("/data/my store", "file:///data/my%20store/forecasts/spec=small"),
        (".fleetcast/store", "x-fleetcast:small/forecasts"),
    ],
)
def test_uri_of_a_table_is_its_place_in_the_store_without_secrets(
    monkeypatch: pytest.MonkeyPatch, store: str, expected: str
) -> None:
    monkeypatch.setenv("FLEETCAST_STORE", store)
    asset = table_asset(spec_of(), "forecasts")
    assert (asset.name, asset.uri, asset.group) == ("fleetcast/small/forecasts", expected, "fleetcast/small")


def test_no_process_names_a_table_by_its_own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FLEETCAST_STORE", raising=False)
    here = table_asset(spec_of(), "forecasts")
    monkeypatch.chdir(tmp_path)
    assert table_asset(spec_of(), "forecasts") == here


def test_table_of_integer_steps_is_another_place_of_the_same_name() -> None:
    asset = table_asset(spec_of(freq=1), "forecasts")
    assert asset.name == "fleetcast/small/forecasts"
    assert asset.uri.endswith("small/forecasts_by_step")


def test_tables_of_two_specs_have_different_uris(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow activates one asset of each URI only, and fails tasks that have another one."""
    monkeypatch.setenv("FLEETCAST_STORE", "s3://lake")
    jobs = ("features", "train", "backtest", "predict", "score")
    specs = (spec_of(paths=50), spec_of(name="other"))
    assets = {asset.name: asset.uri for spec in specs for job in jobs for asset in outlets_of(job, spec)}
    assert len(set(assets.values())) == len(assets)


def test_each_table_that_a_job_reads_is_written_by_a_job_of_the_spec() -> None:
    spec = spec_of(paths=50, checks=[{"kind": "range", "min": 0}])
    jobs = ("features", "train", "backtest", "predict", "score", "publish")
    written = {asset.name for job in jobs for asset in outlets_of(job, spec)}
    read = {asset.name for job in jobs[1:] for asset in inlets_of(job, "forecast", spec)}
    assert read
    assert read < written


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"uri": "/data/a b.csv"}, ["file:///data/a%20b.csv"]),
        ({"uri": ["s3://lake/a.csv", "s3://lake/b.csv"]}, ["s3://lake/a.csv", "s3://lake/b.csv"]),
        ({"uri": "s3://lake/sales/"}, ["s3://lake/sales"]),
        ({"uri": "postgresql://ada@db:5433/x", "table": "s.t"}, ["postgresql://db:5433/x/s.t"]),
        ({"uri": "sqlite:////data/x.db", "table": "t"}, ["file:///data/x.db/t"]),
        ({"connection": "warehouse", "table": "s.t"}, ["x-connection:warehouse/s.t"]),
    ],
)
def test_source_is_an_input_by_its_uri_without_a_user_but_no_inlet(source: Any, expected: list[str]) -> None:
    """Airflow fails a task whose inlet refers to an asset that no DAG defines."""
    spec = spec_of(source=source)
    assert source_uris(spec.source) == expected
    assert [each.uri for each in inputs_of("features", "train", spec)] == expected
    assert inlets_of("features", "train", spec) == []


def test_tables_of_covariates_are_inputs_beside_the_source() -> None:
    tables = [{"uri": uri, "future": [name]} for uri, name in (("s3://lake/weather/", "rain"), ("/x/days.csv", "open"))]
    spec = spec_of(covariates={"tables": tables})
    found = [each.uri for each in inputs_of("features", "train", spec)]
    assert found == [*source_uris(spec.source), "s3://lake/weather", "file:///x/days.csv"]


def test_asset_that_starts_a_flow_is_an_inlet_of_its_first_task() -> None:
    spec = spec_of(schedule={"train": "asset:file:///data/small.csv", "forecast": "asset:sales"})
    (started_by,) = inlets_of("features", "train", spec)
    assert started_by.uri == "file:///data/small.csv"
    assert inputs_of("features", "train", spec) == [started_by]


def test_no_inlet_is_a_reference_by_name_because_a_task_with_one_fails_until_a_dag_defines_the_asset() -> None:
    spec = spec_of(schedule={"train": "asset:sales", "forecast": ["asset:sales", "@daily"]})
    assert inlets_of("features", "train", spec) == inlets_of("features", "forecast", spec) == []
    assert inputs_of("features", "forecast", spec) == [Asset.ref(uri="file:///data/small.csv")]
