"""Forecasts come back in the types of the input."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forecasting.errors import SpecError
from forecasting.series.clock import parse_clock
from forecasting.series.inputs import Input
from forecasting.series.native import NativeTypes
from forecasting.series.native import native_types as types_of_input
from forecasting.spec.spec import Spec, make_spec


def spec_of(path: Path | str, *, freq: str | int = "1h", more: tuple[str, ...] = ()) -> Spec:
    fields = {"name": "a", "source": {"uri": [str(path), *more]}, "freq": freq, "season_lengths": [2], "horizon": 1}
    return make_spec(fields, subject="the test's spec")


def native_types(spec: Spec) -> NativeTypes:
    return types_of_input(Input(spec.source), spec.clock, spec.freq)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(ds: pl.Series, unique_id: pl.Series, name: str = "in.parquet") -> Path:
        rows = pl.DataFrame({"unique_id": unique_id, "ds": ds, "y": [1.0] * len(ds)})
        rows.write_csv(tmp_path / name) if name.endswith(".csv") else rows.write_parquet(tmp_path / name)
        return tmp_path / name

    return write


HOURS = pl.Series([datetime(2024, 7, 1, hour) for hour in range(2)])
IDS = pl.Series(["a", "a"])


@pytest.mark.parametrize(
    ("ds", "freq"),
    [
        (HOURS.cast(pl.Datetime("ms")), "1h"),
        (HOURS.cast(pl.Datetime("ns")), "1h"),
        (HOURS.dt.replace_time_zone("Europe/Paris"), "1h"),
        (HOURS.cast(pl.Datetime("ms")).dt.replace_time_zone("UTC"), "1h"),
        (pl.Series([date(2024, 1, 1), date(2024, 1, 2)]), "1d"),
        (pl.Series([1, 2], dtype=pl.Int32), 1),
        (pl.Series([1, 2], dtype=pl.UInt64), 1),
    ],
)
def test_times_come_back_in_their_own_type(write: Callable[..., Path], ds: pl.Series, freq: str | int) -> None:
    types = native_types(spec_of(write(ds, IDS), freq=freq))
    if isinstance(ds.dtype, pl.Datetime) and ds.dtype.time_zone:
        inside = ds.dt.convert_time_zone("UTC").dt.replace_time_zone(None).cast(pl.Datetime("us"))
    else:
        inside = ds.cast(pl.Int64 if isinstance(freq, int) else pl.Datetime("us"))
    assert types.restore_time(inside).equals(ds, check_dtypes=True)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pl.Series([10, 9], dtype=pl.Int16), pl.Int16()),
        (pl.Series([2**63, 1], dtype=pl.UInt64), pl.UInt64()),
        (pl.Series(["10", "9"]), pl.String()),
        (pl.Series(["10", "9"], dtype=pl.Categorical), pl.String()),
    ],
)
def test_integer_names_stay_integers(write: Callable[..., Path], ids: pl.Series, expected: pl.DataType) -> None:
    types = native_types(spec_of(write(HOURS, ids)))
    inside = pl.DataFrame({"unique_id": ids.cast(pl.String), "ds": HOURS, "cutoff": HOURS})
    restored = types.restore(inside)["unique_id"]
    assert restored.dtype == expected
    assert restored.cast(pl.String).to_list() == ids.cast(pl.String).to_list()


def test_csv_gives_text_names_and_naive_times(write: Callable[..., Path]) -> None:
    types = native_types(spec_of(write(HOURS, pl.Series([1, 2]), "in.csv")))
    assert types == NativeTypes(pl.String(), pl.Datetime("us"))
    steps = native_types(spec_of(write(pl.Series([1, 2]), pl.Series([1, 2]), "in.csv"), freq=1))
    assert steps == NativeTypes(pl.String(), pl.Int64())


@pytest.mark.parametrize(
    ("times", "zone"),
    [
        (["2024-07-01T00:00:00+02:00", "2024-07-01T01:00:00+02:00"], "Etc/GMT-2"),
        (["2024-07-01 00:00:00 UTC", "2024-07-01 01:00:00 UTC"], "UTC"),
        (["2024-07-01 00:00Z", "2024-07-01 01:00Z"], "UTC"),
        (["2024-07-01 00:00+0530", "2024-07-01 01:00+0530"], "Asia/Kolkata"),
        (["2024-03-31 01:00+01:00", "2024-03-31 03:00+02:00"], "Etc/GMT-2"),
        (["2024-07-01 00:00 Europe/Paris", "2024-07-01 01:00 Europe/Paris"], "Europe/Paris"),
    ],
)
def test_texts_come_back_at_the_offset_of_their_newest_row(
    write: Callable[..., Path], times: list[str], zone: str
) -> None:
    types = native_types(spec_of(write(pl.Series(times), IDS, "in.csv")))
    assert types == NativeTypes(pl.String(), pl.Datetime("us", zone))


def test_days_with_several_offsets_come_back_without_one(write: Callable[..., Path]) -> None:
    times = pl.Series(["2024-03-31T00:00:00+01:00", "2024-04-01T00:00:00+02:00"])
    assert native_types(spec_of(write(times, IDS, "in.csv"), freq="1d")).zone is None
    times = pl.Series(["2024-04-01T00:00:00+02:00", "2024-04-02T00:00:00+02:00"])
    assert native_types(spec_of(write(times, IDS, "in.csv"), freq="1d")).zone == "Etc/GMT-2"


def test_horizon_that_leaves_a_narrow_type_stays_wide() -> None:
    types = NativeTypes(pl.String(), pl.Int8())
    assert types.restore_time(pl.Series([126, 127])).dtype == pl.Int8()
    assert types.restore_time(pl.Series([127, 128])).to_list() == [127, 128]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-07-01T12:00", datetime(2024, 7, 1, 10)),
        ("2024-01-01T12:00", datetime(2024, 1, 1, 11)),
        ("2024-07-01T12:00+00:00", datetime(2024, 7, 1, 12)),
        ("2024-07-01T12:00-05:00", datetime(2024, 7, 1, 17)),
    ],
)
def test_cutoff_without_offset_is_on_the_wall_clock_of_the_inputs_zone(text: str, expected: Any) -> None:
    types = NativeTypes(pl.String(), pl.Datetime("us", "Europe/Paris"))
    assert types.parse_cutoff(text, "timestamp") == expected


@pytest.mark.parametrize("text", ["2024-01-01T05:00:00-05:00", "2024-01-10T00:00:00+05:00", "2024-01-10T00:00:00Z"])
@pytest.mark.parametrize("is_daily", [True, False])
def test_cutoff_with_an_offset_is_refused_where_times_have_none(text: str, is_daily: bool) -> None:
    types = NativeTypes(pl.String(), pl.Datetime("us"), keeps_wall_clock=is_daily)
    with pytest.raises(SpecError, match=r"--cutoff: '2024.* has an offset, but .*none.*--timezone \(source.timezone\)"):
        types.parse_cutoff(text, "timestamp")
    assert types.parse_cutoff(text, "timestamp", zone=UTC) == parse_clock(text, "timestamp")
    assert types.parse_cutoff("2024-01-01T05:00", "timestamp") == datetime(2024, 1, 1, 5)


def test_cutoff_that_cannot_be_read_is_refused_by_its_option() -> None:
    with pytest.raises(SpecError, match="--cutoff: 'soon' must be an ISO 8601 time"):
        NativeTypes(pl.String(), pl.Datetime("us", "Europe/Paris")).parse_cutoff("soon", "timestamp")
    with pytest.raises(SpecError, match="--cutoff: '2024-01-01' must be an integer such as 960"):
        NativeTypes(pl.String(), pl.Int32()).parse_cutoff("2024-01-01", "step")


def test_clock_change_keeps_hours_apart() -> None:
    types = NativeTypes(pl.String(), pl.Datetime("us", "Europe/Paris"))
    first = datetime(2024, 10, 27, 0)
    restored = types.restore_time(pl.Series([first + timedelta(hours=hour) for hour in range(3)]))
    assert restored.dt.hour().to_list() == [2, 2, 3]


def test_days_keep_their_zones_midnights_through_clock_changes() -> None:
    types = NativeTypes(pl.String(), pl.Datetime("ms", "Europe/Paris"), keeps_wall_clock=True)
    midnights = pl.Series([datetime(2024, 3, 30), datetime(2024, 3, 31), datetime(2024, 4, 1)], dtype=pl.Datetime("us"))
    restored = types.restore_time(midnights)
    assert restored.dtype == pl.Datetime("ms", "Europe/Paris")
    assert restored.dt.hour().to_list() == [0, 0, 0]
    assert types.parse_cutoff("2024-04-01", "timestamp") == datetime(2024, 4, 1)


def test_midnight_that_a_clock_change_leaves_out_keeps_the_column_naive() -> None:
    types = NativeTypes(pl.String(), pl.Datetime("us", "America/Sao_Paulo"), keeps_wall_clock=True)
    missing = pl.Series([datetime(2018, 11, 3), datetime(2018, 11, 4)], dtype=pl.Datetime("us"))
    assert types.restore_time(missing).to_list() == missing.to_list()


def test_times_of_one_table_are_all_naive_if_a_clock_change_leaves_one_out() -> None:
    types = NativeTypes(pl.String(), pl.Datetime("us", "America/Sao_Paulo"), keeps_wall_clock=True)
    days = pl.Series([datetime(2018, 11, day) for day in (3, 4, 5)], dtype=pl.Datetime("us"))
    rows = pl.DataFrame({"unique_id": "a", "ds": days, "cutoff": datetime(2018, 11, 2)})
    assert types.restore(rows).equals(rows)
    later = types.restore(rows.filter(pl.col("ds") != datetime(2018, 11, 4)))
    assert later.schema["ds"] == later.schema["cutoff"] == pl.Datetime("us", "America/Sao_Paulo")
