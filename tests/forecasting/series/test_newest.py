"""Of rows with the same series and time, the newest one is kept on request."""

import math
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import forecasting as fc
from forecasting.errors import SourceError, SpecError
from forecasting.series.ingest import Ingested, ingest
from forecasting.series.read import scan_frame
from forecasting.series.reasons import Reason
from forecasting.spec.source import Source
from forecasting.spec.spec import make_spec

BEGIN = datetime(2024, 1, 1)
HEADER = "unique_id,ds,y,version\n"


def read(uri: Path | str, **source: Any) -> Ingested:
    fields = {"name": "x", "freq": "1d", "season_lengths": [7], "horizon": 2}
    return ingest(make_spec(fields | {"source": {"uri": str(uri)} | source}, subject="x"))


def rows(*lines: str) -> str:
    return HEADER + "".join(f"a,2024-01-{line}\n" for line in lines)


def values(ingested: Ingested) -> list[float | None]:
    return ingested.observations["y"].to_list()


def test_a_later_file_and_a_later_row_correct_earlier_ones(tmp_path: Path) -> None:
    (tmp_path / "2.csv").write_text(rows("02,20,", "03,30,"))
    (tmp_path / "1.csv").write_text(rows("01,1,", "02,2,", "03,3,", "01,10,"))
    ingested = read(tmp_path / "*.csv", duplicates="last")
    assert values(ingested) == [10, 20, 30]
    assert ingested.rejects["y"].to_list() == ["1", "2", "3"]
    assert set(ingested.rejects["reason"]) == {Reason.REPLACED}
    kept = read(tmp_path / "*.csv", allow_rejects=1)
    assert values(kept) == [1, 2, 3]
    assert all("--duplicates last" in reason for reason in kept.rejects["reason"])


def test_row_without_a_measurement_and_a_refused_one_correct_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(rows("01,1,", "01,,", "01,nan,", "02,2,"))
    ingested = read(tmp_path / "x.csv", duplicates="last")
    assert values(ingested) == [1, 2]
    assert ingested.rejects["reason"].to_list() == [Reason.NO_MEASUREMENT, Reason.NAN]


@pytest.mark.parametrize(
    "versions",
    [
        ("9", "10", "2"),
        ("2024-03-01", "2024-03-01T00:00:01Z", "2024-02-29 23:00"),
        ("0", "1", ""),
    ],
)
def test_a_column_says_which_row_is_newer(tmp_path: Path, versions: tuple[str, str, str]) -> None:
    (tmp_path / "x.csv").write_text(rows(*(f"01,{y},{version}" for y, version in enumerate(versions)), "02,5,"))
    assert values(read(tmp_path / "x.csv", duplicates="last", newer="version")) == [1, 5]
    assert values(read(tmp_path / "x.csv", duplicates="last")) == [2, 5]


@pytest.mark.parametrize("versions", [[1, 3, 2], [0.1, 0.3, 0.2], [date(2024, 1, day) for day in (1, 3, 2)]])
def test_ages_of_files_of_different_dtypes_are_compared(tmp_path: Path, versions: list[Any]) -> None:
    times = [BEGIN, BEGIN, BEGIN]
    frame = pl.DataFrame({"unique_id": ["a"] * 3, "ds": times, "y": [1, 2, 3], "version": versions})
    frame.head(2).write_parquet(tmp_path / "1.parquet")
    frame.tail(1).with_columns(pl.col("version").cast(pl.String)).write_parquet(tmp_path / "2.parquet")
    assert values(read(tmp_path / "*.parquet", duplicates="last", newer="version")) == [2]


def test_an_age_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(rows("01,1,final", "01,2,draft"))
    with pytest.raises(
        SourceError, match=r"x.csv, line [23]: column 'version'.*source.newer.*needs a number or an ISO"
    ):
        read(tmp_path / "x.csv", duplicates="last", newer="version")
    with pytest.raises(SourceError, match="lacks its newer column 'revision'"):
        read(tmp_path / "x.csv", duplicates="last", newer="revision")
    with pytest.raises(SpecError, match=r'source.newer.*needs duplicates = "last"'):
        read(tmp_path / "x.csv", newer="version")


