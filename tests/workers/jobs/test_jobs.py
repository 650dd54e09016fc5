"""The five jobs on one small store, in the order of a real week: train, forecast, score when the actuals arrive.

Each job runs as a process on Ray once, as do runs that are killed or fail. Further runs take the same entry point in
this process, which has loaded torch already.
"""

import io
import json
import math
import os
import random
import re
import runpy
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from datetime import datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from forecasting.spec.spec import Spec
from forecasting.store.query import query
from forecasting.store.tables import Store
from tests.workers.jobs.conftest import run_serially
from workers.arguments import ARGUMENTS_VARIABLE, RunArguments, find_result

pytestmark = pytest.mark.ray

FIRST = datetime(2024, 1, 1)
CUTOFF = "2024-01-09T23:00:00"
LATER = "2024-01-10T11:00:00"
HORIZON = 12
ALL = ["a", "b", "c", "late", "null", "one", "refused"]


class World:
    """A source, a store and a way to run jobs on them."""

    def __init__(self, folder, ray_address):
        self.folder = folder
        self.store = Store(folder / "store")
        self.ray_address = ray_address
        self.num_runs = 0
        self.spec = Spec(
            name="small",
            source={"uri": str(folder / "source.csv"), "ended": "forecast"},
            freq="1h",
            season_lengths=(24,),
            horizon=HORIZON,
            recipe="fast",
            overrides={
                "max_steps": 10,
                "evaluate_every": 5,
                "hidden_size": 4,
                "context_segments": 2,
                "members": [{}, {"transform": "log", "start": "prior"}],
                "prior_hidden_size": 4,
                "prior_steps": 10,
                "prior_windows": 8,
                "tuning_steps": 5,
            },
            backtest={"origins": 2},
        )

    def start_process(self, job, flow, *, arguments=None, **options):
        """Run a job as Ray would, in a process of its own on the cluster; return the ended process and its result."""
        ended = subprocess.run(
            **self.command(job, flow, arguments=arguments, **options),
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        return ended, find_result(ended.stdout.splitlines())

    def start(self, job, flow, *, arguments=None, **options):
        """Run a job's entry point in this process, without Ray; return what `start_process` does."""
        command = self.command(job, flow, arguments=arguments, **options)
        out, err, code = io.StringIO(), io.StringIO(), 0
        with pytest.MonkeyPatch.context() as patch, run_serially(), redirect_stdout(out), redirect_stderr(err):
            for name in set(os.environ) - set(command["env"]):
                patch.delenv(name)
            for name, value in command["env"].items():
                patch.setenv(name, value)
            with warnings.catch_warnings():  # a module that is loaded already is executed again as a script
                warnings.filterwarnings("ignore", "'workers.jobs.* found in sys.modules", RuntimeWarning)
                try:
                    runpy.run_module(f"workers.jobs.{job}", run_name="__main__")
                except SystemExit as end:
                    code = end.code
        ended = subprocess.CompletedProcess(command["args"], code, out.getvalue(), err.getvalue())
        return ended, find_result(ended.stdout.splitlines())

    def command(self, job, flow, *, arguments=None, shard_size=4, **options):
        """Return the arguments and the environment of a job's process."""
        self.num_runs += 1
        named = {"run_id": f"{job}.{self.num_runs}", "spec": self.spec} | options
        text = arguments or RunArguments(job=job, flow=flow, **named).model_dump_json()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FLEETCAST_")}
        environment = kept | {
            "RAY_ADDRESS": self.ray_address,
            "FLEETCAST_STORE": self.store.root,
            "FLEETCAST_SHARD_SIZE": str(shard_size),
            "FLEETCAST_CPUS_PER_WORKER": "1",
            "FLEETCAST_GPUS_PER_WORKER": "0",
            "FLEETCAST_NUM_WORKERS": "1",  # torch loads once instead of twice on two cores
            "FLEETCAST_DRIVER_SECONDS": "0",  # the work of a few series, too, is to be done by actors
            ARGUMENTS_VARIABLE: text,
        }
        return {"args": [sys.executable, "-m", f"workers.jobs.{job}"], "env": environment}

    def run(self, job, flow, *, as_process=False, **options):
        """Run a job, which must succeed; return its result."""
        ended, result = (self.start_process if as_process else self.start)(job, flow, **options)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert ended.stdout.splitlines()[-1].startswith("fleetcast-result: ")
        return result

    def rows(self, table):
        """Return a table's rows without what differs between two runs of the same."""
        frame = self.store.scan(table, "timestamp").collect()
        return frame.drop("run_id", "weights_uri", "data_version", "code_version", strict=False).sort(
            [
                name
                for name in ("run_cutoff", "unique_id", "model", "member", "role", "origin", "ds")
                if name in frame.columns
            ]
        )


@pytest.fixture(scope="module")
def world(ray_cluster, tmp_path_factory):
    """A store in which the train and forecast flows have run for CUTOFF."""
    world = World(tmp_path_factory.mktemp("world"), ray_cluster.address)
    numbers = random.Random(1)
    rows = [
        (name, FIRST + timedelta(hours=hour), 10 * (level + 1) + 5 * math.sin(hour * math.tau / 24) + numbers.random())
        for level, name in enumerate("abc")
        for hour in range(24 * 9 + HORIZON)
    ]
    lines = [f"{name},{ds.isoformat(sep=' ')},{y:.3f}" for name, ds, y in rows]
    lines += ["one,2024-01-03 02:00:00,3.0"]
    lines += [f"null,{FIRST + timedelta(hours=hour)}," for hour in range(30)]
    lines += [f"late,{FIRST + timedelta(hours=24 * 8 + hour)},{hour % 24}" for hour in range(48)]
    lines += ["refused,yesterday,1", "a,2024-01-02 00:30:00,9"]
    (world.folder / "source.csv").write_text("unique_id,ds,y\n" + "\n".join(lines) + "\n")
    world.results = {}
    for flow, jobs in {"train": ("features", "train", "backtest"), "forecast": ("predict", "score")}.items():
        for job in jobs:
            world.results[job] = world.run(job, flow, cutoff=CUTOFF, as_process=True)
    return world


def test_features_stop_at_the_cutoff_and_rejects_say_why(world):
    assert world.results["features"].num_series == 7
    assert world.rows("features")["ds"].max() == datetime(2024, 1, 9, 23)
    assert world.rows("observations")["ds"].max() == datetime(2024, 1, 9, 23)
    rejects = world.rows("rejects").filter(pl.col("run_cutoff") == datetime(2024, 1, 9, 23))
    assert dict(rejects.select("unique_id", "ds").iter_rows()) == {"refused": "yesterday", "a": "2024-01-02 00:30:00"}


def test_every_series_has_registry_rows_a_champion_and_a_forecast(world):
    models = world.rows("models").filter(pl.col("run_cutoff") == datetime(2024, 1, 9, 23))
    assert models.height == len(ALL) * 2 * 2 * 2  # networks, members, roles
    trained = models.filter(pl.col("status") == "trained")
    assert set(trained.filter(pl.col("member") == 0)["unique_id"]) == {"a", "b", "c"}
    # A series too short for a network of its own has the prior of the second member.
    assert set(trained.filter(pl.col("member") == 1)["unique_id"]) == {"a", "b", "c", "late"}
    assert models.filter(pl.col("status") != "trained")["reason"].null_count() == 0
    assert world.rows("champions")["unique_id"].unique().sort().to_list() == ALL
    served = world.rows("forecasts").filter("is_champion", pl.col("run_cutoff") == datetime(2024, 1, 9, 23))
    assert dict(served.group_by("unique_id").len().iter_rows()) == dict.fromkeys(ALL, HORIZON)


def test_every_requested_model_is_forecast_from_its_weights(world):
    first = world.rows("forecasts").filter(pl.col("step") == 1, pl.col("unique_id") == "a")
    assert set(first["model"]) == {"combination", "lstm", "gru", "seasonal_naive_24"}
    versions = dict(first.select("model", "model_version").iter_rows())
    serving = world.rows("models").filter(pl.col("unique_id") == "a", pl.col("role") == "serving")
    ensembles = serving.sort("member").group_by("model").agg(pl.col("version").str.join("+"))
    assert {model: versions[model] for model in ("lstm", "gru")} == dict(ensembles.iter_rows())
    assert all(version.count("+") == 1 for version in ensembles["version"])


def test_registry_rows_name_weights_that_exist_and_the_data_that_was_read(world):
    for registry in ("models", "priors"):
        rows = world.store.scan(registry, "timestamp").collect()
        for uri in rows["weights_uri"].unique():
            assert world.store.read_bytes(uri)
        assert rows["data_version"].null_count() == 0
    assert rows.height == 2 * 2  # networks, roles


def test_nothing_is_left_staged(world):
    assert not list((world.folder / "store" / "staging").glob("*/*"))


def test_each_job_records_its_run(world):
    runs = world.store.scan("runs", "timestamp").filter(pl.col("run_id") == world.results["predict"].run_id).collect()
    row = runs.row(0, named=True)
    assert (row["job"], row["spec"], row["status"], row["run_cutoff"]) == ("predict", "small", "success", CUTOFF)
    assert json.loads(row["versions"]) == world.results["predict"].versions
    assert json.loads(row["arguments"])["flow"] == "forecast"


def test_a_second_run_writes_the_same_values(world):
    tables = ("models", "priors", "backtests", "champions", "forecasts")
    before = {table: world.rows(table) for table in tables}
    for job in ("train", "backtest"):
        world.run(job, "train", cutoff=CUTOFF)
    world.run("predict", "forecast", cutoff=CUTOFF)
    for table in tables:
        assert_frame_equal(world.rows(table), before[table])


def test_a_run_for_two_series_leaves_the_other_rows_alone(world):
    before = world.rows("forecasts")
    mark = "forecasts.before"
    runs_before = dict(
        world.store.scan("forecasts", "timestamp").select("unique_id", "run_id").unique().collect().iter_rows()
    )
    result = world.run("predict", "forecast", cutoff=CUTOFF, series=("a", "one"), run_id=mark)
    assert result.num_series == 2
    runs = dict(world.store.scan("forecasts", "timestamp").select("unique_id", "run_id").unique().collect().iter_rows())
    assert runs == runs_before | {"a": mark, "one": mark}
    assert world.rows("forecasts").equals(before)


def test_a_model_asked_for_alone_serves_alone_and_others_keep_their_values(world):
    before = world.rows("forecasts")
    world.run("predict", "forecast", cutoff=CUTOFF, models=("gru",), series=("b", "one"))
    try:
        after = world.rows("forecasts")
        served = after.filter("is_champion").select("unique_id", "model").unique().sort("unique_id")
        assert served.filter(pl.col("unique_id") == "b")["model"].to_list() == ["gru"]
        assert served["unique_id"].to_list() == ALL
        flags = ("is_champion", "reason")
        assert after.drop(flags).equals(before.drop(flags))
        untouched = ~pl.col("unique_id").is_in(["b", "one"])
        assert after.filter(untouched).equals(before.filter(untouched))
    finally:
        world.run("predict", "forecast", cutoff=CUTOFF)
    assert world.rows("forecasts").equals(before)


def test_intervals_are_stretched_by_the_newest_factors_and_a_few_series_change_none(world):
    factors = world.store.scan("calibrations", "timestamp").collect()
    assert {"combination", "lstm", "gru", "seasonal_naive_24"} <= set(factors["model"])
    assert factors["factor"].is_between(0.01, 100).all()
    assert set(factors["run_cutoff"]) == {datetime(2024, 1, 9, 23)}
    before = world.rows("forecasts")
    world.run("backtest", "train", cutoff=CUTOFF, series=("a",))
    assert world.store.scan("calibrations", "timestamp").collect().equals(factors)
    earlier = world.store.open("calibrations", "timestamp")
    earlier.update(updates={"factor": "1.0"})
    try:
        world.run("predict", "forecast", cutoff=CUTOFF)
        plain = world.rows("forecasts")
    finally:
        world.run("backtest", "train", cutoff=CUTOFF)
        world.run("predict", "forecast", cutoff=CUTOFF)
    assert world.rows("forecasts").equals(before)
    key = ["unique_id", "model", "ds"]
    both = before.join(plain, on=key, suffix="_plain").join(
        factors.filter(pl.col("quantile").is_close(0.1)).select("model", "factor"), on="model"
    )
    compared = both.filter(pl.col("model") == "gru", pl.col("q90").is_not_null())
    stretched = compared["forecast"] + (compared["q90_plain"] - compared["forecast"]) * compared["factor"]
    assert compared.height
    assert (stretched - compared["q90"]).abs().max() < 1e-9 * compared["q90"].abs().max()


def test_scores_come_when_the_actuals_have_arrived(world):
    assert world.results["score"].message.startswith("nothing to score")
    assert (world.results["score"].status, world.results["score"].num_rows) == ("skipped", 0)
    world.run("features", "forecast", cutoff=LATER)
    result = world.run("score", "forecast", cutoff=LATER)
    scores = world.rows("scores")
    assert scores.height == result.num_rows
    assert set(scores["forecast_run_cutoff"]) == {datetime(2024, 1, 9, 23)}
    of_a = scores.filter(pl.col("unique_id") == "a")
    assert set(of_a["model"]) == {"combination", "lstm", "gru", "seasonal_naive_24"}
    assert of_a["is_complete"].all()
    assert set(of_a["num_points"]) == {HORIZON}

    again = world.run("score", "forecast", cutoff=LATER)
    assert again.num_rows == result.num_rows
    assert world.rows("scores").equals(scores)


def test_a_backfill_knows_neither_later_data_nor_later_models(world):
    early = "2024-01-05T23:00:00"
    world.run("features", "forecast", cutoff=early)
    world.run("predict", "forecast", cutoff=early)
    rows = world.rows("forecasts").filter(pl.col("run_cutoff") == datetime(2024, 1, 5, 23))
    assert set(rows["unique_id"]) == set(ALL) - {"late"}
    assert set(rows["model"]) == {"seasonal_naive_24", "naive", "none"}
    assert rows["model_version"].null_count() == rows.height
    assert rows.filter(pl.col("unique_id") == "a")["cutoff"].max() == datetime(2024, 1, 5, 23)
    assert world.rows("features")["ds"].max() > datetime(2024, 1, 5, 23)


def test_a_run_without_new_data_says_so_and_skips(world):
    as_of = "2024-01-10T00:00:00"  # when the hour from 23:00 on is over
    skipped = world.run("features", "forecast", as_of=as_of)
    assert (skipped.status, skipped.cutoff) == ("skipped", CUTOFF)
    assert skipped.message == f"nothing new since {CUTOFF}: that cutoff is done"
    changed = world.spec.model_copy(update={"horizon": HORIZON + 1})
    assert world.run("features", "forecast", as_of=as_of, spec=changed).status == "success"
    asked = world.run("features", "forecast", as_of=as_of, series=("a",))
    assert (asked.status, asked.num_series) == ("success", 1)


@pytest.mark.faults
def test_a_killed_run_is_taken_up_where_it_stopped(world):
    before = world.rows("forecasts")
    options = {"cutoff": CUTOFF, "run_id": "predict.killed", "generation": 3, "shard_size": 1}
    killed = subprocess.Popen(**world.command("predict", "forecast", **options), stdout=subprocess.PIPE, text=True)
    with killed:
        assert killed.stdout.readline().startswith("predict: 1 of 7 series")
        killed.kill()
    assert world.rows("forecasts").equals(before)
    assert "predict.killed" not in set(world.store.scan("forecasts", "timestamp").collect()["run_id"])

    ended, result = world.start_process("predict", "forecast", **options)
    skipped = re.match(r"predict: (\d) series are already staged and are skipped", ended.stdout)
    assert skipped, ended.stdout + ended.stderr
    assert 1 <= int(skipped[1]) <= 7
    assert result.num_series == 7
    assert world.rows("forecasts").equals(before)


def test_integer_steps_have_tables_of_their_own(world):
    lines = [f"x,{step},{step % 7}" for step in range(100)]
    (world.folder / "steps.csv").write_text("unique_id,ds,y\n" + "\n".join(lines) + "\n")
    fields = world.spec.model_dump() | {"name": "steps", "freq": 1, "season_lengths": (7,)}
    spec = Spec(**fields | {"source": {"uri": str(world.folder / "steps.csv")}})
    assert world.run("features", "forecast", spec=spec, cutoff="89").versions == dict.fromkeys(
        ("observations_by_step", "rejects_by_step", "features_by_step"), 1
    )
    assert world.run("predict", "forecast", spec=spec).cutoff == "89"
    forecasts = world.store.scan("forecasts", "step").sort("ds").collect()
    assert forecasts["ds"].to_list() == list(range(90, 90 + HORIZON))
    assert forecasts["forecast"].to_list() == [step % 7 for step in range(90, 90 + HORIZON)]


def test_a_retry_of_a_run_that_was_done_answers_as_it_did(world):
    once = world.run("predict", "forecast", cutoff=CUTOFF, run_id="predict.once", generation=5)
    version = world.store.version("forecasts", "timestamp")
    assert world.run("predict", "forecast", cutoff=CUTOFF, run_id="predict.once", generation=5) == once
    assert world.store.version("forecasts", "timestamp") == version


@pytest.mark.parametrize(
    ("options", "message", "start"),
    [
        (
            {"cutoff": CUTOFF, "series": ("a", "B")},
            "1 of 2 series are not among the 7 known: 'B' (is it 'b'?)",
            World.start_process,
        ),
        ({"cutoff": "soon"}, "cutoff: 'soon' must be an ISO 8601 time", World.start),
        ({"cutoff": "2023-01-01"}, "spec 'small' has no features at or before 2023-01-01T00:00:00", World.start),
    ],
)
def test_mistakes_end_with_code_two_one_line_and_a_row(world, options, message, start):
    run_id = f"wrong.{world.num_runs}"
    ended, result = start(world, "predict", "forecast", run_id=run_id, **options)
    assert (ended.returncode, result) == (2, None)
    assert ended.stderr.splitlines() == [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert message in ended.stderr
    row = world.store.scan("runs", "timestamp").filter(pl.col("run_id") == run_id).collect().row(0, named=True)
    assert row["status"] == "failed"
    assert message in row["message"]


def test_arguments_that_are_none_end_with_code_two(world):
    ended, _ = world.start("train", "train", arguments="{}")
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: run arguments has ")
    ended, _ = world.start("train", "train", arguments=RunArguments(
        job="score", flow="forecast", spec=world.spec, run_id="r"
    ).model_dump_json())  # fmt: skip
    assert ended.returncode == 2
    assert "run r is for job 'score', but this is job 'train'" in ended.stderr


def test_a_fault_of_the_system_ends_with_code_one_and_a_traceback(world):
    elsewhere, world.ray_address = world.ray_address, "127.0.0.1:1"
    try:
        ended, _ = world.start_process("predict", "forecast", cutoff=CUTOFF, run_id="unlucky")
    finally:
        world.ray_address = elsewhere
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("error: Ray at 127.0.0.1:1 cannot be reached")
    row = world.store.scan("runs", "timestamp").filter(pl.col("run_id") == "unlucky").collect().row(0, named=True)
    assert (row["status"], row["run_cutoff"]) == ("failed", CUTOFF)


def test_restated_actual_is_scored_again_and_only_its_series_is_forecast_again(world):
    source = world.folder / "restated.csv"

    def write(num_hours, restated):
        rows = [f"{name},{FIRST + timedelta(hours=hour)},{hour % 24}" for name in "abc" for hour in range(num_hours)]
        source.write_text("\n".join(["unique_id,ds,y", *rows]).replace("b,2024-01-03 05:00:00,5", restated) + "\n")

    spec = Spec.model_validate(
        world.spec.model_dump() | {"name": "restated", "source": {"uri": str(source)}, "statistics": ()}
    )

    def flow(cutoff, **options):
        for job in ("features", "predict", "score"):
            world.run(job, "forecast", spec=spec, cutoff=cutoff, **options)

    write(48, "b,2024-01-03 05:00:00,5")
    flow("2024-01-02T23:00:00")
    write(72, "b,2024-01-03 05:00:00,105")
    flow("2024-01-03T23:00:00")
    write(72, "b,2024-01-03 05:00:00,5")
    world.run("features", "forecast", spec=spec, cutoff="2024-01-03T23:00:00")
    forecast = world.run("predict", "forecast", spec=spec, cutoff="2024-01-03T23:00:00", changed_only=True)
    assert forecast.num_series == 1
    assert "2 of 3 series skipped" in forecast.message
    scored = world.run("score", "forecast", as_process=True, spec=spec, cutoff="2024-01-03T23:00:00")
    assert "nothing to score" not in scored.message
    (kept,) = query(world.store, "SELECT old_y, new_y FROM restatements").iter_rows()
    assert kept == (105, 5)
    by_hand = query(
        world.store,
        "SELECT unique_id, avg(abs(forecast - y)) AS mae FROM forecasts JOIN observations USING (spec, unique_id, ds)"
        " WHERE spec = 'restated' AND is_champion AND run_cutoff = '2024-01-02 23:00' GROUP BY ALL ORDER BY ALL",
    )
    of_spec = "spec = 'restated' AND is_champion"
    scores = query(world.store, f"SELECT unique_id, mae FROM latest_scores WHERE {of_spec} ORDER BY unique_id")
    assert_frame_equal(scores, by_hand)
    assert scores["mae"].n_unique() == 1
    latest = query(
        world.store, f"SELECT unique_id, max(ds) FROM latest_forecasts WHERE {of_spec} GROUP BY 1 ORDER BY 1"
    )
    assert latest["unique_id"].to_list() == ["a", "b", "c"]
