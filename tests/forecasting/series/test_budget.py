"""When refused rows stop a run, which series they set aside, and that every row of a source is accounted for."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.errors import SourceError, SpecError
from forecasting.series.budget import RowCounts, mark_unserved
from forecasting.series.ingest import Ingested, ingest
from forecasting.series.read import scan_frame
from forecasting.series.reasons import Reason
from forecasting.spec.spec import make_spec

BEGIN = datetime(2024, 1, 1)
NOW = datetime(2025, 1, 1)
Rows = Sequence[tuple[Any, Any, Any]]


def at(hour: int) -> str:
    return (BEGIN + timedelta(hours=hour)).isoformat(" ")


def series(name: str, num_rows: int = 100) -> list[tuple[Any, Any, Any]]:
    return [(name, at(hour), str(hour)) for hour in range(num_rows)]


def fleet(num_series: int, num_rows: int = 100) -> list[tuple[Any, Any, Any]]:
    return [row for number in range(num_series) for row in series(f"s{number:02}", num_rows)]


def read(
    rows: Rows, *, cutoff: datetime | None = None, is_settled: bool = False, freq: str = "1h", **source: Any
) -> Ingested:
    frame = pl.DataFrame(rows, schema=dict.fromkeys(("unique_id", "ds", "y"), pl.String), orient="row")
    fields = {"name": "x", "freq": freq, "season_lengths": [3], "horizon": 2}
    spec = make_spec(fields | {"source": {"uri": "x.csv"} | source}, subject="x")
    rows_of_source = scan_frame(frame, spec.source, "timestamp")
    return ingest(spec, rows=rows_of_source, cutoff=cutoff, is_settled=is_settled, now=NOW)


def spoil(rows: list[tuple[Any, Any, Any]], places: Sequence[int], y: str = "many") -> list[tuple[Any, Any, Any]]:
    return [(name, time, y if place in places else value) for place, (name, time, value) in enumerate(rows)]


def test_more_than_one_percent_of_the_rows_stops_the_run_with_kinds_examples_and_the_option() -> None:
    rows = [*spoil(fleet(10), range(50, 60)), ("s01", "31/12/2023", "7")]
    with pytest.raises(SourceError) as stopped:
        read(rows)
    first, *rest = str(stopped.value).splitlines()
    assert first == (
        "source x.csv: 11 of 1,001 rows are refused (1.1 %), in 2 of 10 series; more than 1 % of the rows or of the"
        " series stop a run"
    )
    assert rest == [
        f"  10 × {Reason.NOT_A_NUMBER}",
        f"  1 × {Reason.BAD_TIME}",
        "  for example:",
        f"    x.csv, line 52: s00, {at(50)}, many ({Reason.NOT_A_NUMBER})",
        f"    x.csv, line 1002: s01, 31/12/2023, 7 ({Reason.BAD_TIME})",
        f"    x.csv, line 53: s00, {at(51)}, many ({Reason.NOT_A_NUMBER})",
        "  'many' is the measurement of 10 refused rows: --csv-null many (source.csv.null) reads it as a gap",
        "  --allow-rejects 0.011 (source.allow_rejects) goes on with the other rows",
    ]
    assert stopped.value.exit_code == 2
    assert read(rows, allow_rejects=0.011).counts == RowCounts(
        1001, 990, 0, {Reason.NOT_A_NUMBER.value: 10, Reason.BAD_TIME.value: 1}
    )


def test_ten_refused_rows_never_stop_a_run() -> None:
    rows = spoil([*series("a", 20), *series("b", 30)], range(5, 15))
    ingested = read(rows)
    assert list(ingested.set_aside) == ["a"]
    assert ingested.features["unique_id"].unique().to_list() == ["b"]


def test_rows_of_more_than_one_percent_of_the_series_stop_the_run() -> None:
    rows = fleet(11, 200)
    with pytest.raises(SourceError, match=r"11 of 2,200 rows are refused \(0\.5 %\), in 11 of 11 series"):
        read(spoil(rows, range(50, 2200, 200)))
    assert read(spoil(rows, range(50, 2000, 200))).set_aside == {}


def test_series_that_lost_more_than_five_percent_of_its_rows_is_set_aside_and_the_others_go_on() -> None:
    ingested = read(spoil(fleet(10), [10, 11, 12, 13, 14, 15, 110, 111, 112, 113]))
    assert list(ingested.set_aside) == ["s00"]
    assert ingested.set_aside["s00"].startswith(
        "set aside: 6 of its 100 rows are refused (6 %, more than 5 %), such as 'many': y is not a number; --csv-null"
    )
    assert "s00" in ingested.unique_ids
    assert ingested.observations.filter(unique_id="s00").height == 94
    assert sorted(ingested.features["unique_id"].unique()) == [f"s{number:02}" for number in range(1, 10)]
    assert read(spoil(fleet(10), range(10, 16)), allow_rejects=0.06).set_aside == {}


@pytest.mark.parametrize("time", [at(99), at(100)[:-5] + "30:00"])
def test_series_that_lost_its_newest_row_is_set_aside(time: str) -> None:
    rows = [row for row in fleet(2) if row[:2] != ("s00", at(99))]
    value = "many" if time == at(99) else "1"
    ingested = read([*rows, ("s00", time, value)])
    assert list(ingested.set_aside) == ["s00"]
    why = f"'many': {Reason.NOT_A_NUMBER}" if value == "many" else f"{Reason.OFF_GRID}"
    assert f"its newest row, {time}, is refused: {why}" in ingested.set_aside["s00"]
    assert read([*rows, ("s00", time, value)], allow_rejects=1).set_aside == {}


@pytest.mark.parametrize(
    "row",
    [
        ("s00", "2203-11-01 00:00:00", "1"),
        ("s00", "9999-12-31 00:00:00", "1"),
        ("s00", "1900-01-01 00:00:00", "1"),
        ("s00", "tomorrow", "1"),
        ("s00", at(99), "99"),
        ("s00", at(99), "7"),
        ("s00", at(100), "NaN"),
        ("s00", at(100), ""),
        ("s00", at(99), ""),
        (None, at(100), "1"),
    ],
)
def test_impossible_dates_repeats_and_unknown_values_are_not_the_newest_row(row: tuple[Any, Any, Any]) -> None:
    ingested = read([*fleet(2), row])
    assert ingested.set_aside == {}
    assert ingested.features.filter(unique_id="s00", is_observed=True)["ds"].max() == BEGIN + timedelta(hours=99)


@pytest.mark.parametrize(("y", "unknown"), [("", 0), ("NaN", 20)])
def test_repeats_rows_after_the_cutoff_and_unknown_values_are_not_refusals(y: str, unknown: int) -> None:
    rows = [*fleet(3), *series("s00"), *[("s01", at(200 + hour), "bad") for hour in range(50)]]
    ingested = read(spoil(rows, range(150, 170), y), cutoff=BEGIN + timedelta(hours=99))
    counts = ingested.counts
    assert ingested.set_aside == {}
    assert counts is not None
    assert (counts.refused, counts.repeats, counts.unknown, counts.after_cutoff) == (0, 100, unknown, 50)


def test_set_aside_series_with_the_newest_measurement_does_not_make_the_cutoff_too_late() -> None:
    rows = [*fleet(2, 50), *spoil(series("late", 100), range(10, 20))]
    last = BEGIN + timedelta(hours=99)
    for cutoff in (None, last):
        ingested = read(rows, cutoff=cutoff)
        assert list(ingested.set_aside) == ["late"]
        assert ingested.cutoff == last
    with pytest.raises(SpecError, match="lies after the newest finished period that is measured, 2024"):
        read(rows, cutoff=last + timedelta(hours=1))


def test_run_of_set_aside_series_alone_is_refused() -> None:
    with pytest.raises(SourceError, match=r"no series left to forecast; 'a' is set aside: its newest row"):
        read(spoil(series("a"), [99]))


def test_only_the_serving_model_of_a_series_that_is_set_aside_has_its_reason() -> None:
    rows = pl.DataFrame(
        {"unique_id": ["a", "a", "b"], "is_champion": [True, False, True], "reason": ["empty", None, None]}
    )
    assert mark_unserved(rows, {"a": "set aside"})["reason"].to_list() == ["set aside", None, None]


def test_counts_are_one_line() -> None:
    refused = {Reason.OFF_GRID.value: 2, Reason.REPEATED.value: 3, Reason.NAN.value: 4}
    expected = "1,015 rows read, 1,000 used, 3 repeated, 4 NaN, 6 after the cutoff, 2 refused"
    assert str(RowCounts(1015, 1000, 6, refused)) == expected
    assert str(RowCounts(5, 5, 0)) == "5 rows read, 5 used"


awkward = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "", None, " "]),
        st.one_of(
            st.sampled_from([None, "", "soon", "2203-11-01", "1900-01-01", "9999-12-31", at(3)[:-5] + "30:00"]),
            st.integers(0, 30).map(at),
            st.integers(0, 30).map(at),
        ),
        st.sampled_from([None, "", "x", "NaN", "inf", "0", "1.0", "2"]),
    ),
    max_size=40,
)


@given(
    rows=awkward,
    hour=st.one_of(st.none(), st.integers(0, 30)),
    freq=st.sampled_from(["1h", "1d", "1mo"]),
    source=st.sampled_from(
        [{}, {"missing_rows": "zero"}, {"aggregate": "sum"}, {"duplicates": "last"}, {"label": "end"}]
    ),
)
def test_every_row_of_a_source_is_accounted_for(
    rows: list[Any], hour: int | None, freq: str, source: dict[str, Any]
) -> None:
    cutoff = None if hour is None else BEGIN + timedelta(hours=hour)
    rows = [*series("good", 3), *rows]
    try:
        ingested = read(rows, cutoff=cutoff, is_settled=True, freq=freq, allow_rejects=1, **source)
    except SourceError as refused:  # too many rows share a period, or nothing is left at or before the cutoff
        if re.search(r"share their period|no accepted observation|names no series", str(refused)):
            return
        raise
    counts = ingested.counts
    assert counts is not None
    assert counts.read == len(rows)
    assert counts.read == counts.used + counts.after_cutoff + sum(counts.not_used.values())
    assert counts.read == counts.used + counts.after_cutoff + counts.repeats + counts.unknown + counts.refused
    assert sum(counts.not_used.values()) == ingested.rejects.height
    if not source or source == {"duplicates": "last"}:
        assert counts.used == ingested.observations.height


def test_rows_of_several_files_are_counted(tmp_path: Path) -> None:
    header = "unique_id,ds,y\n"
    lines = [f"{','.join(row)}\n" for row in fleet(3)]
    (tmp_path / "a.csv").write_text(header + "".join(lines[:150]))
    (tmp_path / "b.csv").write_text(header + "".join(lines[100:]) + f"s01,{at(500)},many\n")
    fields = {"name": "x", "freq": "1h", "season_lengths": [3], "horizon": 2, "source": {"uri": str(tmp_path) + "/"}}
    counts = ingest(make_spec(fields, subject="x"), cutoff=BEGIN + timedelta(hours=90)).counts
    assert counts == RowCounts(351, 273, 28, {Reason.REPEATED.value: 50})


def test_row_whose_period_ends_after_the_cutoff_is_counted_as_after_it() -> None:
    rows = [("a", time, "1") for time in ("2023-10-31", "2023-11-30", "2023-12-31", "2024-01-15")]
    counts = read(rows, cutoff=datetime(2024, 1, 20), freq="1mo").counts
    assert counts == RowCounts(4, 3, 1)


@pytest.mark.parametrize("allowed", [0.5, 1])
def test_series_whose_rows_are_all_refused_has_that_for_its_reason(tmp_path: Path, allowed: float) -> None:
    days = [datetime(2024, 1, 1) + timedelta(days=day) for day in range(30)]
    rows = [f"good,{day.date()},{day.day}" for day in days] + [f"bad,{day.date()},closed" for day in days[:5]]
    (tmp_path / "x.csv").write_text("\n".join(["unique_id,ds,y", *rows]))
    source = {"uri": str(tmp_path / "x.csv"), "allow_rejects": allowed}
    spec = make_spec({"name": "x", "freq": "1d", "season_lengths": [7], "horizon": 2, "source": source}, subject="x")
    reason = ingest(spec).set_aside["bad"]
    assert reason.startswith(
        "set aside: 5 of its 5 rows are refused, and none is a measurement, such as 'closed': y is not a number"
    )
