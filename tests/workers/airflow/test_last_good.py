"""Files that nobody has checked take no other DAG away, and the last good version of a broken file runs on."""

import json
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from airflow.serialization.serialized_objects import DagSerialization

from forecasting.errors import SpecError
from forecasting.spec.spec import read_spec
from workers.airflow.factory import make_dags
from workers.airflow.last_good import LastGood, Seen

GOOD = """
name = "{name}"
freq = "1h"
season_lengths = [24]
horizon = {horizon}
[source]
uri = "small.csv"
[schedule]
forecast = "30 4 * * *"
"""
BROKEN = 'name = "shop"\nfreq = "0h"\n'


def write(folder: Path, file: str = "shop.toml", *, name: str = "shop", horizon: int = 24) -> Path:
    path = folder / file
    path.write_text(GOOD.format(name=name, horizon=horizon))
    return path


def link_to_itself(path: Path) -> None:
    path.symlink_to(path)


NASTY: dict[str, bytes | Callable[[Path], Any]] = {
    "empty": b"",
    "latin": "description = 'Müller'".encode("latin-1"),
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "loop": link_to_itself,
    "gone": lambda path: path.symlink_to(path.parent / "nowhere"),
    "huge": b"#" * 10_000_000,
    "long_key": b".".join([b"a"] * 100_000) + b" = 1",
    "nested": b"a = " + b"[" * 3000 + b"]" * 3000,
    "digits": b"a = " + b"9" * 5000,
    "nul": (GOOD.format(name="nul", horizon=1).replace("[source]", 'description = "a\\u0000"\n[source]')).encode(),
    "an impossible time": lambda path: (path.write_text("x"), os.utime(path, (2**40, 2**40))),
    "x" * 240: b"",
    "a b": b"",
    "a-b": b"",
    os.fsdecode(b"\xff"): b"",
}


def test_no_file_takes_the_dags_of_others_away(tmp_path: Path) -> None:
    write(tmp_path)
    for name, content in NASTY.items():
        path = tmp_path / f"{name}.toml"
        content(path) if callable(content) else path.write_bytes(content)
    (tmp_path / ".#shop.toml").symlink_to("ada@host.4711")  # of an editor
    dags = make_dags(tmp_path, last_good=tmp_path / "kept")
    assert {"shop__train", "shop__forecast"} < set(dags)
    broken = set(dags) - {"shop__train", "shop__forecast"}
    assert len(broken) == len(NASTY)
    for dag_id in broken:
        dag = dags[dag_id]
        dag.validate()
        text = json.dumps(DagSerialization.to_dict(dag), ensure_ascii=False).encode()  # as a database stores it
        assert b"\\u0000" not in text
        assert len(text) < 50_000
        with pytest.raises(AirflowFailException, match="spec "):
            dag.get_task("say_what_is_wrong").python_callable()


def test_file_that_cannot_be_a_spec_is_said_to_be_so(tmp_path: Path) -> None:
    problems = {
        "folder": "is a folder, but must be a file",
        "pipe": "is a pipe, a socket or a device, but must be a file",
        "huge": "has 10,000,000 bytes, but must have at most 262,144",
        "long_key": "has a key of more than 50 parts",
        "nested": "is nested too deeply",
        "digits": "has a number of more digits than Python reads",
        "nul": r"description: must not have the character U\+0000",
        "loop": "cannot be read: Too many levels of symbolic links",
    }
    for name, problem in problems.items():
        path, content = tmp_path / f"{name}.toml", NASTY[name]
        content(path) if callable(content) else path.write_bytes(content)
        with pytest.raises(Exception, match=problem) as refused:
            read_spec(path)
        assert type(refused.value).__name__ == "SpecError"


