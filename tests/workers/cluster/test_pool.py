import os
import socket
import sys
import time

import pytest
import ray
from ray.exceptions import ActorUnavailableError

import workers.cluster.pool as pool
from forecasting.errors import ClusterError, SourceError, StoreError
from workers.cluster.pool import plan_resources, run_units
from workers.cluster.shards import Shard
from workers.cluster.worker import Resources
from workers.settings import WorkerSettings

pytestmark = pytest.mark.ray
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

ONE = Resources(1, 0.5, 0)
TWO = Resources(2, 0.5, 0)


def shards_of(count):
    return [Shard(number, (f"s{number}",), 10) for number in range(count)]


def test_results_come_in_the_order_of_the_units_whichever_ends_first(ray_cluster, tmp_path):
    first_ended = tmp_path / "ended"

    def task(unit):
        deadline = time.monotonic() + 60
        while unit.number == 0 and not first_ended.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        return {"number": unit.number}

    ended = []

    def note(unit, _):
        ended.append(unit.number)
        first_ended.touch()

    results = run_units(task, shards_of(4), name="t", resources=TWO, on_done=note)
    assert [result["number"] for result in results] == [0, 1, 2, 3]
    assert sorted(ended) == [0, 1, 2, 3]
    assert ended[0] != 0


def test_an_actor_that_dies_is_restarted_and_its_shard_runs_again(ray_cluster, tmp_path):
    def task(unit):
        mark = tmp_path / f"{unit.number}"
        if unit.number == 1 and not mark.exists():
            mark.write_text(str(os.getpid()))
            os._exit(1)
        return {"pid": os.getpid()}

    statuses = run_units(task, shards_of(3), name="t", resources=ONE)
    died = int((tmp_path / "1").read_text())
    assert len(statuses) == 3
    assert died not in (statuses[1]["pid"], statuses[2]["pid"])


def test_units_of_a_lost_node_run_again_after_rays_own_retries_are_spent(ray_cluster, monkeypatch, capsys):
    """Ray takes some seconds to notice that a node is lost."""
    answer, failures = ray.get, [ActorUnavailableError("socket closed", None)] * 3

    def get(reference):
        result = answer(reference)
        if failures and result == "result of 1":
            raise failures.pop()
        return result

    def task(unit):
        return f"result of {unit.number}"

    monkeypatch.setattr(pool.ray, "get", get)
    monkeypatch.setattr(pool, "_has_lost_a_node", lambda _: True)
    assert run_units(task, shards_of(3), name="t", resources=TWO) == [f"result of {number}" for number in range(3)]
    assert not failures
    assert "t: a node is lost, so shard 1 (1 series, 's1') runs again" in capsys.readouterr().out
    failures.append(ActorUnavailableError("socket closed", None))
    monkeypatch.setattr(pool, "_has_lost_a_node", lambda _: False)
    with pytest.raises(ClusterError, match=r"shard 1 .* failed: its worker died 4 times"):
        run_units(task, shards_of(3), name="t", resources=TWO)


def test_a_node_that_is_gone_or_does_not_answer_is_lost(monkeypatch):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        node = {"NodeID": "a", "Alive": True, "NodeManagerAddress": "127.0.0.1"}
        living = node | {"NodeManagerPort": listener.getsockname()[1]}
        silent = node | {"NodeID": "b", "NodeManagerPort": 1}
        for nodes, is_lost in (([living], False), ([living, silent], True), ([living | {"Alive": False}], True)):
            monkeypatch.setattr(pool.ray, "nodes", lambda nodes=nodes: nodes)
            assert pool._has_lost_a_node({"a"}) == is_lost


def test_a_shard_that_always_kills_its_worker_ends_the_run_with_its_name(ray_cluster, tmp_path):
    def task(unit):
        with (tmp_path / "tries").open("a") as tries:
            tries.write("x")
        os._exit(1)

    with pytest.raises(ClusterError, match=r"shard 0 \(1 series, 's0'\) failed: its worker died 4 times"):
        run_units(task, shards_of(1), name="t", resources=ONE)
    assert len((tmp_path / "tries").read_text()) == 4


