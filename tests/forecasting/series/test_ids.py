"""Names of several columns, and the way back."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.errors import SourceError
from forecasting.series.ids import join_name, split_name, unfold_names
from forecasting.series.read import scan_frame, scan_source
from forecasting.series.reasons import Reason
from forecasting.series.validate import validate
from forecasting.spec.source import Source

VALUES = st.lists(st.text(alphabet="ab/\\ 1", min_size=1).filter(lambda text: text == text.strip()), min_size=2)


@given(VALUES)
def test_values_come_back_from_a_name(values: list[str]) -> None:
    assert split_name(join_name(values)) == values


@given(st.lists(st.tuples(*[st.text(alphabet="ab/\\", min_size=1)] * 2), min_size=1, unique=True))
def test_names_that_are_read_are_joined_and_differ_where_values_do(pairs: list[tuple[str, str]]) -> None:
    stores, items = zip(*pairs, strict=True)
    frame = pl.DataFrame({"store": stores, "item": items, "ds": 1, "y": 1.0})
    rows = scan_frame(frame, Source(uri="x.csv", id=("store", "item")), "step").collect()
    assert rows["unique_id"].to_list() == [join_name(pair) for pair in pairs]
    assert rows["unique_id"].n_unique() == len(pairs)


def test_blanks_are_left_out_of_each_value_and_a_row_without_one_has_no_name(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("store,item,ds,y\n1, milk,1,1\n1,milk ,2,1\n1,,3,1\n ,milk,4,1\n")
    source = Source(uri=str(tmp_path / "x.csv"), id=("store", "item"))
    rows = scan_source(source, "step")
    assert rows.collect()["written_id"].to_list() == ["1/ milk", "1/milk ", None, None]
    validated = validate(rows, freq=1, source=source)
    assert validated.accepted.collect()["unique_id"].unique().to_list() == ["1/milk"]
    assert validated.rejects.select("source_row", "reason").collect().rows() == [(3, Reason.NO_ID), (4, Reason.NO_ID)]


def test_whole_numbers_come_back_as_such_unless_a_value_is_none() -> None:
    dtypes = {"store": pl.Int32(), "item": pl.String()}
    rows = pl.DataFrame({"unique_id": ["10/a\\/b", "2/c", None], "y": [1, 2, 3]})
    unfolded = unfold_names(rows, dtypes)
    assert unfolded.columns == ["unique_id", "store", "item", "y"]
    assert unfolded.select("store", "item").rows() == [(10, "a/b"), (2, "c"), (None, None)]
    assert unfolded.schema["store"] == pl.Int32
    assert unfold_names(pl.DataFrame({"unique_id": ["01/c"]}), dtypes)["store"].to_list() == ["01"]


def test_columns_of_a_name_may_be_keys_of_the_path(tmp_path: Path) -> None:
    (tmp_path / "store=7").mkdir()
    days = [date(2024, 1, 1)]
    pl.DataFrame({"item": ["a"], "ds": days, "y": [1.0]}).write_parquet(tmp_path / "store=7" / "x.parquet")
    source = Source(uri=f"{tmp_path}/", id=("store", "item"))
    assert scan_source(source, "timestamp").collect()["unique_id"].to_list() == ["7/a"]


def test_a_column_that_is_missing_or_has_numbers_with_fractions_is_refused_by_name() -> None:
    frame = pl.DataFrame({"store": [1.5], "item": ["a"], "ds": [1], "y": [1.0]})
    with pytest.raises(SourceError, match="id column 'store' has Float64"):
        scan_frame(frame, Source(uri="x.csv", id=("store", "item")), "step")