def test_broken_file_runs_on_with_its_last_good_version_and_says_so(tmp_path: Path) -> None:
    path, kept = write(tmp_path), tmp_path / "kept"
    os.utime(path, (1_700_000_000, 1_700_000_000))
    good = make_dags(tmp_path, last_good=kept)
    path.write_text(BROKEN)
    dags = make_dags(tmp_path, last_good=kept)
    assert set(dags) == {"shop__train", "shop__forecast", "shop__broken"}
    for flow in ("train", "forecast"):
        dag, before = dags[f"shop__{flow}"], good[f"shop__{flow}"]
        assert dag.tags == {*before.tags, "last-good"}
        timetables = [DagSerialization.to_dict(each)["dag"]["timetable"] for each in (dag, before)]
        assert timetables[0] == timetables[1]
        assert dag.doc_md.startswith("**This DAG runs the version of 2023-11-14 22:13 UTC, the last good one, because")
        assert "freq = '0h'" in dag.doc_md
        for task in dag.tasks:
            assert task.spec == before.get_task(task.task_id).spec
            assert "`shop.toml` is broken" in task.notice
    serialised, again = (
        {name: DagSerialization.to_dict(dag) for name, dag in make_dags(tmp_path, last_good=kept).items()}
        for _ in range(2)
    )
    assert serialised == again
    write(tmp_path, horizon=48)
    fixed = make_dags(tmp_path, last_good=kept)
    assert set(fixed) == {"shop__train", "shop__forecast"}
    assert "last-good" not in fixed["shop__train"].tags
    path.write_text(BROKEN)
    assert make_dags(tmp_path, last_good=kept)["shop__train"].get_task("train").spec.horizon == 48


def test_last_good_version_of_a_deleted_file_is_not_used(tmp_path: Path) -> None:
    path, kept = write(tmp_path), tmp_path / "kept"
    make_dags(tmp_path, last_good=kept)
    path.unlink()
    assert make_dags(tmp_path, last_good=kept) == {}


def test_without_a_folder_a_broken_file_makes_no_other_dags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path)
    make_dags(tmp_path)
    path.write_text(BROKEN)
    assert set(make_dags(tmp_path)) == {"shop__broken"}
    monkeypatch.setenv("FLEETCAST_LAST_GOOD", str(tmp_path / "kept"))
    write(tmp_path)
    make_dags(tmp_path)
    path.write_text(BROKEN)
    assert set(make_dags(tmp_path)) == {"shop__broken", "shop__train", "shop__forecast"}
    monkeypatch.setenv("FLEETCAST_NUM_WORKERS", "many")  # each task says so
    assert set(make_dags(tmp_path)) == {"shop__broken"}


def test_name_that_another_file_has_now_is_not_taken_from_it(tmp_path: Path) -> None:
    path, kept = write(tmp_path), tmp_path / "kept"
    make_dags(tmp_path, last_good=kept)
    path.write_text(BROKEN)
    write(tmp_path, "new.toml", horizon=48)
    dags = make_dags(tmp_path, last_good=kept)
    assert set(dags) == {"shop__broken", "shop__train", "shop__forecast"}
    assert dags["shop__train"].get_task("train").spec.horizon == 48


def test_second_file_of_a_name_leaves_the_dags_of_the_first(tmp_path: Path) -> None:
    write(tmp_path)
    make_dags(tmp_path, last_good=tmp_path / "kept")
    write(tmp_path, "copy.toml", horizon=48)
    dags = make_dags(tmp_path, last_good=tmp_path / "kept")
    assert set(dags) == {"shop__broken", "copy__broken", "shop__train", "shop__forecast"}
    assert dags["shop__train"].get_task("train").spec.horizon == 24


def test_kept_version_that_cannot_be_used_and_a_folder_that_cannot_be_written_hurt_nothing(tmp_path: Path) -> None:
    path, kept = write(tmp_path), tmp_path / "kept"
    make_dags(tmp_path, last_good=kept)
    (version,) = kept.glob("*.json")
    path.write_text(BROKEN)
    for text in ("{", '{"name": "shop"}', ""):
        version.write_text(text)
        assert set(make_dags(tmp_path, last_good=kept)) == {"shop__broken"}
    write(tmp_path, "other.toml", name="other")
    assert set(make_dags(tmp_path, last_good=path)) == {"shop__broken", "other__train", "other__forecast"}


