import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization

from workers.airflow import factory
from workers.airflow.factory import make_dag, make_dags

SPEC = """
name = "{name}"
description = "Sales of a small shop"
freq = {freq}
season_lengths = [24]
horizon = 24
[source]
uri = "small.csv"
[schedule]
train = "0 3 * * 1"
forecast = "30 4 * * *"
timezone = "America/New_York"
"""


def write_spec(folder: Path, file: str = "small.toml", *, name: str = "small", freq: str = '"1h"') -> None:
    (folder / file).write_text(SPEC.format(name=name, freq=freq))


def edges(dag: Any) -> set[tuple[str, str]]:
    return {(task.task_id, below) for task in dag.tasks for below in task.downstream_task_ids}


def test_spec_makes_one_dag_per_flow_with_its_jobs_in_order(tmp_path: Path) -> None:
    write_spec(tmp_path)
    dags = make_dags(tmp_path)
    assert set(dags) == {"small__train", "small__forecast"}
    for flow, jobs in (("train", ["features", "train", "backtest"]), ("forecast", ["features", "predict", "score"])):
        dag = dags[f"small__{flow}"]
        assert [task.task_id for task in dag.topological_sort()] == jobs
        assert {task.flow for task in dag.tasks} == {flow}
        assert dag.max_active_runs == 1
        assert not dag.catchup
        assert all(task.retries > 0 and task.retry_exponential_backoff > 1 for task in dag.tasks)
        assert "Sales of a small shop" in dag.doc_md


def test_job_that_may_have_work_runs_after_one_that_had_none_but_not_after_a_skipped_read(tmp_path: Path) -> None:
    write_spec(tmp_path)
    rules = {task.task_id: task.trigger_rule for dag in make_dags(tmp_path).values() for task in dag.tasks}
    after_idle = {task_id for task_id, rule in rules.items() if rule == "none_failed_min_one_success"}
    assert after_idle == {"backtest", "score"}
    assert {rule for task_id, rule in rules.items() if task_id not in after_idle} == {"all_success"}


def test_table_airflow_of_a_spec_says_how_its_tasks_run_and_where(tmp_path: Path) -> None:
    write_spec(tmp_path)
    with (tmp_path / "small.toml").open("a") as file:
        file.write(
            '[airflow]\nconnection = "big"\nowner = "ada"\npool = "gpu"\nretries = 1\n'
            'execution_timeout = "90m"\npriority_weight = 7\n'
        )
    for dag in make_dags(tmp_path).values():
        assert "connection `big`" in dag.doc_md
        for task in dag.tasks:
            assert (task.owner, task.pool, task.retries, task.priority_weight) == ("ada", "gpu", 1, 7)
            assert (task.execution_timeout, task.ray_conn_id) == (timedelta(minutes=90), "big")


def test_options_of_the_call_take_precedence_over_those_of_the_spec(tmp_path: Path) -> None:
    write_spec(tmp_path)
    with (tmp_path / "small.toml").open("a") as file:
        file.write('[airflow]\nconnection = "big"\n')
    (task, *_) = make_dags(tmp_path, retries=0, ray_jobs_url="http://here")["small__train"].tasks
    assert (task.retries, task.ray_jobs_url, task.ray_conn_id) == (0, "http://here", None)


def test_every_later_job_takes_the_cutoff_that_the_first_one_found(tmp_path: Path) -> None:
    write_spec(tmp_path)
    dag = make_dags(tmp_path)["small__train"]
    assert edges(dag) == {("features", "train"), ("train", "backtest"), ("features", "backtest")}
    for job in ("train", "backtest"):
        cutoff = dag.get_task(job).cutoff
        assert (cutoff.operator.task_id, cutoff.key) == ("features", "cutoff")


def test_every_job_gets_the_values_of_the_form(tmp_path: Path) -> None:
    write_spec(tmp_path)
    for dag in make_dags(tmp_path).values():
        fields = {"models", "series", "from_scratch", "changed_only"} & set(dag.params)
        for task in dag.tasks:
            assert {field: getattr(task, field)._name for field in fields} == {field: field for field in fields}


def test_form_of_a_source_with_modifications_can_request_a_full_read(tmp_path: Path) -> None:
    write_spec(tmp_path)
    path = tmp_path / "small.toml"
    text = path.read_text()
    path.write_text(re.sub(r"\buri = .*", 'uri = "sqlite:////sales.db"\ntable = "sales"\nmodified = "changed"', text))
    for dag in make_dags(tmp_path).values():
        assert dag.params["full_read"] is False
        assert all(task.full_read._name == "full_read" for task in dag.tasks)


