"""Mirrors of sources: which rows count, which commits are refused, and when all rows are written again."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from forecasting.store import mirror as module
from forecasting.store.maintenance import maintain
from forecasting.store.mirror import Contested, Mirror, find_mirrors, open_mirror

DAY = datetime(2024, 1, 1)
LATER = DAY + timedelta(days=9)


def opened(store: Any, *, of: str = "source") -> Mirror:
    return open_mirror(store, "sales", ("modified", "y"), ("modified",), of=of)


def rows_of(**values: float | None) -> pl.DataFrame:
    """Rows by their names, whose column of the source has the name of the mirror's own."""
    names = {
        "modified": pl.Series(list(values), dtype=pl.String),
        "y": pl.Series(list(values.values()), dtype=pl.Float64),
    }
    return pl.DataFrame(names).with_columns(pl.lit(DAY).alias("modified_"))


def read(store: Any) -> list[Any]:
    mirror = opened(store)
    return mirror.rows.select(mirror.columns).sort("modified").collect().rows()


def test_newest_batch_of_each_key_counts(store: Any) -> None:
    assert opened(store).modified == "modified_"
    assert not opened(store).is_written
    opened(store).replace(rows_of(a=1, b=2, c=3).lazy(), read_at=LATER)
    for y in (4, 5, None):
        opened(store).append(rows_of(a=y, d=y), read_at=LATER)
    assert read(store) == [("a", None), ("b", 2), ("c", 3), ("d", None)]
    opened(store).replace(rows_of(e=1).lazy(), read_at=LATER)
    assert read(store) == [("e", 1)]


def test_second_of_two_commits_to_one_version_is_refused(store: Any) -> None:
    opened(store).replace(rows_of(a=1).lazy(), read_at=LATER)
    mirrors = [opened(store) for _ in range(3)]
    mirrors[0].append(rows_of(b=2), read_at=LATER)
    with pytest.raises(Contested):
        mirrors[1].append(rows_of(b=3), read_at=LATER)
    with pytest.raises(Contested):
        mirrors[2].replace(rows_of(c=3).lazy(), read_at=LATER)
    assert read(store) == [("a", 1), ("b", 2)]


def test_watermark_is_not_after_the_newest_read(store: Any) -> None:
    rows = rows_of(a=1, b=2).with_columns(modified_=pl.Series([DAY, LATER]))
    opened(store).replace(rows.lazy(), read_at=LATER - timedelta(hours=1))
    assert opened(store).watermark == DAY
    opened(store).append(rows_of(c=1), read_at=LATER)
    assert opened(store).watermark == LATER


def test_all_rows_are_written_again_after_many_or_large_batches(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(store).replace(rows_of(**{f"n{number}": 1 for number in range(100)}).lazy(), read_at=LATER)
    opened(store).append(rows_of(n1=2), read_at=LATER)
    assert not opened(store).should_be_replaced(18)
    assert opened(store).should_be_replaced(20)
    monkeypatch.setattr(module, "MOST_BATCHES", 1)
    assert opened(store).should_be_replaced(1)


def test_maintenance_removes_mirrors_that_the_spec_no_longer_has(store: Any) -> None:
    opened(store, of="before").replace(rows_of(a=1).lazy(), read_at=LATER)
    for y in (2, 3):
        opened(store).replace(rows_of(a=y).lazy(), read_at=LATER)
    (folders,) = find_mirrors(store).values()
    newest, before = [folder for folder, _ in folders]
    assert newest == opened(store).folder
    done = maintain(store, keep=timedelta(0))
    assert done.removed_mirrors == [before]
    assert done.removed_table_files == {newest: 1}
    assert read(store) == [("a", 3)]
    assert [folder for (folder, _), *_ in find_mirrors(store).values()] == [newest]
