"""Panels of series with a zone are on its wall clock: repeated hours are one point, skipped ones a gap."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from forecasting.evaluate.metrics import seasonal_scale
from forecasting.series.calendar import add_calendar
from forecasting.series.ingest import ingest, panel_of
from forecasting.series.local_grid import number_points, to_instants, to_local_grid
from forecasting.series.panel import Panel
from forecasting.spec.ignore import Period
from forecasting.spec.spec import Spec, make_spec

SPRING, AUTUMN = datetime(2024, 3, 30, 22), datetime(2024, 10, 26, 21)
"""Instants a few hours before the clocks of Berlin change."""


def features(begin: datetime, num: int, **y: list[float]) -> pl.DataFrame:
    names = y or {"a": [float(step) for step in range(num)]}
    parts = [
        pl.DataFrame({"unique_id": name, "ds": [begin + timedelta(hours=step) for step in range(num)], "y": values})
        for name, values in names.items()
    ]
    return pl.concat(parts)


def spec_of(rows: pl.DataFrame, tmp_path, **more: object) -> Spec:  # type: ignore[no-untyped-def]
    rows.write_parquet(tmp_path / "in.parquet")
    fields = {"name": "a", "source": {"uri": str(tmp_path / "in.parquet")}, "freq": "1h", "season_lengths": [24]}
    return make_spec({**fields, "horizon": 24, **more}, subject="the test's spec")


def panel_in(spec: Spec) -> Panel:
    read = ingest(spec)
    return panel_of(read.features, spec, read.unique_ids, run_cutoff=read.cutoff)


def test_skipped_hour_is_a_gap_and_no_measurement_moves() -> None:
    local = to_local_grid(features(SPRING, 5), zone="Europe/Berlin", freq="1h")
    assert local["ds"].dt.strftime("%d %H").to_list() == ["30 23", "31 00", "31 01", "31 02", "31 03", "31 04"]
    assert local["y"].to_list() == [0, 1, 2, None, 3, 4]


def test_repeated_hour_is_one_point_with_the_mean_of_its_measurements() -> None:
    local = to_local_grid(features(AUTUMN, 6), zone="Europe/Berlin", freq="1h")
    assert local["ds"].dt.hour().to_list() == [23, 0, 1, 2, 3]
    assert local["y"].to_list() == [0, 1, 2, 3.5, 5]
    with_gap = features(AUTUMN, 6).with_columns(y=pl.when(pl.col("y") != 4).then("y"))
    assert to_local_grid(with_gap, zone="Europe/Berlin", freq="1h")["y"].to_list() == [0, 1, 2, 3, 5]


def test_change_of_half_an_hour_repeats_one_point_of_half_an_hour() -> None:
    half = [datetime(2024, 4, 6, 14) + timedelta(minutes=30 * step) for step in range(4)]
    rows = pl.DataFrame({"unique_id": "a", "ds": half, "y": [0.0, 1.0, 2.0, 3.0]})
    local = to_local_grid(rows, zone="Australia/Lord_Howe", freq="30m")
    assert local["ds"].dt.strftime("%H:%M").to_list() == ["01:00", "01:30", "02:00"]
    assert local["y"].to_list() == [0, 1.5, 3]


@pytest.mark.parametrize("begin", [SPRING, AUTUMN])
def test_steps_longer_than_the_change_keep_their_number(begin: datetime) -> None:
    ds = [begin + timedelta(hours=6 * step) for step in range(8)]
    rows = pl.DataFrame({"unique_id": "a", "ds": ds, "y": [float(step) for step in range(8)]})
    local = to_local_grid(rows, zone="Europe/Berlin", freq="6h")
    assert local["y"].to_list() == rows["y"].to_list()
    assert local["ds"].diff().drop_nulls().unique().to_list() == [timedelta(hours=6)]


def test_instants_of_the_wall_clock_are_the_later_ones_of_a_repeated_hour() -> None:
    local = np.array(["2024-10-27T02:00", "2024-03-31T02:30", "2024-07-01T12:00", "NaT"], dtype="datetime64[us]")
    expected = ["2024-10-27T01:00", "2024-03-31T01:30", "2024-07-01T10:00", "NaT"]
    assert to_instants(local, "Europe/Berlin").astype("datetime64[m]").astype(str).tolist() == expected


def test_points_after_the_end_are_numbered_on_the_wall_clock() -> None:
    def numbers(end: str, *instants: str) -> list[int]:
        ds_SF = np.array([instants], dtype="datetime64[us]")
        last = np.array([end], dtype="datetime64[us]")
        return number_points(ds_SF, last, zone="Europe/Berlin", freq="1h")[0].tolist()

    day = "2024-10-27T0"
    assert numbers(f"{day}2", f"{day}1", f"{day}2", f"{day}3") == [0, 1, 2]  # ends in the first of two hours
    assert numbers("2024-03-31T01", "2024-03-31T01", "2024-03-31T02") == [2, 3]


def test_calendar_and_categories_follow_the_wall_clock_of_the_zone(tmp_path) -> None:  # type: ignore[no-untyped-def]
    instants = pl.datetime_range(datetime(2024, 3, 25), datetime(2024, 4, 5), "1h", eager=True, time_zone="UTC")
    rows = pl.DataFrame({"unique_id": "a", "ds": instants.dt.convert_time_zone("Europe/Berlin"), "y": 1.0})
    spec = spec_of(rows, tmp_path, categories={"calendar": ["hour"]})
    read = ingest(spec)
    naive = read.features.lazy().with_columns(ds=rows["ds"].dt.replace_time_zone(None))
    assert read.features["day_sin"].equals(add_calendar(naive, freq="1h").collect()["day_sin"])
    assert read.features["zone"].unique().to_list() == ["Europe/Berlin"]
    panel = panel_of(read.features, spec, ["a"], run_cutoff=read.cutoff)
    hours = [int(str(each)[11:13]) for each in panel.ds_SN[0].astype("datetime64[h]").astype(str)]
    assert panel.coded is not None
    named = [panel.coded.values[0][code] for code in panel.coded.code_SNK[0, :, 0]]
    assert [int(each) for each in named] == hours
    assert panel.zone == "Europe/Berlin"
    assert panel.cutoffs.tolist() == [read.cutoff]


def test_error_of_the_seasonal_naive_is_that_of_local_days(tmp_path) -> None:  # type: ignore[no-untyped-def]
    instants = pl.datetime_range(datetime(2024, 3, 20), datetime(2024, 4, 10), "1h", eager=True, time_zone="UTC")
    local = instants.dt.convert_time_zone("Europe/Berlin")
    y = 10.0 * (local.dt.hour() == 8) + local.dt.ordinal_day() % 2
    rows = pl.DataFrame({"unique_id": "a", "ds": local, "y": y.cast(pl.Float64)})
    assert seasonal_scale(panel_in(spec_of(rows, tmp_path)), season_length=24).tolist() == [1]
    shifted = rows.with_columns(ds=instants)
    assert seasonal_scale(panel_in(spec_of(shifted, tmp_path)), season_length=24)[0] > 1


def test_times_in_utc_and_without_a_zone_keep_their_bits(tmp_path) -> None:  # type: ignore[no-untyped-def]
    naive = features(SPRING, 60)
    plain = panel_in(spec_of(naive, tmp_path))
    in_utc = panel_in(spec_of(naive.with_columns(pl.col("ds").dt.replace_time_zone("UTC")), tmp_path))
    for each in ("y_SN", "calendar_SNC", "ds_SN"):
        assert np.array_equal(getattr(plain, each), getattr(in_utc, each))
    assert plain.zone is None
    assert in_utc.zone is None


def test_zone_whose_clocks_do_not_change_moves_times_alone(tmp_path) -> None:  # type: ignore[no-untyped-def]
    rows = features(SPRING, 60).with_columns(pl.col("ds").dt.replace_time_zone("Asia/Kolkata"))
    panel = panel_in(spec_of(rows, tmp_path))
    assert panel.ds_SN[0, 0] == np.datetime64(SPRING, "us")
    assert panel.cutoffs[0] == np.datetime64(SPRING + timedelta(hours=59) - timedelta(hours=5, minutes=30), "us")


def test_ignored_periods_are_on_the_wall_clock_of_the_zone(tmp_path) -> None:  # type: ignore[no-untyped-def]
    rows = features(datetime(2024, 7, 1), 72).with_columns(pl.col("ds").dt.replace_time_zone("UTC"))
    zoned = rows.with_columns(pl.col("ds").dt.convert_time_zone("America/New_York"))
    spec = spec_of(zoned, tmp_path)
    ignoring = spec.source.model_copy(update={"ignore": (Period.model_validate("2024-07-02..2024-07-02"),)})
    read = ingest(spec.model_copy(update={"source": ignoring}))
    gaps = read.features.filter(pl.col("y").is_null())["ds"]
    assert (gaps.min(), gaps.max()) == (datetime(2024, 7, 2, 4), datetime(2024, 7, 3, 3))
    assert read.counts is not None
    assert read.counts.ignored == 24
