"""Staged files of shards, and their marks."""

import os
from pathlib import Path

import polars as pl
import pytest

from forecasting.errors import NothingStored, StoreError
from forecasting.store.staging import completed, discard, mark_complete, stage, staged


def test_staged_files_are_listed_by_shard_and_table(store, observations_of):
    for shard in (10, 9, 2):
        stage(store, "run-1", "observations", shard, observations_of("a"))
    stage(store, "run-1", "features", 0, observations_of("a"))
    stage(store, "run-10", "observations", 0, observations_of("a"))
    folder = f"{store.root}/staging/run_id=run-1/observations"
    assert staged(store, "run-1", "observations") == [f"{folder}/shard={shard}.parquet" for shard in (2, 9, 10)]
    assert staged(store, "run-1", "scores") == []


def test_shard_that_stages_again_replaces_its_file(store, observations_of):
    for y in (1.0, 2.0):
        uri = stage(store, "run", "observations", 0, observations_of("b", "a", y=y))
    assert staged(store, "run", "observations") == [uri]
    rows = pl.read_parquet(uri, hive_partitioning=False)
    assert rows["y"].unique().to_list() == [2.0]
    assert rows["unique_id"].to_list() == ["a"] * 3 + ["b"] * 3


def test_partial_file_is_never_listed_as_staged(store, observations_of, monkeypatch):
    def die(descriptor: int) -> None:
        assert len(list(Path(store.root).rglob("*.tmp"))) == 1
        assert staged(store, "run", "observations") == []
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", die)
    with pytest.raises(KeyboardInterrupt):
        stage(store, "run", "observations", 0, observations_of("a"))
    assert staged(store, "run", "observations") == []


def test_file_of_a_killed_writer_is_not_staged(store, observations_of):
    uri = stage(store, "run", "observations", 0, observations_of("a"))
    Path(uri).rename(Path(uri).with_name("shard=0.parquet.0123abcd.tmp"))
    assert staged(store, "run", "observations") == []


def test_shard_is_complete_only_when_it_is_marked(store, observations_of):
    stage(store, "run", "observations", 0, observations_of("a"))
    assert completed(store, "run") == {}
    mark_complete(store, "run", 0, {"num_series": 1})
    mark_complete(store, "run", 12)
    assert completed(store, "run") == {0: {"num_series": 1}, 12: {}}
    assert completed(store, "another") == {}


def test_discarding_a_run_removes_only_its_files(store, observations_of):
    for run_id in ("one", "two"):
        stage(store, run_id, "observations", 0, observations_of("a"))
        mark_complete(store, run_id, 0)
    for _ in range(2):
        discard(store, "one")
    assert staged(store, "one", "observations") == []
    assert completed(store, "one") == {}
    assert len(staged(store, "two", "observations")) == 1


@pytest.mark.parametrize("run_id", ["", "..", "../weights", "a/b", ".hidden", "a\nb"])
def test_run_id_that_cannot_name_a_folder_is_refused(store, run_id):
    with pytest.raises(StoreError, match="must start with a letter or digit"):
        discard(store, run_id)


def test_invalid_shard_or_table_is_refused(store, observations_of):
    with pytest.raises(StoreError, match="shard -1"):
        stage(store, "run", "observations", -1, observations_of("a"))
    with pytest.raises(NothingStored, match="table 'weather' does not exist"):
        stage(store, "run", "weather", 0, observations_of("a"))
