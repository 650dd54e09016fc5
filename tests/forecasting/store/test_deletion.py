"""Deleting runs: what goes, what comes back, and what is refused."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from forecasting.errors import NothingStored, StoreError, UserError
from forecasting.schemas import table
from forecasting.store import deletion as deletion_module
from forecasting.store import publish as publish_module
from forecasting.store.deletion import delete_runs, plan_deletion
from forecasting.store.latest import latest_forecasts
from forecasting.store.maintenance import maintain
from forecasting.store.publish import append_run, publish, rewrite
from forecasting.store.slices import Slice
from forecasting.store.stamp import stamp
from forecasting.store.tables import Store

DAY = timedelta(days=1)
MONDAY, TUESDAY = datetime(2024, 1, 1), datetime(2024, 1, 2)
FUTURE = datetime(2030, 1, 1)
RowsOf = Callable[..., pl.DataFrame]


class Recorder:
    """Publishes what jobs would, and records their runs."""

    def __init__(self, store: Store, observations_of: RowsOf, forecasts_of: RowsOf) -> None:
        self.store, self.observations_of, self.forecasts_of = store, observations_of, forecasts_of
        self.hour = 0

    def run(
        self, job: str, cutoff: datetime, versions: dict[str, int], *, run_id: str | None = None, **given: Any
    ) -> str:
        """Record a run of a job, an hour after the one before."""
        self.hour += 1
        run_id = run_id or f"{job}_{self.hour}"
        arguments = {"flow": "train" if job in ("train", "backtest") else "forecast", **given}
        row = {"run_id": run_id, "job": job, "spec": "demo", "run_cutoff": cutoff.isoformat(), "status": "success"}
        began = datetime(2024, 2, 1, tzinfo=UTC) + timedelta(hours=self.hour)
        texts = {"arguments": json.dumps(arguments), "versions": json.dumps(versions)}
        append_run(self.store, {**row, **texts, "started_at": began})
        return run_id

    def features(self, cutoff: datetime, *, y: float, names: tuple[str, ...] = ("a", "b"), run_id: str) -> str:
        """Replace the observations of a day up to the cutoff."""
        rows = self.observations_of(*names, y=y, num_points=24).with_columns(run_id=pl.lit(run_id))
        version = publish(
            self.store,
            "observations",
            "timestamp",
            rows,
            slice=Slice("demo", until=cutoff, unique_ids=names),
            application=run_id,
            generation=0,
        )
        return self.run("features", cutoff, {"observations": version}, run_id=run_id)

    def predict(self, cutoff: datetime, *, forecast: float, names: tuple[str, ...] = ("a", "b"), run_id: str) -> str:
        """Replace the forecasts of a cutoff."""
        rows = self.forecasts_of(*names, run_cutoff=cutoff, forecast=forecast, run_id=run_id)
        place = Slice("demo", run_cutoff=cutoff, unique_ids=names)
        version = publish(self.store, "forecasts", "timestamp", rows, slice=place, application=run_id, generation=0)
        return self.run("predict", cutoff, {"forecasts": version}, run_id=run_id)

    def score(self, cutoff: datetime, *, of: str, of_cutoff: datetime, run_id: str) -> str:
        """Score the forecasts of a run."""
        schema = table("scores").schema("timestamp")
        known = {"unique_id": "a", "model": "lstm", "forecast_run_id": of, "forecast_run_cutoff": of_cutoff}
        left_out = {"spec", "cutoff_date", "run_cutoff", "run_id"}
        frame = pl.DataFrame(
            [{name: known.get(name) for name in schema if name not in left_out}],
            schema={name: dtype for name, dtype in schema.items() if name not in left_out},
        )
        rows = stamp(frame, "scores", "timestamp", spec="demo", run_cutoff=cutoff, run_id=run_id)
        place = Slice("demo", run_cutoff=cutoff)
        version = publish(self.store, "scores", "timestamp", rows, slice=place, application=run_id, generation=0)
        return self.run("score", cutoff, {"scores": version}, run_id=run_id)


@pytest.fixture
def recorder(store: Store, observations_of: RowsOf, forecasts_of: RowsOf) -> Recorder:
    return Recorder(store, observations_of, forecasts_of)


def tables_of(store: Store, spec: str = "demo") -> dict[str, pl.DataFrame]:
    """The rows of a spec's tables, sorted."""
    return {
        name: store.scan(name, "timestamp").filter(pl.col("spec") == spec).collect().sort(table(name).key)
        for name in ("observations", "forecasts", "scores")
    }


def same(store: Store, before: dict[str, pl.DataFrame]) -> None:
    for name, rows in tables_of(store).items():
        assert_frame_equal(rows, before[name])


