"""Frames of other libraries, as they are read and as results come back."""

from datetime import date, datetime, timedelta
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import pytz

from forecasting.errors import DataWarning, SourceError
from forecasting.series.frames import NativeFrames, read_frame

HOURS = [datetime(2024, 1, 1, hour) for hour in range(4)]
NAMES: dict[str, Any] = {"id": None, "time": "ds", "target": "y"}


def forecasts(ids: pl.Series, times: pl.Series) -> pl.DataFrame:
    """What the pipeline returns, in the dtypes that Polars read."""
    return pl.DataFrame({"unique_id": ids, "ds": times, "cutoff": times, "forecast": [1.0] * len(ids)})


def pandas_frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"unique_id": ["a", "a", "b", "b"], "ds": HOURS, "y": [1.0, None, 3.0, 4.0]} | columns)


def test_a_pandas_gap_is_a_gap_and_other_columns_are_not_read() -> None:
    rows, _ = read_frame(pandas_frame(mixed=[1, "x", None, object()]), **NAMES)
    assert rows.columns == ["unique_id", "ds", "y"]
    assert rows["y"].to_list() == [1.0, None, 3.0, 4.0]


@pytest.mark.parametrize(
    "index",
    [
        lambda frame: frame.set_index("ds"),
        lambda frame: frame.set_index("unique_id"),
        lambda frame: frame.set_index(["unique_id", "ds"]),
        lambda frame: frame.set_index("ds").rename_axis(None),
        lambda frame: frame.set_index(["ds", "unique_id"]).rename_axis([None, "unique_id"]),
        lambda frame: frame.set_index(pd.Index(["w", "x", "y", "z"], name="label")),
    ],
)
def test_index_levels_are_series_and_time(index: Any) -> None:
    rows, frames = read_frame(index(pandas_frame()), **NAMES)
    expected, _ = read_frame(pandas_frame(), **NAMES)
    assert rows.select("unique_id", "ds", "y").equals(expected)
    assert frames.kind == "pandas"


def test_a_pandas_series_with_an_index_of_times_is_one_series() -> None:
    rows, frames = read_frame(pd.Series([1.0, 2.0, 3.0, 4.0], index=pd.DatetimeIndex(HOURS)), **NAMES)
    assert rows["unique_id"].unique().to_list() == ["y"]
    assert rows["ds"].to_list() == HOURS
    assert isinstance(frames.restore(forecasts(rows["unique_id"], rows["ds"])), pd.DataFrame)


@pytest.mark.parametrize(
    ("columns", "id_dtype", "time_dtype"),
    [
        ({}, "object", "datetime64[us]"),
        ({"unique_id": pd.Categorical(["a", "a", "b", "b"])}, "category", "datetime64[us]"),
        ({"unique_id": pd.array(["a", "a", "b", "b"], dtype="string")}, "string", "datetime64[us]"),
        ({"unique_id": pd.array([1, 1, 2, 2], dtype="Int64")}, "Int64", "datetime64[us]"),
        ({"ds": pd.Series(HOURS).astype("datetime64[s]")}, "object", "datetime64[s]"),
        ({"ds": pd.Series(HOURS).astype("datetime64[ns]")}, "object", "datetime64[ns]"),
        ({"ds": pd.Series(HOURS).dt.tz_localize("Europe/Paris")}, "object", "datetime64[us, Europe/Paris]"),
        ({"ds": pd.Series(HOURS).dt.tz_localize("+01:00")}, "object", "datetime64[us, UTC+01:00]"),
        ({"ds": pd.period_range("2024-01", periods=4, freq="M")}, "object", "period[M]"),
    ],
)
def test_pandas_dtypes_of_ids_and_times_come_back(columns: Any, id_dtype: str, time_dtype: str) -> None:
    given = pandas_frame(**columns)
    if time_dtype == "datetime64[us]":
        given["ds"] = given["ds"].astype("datetime64[us]")
    rows, frames = read_frame(given, **NAMES)
    ids = rows["unique_id"] if rows["unique_id"].dtype.is_integer() else rows["unique_id"].cast(pl.String)
    returned = frames.restore(forecasts(ids, rows["ds"]))
    assert str(returned["unique_id"].dtype) == id_dtype
    assert str(returned["ds"].dtype) == str(given["ds"].dtype)
    assert returned["ds"].tolist() == given["ds"].tolist()
    assert returned["cutoff"].dtype == returned["ds"].dtype