def test_spec_that_publishes_has_a_task_beside_the_scores(tmp_path: Path) -> None:
    write_spec(tmp_path)
    with (tmp_path / "small.toml").open("a") as file:
        file.write('[[publish]]\nconnection = "warehouse"\ntable = "out.sales"\n')
    dags = make_dags(tmp_path)
    assert {("predict", "publish"), ("features", "publish")} < edges(dags["small__forecast"])
    assert ("score", "publish") not in edges(dags["small__forecast"])
    assert "connection 'warehouse', table out.sales" in dags["small__forecast"].doc_md
    assert "publish" not in {task.task_id for task in dags["small__train"].tasks}


def test_tasks_announce_the_tables_that_they_write(tmp_path: Path) -> None:
    write_spec(tmp_path)
    outlets = {
        task.task_id: [asset.name for asset in task.outlets]
        for dag in make_dags(tmp_path).values()
        for task in dag.tasks
    }
    assert outlets == {
        "features": ["fleetcast/small/observations", "fleetcast/small/rejects", "fleetcast/small/features"],
        "train": ["fleetcast/small/models", "fleetcast/small/priors"],
        "backtest": [f"fleetcast/small/{table}" for table in ("backtests", "champions", "calibrations")],
        "predict": ["fleetcast/small/forecasts"],
        "score": ["fleetcast/small/scores"],
    }


def test_tables_of_sample_paths_are_announced_where_a_spec_asks_for_them(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(
        SPEC.format(name="small", freq='"1h"').replace("[source]", "paths = 50\n[source]")
    )
    outlets = {
        task.task_id: [asset.name.rpartition("/")[2] for asset in task.outlets]
        for dag in make_dags(tmp_path).values()
        for task in dag.tasks
    }
    assert outlets["backtest"] == ["backtests", "champions", "calibrations", "correlations"]
    assert outlets["predict"] == ["forecasts", "sample_paths"]


def test_table_of_checks_is_announced_where_a_spec_has_some(tmp_path: Path) -> None:
    checks = '\n[[checks]]\nkind = "range"\nmin = 0\n'
    (tmp_path / "small.toml").write_text(SPEC.format(name="small", freq='"1h"') + checks)
    outlets = {
        task.task_id: [asset.name.rpartition("/")[2] for asset in task.outlets]
        for dag in make_dags(tmp_path).values()
        for task in dag.tasks
    }
    assert outlets["features"] == ["observations", "rejects", "features", "checks"]
    assert outlets["predict"] == ["forecasts", "checks"]


def test_schedule_keeps_the_wall_clock_of_its_zone_over_a_change_of_the_clocks(tmp_path: Path) -> None:
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import TimeRestriction

    write_spec(tmp_path)
    timetable = coerce_to_core_timetable(make_dags(tmp_path)["small__forecast"].timetable)
    restriction = TimeRestriction(earliest=None, latest=None, catchup=True)
    info = None
    hours = set()
    for _ in range(366):
        last = info.data_interval if info else None
        info = timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
        hours.add(info.run_after.astimezone(UTC).strftime("%H:%M"))
    assert hours == {"08:30", "09:30"}, "04:30 in New York, in summer and in winter"


@pytest.mark.parametrize(
    ("flow", "now", "first"),
    [
        ("forecast", "2026-11-30 09:31", "2026-12-01 09:30"),
        ("forecast", "2026-11-30 09:29", "2026-11-30 09:30"),
        ("train", "2026-11-30 08:01", "2026-12-07 08:00"),
    ],
)
def test_first_scheduled_run_lies_in_the_future_even_a_minute_after_one_was_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flow: str, now: str, first: str
) -> None:
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables import trigger
    from airflow.timetables.base import TimeRestriction

    write_spec(tmp_path)
    dag = DagSerialization.from_dict(DagSerialization.to_dict(make_dags(tmp_path)[f"small__{flow}"]))
    assert dag.start_date is None
    monkeypatch.setattr(trigger, "utcnow", lambda: datetime.fromisoformat(f"{now}+00:00"))
    info = coerce_to_core_timetable(dag.timetable).next_dagrun_info(
        last_automated_data_interval=None, restriction=TimeRestriction(dag.start_date, None, dag.catchup)
    )
    assert info.run_after == datetime.fromisoformat(f"{first}+00:00")