def test_flow_with_a_cutoff_in_the_future_is_deleted_and_what_stood_before_is_current(
    store: Store, recorder: Recorder
) -> None:
    recorder.features(MONDAY + DAY, y=1.0, run_id="features.1706745600000.aaaaaa")
    recorder.predict(MONDAY + DAY, forecast=1.0, run_id="predict.1706745600001.aaaaaa")
    before = tables_of(store)
    first = recorder.features(FUTURE, y=2.0, run_id="features.1706832000000.bbbbbb")
    second = recorder.predict(FUTURE, forecast=2.0, run_id="predict.1706832000001.bbbbbb")
    assert latest_forecasts(store, spec="demo")["forecast"][-1] == 2.0

    planned = plan_deletion(store, first)
    assert [each.run_id for each in planned.runs] == [first, second]
    changes = {each.table: (each.num_deleted, each.num_restored, each.is_lost) for each in planned.affected}
    assert changes == {"forecasts": (8, 0, False), "observations": (48, 48, False)}
    assert [each.table for each in planned.affected] == ["forecasts", "observations"]
    record = delete_runs(store, planned, reason="typed by mistake")

    same(store, before)
    assert set(latest_forecasts(store, spec="demo")["forecast"]) == {1.0}
    runs = {row["run_id"]: row for row in store.scan("runs", "timestamp").collect().iter_rows(named=True)}
    assert [runs[name]["status"] for name in (first, second, record)] == ["deleted", "deleted", "success"]
    assert runs[record]["message"] == (
        f"56 rows of {first}, {second} deleted, 48 earlier rows restored: typed by mistake"
    )
    with pytest.raises(UserError, match=r"has been deleted already"):
        plan_deletion(store, first)


def test_forecasts_that_a_filtered_run_replaced_at_the_same_cutoff_come_back(store: Store, recorder: Recorder) -> None:
    recorder.predict(MONDAY, forecast=1.0, run_id="one")
    before = tables_of(store)
    recorder.predict(MONDAY, forecast=2.0, names=("b", "c"), run_id="two")
    delete_runs(store, plan_deletion(store, "two"))
    same(store, before)


def test_other_specs_keep_their_rows(store: Store, recorder: Recorder, forecasts_of: RowsOf) -> None:
    rows = forecasts_of("a", run_cutoff=MONDAY, spec="other", run_id="theirs")
    place = Slice("other", run_cutoff=MONDAY)
    publish(store, "forecasts", "timestamp", rows, slice=place, application="theirs", generation=0)
    recorder.predict(MONDAY, forecast=2.0, run_id="ours")
    before = tables_of(store, "other")
    delete_runs(store, plan_deletion(store, "ours"))
    assert_frame_equal(tables_of(store, "other")["forecasts"], before["forecasts"])
    assert tables_of(store)["forecasts"].is_empty()


def test_later_runs_that_build_on_it_are_refused_or_deleted_too(store: Store, recorder: Recorder) -> None:
    recorder.run("train", MONDAY, {}, run_id="first")
    recorder.run("train", MONDAY, {}, run_id="filtered", series=["a"])
    recorder.predict(MONDAY, forecast=1.0, run_id="uses")
    recorder.predict(MONDAY - DAY, forecast=1.0, run_id="is of an earlier cutoff")
    recorder.run("train", TUESDAY, {}, run_id="second", from_scratch=True)
    recorder.predict(TUESDAY, forecast=2.0, run_id="uses the second")
    with pytest.raises(UserError, match=r"^1 later run of spec 'demo' builds on run 'filtered': 'uses'; --with-later"):
        plan_deletion(store, "filtered")
    with pytest.raises(UserError, match=r"^2 later runs of spec 'demo' build on run 'first': 'filtered', 'uses'; "):
        plan_deletion(store, "first")
    delete_runs(store, plan_deletion(store, "first", with_later=True))
    left = tables_of(store)["forecasts"]
    assert set(left["run_id"]) == {"is of an earlier cutoff", "uses the second"}
    assert plan_deletion(store, "uses the second").runs[0].run_id == "uses the second"


def test_rows_of_a_later_run_at_an_earlier_cutoff_stay(store: Store, recorder: Recorder) -> None:
    """Rows after its cutoff come back; those that it left out before do not."""
    recorder.features(FUTURE, y=1.0, run_id="old")
    recorder.features(FUTURE, y=2.0, run_id="wrong")
    noon = MONDAY + DAY / 2
    rows = recorder.observations_of("a", y=3.0, num_points=12).with_columns(run_id=pl.lit("newest")).tail(6)
    place = Slice("demo", until=noon - timedelta(hours=1))
    publish(store, "observations", "timestamp", rows, slice=place, application="newest", generation=0)
    delete_runs(store, plan_deletion(store, "wrong"))
    left = tables_of(store)["observations"].select("unique_id", pl.col("ds").dt.hour(), "run_id")
    of_a = left.filter(pl.col("unique_id") == "a")
    assert of_a["ds"].to_list() == list(range(6, 24))
    assert of_a["run_id"].to_list() == ["newest"] * 6 + ["old"] * 12