def test_python_dates_in_pandas_come_back_as_dates() -> None:
    days = [date(2024, 1, 1) + timedelta(days=day) for day in range(4)]
    rows, frames = read_frame(pandas_frame(ds=pd.Series(days, dtype=object)), **NAMES)
    assert rows.schema["ds"] == pl.Date
    returned = frames.restore(forecasts(rows["unique_id"], rows["ds"]))
    assert returned["ds"].tolist() == days


@pytest.mark.parametrize("dtype", [pl.Categorical(), pl.Enum(["a", "b"])])
def test_polars_categories_come_back(dtype: Any) -> None:
    given = pl.DataFrame({"unique_id": ["a", "b"], "ds": HOURS[:2], "y": [1, 2]}, schema_overrides={"unique_id": dtype})
    rows, frames = read_frame(given, **NAMES)
    returned = frames.restore(forecasts(rows["unique_id"].cast(pl.String), rows["ds"]))
    assert returned.schema["unique_id"] == dtype


def test_arrow_types_come_back_and_a_relation_stays_one() -> None:
    table = pa.table(
        {
            "unique_id": pa.array(["a", "b"], pa.large_string()),
            "ds": pa.array(HOURS[:2], pa.timestamp("s")),
            "y": [1.0, 2.0],
        }
    )
    rows, frames = read_frame(table, **NAMES)
    returned = frames.restore(forecasts(rows["unique_id"], rows["ds"]))
    assert returned.schema.field("ds").type == pa.timestamp("s")
    assert returned.schema.field("unique_id").type == pa.large_string()
    relation = duckdb.from_arrow(table)
    rows, frames = read_frame(relation, **NAMES)
    assert rows["y"].to_list() == [1.0, 2.0]
    returned = frames.restore(forecasts(rows["unique_id"], rows["ds"]))
    assert isinstance(returned, duckdb.DuckDBPyRelation)
    assert returned.columns == ["unique_id", "ds", "cutoff", "forecast"]


def test_columns_keep_their_names() -> None:
    given = pl.DataFrame({"store": ["a"], "day": [HOURS[0]], "sold": [1.0]})
    rows, frames = read_frame(given, id="store", time="day", target="sold")
    paths = forecasts(rows["store"], rows["day"]).with_columns(y=pl.lit(1.0))
    assert frames.restore(paths).columns == ["store", "day", "cutoff", "forecast", "sold"]


@pytest.mark.parametrize(
    ("frame", "options", "problem"),
    [
        ([1, 2, 3], {}, "frame is of type builtins.list; it must be a Polars DataFrame"),
        (None, {}, "frame is of type builtins.NoneType"),
        (pandas_frame(), {"time": "day"}, "lacks its time column 'day'; it has the columns 'unique_id', 'ds', 'y'"),
        (pandas_frame(), {"id": "store", "target": "z"}, "lacks its id column 'store' and its target column 'z'"),
        (
            pd.concat([pandas_frame(), pandas_frame()[["y"]]], axis=1),
            {},
            "has the column 'y' more than once",
        ),
        (pandas_frame(ds=[1, "x", object(), 2.0]), {}, "<frame>: time column 'ds' of dtype object"),
    ],
)
def test_what_cannot_be_read_is_refused(frame: Any, options: Any, problem: str) -> None:
    with pytest.raises(SourceError, match=problem):
        read_frame(frame, **(NAMES | options))


def test_a_category_that_is_new_stays_a_name() -> None:
    given = pandas_frame(unique_id=pd.Categorical(["a", "a", "b", "b"]))
    rows, frames = read_frame(given, **NAMES)
    returned = frames.restore(forecasts(pl.Series(["a", "c"]), rows["ds"].head(2)))
    assert returned["unique_id"].tolist() == ["a", "c"]
    numbers = pandas_frame(unique_id=pd.Categorical([1, 1, 2, 2]))
    rows, frames = read_frame(numbers, **NAMES)
    assert frames.restore(forecasts(pl.Series(["1", "9"]), rows["ds"].head(2)))["unique_id"].tolist() == [1, 9]
    schema = {"unique_id": pl.Enum(["a"])}
    listed = pl.DataFrame({"unique_id": ["a"], "ds": HOURS[:1], "y": [1]}, schema_overrides=schema)
    rows, frames = read_frame(listed, **NAMES)
    assert frames.restore(forecasts(pl.Series(["c"]), rows["ds"]))["unique_id"].to_list() == ["c"]


