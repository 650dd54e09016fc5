"""Blocks of whole series."""

from collections.abc import Sequence
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.series.blocks import Blocks, Unsorted

Names = Sequence[str | None]


def rows_of(names: Names) -> pl.LazyFrame:
    return pl.LazyFrame({"unique_id": pl.Series(names, dtype=pl.String), "row": range(len(names))})


@given(st.lists(st.sampled_from([None, "", "a", "b", "b c", "ä", "\U0001f600"]), max_size=30), st.integers(1, 9))
def test_each_row_is_in_one_block_with_its_series_in_the_order_of_the_source(names: Names, most_rows: int) -> None:
    blocks = Blocks(rows_of(names), most_rows=most_rows)
    try:
        found = list(blocks)
    except Unsorted:
        blocks.partition()
        found = list(blocks)
    blocks.close()
    rows = pl.concat(found)
    assert rows["row"].sort().to_list() == list(range(len(names)))
    assert (rows["unique_id"] == pl.Series(names, dtype=pl.String).gather(rows["row"])).all()
    ranges = [known for block in found if len(known := block["unique_id"].drop_nulls())]
    assert all(before.max() < after.min() for before, after in pairwise(ranges))  # type: ignore[operator]
    assert all(part["row"].is_sorted() for part in rows.drop_nulls("unique_id").partition_by("unique_id"))


def test_a_sorted_source_is_not_written_to_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Blocks, "partition", lambda _: pytest.fail("a sorted source is partitioned"))
    found = list(Blocks(rows_of(["a"] * 5 + ["b"] * 3 + ["c"] * 4), most_rows=4))
    assert [block["unique_id"].unique(maintain_order=True).to_list() for block in found] == [["a"], ["b"], ["c"]]


def test_temporary_files_are_removed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    blocks = Blocks(rows_of(["b", "a"] * 5), most_rows=4)
    blocks.partition()
    assert list(folder.rglob("*.parquet"))
    assert len(list(blocks)) == 2
    blocks.close()
    assert not list(folder.iterdir())