def test_spec_without_a_schedule_runs_only_when_triggered(tmp_path: Path) -> None:
    text = SPEC.format(name="small", freq='"1h"').split("[schedule]")[0]
    (tmp_path / "small.toml").write_text(text)
    assert all(not dag.timetable.can_be_scheduled for dag in make_dags(tmp_path).values())


def test_form_needs_no_input(tmp_path: Path) -> None:
    write_spec(tmp_path)
    for dag in make_dags(tmp_path).values():
        dag.params.validate()
        training = {"from_scratch": False} if dag.dag_id.endswith("__train") else {}
        common = {"cutoff": None, "models": ["lstm", "gru"], "series": [], "changed_only": False}
        assert dag.params.dump() == common | training


@pytest.mark.parametrize(
    ("field", "value", "is_valid"),
    [
        ("models", ["gru"], True),
        ("models", None, True),
        ("models", ["transformer"], False),
        ("models", ["gru", "gru"], False),
        ("series", ["a", "b"], True),
        ("series", [1], False),
        ("from_scratch", True, True),
        ("from_scratch", "yes", False),
        ("changed_only", True, True),
        ("changed_only", "yes", False),
        ("cutoff", "yesterday", False),
    ],
)
def test_form_refuses_what_no_job_could_use(field: str, value: Any, is_valid: bool, tmp_path: Path) -> None:
    write_spec(tmp_path)
    params = make_dags(tmp_path)["small__train"].params
    if is_valid:
        params[field] = value
        assert params.validate()[field] == value
    else:
        with pytest.raises(ParamValidationError, match=f"param {field}"):
            params[field] = value


def test_tasks_have_names_and_documentation_and_those_after_a_choice_are_grouped(tmp_path: Path) -> None:
    write_spec(tmp_path)
    with (tmp_path / "small.toml").open("a") as file:
        file.write('[[publish]]\nconnection = "warehouse"\n')
    groups: dict[str, set[str]] = {}
    for dag in make_dags(tmp_path).values():
        for task in dag.tasks:
            assert task.task_display_name != task.task_id
            assert task.doc_md
            if task.task_group.group_id:
                groups.setdefault(task.task_group.group_id, set()).add(task.task_id)
    assert groups == {"models": {"train", "backtest"}, "after_forecast": {"score", "publish"}}


def test_broken_spec_leaves_the_others_and_says_what_is_wrong(tmp_path: Path) -> None:
    write_spec(tmp_path)
    write_spec(tmp_path, "bad one.toml", name="Bad", freq='"0h"')
    dags = make_dags(tmp_path)
    assert set(dags) == {"small__train", "small__forecast", "bad-one__broken"}
    broken = dags["bad-one__broken"]
    for problem in ("name = 'Bad'", "freq = '0h'", "bad one.toml"):
        assert problem in broken.doc_md
        with pytest.raises(AirflowFailException, match=problem):
            broken.tasks[0].python_callable()
    broken.validate()


@pytest.mark.parametrize(
    "field",
    [
        'uri = "~nosuchuser/x.csv"',
        'uri = "http://[::1/x"',
        'uri = "http://ada:hunter2@℀.example/x"',
        'uri = "a\\u0000b.csv"',
        f"skip = {'9' * 5000}",
        f"skip = {'[' * 3000}{']' * 3000}",
        f"skip{'.a' * 3000} = 1",
    ],
)
def test_file_that_raises_anything_hurts_itself_alone(field: str, tmp_path: Path) -> None:
    write_spec(tmp_path)
    text = SPEC.format(name="odd", freq='"1h"').replace('uri = "small.csv"', field)
    (tmp_path / "odd.toml").write_text(text)
    dags = make_dags(tmp_path)
    assert {"small__train", "small__forecast"} < set(dags)
    if "odd__broken" in dags:
        with pytest.raises(AirflowFailException, match=r"odd\.toml"):
            dags["odd__broken"].tasks[0].python_callable()
    assert "hunter2" not in str([DagSerialization.to_dict(dag) for dag in dags.values()])


