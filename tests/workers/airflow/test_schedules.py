from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.serialization.serialized_objects import DagSerialization

from forecasting.spec.spec import make_spec
from workers.airflow.factory import make_dag

SOURCE = "file:///data/small.csv"


def serialised_dag(flow: Any = "forecast", **schedule: Any) -> Any:
    fields = {"name": "small", "source": {"uri": "/data/small.csv"}, "freq": "1d", "season_lengths": [7], "horizon": 7}
    dag = make_dag(make_spec(fields | {"schedule": schedule}, subject="spec"), flow)
    dag.validate()
    return DagSerialization.from_dict(DagSerialization.to_dict(dag))


def assets_of(dag: Any) -> list[str]:
    condition = dag.timetable.asset_condition
    return [asset.uri for _, asset in condition.iter_assets()] + [
        getattr(ref, "name", None) or ref.uri for ref in condition.iter_asset_refs()
    ]


def test_flow_runs_when_the_asset_of_its_source_is_updated() -> None:
    dag = serialised_dag(forecast=f"asset:{SOURCE}")
    assert not dag.timetable.periodic
    assert assets_of(dag) == [SOURCE]
    assert f"an update of `{SOURCE}`" in dag.doc_md


def test_any_of_several_assets_or_a_time_starts_a_run() -> None:
    dag = serialised_dag(forecast=["asset:sales", "asset:prices", "0 3 * * *"], timezone="Europe/Berlin")
    assert assets_of(dag) == ["sales", "prices"]
    assert dag.timetable.asset_condition.agg_func is any
    assert dag.timetable.periodic
    assert "`0 3 * * *` (Europe/Berlin) or an update of `sales` or `prices`" in dag.doc_md


@pytest.mark.parametrize("partitioned", [False, True])
def test_backfill_makes_a_run_for_each_day_of_its_range(partitioned: bool) -> None:
    from airflow.models.backfill import _get_info_list

    dag = serialised_dag(forecast="0 3 * * *", timezone="Europe/Berlin", partitioned=partitioned)
    infos = _get_info_list(
        from_date=datetime(2024, 3, 30, tzinfo=UTC), to_date=datetime(2024, 4, 2, tzinfo=UTC), reverse=False, dag=dag
    )
    moments = [info.partition_date or info.data_interval.end for info in infos]
    assert [moment.isoformat() for moment in moments] == [
        "2024-03-30T02:00:00+00:00",
        "2024-03-31T01:00:00+00:00",
        "2024-04-01T01:00:00+00:00",
    ]
    keys = [f"2024-0{day}T03:00:00" for day in ("3-30", "3-31", "4-01")]
    assert [info.partition_key for info in infos] == (keys if partitioned else [None] * 3)


def test_partitions_of_an_asset_are_those_of_the_runs() -> None:
    dag = serialised_dag(forecast=f"asset:{SOURCE}", partitioned=True)
    assert dag.timetable.partitioned
    assert dag.timetable.get_partition_mapper(name=SOURCE, uri=SOURCE).to_downstream("2024-03-30") == "2024-03-30"