def test_a_frame_and_a_fleet_keep_the_newest_row() -> None:
    frame = pl.DataFrame(
        {
            "ds": [BEGIN + timedelta(days=day) for day in (*range(30), 29)],
            "y": [*(float(day % 7) for day in range(30)), 99.0],
            "version": [*range(30), 0],
        }
    ).with_columns(unique_id=pl.lit("a"))
    options: dict[str, Any] = {"freq": "1d", "season_lengths": 7, "horizon": 2, "recipe": "fast", "progress": False}
    options |= {"models": ["gru"], "overrides": {"max_steps": 2}, "source": {"duplicates": "last", "newer": "version"}}
    fleet = fc.fit(frame, **options)
    assert fleet.rejects["y"].to_list() == ["99.0"]
    older = frame.head(2).with_columns(y=pl.Series([7.0, 8.0]), ds=BEGIN + timedelta(days=30))
    assert fleet.predict(older.with_columns(version=pl.Series([5, 4]))).rejects["y"].to_list() == ["8.0"]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 9)), min_size=1))
def test_the_last_of_all_rows_is_kept(triples: list[tuple[str, int, int]]) -> None:
    frame = pl.DataFrame(triples, schema={"unique_id": pl.String, "ds": pl.Int64, "y": pl.Int64}, orient="row")
    source = Source(uri="x.parquet", duplicates="last")
    fields = {"name": "x", "freq": 1, "season_lengths": [1], "horizon": 2, "source": source}
    ingested = ingest(make_spec(fields, subject="x"), rows=scan_frame(frame, source, "step"))
    expected = {(name, step): y for name, step, y in triples}
    assert {
        (name, step): y for name, step, y in ingested.observations.select("unique_id", "ds", "y").rows()
    } == expected
    assert ingested.observations.height + ingested.rejects.height == len(triples)


def test_the_repeated_hour_of_autumn_is_read_in_the_order_of_the_file(tmp_path: Path) -> None:
    hours = [f"a,2023-10-29 {hour} Europe/Berlin,{y},{y}\n" for hour, y in (("01:00", 25), ("02:00", 26))]
    hours += [f"a,2023-10-29 {hour} Europe/Berlin,{y},{y}\n" for hour, y in (("02:00", 27), ("03:00", 28))]
    (tmp_path / "x.csv").write_text(HEADER + "".join(hours))
    for options in ({}, {"duplicates": "last"}, {"duplicates": "last", "newer": "version"}):
        assert values(read_hourly(tmp_path / "x.csv", **options)) == [25, 26, 27, 28]


def read_hourly(uri: Path, **source: Any) -> Ingested:
    fields = {"name": "x", "freq": "1h", "season_lengths": [24], "horizon": 2}
    return ingest(make_spec(fields | {"source": {"uri": str(uri)} | source}, subject="x"))


LARGE = 1_700_000_000_000_000_000


@pytest.mark.parametrize(
    "ages",
    [
        pl.Series([LARGE + 100, LARGE + 1]),
        pl.Series([str(LARGE + 100), str(LARGE + 1)]),
        pl.Series([2**64 - 1, 2**64 - 2], dtype=pl.UInt64),
        pl.Series([1.0, math.nan]),
        pl.Series(["1.0", "nan"]),
        pl.Series([-math.inf, None]),
        pl.Series([timedelta(days=2), timedelta(days=1)]),
        pl.Series([LARGE + 2, LARGE + 1]).cast(pl.Datetime("ns")),
        pl.Series(["10", "9"], dtype=pl.Categorical),
    ],
)
def test_ages_are_compared_exactly_and_nan_is_blank(tmp_path: Path, ages: pl.Series) -> None:
    frame = pl.DataFrame({"unique_id": "a", "ds": BEGIN, "y": [1, 2], "version": ages})
    frame.write_parquet(tmp_path / "x.parquet")
    assert values(read(tmp_path / "x.parquet", duplicates="last", newer="version")) == [1]


def test_ages_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(rows("01,1,2024-01-01", "01,2,7"))
    with pytest.raises(SourceError, match=r"'version'.*numbers, such as '7' \(.*line 3\), and times, such as '2024-01"):
        read(tmp_path / "x.csv", duplicates="last", newer="version")
    frame = pl.DataFrame({"unique_id": "a", "ds": BEGIN, "y": [1, 2], "version": [True, False]})
    frame.write_parquet(tmp_path / "x.parquet")
    with pytest.raises(SourceError, match=r"newer column 'version'.*has Boolean but needs numbers or times"):
        read(tmp_path / "x.parquet", duplicates="last", newer="version")
