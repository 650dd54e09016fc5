"""Tables that lack columns because they are wide."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from forecasting.errors import SourceError
from forecasting.series.frames import read_frame
from forecasting.series.lacking import describe_wide
from forecasting.series.read import scan_source
from forecasting.spec.source import Source

NAMES: dict[str, Any] = {"id": None, "time": "ds", "target": "y"}


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        (["item", "2024-01", "2024-02"], "time, such as '2024-01'"),
        (["item", "01.02.2024", "02.02.2024"], "time, such as '01.02.2024'"),
        (["item", "2024Q1", "2024Q2"], "time, such as '2024Q1'"),
        (["item", datetime(2024, 1, 1), datetime(2024, 1, 2)], "time, such as '2024-01-01 00:00:00'"),
        (["ds", "north", "south"], "series, such as 'north'"),
    ],
)
def test_column_for_each_time_or_series_is_recognised(columns: list[Any], kind: str) -> None:
    said = describe_wide([("id", "unique_id"), ("time", "ds"), ("target", "y")], columns)
    assert said.startswith(f"; a table with a column for each {kind}, must first get one row for each series and time")


@pytest.mark.parametrize(
    "columns", [["unique_id", "ds", "sold", "price"], ["unique_id", "ds", "y"], ["ds", "y", "2024"], ["ds", "sold"], []]
)
def test_long_tables_with_other_names_are_not_taken_for_wide(columns: list[str]) -> None:
    assert describe_wide([("id", "unique_id"), ("time", "ds"), ("target", "y")], columns) == ""


def test_files_and_frames_that_are_wide_are_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("unique_id,2024-01-01,2024-01-02\na,1,2\n")
    with pytest.raises(SourceError, match=r"unpivot in Polars, melt in pandas$"):
        scan_source(Source(uri=str(tmp_path / "x.csv")), "timestamp")
    wide = pl.DataFrame({"ds": [datetime(2024, 1, 1)], "a": [1.0], "b": [2.0]})
    for frame in (wide, wide.to_pandas(), pd.DataFrame({"ds": [1], "a": [1], "b": [2]})):
        with pytest.raises(SourceError, match=r"each series, such as 'a', .*melt in pandas$"):
            read_frame(frame, **NAMES)
