"""Points that separate thousands, but would be read as decimal points."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from forecasting.errors import SourceError
from forecasting.series.ingest import ingest
from forecasting.series.read import scan_frame
from forecasting.series.thousands import (
    count_spellings,
    describe_points,
    find_points,
    has_text_numbers,
    refuse_thousands,
)
from forecasting.spec.source import Source
from forecasting.spec.spec import make_spec

GERMAN = ["950", "980", "1.050", "999", "1.120", "-870", "1.001"]


def rows_of(file: str = "x.csv", **series: Sequence[str]) -> pl.LazyFrame:
    rows = [(file, row, name, y) for name, texts in series.items() for row, y in enumerate(texts, start=1)]
    schema = {"source_file": pl.String, "source_row": pl.Int64, "unique_id": pl.String, "y": pl.String}
    return pl.LazyFrame(rows, schema=schema, orient="row")


def check(rows: pl.LazyFrame) -> None:
    refuse_thousands(count_spellings(rows).collect(), Source(uri="x.csv"))


def test_thousands_beside_whole_numbers_are_refused_with_both_options() -> None:
    with pytest.raises(SourceError) as raised:
        check(rows_of(a=GERMAN, b=["1.500", "2.250"]))
    assert str(raised.value) == (
        "x.csv, line 4: measurement '1.050' would be read as 1.05, but it may be 1050: series 'a' has whole numbers up"
        " to 999, and no measurement has another number of digits after its point than three; it looks like a file with"
        " decimal commas and thousands points: --csv-decimal ',' --csv-thousands '.' (source.csv in a spec);"
        " --csv-decimal '.' reads points as decimal points"
    )


@pytest.mark.parametrize(
    "texts",
    [
        ["1.234", "2.345", "3.456"],  # three decimals throughout: nothing says that they are thousands
        ["0", "0", "0.412", "1.250", "0"],  # a meter of the sun
        ["4", "4.333", "3.667", "5", "3"],  # ratings, as thirds
        [*GERMAN, "12.5"],
        [*GERMAN, "1250"],
        ["950", "980", "12.50"],
        ["1.234.567", "950", "980"],
        [],
    ],
)
def test_decimal_points_are_not_suspected(texts: list[str]) -> None:
    check(rows_of(a=texts))


def test_another_series_with_decimals_shows_what_points_are() -> None:
    check(rows_of(a=GERMAN, b=["0.5", "1.25"]))
    with pytest.raises(SourceError, match=r"series 'a'"):
        check(rows_of(a=GERMAN, b=["5", "12"]))


def test_declared_signs_are_believed() -> None:
    rows = rows_of(a=GERMAN)
    assert has_text_numbers(rows, Source(uri="x.csv"))
    for dialect in ({"decimal": "."}, {"decimal": ",", "thousands": "."}):
        declared: Any = {"uri": "x.csv", "csv": dialect}
        assert not has_text_numbers(rows, Source.model_validate(declared))
    assert not has_text_numbers(rows.with_columns(y=pl.lit(1.0)), Source(uri="x.csv"))


@pytest.mark.parametrize(
    ("texts", "may_separate"),
    [(GERMAN, True), ([*GERMAN, "12.5"], False), (["950", "12.5"], False), (["950"], False), ([], False)],
)
def test_spellings_are_counted_only_where_points_may_separate_thousands(texts: list[str], may_separate: bool) -> None:
    assert find_points(rows_of(a=texts)).collect().item() is may_separate


def test_run_stops_also_for_a_frame_of_text() -> None:
    days = [datetime(2024, 1, 1) + timedelta(days=day) for day in range(len(GERMAN))]
    source = Source(uri="<frame>")
    rows = scan_frame(pl.DataFrame({"unique_id": "a", "ds": days, "y": GERMAN}), source, "timestamp")
    spec = make_spec({"name": "x", "freq": "1d", "season_lengths": [7], "horizon": 1, "source": source}, subject="x")
    with pytest.raises(SourceError, match=r"^<frame>, row 3: measurement '1\.050' .*cast the column to numbers$"):
        ingest(spec, rows=rows)


def test_points_that_nothing_explains_are_noted_with_both_options() -> None:
    texts = ["1.234", "2.345", "12.456"]
    counted = count_spellings(rows_of(a=texts)).collect()
    assert describe_points(counted, Source(uri="x.csv")) is None  # fields are separated by commas
    noted = describe_points(counted, Source.model_validate({"uri": "x.csv", "csv": {"separator": ";"}}))
    assert noted == (
        "3 measurements with exactly three digits after the point are read as decimal numbers, and no other shows"
        " whether points separate thousands: x.csv, line 2: '1.234' is 1.234, not 1234; if so, it looks like a file"
        " with decimal commas and thousands points: --csv-decimal ',' --csv-thousands '.' (source.csv in a spec);"
        " --csv-decimal '.' confirms decimal points"
    )
    days = [datetime(2024, 1, 1) + timedelta(days=day) for day in range(len(texts))]
    frame = pl.DataFrame({"unique_id": "a", "ds": days, "y": texts})
    source = Source(uri="<frame>")
    spec = make_spec({"name": "x", "freq": "1d", "season_lengths": [7], "horizon": 1, "source": source}, subject="x")
    read = ingest(spec, rows=scan_frame(frame, source, "timestamp"))
    assert any("'1.234' is 1.234, not 1234; cast the column to numbers" in note for note in read.notes)


@pytest.mark.parametrize("texts", [["1.234", "12.5"], ["0.412", "1.250"], ["950", "980"], []])
def test_points_that_are_clear_are_not_noted(texts: list[str]) -> None:
    assert describe_points(count_spellings(rows_of(a=texts)).collect(), Source(uri="x.csv")) is None
