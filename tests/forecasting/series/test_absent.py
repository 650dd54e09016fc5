"""What an absent row means: unknown, or zero where other series have rows."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.series.absent import AbsentRows, describe_absent, find_sparse
from forecasting.series.ingest import Ingested, ingest
from forecasting.series.regularise import regularise
from forecasting.spec.spec import Spec, make_spec

BEGIN = datetime(2024, 1, 1)


def day(number: int) -> datetime:
    return BEGIN + timedelta(days=number)


def spec_of(path: Path, **source: Any) -> Spec:
    fields = {"name": "x", "freq": "1d", "season_lengths": [7], "horizon": 7}
    return make_spec(fields | {"source": {"uri": str(path)} | source}, subject="x")


def read(path: Path, rows: dict[str, dict[int, Any]], *, cutoff: datetime | None = None, **source: Any) -> Ingested:
    """Ingest rows by series and day."""
    triples = [(name, day(number), value) for name, values in rows.items() for number, value in values.items()]
    ids, times, values = zip(*triples, strict=True)
    pl.DataFrame({"unique_id": ids, "ds": times, "y": [str(each) for each in values]}).write_csv(path)
    return ingest(spec_of(path, **source), cutoff=cutoff)


def values_of(ingested: Ingested, name: str) -> list[float | None]:
    return ingested.features.filter(unique_id=name)["y"].to_list()


def test_absent_row_is_zero_where_another_series_has_one_and_is_not_observed(tmp_path: Path) -> None:
    rows = {"a": dict.fromkeys(range(30), 2), "b": {0: 5, 3: 6}}
    ingested = read(tmp_path / "x.csv", rows, cutoff=day(5), missing_rows="zero")
    assert values_of(ingested, "b") == [5, 0, 0, 6, 0, 0]
    observed = ingested.features.filter(unique_id="b")["is_observed"].to_list()
    assert observed == [True, False, False, True, False, False]
    assert ingested.notes[0].startswith("4 of 12 grid points have no row and are taken as 0")
    assert ingested.observations.height == 8  # a table of what the source has


def test_null_and_refused_measurements_stay_unknown_where_absent_rows_are_zero(tmp_path: Path) -> None:
    rows: dict[str, dict[int, Any]] = {"a": dict.fromkeys(range(6), 2), "b": {0: 5, 1: "", 2: "nan", 3: "many", 5: 1}}
    ingested = read(tmp_path / "x.csv", rows, missing_rows="zero", allow_rejects=1)
    assert values_of(ingested, "b") == [5, None, None, None, 0, 1]
    assert ingested.rejects.height == 2
    # A fleet forecasts from its observations alone, so these keep the places of refused measurements.
    assert ingested.observations.filter(unique_id="b")["y"].to_list() == [5, None, None, None, 1]
    assert (
        read(tmp_path / "x.csv", rows, missing_rows="gap", allow_rejects=1).observations.filter(unique_id="b").height
        == 3
    )


def test_period_without_a_row_of_any_series_stays_unknown(tmp_path: Path) -> None:
    rows = {name: {number: 1 for number in range(60) if number not in (20, 40)} for name in "abc"}
    del rows["b"][30]
    ingested = read(tmp_path / "x.csv", rows, missing_rows="zero")
    assert [number for number, y in enumerate(values_of(ingested, "b")) if y is None] == [20, 40]
    assert values_of(ingested, "b")[30] == 0
    assert "6 more stay unknown, because no series has a row in their periods" in ingested.notes[0]


def test_days_on_which_few_sparse_series_are_all_absent_by_chance_are_zero_and_an_outage_is_not(tmp_path: Path) -> None:
    random = np.random.default_rng(10)
    outage = range(300, 330)
    rows = {
        f"item {item}": {
            number: 10 for number in range(500) if number not in outage and (random.random() < 0.2 or number == 499)
        }
        for item in range(6)
    }
    ingested = read(tmp_path / "x.csv", rows, missing_rows="zero")
    grid = ingested.features.with_columns(number=(pl.col("ds") - BEGIN).dt.total_days())
    unknown = grid.filter(pl.col("y").is_null())["number"].unique().to_list()
    assert set(outage) <= set(unknown)
    assert len(unknown) < len(outage) + 25
    mean = grid.filter(pl.col("y").is_not_null())["y"].mean()
    assert abs(mean - 2) < 0.2  # type: ignore[operator]


def test_zeros_do_not_continue_a_series_that_has_ended(tmp_path: Path) -> None:
    rows = {"a": dict.fromkeys(range(60), 2), "live": {0: 1, 45: 1}, "ended": {0: 1, 44: 1}}
    ingested = read(tmp_path / "x.csv", rows, missing_rows="zero")
    last = dict(ingested.features.group_by("unique_id").agg(pl.col("ds").max()).iter_rows())
    assert last == {"a": day(59), "live": day(59), "ended": day(44)}  # two horizons and two seasons are 14 days


def test_most_of_a_series_being_absent_is_said_once_with_numbers_and_the_option(tmp_path: Path) -> None:
    rows = {"a": dict.fromkeys(range(10), 2), "b": {0: 1, 9: 1}, "half": dict.fromkeys(range(0, 10, 2), 1)}
    (note,) = read(tmp_path / "x.csv", rows).notes
    assert note.startswith("1 of 3 series have no row at about half of their grid points or more, such as 'b' at 8 of")
    assert "--freq" not in note
    assert "--missing-rows zero" in note
    assert 'source.missing_rows = "zero"' in note
    assert values_of(read(tmp_path / "x.csv", rows), "b")[1] is None
    assert read(tmp_path / "x.csv", rows, missing_rows="gap").notes == ()
    del rows["b"]
    assert read(tmp_path / "x.csv", rows).notes == ()


NEXT = {"30m": timedelta(minutes=30), "1d": timedelta(days=1), "1mo": timedelta(days=31), 5: 5}


def describe(grid: pl.DataFrame, rows: pl.DataFrame, freq: Any) -> str | None:
    """Describe absent rows of series that are in blocks of their own."""
    blocks = rows.partition_by("unique_id")
    return describe_absent(find_sparse(grid, rows), grid["unique_id"].n_unique(), blocks, freq=freq)


def fill(grid: pl.DataFrame, rows: pl.DataFrame, freq: Any) -> tuple[pl.DataFrame, AbsentRows]:
    """Fill absent rows of series that are in blocks of their own."""
    absent = AbsentRows(freq)
    blocks = [(block, rows.filter(unique_id=block["unique_id"][0])) for block in grid.partition_by("unique_id")]
    for block in blocks:
        absent.add(*block)
    return pl.concat(absent.fill(*block) for block in blocks), absent


@pytest.mark.parametrize(
    ("freq", "step", "times"),
    [
        ("30m", "1h", [datetime(2024, 1, 1) + timedelta(hours=hour) for hour in range(48)]),
        ("1d", "1w", [day(7 * week) for week in range(9)]),
        ("1mo", "1q", [datetime(2024, month, 1) for month in (1, 4, 7, 10)]),
        (5, 10, list(range(0, 900, 10))),
    ],
)
def test_a_frequency_finer_than_the_rows_is_said_with_that_of_the_rows(freq: Any, step: Any, times: list[Any]) -> None:
    rows = pl.DataFrame({"ds": times, "y": 1.0}).join(pl.DataFrame({"unique_id": list("abc")}), how="cross")
    rows = rows.select("unique_id", "ds", "y").sort("unique_id", "ds")
    grid = regularise(rows.lazy(), freq=freq, until=times[-1], reach=5).collect()
    note = describe(grid, rows, freq)
    assert note is not None
    multiple = {"30m": 2, "1d": 7, "1mo": 3, 5: 2}[freq]
    assert f"the rows of all series lie multiples of {multiple} points apart, so freq (--freq) may be {step};" in note
    one_off = rows.with_columns(ds=pl.when(pl.int_range(pl.len()) == 1).then(pl.col("ds") - NEXT[freq]).otherwise("ds"))
    assert "--freq" not in (describe(grid, one_off, freq) or "--freq")


def test_months_are_filled_on_the_days_of_their_own_grids(tmp_path: Path) -> None:
    ends = [datetime(2024, 1, 31), datetime(2024, 2, 29), datetime(2024, 4, 30), datetime(2024, 5, 31)]
    firsts = [datetime(2024, month, 1) for month in range(1, 7)]
    observations = pl.DataFrame(
        {"unique_id": ["e"] * 4 + ["f"] * 6, "ds": ends + firsts, "y": [1.0] * 10},
        schema_overrides={"ds": pl.Datetime("us")},
    )
    grid = regularise(observations.lazy(), freq="1mo", until=datetime(2024, 6, 1), reach=5).collect()
    filled, _ = fill(grid, observations, "1mo")
    assert filled.filter(unique_id="e").select("ds", "y").rows() == [
        (ends[0], 1),
        (ends[1], 1),
        (datetime(2024, 3, 31), 0),
        (ends[2], 1),
        (ends[3], 1),  # the end of June is after the cutoff
    ]


@given(
    st.dictionaries(
        st.tuples(st.sampled_from("abc"), st.integers(0, 20)), st.one_of(st.none(), st.just(3.0)), min_size=1
    )
)
def test_only_absent_rows_are_filled(rows: dict[tuple[str, int], float | None]) -> None:
    frame = pl.DataFrame(
        [(name, number, y) for (name, number), y in rows.items()],
        schema={"unique_id": pl.String, "ds": pl.Int64, "y": pl.Float64},
        orient="row",
    ).sort("unique_id", "ds")
    grid = regularise(frame.lazy(), freq=1, until=frame["ds"].max(), reach=100).collect()
    filled, absent = fill(grid, frame, 1)
    for name, number, y in filled.select("unique_id", "ds", "y").iter_rows():
        if (name, number) in rows:
            assert y == rows[name, number]
        elif any(other == number for _, other in rows):
            assert y == 0
        else:
            assert y in (None, 0)
    assert absent.num_filled + absent.num_unknown == grid.height - frame.height
    assert filled["is_observed"].to_list() == grid["is_observed"].to_list()
