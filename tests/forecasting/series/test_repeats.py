"""Rows of the same series and time that all count, and rows that repeat another one exactly."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from forecasting.errors import SpecError
from forecasting.series.ingest import Ingested, ingest
from forecasting.series.read import scan_frame
from forecasting.series.reasons import Reason
from forecasting.spec.source import Source
from forecasting.spec.spec import make_spec

BEGIN = datetime(2024, 1, 1)
NUM_DAYS, PER_DAY = 100, 5


def read(frame: pl.DataFrame, *, freq: str | int = "1d", **source: Any) -> Ingested:
    columns = Source(uri="x.parquet", **source)
    fields = {"name": "x", "freq": freq, "season_lengths": [7], "horizon": 2, "source": columns}
    clock: Any = "step" if isinstance(freq, int) else "timestamp"
    return ingest(make_spec(fields, subject="x"), rows=scan_frame(frame, columns, clock))


def transactions() -> pl.DataFrame:
    days = [BEGIN + timedelta(days=number // PER_DAY) for number in range(NUM_DAYS * PER_DAY)]
    return pl.DataFrame({"unique_id": "p", "ds": days, "y": 1})


def test_every_transaction_counts_where_duplicates_are_kept() -> None:
    ingested = read(transactions(), aggregate="sum", duplicates="keep")
    assert ingested.observations["y"].to_list() == [PER_DAY] * NUM_DAYS
    assert ingested.counts is not None
    assert str(ingested.counts) == "500 rows read, 500 used"
    assert ingested.rejects.is_empty()
    assert not ingested.notes


def test_steps_and_times_within_a_day_are_aggregated_with_their_repeats() -> None:
    steps = transactions().with_columns(ds=pl.col("ds").rank("dense").cast(pl.Int64))
    assert read(steps, freq=1, aggregate="sum", duplicates="keep").observations["y"].to_list() == [PER_DAY] * NUM_DAYS
    hours = transactions().with_columns(ds=pl.col("ds") + pl.duration(hours=pl.int_range(pl.len()) % 2))
    assert read(hours, aggregate="max", duplicates="keep").observations["y"].to_list() == [1] * NUM_DAYS
    assert read(hours, aggregate="sum", duplicates="keep").observations["y"].to_list() == [PER_DAY] * NUM_DAYS


def test_keeping_duplicates_needs_an_aggregate() -> None:
    with pytest.raises(SpecError, match=r'duplicates = "keep" \(--duplicates keep\) needs aggregate = sum'):
        make_spec(
            {"name": "x", "freq": 1, "season_lengths": [1], "horizon": 1}
            | {"source": {"uri": "x.parquet", "duplicates": "keep"}},
            subject="x",
        )
    assert "--duplicates keep" in Reason.CONFLICT


def test_many_exact_repeats_are_mentioned_with_the_options_for_both_causes() -> None:
    (note,) = read(transactions(), aggregate="sum").notes
    assert note.startswith("400 of 500 rows repeat another row of their series, time and measurement exactly, such as")
    for option in ("of 'p'", 'source.duplicates = "keep"', "--duplicates keep", "source.aggregate = sum", "--id"):
        assert option in note
    assert not read(transactions(), aggregate="sum", duplicates="refuse").notes


def test_few_exact_repeats_are_not_mentioned() -> None:
    single = transactions().unique("ds", maintain_order=True)
    assert not read(pl.concat([single, single.head(10)])).notes
    assert len(read(pl.concat([single, single.head(11)])).notes) == 1


def test_each_exact_repeat_is_mentioned_where_rows_are_added_up() -> None:
    single = transactions().unique("ds", maintain_order=True)
    twice = pl.concat([single, single.head(1)])
    (note,) = read(twice, aggregate="sum").notes
    assert note.startswith("1 of 101 rows repeat another row")
    assert not read(twice, aggregate="mean").notes