@pytest.mark.parametrize(("offset", "zone"), [("-05:00", "Etc/GMT+5"), ("+05:30", "Asia/Kolkata")])
def test_a_fixed_offset_keeps_its_wall_clock_and_comes_back(offset: str, zone: str) -> None:
    pandas = pandas_frame(ds=pd.Series(HOURS).dt.tz_localize(offset))
    for given in (pandas, pa.Table.from_pandas(pandas)):
        rows, frames = read_frame(given, **NAMES)
        assert rows.schema["ds"].time_zone == zone
        assert rows["ds"].dt.hour().to_list() == [0, 1, 2, 3]
        returned = frames.restore(forecasts(pl.Series(["a"] * 4), rows["ds"]))
        times = returned["ds"] if isinstance(returned, pd.DataFrame) else returned.to_pandas()["ds"]
        assert str(times[0]) == str(pandas["ds"][0])


def test_an_offset_of_pytz_is_one_as_that_of_the_standard_library_is() -> None:
    given = pandas_frame(ds=pd.Series(HOURS).dt.tz_localize(pytz.FixedOffset(-300)))
    rows, _ = read_frame(given, **NAMES)
    assert rows.schema["ds"].time_zone == "Etc/GMT+5"
    named = pandas_frame(ds=pd.Series(HOURS).dt.tz_localize(pytz.timezone("Europe/Paris")))
    assert read_frame(named, **NAMES)[0].schema["ds"].time_zone == "Europe/Paris"


def test_an_offset_that_no_zone_has_all_year_is_refused() -> None:
    with pytest.raises(SourceError, match=r"'ds' has the time zone .*; it must be an IANA zone"):
        read_frame(pandas_frame(ds=pd.Series(HOURS).dt.tz_localize("-03:30")), **NAMES)


def test_arrow_never_takes_naive_times_for_utc() -> None:
    frames = NativeFrames("pyarrow", time_dtype=pa.timestamp("us", "America/Sao_Paulo"))
    returned = frames.restore(forecasts(pl.Series(["a"]), pl.Series([datetime(2018, 11, 4)])))
    assert returned.schema.field("ds").type == pa.timestamp("us")


def test_what_is_guessed_of_a_frame_without_ids_is_said() -> None:
    with pytest.warns(DataWarning, match="are one series; not read: store; id= names the column"):
        read_frame(pl.DataFrame({"store": ["a", "b"], "ds": HOURS[:2], "y": [1.0, 2.0]}), **NAMES)


def test_a_frame_that_fails_when_it_is_computed_is_refused() -> None:
    with pytest.raises(SourceError, match="<frame> cannot be read"):
        read_frame(pl.scan_parquet("/nowhere/at/all.parquet"), **NAMES)


def test_a_frame_without_ids_whose_times_repeat_is_refused() -> None:
    rows = pl.DataFrame({"store": ["a", "a", "b", "b"], "ds": HOURS[:2] * 2, "y": [1.0] * 4})
    with pytest.raises(SourceError, match="4 of its 4 rows share their 'ds' with another row; id= names the column"):
        read_frame(rows, **NAMES)


def test_names_that_results_need_are_refused() -> None:
    with pytest.raises(SourceError, match="id = 'model' and target = 'forecast'"):
        NativeFrames(id="model", target="forecast").refuse_names(["model", "forecast"])


def test_index_levels_of_one_name_are_refused() -> None:
    index = pd.MultiIndex.from_arrays([["a", "a", "b", "b"], HOURS], names=["ds", "ds"])
    with pytest.raises(SourceError, match=r"<frame> cannot be read: .*ds occurs multiple times"):
        read_frame(pd.Series([1.0, 2.0, 3.0, 4.0], index=index), **NAMES)