def test_an_error_of_the_system_is_tried_again(ray_cluster, tmp_path):
    def task(unit):
        tries = tmp_path / "tries"
        tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
        if len(tries.read_text()) < 3:
            raise StoreError("the store does not answer")
        return {}

    assert run_units(task, shards_of(1), name="t", resources=ONE) == [{}]
    assert (tmp_path / "tries").read_text() == "xxx"


@pytest.mark.parametrize("error", [SourceError("no such column"), ZeroDivisionError("a bug")])
def test_what_stays_wrong_is_not_tried_again(ray_cluster, tmp_path, error):
    def task(unit):
        with (tmp_path / "tries").open("a") as tries:
            tries.write("x")
        raise error

    expected = SourceError if isinstance(error, SourceError) else ClusterError
    with pytest.raises(expected, match="no such column" if expected is SourceError else r"shard 0 .*a bug"):
        run_units(task, shards_of(1), name="t", resources=ONE)
    assert (tmp_path / "tries").read_text() == "x"


def test_shards_that_are_done_are_skipped_and_keep_their_status(ray_cluster, capsys):
    ran = []
    done = {0: {"from": "before"}, 2: {"from": "before"}, 9: {"from": "another plan"}}
    statuses = run_units(
        lambda unit: {"from": "now"},
        shards_of(3),
        name="t",
        resources=ONE,
        done=done,
        on_done=lambda unit, _: ran.append(unit.number),
    )
    assert statuses == [{"from": "before"}, {"from": "now"}, {"from": "before"}]
    assert ran == [1]
    assert "t: 2 series are already staged and are skipped" in capsys.readouterr().out


def test_no_worker_starts_where_everything_is_done(ray_cluster, monkeypatch):
    monkeypatch.setattr(pool, "_start_actor", None)
    assert run_units(lambda unit: {}, shards_of(1), name="t", resources=ONE, done={0: {"x": 1}}) == [{"x": 1}]


def test_no_actor_ever_has_more_than_two_shards_in_flight(ray_cluster, monkeypatch):
    in_flight, most = {}, []
    actor_of = {}
    submit = pool._submit

    def count_up(actor, unit):
        actor_of[unit.number] = actor
        in_flight[actor] = in_flight.get(actor, 0) + 1
        most.append(in_flight[actor])
        return submit(actor, unit)

    def count_down(unit, result):
        in_flight[actor_of[unit.number]] -= 1

    monkeypatch.setattr(pool, "_submit", count_up)
    run_units(lambda unit: {}, shards_of(12), name="t", resources=TWO, on_done=count_down)
    assert len(most) == 12
    assert max(most) == 2


def test_no_shard_waits_behind_another_while_an_actor_has_none(ray_cluster):
    def task(unit):
        time.sleep(1.0)  # longer than actors start apart
        return {"pid": os.getpid()}

    statuses = run_units(task, shards_of(2), name="t", resources=TWO)
    assert len({status["pid"] for status in statuses}) == 2


def test_the_last_shard_goes_to_a_free_actor(ray_cluster):
    def task(unit):
        time.sleep(3.0 if unit.number == 0 else 0.1)
        return {"pid": os.getpid()}

    statuses = run_units(task, shards_of(4), name="t", resources=TWO)
    assert [status["pid"] == statuses[0]["pid"] for status in statuses] == [True, False, False, False]


def test_workers_end_with_the_run(ray_cluster):
    statuses = run_units(lambda unit: {"pid": os.getpid()}, shards_of(2), name="t", resources=TWO)
    deadline = time.monotonic() + 20
    alive = {status["pid"] for status in statuses}
    while alive and time.monotonic() < deadline:
        alive = {pid for pid in alive if os.path.exists(f"/proc/{pid}")}
        time.sleep(0.1)
    assert not alive