def test_scores_of_deleted_forecasts_go_with_them(store: Store, recorder: Recorder) -> None:
    recorder.predict(MONDAY, forecast=1.0, run_id="wrong")
    recorder.score(TUESDAY, of="wrong", of_cutoff=MONDAY, run_id="score")
    planned = plan_deletion(store, "wrong")
    changes = {each.table: (each.run_cutoff, each.num_deleted, each.is_lost) for each in planned.affected}
    assert changes == {"forecasts": (MONDAY, 8, False), "scores": (TUESDAY, 1, False)}
    delete_runs(store, planned)
    assert tables_of(store)["scores"].is_empty()
    assert plan_deletion(store, "score").affected == ()


def test_rows_of_runs_that_were_deleted_before_do_not_come_back(store: Store, recorder: Recorder) -> None:
    recorder.predict(MONDAY, forecast=1.0, run_id="wrong")
    recorder.score(TUESDAY, of="wrong", of_cutoff=MONDAY, run_id="score of the wrong one")
    recorder.score(TUESDAY, of="right", of_cutoff=MONDAY, run_id="score")
    delete_runs(store, plan_deletion(store, "wrong"))
    delete_runs(store, plan_deletion(store, "score"))
    assert tables_of(store)["scores"].is_empty()


def test_rows_whose_version_maintenance_has_removed_are_reported_as_lost(store: Store, recorder: Recorder) -> None:
    recorder.predict(MONDAY, forecast=1.0, run_id="one")
    recorder.predict(MONDAY, forecast=2.0, run_id="two")
    assert [each.is_lost for each in plan_deletion(store, "two").affected] == [False]
    maintain(store, keep=timedelta(0))
    planned = plan_deletion(store, "two")
    assert [(each.is_lost, each.version, each.num_restored) for each in planned.affected] == [(True, None, 0)]
    delete_runs(store, planned)
    assert tables_of(store)["forecasts"].is_empty()


def test_run_without_recorded_versions_is_reported_as_lost(store: Store, recorder: Recorder) -> None:
    recorder.predict(MONDAY, forecast=1.0, run_id="failed")
    row = store.scan("runs", "timestamp").collect().row(0, named=True)
    append_run(store, {**row, "status": "failed", "versions": "{}"})
    assert [each.is_lost for each in plan_deletion(store, "failed").affected] == [True]


def test_interrupted_deletion_is_completed_by_the_same_command(
    store: Store, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.features(MONDAY + DAY, y=1.0, run_id="features.1706745600000.aaaaaa")
    before = tables_of(store)
    wrong = recorder.features(MONDAY + DAY, y=2.0, run_id="features.1706832000000.bbbbbb")
    recorder.predict(MONDAY + DAY, forecast=2.0, run_id="predict.1706832000001.bbbbbb")

    def stop(store: Store, table: str, *others: Any, **options: Any) -> int:
        if table != "forecasts":
            raise StoreError("the disk is full")
        return rewrite(store, table, *others, **options)

    with monkeypatch.context() as patch:
        patch.setattr(deletion_module, "rewrite", stop)
        with pytest.raises(StoreError, match="the disk is full"):
            delete_runs(store, plan_deletion(store, wrong))
    assert tables_of(store)["forecasts"].is_empty()
    assert set(tables_of(store)["observations"]["y"]) == {2.0}
    delete_runs(store, plan_deletion(store, wrong))
    same(store, before)


def test_rows_that_are_written_meanwhile_are_not_lost(
    store: Store, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.predict(MONDAY, forecast=1.0, names=("a",), run_id="wrong")
    planned = plan_deletion(store, "wrong")
    write = publish_module.write_deltalake
    others = iter([None])

    def write_after_another(*given: Any, **options: Any) -> None:
        if next(others, "no more") is None:
            recorder.predict(MONDAY, forecast=3.0, names=("b",), run_id="meanwhile")
        write(*given, **options)

    monkeypatch.setattr(publish_module, "write_deltalake", write_after_another)
    delete_runs(store, planned)
    assert set(tables_of(store)["forecasts"]["run_id"]) == {"meanwhile"}


def test_runs_that_cannot_be_deleted_are_refused(store: Store, recorder: Recorder) -> None:
    with pytest.raises(NothingStored, match=r"^no run is named 'none'; `fleetcast runs --format csv` lists"):
        plan_deletion(store, "none")
    recorder.predict(MONDAY, forecast=1.0, run_id="one")
    record = delete_runs(store, plan_deletion(store, "one"))
    with pytest.raises(UserError, match=r"is a deletion, which cannot be deleted$"):
        plan_deletion(store, record)