def test_task_uses_the_last_good_version_and_keeps_none_of_the_version_that_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, kept = write(tmp_path), tmp_path / "kept"
    make_dags(tmp_path, last_good=kept)
    before = sorted(kept.rglob("*"))
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "shop__train")  # as Airflow's task runner does
    write(tmp_path, horizon=480)  # such as an earlier version of a bundle
    assert make_dags(tmp_path, last_good=kept)["shop__train"].get_task("train").spec.horizon == 480
    path.write_text(BROKEN)
    assert make_dags(tmp_path, last_good=kept)["shop__train"].get_task("train").spec.horizon == 24
    assert sorted(kept.rglob("*")) == before


def run_after(folder: Path, kept: Path | None, last: Any) -> Any:
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import TimeRestriction

    dag = DagSerialization.from_dict(DagSerialization.to_dict(make_dags(folder, last_good=kept)["shop__broken"]))
    return coerce_to_core_timetable(dag.timetable).next_dagrun_info(
        last_automated_data_interval=last, restriction=TimeRestriction(dag.start_date, None, dag.catchup)
    )


def test_broken_file_is_red_once_for_each_content_regardless_of_its_modification_time(tmp_path: Path) -> None:
    path, kept = tmp_path / "shop.toml", tmp_path / "kept"
    path.write_text(BROKEN)
    first = run_after(tmp_path, kept, None)
    assert (datetime.now(UTC) - first.run_after).total_seconds() < 100
    (mark,) = (mark for mark in kept.rglob("*") if mark.is_file())
    os.utime(mark, (1_700_000_000, 1_700_000_000))  # as if some time had passed
    first = run_after(tmp_path, kept, None)
    os.utime(path)  # as a checkout of the same content does
    assert run_after(tmp_path, kept, first.data_interval) is None
    path.write_text(BROKEN.replace("0h", "0d"))
    assert run_after(tmp_path, kept, first.data_interval) is not None
    write(tmp_path)
    make_dags(tmp_path, last_good=kept)
    path.write_text(BROKEN)  # which was good in between
    assert run_after(tmp_path, kept, first.data_interval) is not None


def test_version_that_was_read_before_its_file_changed_is_not_kept(tmp_path: Path) -> None:
    path, kept = write(tmp_path), LastGood(tmp_path / "kept")
    seen, old = Seen.now(path), read_spec(path)
    assert seen is not None
    write(tmp_path, horizon=480)
    now = Seen.now(path)
    assert now is not None
    kept.keep(now, read_spec(path))
    kept.keep(seen, old)  # of a process that was slower
    version = kept.find(path)
    assert version is not None
    assert version.spec.horizon == 480
    assert [place.suffix for place in kept.folder.iterdir()] == [".json"]


def test_processes_that_race_lose_no_version_and_agree_on_when_a_file_broke(tmp_path: Path) -> None:
    path, folder = write(tmp_path), tmp_path / "kept"
    horizons = range(24, 44)
    specs = {horizon: read_spec(write(tmp_path, horizon=horizon)) for horizon in horizons}
    seen = Seen.now(path)
    assert seen is not None
    LastGood(folder).keep(seen, specs[24])
    found: list[int] = []
    times, barrier = set(), threading.Barrier(4)

    def race() -> None:
        kept = LastGood(folder)
        for horizon in horizons:
            kept.keep(seen, specs[horizon])
            version = kept.find(path)
            found.append(0 if version is None else version.spec.horizon)
        barrier.wait(60)
        times.add(kept.broken_since(path, SpecError("spec", ["is broken"])))

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) <= set(horizons)
    assert len(found) == 4 * len(horizons)
    last = LastGood(folder).find(path)
    assert last is not None
    assert last.spec == specs[horizons[-1]]
    assert {path.suffix for path in folder.iterdir()} == {".json", ".broken"}
    assert len(times) == 1
