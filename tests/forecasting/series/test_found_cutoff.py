"""The cutoff of a run that none was requested of."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from forecasting.errors import SourceError
from forecasting.series.found_cutoff import find_newest
from forecasting.series.read import scan_frame
from forecasting.spec.spec import make_spec

HOURS = [datetime(2024, 1, 1) + timedelta(hours=hour) for hour in range(6)]
SOURCE = {"uri": "x.csv"}
SPEC = make_spec({"name": "x", "source": SOURCE, "freq": "1h", "season_lengths": [3], "horizon": 2}, subject="x")


def rows_of(**series: list[Any]) -> pl.LazyFrame:
    rows = [(name, str(time), "1") for name, times in series.items() for time in times]
    frame = pl.DataFrame(rows, schema=["unique_id", "ds", "y"], orient="row")
    return scan_frame(frame, SPEC.source, "timestamp")


def test_cutoff_is_the_newest_time_that_half_of_the_series_have() -> None:
    assert find_newest(rows_of(a=HOURS, b=HOURS[:5], c=HOURS[:5]), SPEC) == HOURS[4]
    assert find_newest(rows_of(a=HOURS, b=HOURS), SPEC, not_after=HOURS[3] + timedelta(minutes=59)) == HOURS[2]


def test_source_without_accepted_rows_is_refused_with_the_most_frequent_reasons() -> None:
    rows = rows_of(a=["31/01/2024 05:00", "31/01/2024 06:00", ""])
    with pytest.raises(SourceError, match=r"at least one; 2 rows: time cannot be read.*; 1 rows: time is missing"):
        find_newest(rows, SPEC)