def test_threads_follow_the_actors_share_of_cores(ray_cluster):
    def task(unit):
        import polars as pl

        return {"polars": pl.thread_pool_size(), "openmp": os.environ["OMP_NUM_THREADS"]}

    (two,) = run_units(task, shards_of(1), name="t", resources=Resources(1, 2, 0))
    (half,) = run_units(task, shards_of(1), name="t", resources=ONE)
    assert two == {"polars": 2, "openmp": "2"}
    assert half == {"polars": 1, "openmp": "1"}


def test_four_workers_share_one_gpu_at_a_quarter_each(ray_cluster, tmp_path):
    settings = WorkerSettings(gpus_per_worker=0.25, cpus_per_worker=0.25)
    resources = plan_resources(settings)
    assert (resources.num_workers, resources.num_cpus, resources.num_gpus) == (4, 0.25, 0.25)

    def task(unit):
        (tmp_path / str(os.getpid())).touch()
        deadline = time.monotonic() + 60
        while len(list(tmp_path.iterdir())) < 4 and time.monotonic() < deadline:
            time.sleep(0.1)
        context = ray.get_runtime_context()
        return {
            "pid": os.getpid(),
            "share": context.get_assigned_resources()["GPU"],
            "gpus": ray.get_gpu_ids(),
            "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        }

    statuses = run_units(task, shards_of(8), name="t", resources=resources)
    assert {status["share"] for status in statuses} == {0.25}
    assert all(status["gpus"] in ([0], ["0"]) for status in statuses)
    assert {status["visible"] for status in statuses} == {"0"}
    assert len({status["pid"] for status in statuses}) == 4


def test_a_worker_without_a_gpu_sees_none(ray_cluster):
    (status,) = run_units(
        lambda unit: {"visible": os.environ.get("CUDA_VISIBLE_DEVICES")}, shards_of(1), name="t", resources=ONE
    )
    assert status == {"visible": ""}


@pytest.mark.parametrize(
    ("nodes", "settings", "expected"),
    [
        ([{"CPU": 4.0}], {}, Resources(4, 1, 0)),
        ([{"CPU": 4.0}], {"gpus_per_worker": 0.5}, Resources(4, 1, 0)),
        ([{"CPU": 4.0, "GPU": 2.0}], {}, Resources(2, 1, 1)),
        ([{"CPU": 4.0, "GPU": 2.0}], {"gpus_per_worker": 0}, Resources(4, 1, 0)),
        ([{"CPU": 3.0}, {"CPU": 3.0}], {"cpus_per_worker": 2}, Resources(2, 2, 0)),
        ([{"CPU": 8.0, "GPU": 1.0}], {"gpus_per_worker": 0.1}, Resources(8, 1, 0.1)),
        ([{"CPU": 1.0}], {"num_workers": 16, "cpus_per_worker": 2}, Resources(16, 2, 0)),
        ([{"CPU": 4.0, "memory": 40e9}, {"CPU": 1.0, "memory": 5e9}], {}, Resources(5, 1, 0, 5_000_000_000)),
        ([{"CPU": 4.0, "memory": 4e9}], {}, Resources(4, 1, 0, 2 << 30)),
        ([{"CPU": 4.0, "memory": 40e9}], {"memory_per_worker_mb": 1000}, Resources(4, 1, 0, 1000 << 20)),
    ],
)
def test_actors_fit_the_nodes_of_the_cluster(monkeypatch, nodes, settings, expected):
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": node} for node in nodes])
    assert plan_resources(WorkerSettings(**settings)) == expected


def test_a_worker_that_fits_no_node_is_refused_with_what_there_is(monkeypatch):
    nodes = [{"Alive": True, "Resources": {"CPU": 2.0}}, {"Alive": False, "Resources": {"CPU": 64.0}}]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    with pytest.raises(ClusterError, match=r"a worker of 4 cores and 0 GPUs; the largest has 2 cores"):
        plan_resources(WorkerSettings(cpus_per_worker=4))