def test_error_that_nothing_foresaw_makes_a_broken_dag_without_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_spec(tmp_path)
    write_spec(tmp_path, "odd.toml", name="odd")

    def make(spec: Any, flow: str, **options: Any) -> Any:
        if spec.name == "odd":
            raise KeyError("hunter2")
        return make_dag(spec, flow, **options)

    monkeypatch.setattr(factory, "make_dag", make)
    dags = make_dags(tmp_path)
    assert set(dags) == {"small__train", "small__forecast", "odd__broken"}
    assert "cannot be used: KeyError in make" in dags["odd__broken"].doc_md
    assert "hunter2" not in dags["odd__broken"].doc_md


def test_broken_dag_is_not_paused_and_fails_once_for_each_change_of_its_file(tmp_path: Path) -> None:
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import TimeRestriction

    write_spec(tmp_path, "odd.toml", freq='"0h"')

    def next_run(last: Any) -> Any:
        dag = DagSerialization.from_dict(DagSerialization.to_dict(make_dags(tmp_path)["odd__broken"]))
        assert dag.is_paused_upon_creation is False
        return coerce_to_core_timetable(dag.timetable).next_dagrun_info(
            last_automated_data_interval=last, restriction=TimeRestriction(dag.start_date, None, dag.catchup)
        )

    os.utime(tmp_path / "odd.toml", (1_700_000_000, 1_700_000_000))
    first = next_run(None)
    assert first.run_after.timestamp() == 1_700_000_000
    assert next_run(first.data_interval) is None
    os.utime(tmp_path / "odd.toml", (1_700_000_060, 1_700_000_060))
    assert next_run(first.data_interval).run_after.timestamp() == 1_700_000_060


def test_secret_of_a_broken_spec_is_in_no_dag(tmp_path: Path) -> None:
    write_spec(tmp_path)
    path = tmp_path / "small.toml"
    path.write_text(
        'password = "hunter2"\n'
        + path.read_text().replace('"small.csv"', '"postgresql://ada:hunter2@db/x"\napi_key = "hunter2"')
        + '[[publish]]\nconnection = "ada:hunter2@db"\n'
        + 'uri = "postgresql://db/x?password=hunter2"\nstorage_options = { any = "hunter2" }\n'
    )
    dags = make_dags(tmp_path)
    text = str([DagSerialization.to_dict(dag) for dag in dags.values()]) + dags["small__broken"].doc_md
    assert "publish.0.storage_options is not a known field" in text
    assert "hunter2" not in text
    with pytest.raises(AirflowFailException) as failed:
        dags["small__broken"].get_task("say_what_is_wrong").python_callable()
    assert "hunter2" not in str(failed.value)


def test_file_that_is_not_toml_or_not_text_is_broken_too(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("name = ")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "c.toml").mkdir()
    assert set(make_dags(tmp_path)) == {"a__broken", "b__broken", "c__broken"}


def test_two_specs_of_one_name_are_both_refused_and_name_each_other(tmp_path: Path) -> None:
    write_spec(tmp_path, "one.toml")
    write_spec(tmp_path, "two.toml")
    write_spec(tmp_path, "three.toml", name="other")
    dags = make_dags(tmp_path)
    assert set(dags) == {"one__broken", "two__broken", "other__train", "other__forecast"}
    assert "name = 'small' is also the name in two.toml" in dags["one__broken"].doc_md


@pytest.mark.parametrize("cron", ["0 3 * * ZZZ", "0 3 30 2 *"])
def test_cron_that_airflow_cannot_use_breaks_only_its_own_spec(cron: str, tmp_path: Path) -> None:
    write_spec(tmp_path)
    text = SPEC.format(name="other", freq='"1h"').replace("0 3 * * 1", cron)
    (tmp_path / "other.toml").write_text(text)
    dags = make_dags(tmp_path)
    for dag in dags.values():
        dag.validate()
        DagSerialization.to_dict(dag)
    assert set(dags) == {"small__train", "small__forecast", "other__broken"}
    assert f"train = '{cron}'" in dags["other__broken"].doc_md


def test_dags_serialise_to_the_same_every_time(tmp_path: Path) -> None:
    """Airflow would otherwise count a new version of the DAG at every parse."""
    write_spec(tmp_path)
    one, other = ({name: DagSerialization.to_dict(dag) for name, dag in make_dags(tmp_path).items()} for _ in range(2))
    assert one == other
    assert " object at 0x" not in str(one)


def test_empty_folder_makes_no_dags(tmp_path: Path) -> None:
    assert make_dags(tmp_path) == {}
