"""Tables of covariates: keys, times, repeats, periods, zones, and what a run says of their rows."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from forecasting.errors import SourceError, SpecError
from forecasting.series.covariates import scan_covariates
from forecasting.series.ingest import Ingested, ingest, panel_of
from forecasting.series.panel import Panel
from forecasting.spec.spec import Spec, make_spec

BEGIN = datetime(2024, 1, 1)
HORIZON = 3
LENGTHS = {"a": 12, "b": 9}
STATIONS = {"a": "north", "b": "south"}
NUM_HOURS = 12 + HORIZON


def measurements(**columns: Any) -> pl.DataFrame:
    """Hourly series up to hour 11, of which `b` begins later."""
    parts = [
        pl.DataFrame(
            {
                "unique_id": name,
                "ds": [BEGIN + timedelta(hours=hour) for hour in range(12 - length, 12)],
                "y": [float(hour % 2) for hour in range(length)],
                "station": STATIONS[name],
            }
        )
        for name, length in LENGTHS.items()
    ]
    return pl.concat(parts).with_columns(**columns)


def weather(first: float = 0.0, num: int = NUM_HOURS, **columns: Any) -> pl.DataFrame:
    """Temperatures of all hours, which rise by one an hour."""
    hours = range(num)
    frame = pl.DataFrame(
        {"ds": [BEGIN + timedelta(hours=hour) for hour in hours], "temperature": [first + hour for hour in hours]}
    )
    return frame.with_columns(**columns)


def by_station() -> pl.DataFrame:
    return pl.concat([weather(station=pl.lit("north")), weather(100.0, station=pl.lit("south"))])


def spec_of(*tables: dict[str, Any], **fields: Any) -> Spec:
    base = {"name": "small", "freq": "1h", "season_lengths": [2], "horizon": HORIZON}
    source = {"uri": "x.parquet", **fields.pop("source", {})}
    listed = [
        {"uri": f"table{number}.parquet", "future": ["temperature"], **each} for number, each in enumerate(tables)
    ]
    covariates = {"tables": listed, **fields.pop("covariates", {})}
    return make_spec({**base, "source": source, "covariates": covariates, **fields}, subject="spec")


def read(spec: Spec, *frames: pl.DataFrame, rows: pl.DataFrame | None = None, **options: Any) -> Ingested:
    given = measurements() if rows is None else rows
    covariates = scan_covariates(
        spec.source, spec.clock, spec.covariates.future, spec.covariates.tables, frame=given, frames=frames
    )
    from forecasting.series.read import scan_frame

    return ingest(spec, rows=scan_frame(given, spec.source, spec.clock), covariates=covariates, **options)


def values(found: Ingested, spec: Spec) -> np.ndarray:
    panel = panel_of(found.features, spec, found.unique_ids, run_cutoff=found.cutoff)
    assert panel.covariate_SNK is not None
    return panel.covariate_SNK[:, :, 0]


NAN = float("nan")
SHARED = np.array([[float(hour) for hour in range(15)], [NAN] * 3 + [float(hour) for hour in range(3, 15)]])
"""Temperatures that both series share; unknown before `b` begins."""
OFFSET = np.array([[0.0], [100.0]])


def test_table_without_names_of_series_is_shared_by_all() -> None:
    spec = spec_of({})
    found = read(spec, weather())
    assert np.array_equal(values(found, spec), SHARED, equal_nan=True)
    assert found.joined == (
        "table0.parquet: temperature, joined by time; 15 rows read, 0 refused, 15 of 15 keys and times used",
    )


def test_table_with_names_of_series_is_joined_by_them() -> None:
    spec = spec_of({})
    frame = pl.concat([weather(unique_id=pl.lit("a")), weather(100.0, unique_id=pl.lit("b"))])
    found = read(spec, frame)
    assert np.array_equal(values(found, spec), SHARED + OFFSET, equal_nan=True)
    assert "joined by series and time" in found.joined[0]


def test_table_is_joined_by_a_column_of_the_source_and_time() -> None:
    spec = spec_of({"by": "station"})
    found = read(spec, by_station())
    assert np.array_equal(values(found, spec), SHARED + OFFSET, equal_nan=True)
    assert "joined by station and time; 30 rows read, 0 refused, 27 of 30 keys and times used" in found.joined[0]


def test_series_with_several_stations_is_named() -> None:
    station = pl.when(pl.col("ds").dt.hour() == 5).then(pl.lit("west")).otherwise("station")
    with pytest.raises(SourceError, match="series 'a' has several values in 'station', 'north', 'west'"):
        read(spec_of({"by": "station"}), by_station(), rows=measurements(station=station))


def test_keys_without_a_series_are_counted() -> None:
    spec = spec_of({"by": "station"})
    found = read(spec, pl.concat([by_station(), weather(station=pl.lit("east"))]))
    (note,) = [note for note in found.notes if "match no series" in note]
    assert "1 of 3 values of 'station' match no series, such as 'east'" in note


@pytest.mark.parametrize("by", ["id", "station"])
def test_series_without_rows_stops_the_run(by: str) -> None:
    name = {"id": pl.lit("a").alias("unique_id"), "station": pl.lit("north").alias("station")}[by]
    with pytest.raises(
        SourceError, match=r"'temperature' has no value at 3 of the 6 steps .* of series 'b'; rows of table0.parquet"
    ):
        read(spec_of({"by": by}), weather().with_columns(name))


def test_missing_hours_of_the_horizon_are_held_on_request() -> None:
    spec = spec_of({}, covariates={"future_missing": "hold"})
    found = read(spec, weather(num=13))
    assert values(found, spec)[:, -HORIZON:].tolist() == [[12.0] * 3] * 2


def test_rows_that_repeat_each_other_are_one_and_different_ones_are_refused() -> None:
    spec = spec_of({})
    assert np.array_equal(values(read(spec, pl.concat([weather(), weather()])), spec), SHARED, equal_nan=True)
    with pytest.raises(
        SourceError, match=r"covariates of table0.parquet: 15 times have different values of 'temperature', such as"
    ):
        read(spec, pl.concat([weather(), weather(1.0)]))


def test_newest_of_different_rows_counts_on_request() -> None:
    spec = spec_of({"duplicates": "last", "newer": "written"})
    frame = pl.concat([weather(written=pl.lit(2)), weather(5.0, written=pl.lit(1))])
    assert np.array_equal(values(read(spec, frame), spec), SHARED, equal_nan=True)


class TestPeriods:
    """Tables of another frequency."""

    DAYS = pl.DataFrame(
        {
            "unique_id": "a",
            "ds": [BEGIN + timedelta(days=day, hours=6) for day in range(12)],
            "y": [float(day % 2) for day in range(12)],
        }
    )

    def test_days_of_other_hours_are_the_same_days(self) -> None:
        spec = spec_of({}, freq="1d")
        frame = weather(ds=pl.datetime_range(BEGIN, BEGIN + timedelta(days=14), "1d", eager=True))
        assert np.array_equal(values(read(spec, frame, rows=self.DAYS), spec), SHARED[:1])

    def test_several_rows_of_a_day_need_an_aggregate(self) -> None:
        hourly = weather(num=24 * 15)
        with pytest.raises(
            SourceError, match=r"15 periods of 1d have several rows, such as the 24 at .*aggregate = mean"
        ):
            read(spec_of({}, freq="1d"), hourly, rows=self.DAYS)
        spec = spec_of({"aggregate": "mean"}, freq="1d")
        assert values(read(spec, hourly, rows=self.DAYS), spec)[0].tolist() == [11.5 + 24 * day for day in range(15)]

    def test_quarters_of_hours_are_aggregated_to_hours(self) -> None:
        quarters = pl.datetime_range(BEGIN, BEGIN + timedelta(hours=14, minutes=45), "15m", eager=True)
        frame = pl.DataFrame({"ds": quarters, "temperature": np.arange(60) // 4})
        spec = spec_of({"aggregate": "max"})
        assert np.array_equal(values(read(spec, frame), spec), SHARED, equal_nan=True)
        with pytest.raises(SourceError, match="periods of 1h have several rows"):
            read(spec_of({}), frame)

    def test_label_at_the_end_of_an_interval_belongs_to_the_period_before(self) -> None:
        spec = spec_of({"aggregate": "last", "label": "end"})
        frame = weather(ds=pl.col("ds") + pl.duration(hours=1))
        assert np.array_equal(values(read(spec, frame), spec), SHARED, equal_nan=True)

    def test_names_have_no_mean(self) -> None:
        frame = weather(temperature=pl.lit("mild"))
        with pytest.raises(SourceError, match="has names, which have no mean; aggregate = first or last"):
            read(spec_of({"aggregate": "mean"}), frame)

    def test_closed_days_are_not_used(self) -> None:
        days = pl.datetime_range(BEGIN, BEGIN + timedelta(days=20), "1d", eager=True)
        frame = pl.DataFrame({"ds": days, "temperature": [float(day) for day in range(21)]})
        business = days.filter(days.dt.weekday() < 6)
        rows = pl.DataFrame({"unique_id": "a", "ds": business[:12], "y": [float(day % 2) for day in range(12)]})
        spec = spec_of({}, freq="1b")
        expected = [float(day) for day in range(21) if day % 7 < 5]
        assert values(read(spec, frame, rows=rows), spec)[0].tolist() == expected

    def test_steps_are_exact(self) -> None:
        rows = pl.DataFrame({"unique_id": "a", "ds": range(12), "y": [float(step % 2) for step in range(12)]})
        spec = spec_of({}, freq=1)
        frame = pl.DataFrame({"ds": range(15), "temperature": [float(step) for step in range(15)]})
        assert np.array_equal(values(read(spec, frame, rows=rows), spec), SHARED[:1])


class TestZones:
    """Times in a zone, beside measurements in a zone or without one."""

    def test_instants_are_compared(self) -> None:
        zoned = measurements(ds=pl.col("ds").dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin"))
        spec = spec_of({})
        frame = weather(ds=pl.col("ds").dt.replace_time_zone("UTC").dt.convert_time_zone("America/New_York"))
        assert np.array_equal(values(read(spec, frame, rows=zoned), spec), SHARED, equal_nan=True)

    def test_zone_in_only_one_of_both_is_refused(self) -> None:
        zoned = pl.col("ds").dt.replace_time_zone("UTC")
        with pytest.raises(
            SourceError, match="times have no time zone, but those of the measurements are in a time zone"
        ):
            read(spec_of({}), weather(), rows=measurements(ds=zoned))
        with pytest.raises(
            SourceError, match="times are in a time zone, but those of the measurements have no time zone"
        ):
            read(spec_of({}), weather(ds=zoned))
        spec = spec_of({"timezone": "UTC"})
        assert np.array_equal(values(read(spec, weather(), rows=measurements(ds=zoned)), spec), SHARED, equal_nan=True)

    def test_zone_of_the_source_is_that_of_the_table(self) -> None:
        spec = spec_of({}, source={"timezone": "Europe/Berlin"})
        assert np.array_equal(values(read(spec, weather()), spec), SHARED, equal_nan=True)


def test_values_of_the_source_and_of_several_tables_lie_side_by_side() -> None:
    spec = spec_of({}, {"future": ["rain"]}, covariates={"future": ["price"]})
    ahead = pl.DataFrame(
        {"unique_id": ["a"] * 3 + ["b"] * 3, "ds": [BEGIN + timedelta(hours=hour) for hour in (12, 13, 14)] * 2}
    )
    rows = pl.concat([measurements(), ahead], how="diagonal").with_columns(price=pl.lit(7.0))
    found = read(spec, weather(), weather().rename({"temperature": "rain"}).with_columns(pl.col("rain") % 2), rows=rows)
    panel = panel_of(found.features, spec, found.unique_ids, run_cutoff=found.cutoff)
    assert panel.covariate_SNK is not None
    hours = np.arange(15.0)
    assert np.array_equal(panel.covariate_SNK[0], np.stack([np.full(15, 7.0), hours, hours % 2], axis=1))


@pytest.mark.parametrize("kind", ["parquet", "csv", "german csv", "delta", "sqlite"])
def test_every_kind_of_place_is_read(tmp_path: Path, kind: str) -> None:
    frame, fields = by_station(), {"by": "station"}
    uri = str(tmp_path / f"weather.{kind}")
    if kind == "parquet":
        frame.write_parquet(uri)
    elif kind == "csv":
        frame.rename({"ds": "hour"}).write_csv(uri)
        fields["time"] = "hour"
    elif kind == "german csv":
        uri = str(tmp_path / "weather.csv")
        number = pl.col("temperature").cast(pl.String).str.replace(".", ",", literal=True)
        frame.with_columns(number, pl.col("ds").dt.to_string("%d.%m.%Y %H:%M")).write_csv(uri, separator=";")
        fields |= {"csv": {"separator": ";", "decimal": ","}, "time_format": "%d.%m.%Y %H:%M"}
    elif kind == "delta":
        uri = str(tmp_path / "weather")
        frame.write_delta(uri)
    else:
        import sqlite3

        with sqlite3.connect(tmp_path / "weather.db") as connection:
            connection.execute("CREATE TABLE weather (station TEXT, ds TEXT, temperature REAL)")
            text = frame.select("station", pl.col("ds").dt.to_string("%Y-%m-%d %H:%M:%S"), "temperature")
            connection.executemany("INSERT INTO weather VALUES (?, ?, ?)", text.rows())
        connection.close()
        uri = f"sqlite:///{tmp_path / 'weather.db'}"
        fields["query"] = "SELECT * FROM weather"
    source = tmp_path / "rows.parquet"
    measurements().write_parquet(source)
    spec = spec_of({"uri": uri, **fields}, source={"uri": str(source)})
    assert np.array_equal(values(ingest(spec), spec), SHARED + OFFSET, equal_nan=True)


def test_rows_that_cannot_be_read_are_reported_and_many_of_them_stop_the_run() -> None:
    text = pl.col("ds").cast(pl.String)
    spec = spec_of({})
    odd = pl.when(pl.col("ds").dt.hour() == 5).then(pl.lit("noon")).otherwise(text)
    found = read(spec, weather(ds=odd))
    (note,) = [note for note in found.notes if "rows are refused" in note]
    assert note.startswith("covariates of table0.parquet: 1 of 15 rows are refused, such as row 6 of")
    assert "1 refused" in found.joined[0]
    odd = pl.when(pl.col("ds").dt.day() == 2).then(pl.lit("noon")).otherwise(text)
    with pytest.raises(SourceError, match=r"24 of 48 rows are refused.*allow_rejects = 0\.5"):
        read(spec, weather(num=48, ds=odd))


def test_past_covariates_of_a_table_are_read_a_season_before_and_nothing_after_the_cutoff_is() -> None:
    spec = spec_of({"future": [], "past": ["temperature"]})
    found = read(spec, weather())
    # Of three steps and a season of two, two seasons cover the horizon.
    expected = [[NAN] * 4 + [float(hour) for hour in range(11)], [NAN] * 7 + [float(hour) for hour in range(3, 11)]]
    assert np.array_equal(values(found, spec), np.array(expected), equal_nan=True)
    late = pl.when(pl.col("ds") >= BEGIN + timedelta(hours=12)).then(-1.0).otherwise("temperature")
    for frame in (weather(temperature=late), weather(num=12)):
        assert read(spec, frame).features.equals(found.features)


def test_rows_after_the_horizon_change_nothing() -> None:
    spec, cutoff = spec_of({}), BEGIN + timedelta(hours=8)
    late = pl.when(pl.col("ds") > cutoff + timedelta(hours=HORIZON)).then(-1.0).otherwise("temperature")
    one, other = (read(spec, frame, cutoff=cutoff).features for frame in (weather(), weather(temperature=late)))
    assert one.equals(other)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"covariates": {"tables": [{"future": ["x"]}]}}, "uri is missing"),
        ({"covariates": {"tables": [{"uri": "x.txt", "future": ["x"]}]}}, "must end in .parquet or .csv"),
        ({"covariates": {"tables": [{"uri": "x.csv", "future": []}]}}, "future or past must name a column"),
        ({"covariates": {"tables": [{"uri": "x.csv", "future": ["ds"]}]}}, "names a column of the features"),
        (
            {"covariates": {"tables": [{"uri": "x.csv", "future": ["y"]}]}},
            "names of the source's id, time or target: y",
        ),
        (
            {"covariates": {"tables": [{"uri": "sqlite:///x.db", "table": "t", "future": ["x"]}]}},
            "a database needs by = id, all or a column",
        ),
        (
            {"covariates": {"future": ["x"], "tables": [{"uri": "x.csv", "future": ["x"]}]}},
            "several covariates named 'x'",
        ),
        (
            {"covariates": {"tables": [{"uri": "x.csv", "future": ["x"], "by": "y"}]}},
            "joined by 'y', the source's time",
        ),
    ],
)
def test_table_that_cannot_be_meant_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        spec_of(**fields)


def test_errors_name_the_table_and_its_fields(tmp_path: Path) -> None:
    path = tmp_path / "weather.csv"
    weather().write_csv(path, separator=";")
    with pytest.raises(
        SourceError, match=r"covariates of .*weather.csv.*semicolon-separated.*\[\[covariates.tables\]\]"
    ):
        scan_covariates(spec_of({}).source, "timestamp", (), spec_of({"uri": str(path)}).covariates.tables)


class TestVintages:
    """Tables whose rows were published at times that are known."""

    @staticmethod
    def published(name: str | None = None, *, days: int = 15) -> pl.DataFrame:
        """Forecasts of each hour that were published one to four hours before, and so many hundreds off."""
        frame = pl.concat(
            [
                weather(num=days).with_columns(
                    temperature=pl.col("temperature") + 100.0 * lead,
                    written=pl.col("ds") - pl.duration(hours=lead),
                )
                for lead in (4, 3, 2, 1)
            ]
        )
        return frame if name is None else frame.with_columns(unique_id=pl.lit(name))

    def panel(self, found: Ingested, spec: Spec) -> Panel:
        return panel_of(found.features, spec, found.unique_ids, run_cutoff=found.cutoff)

    def test_each_origin_knows_what_had_been_published_at_the_end_of_its_period(self) -> None:
        spec = spec_of({"available_at": "written"})
        found = read(spec, self.published())
        panel = self.panel(found, spec)
        # An hour is over when the next one begins: at that moment, forecasts of it are an hour old at least.
        for origin in range(12):
            ahead = panel.covariates_ahead(origin)[:, :, 0]
            expected = [origin + step + 100.0 * max(step - 1, 1) for step in (1, 2, 3)]
            assert ahead[0].tolist() == expected, origin
            if origin >= 3:  # where `b` begins
                assert ahead[1].tolist() == expected, origin

    def test_earlier_panel_has_the_vintages_of_its_own_end(self) -> None:
        spec = spec_of({"available_at": "written"})
        panel = self.panel(read(spec, self.published()), spec)
        earlier = self.panel(read(spec, self.published(), cutoff=BEGIN + timedelta(hours=8)), spec)
        until = panel.until(3)
        assert until.covariate_SNK is not None
        assert np.array_equal(until.covariate_SNK, earlier.covariate_SNK, equal_nan=True)  # type: ignore[arg-type]
        assert np.array_equal(until.covariates_ahead(5), earlier.covariates_ahead(5), equal_nan=True)
        for row in range(2):
            of_row = panel.covariates_ahead_of(row)
            expected = np.stack([panel.covariates_ahead(origin)[row] for origin in range(12)])
            assert np.array_equal(of_row, expected, equal_nan=True)

    def test_nothing_that_was_published_later_changes_the_features(self) -> None:
        spec, cutoff = spec_of({"available_at": "written"}), BEGIN + timedelta(hours=8)
        frame = self.published()
        is_late = pl.col("written") > cutoff + timedelta(hours=1)
        later = frame.with_columns(temperature=pl.when(is_late).then(-9.0).otherwise("temperature"))
        revised = pl.concat(
            [frame, frame.with_columns(pl.lit(-7.0).alias("temperature"), written=cutoff + timedelta(2))]
        )
        one, *others = (read(spec, each, cutoff=cutoff).features for each in (frame, later, revised))
        assert all(each.equals(one) for each in others)

    def test_newest_of_two_vintages_counts_and_equal_times_must_agree(self) -> None:
        spec = spec_of({"available_at": "written"})
        twice = pl.concat([self.published(), self.published().with_columns(pl.col("temperature") + 1)])
        with pytest.raises(SourceError, match="times have different values of 'temperature'"):
            read(spec, twice)

    def test_days_are_aggregated_within_a_vintage(self) -> None:
        hourly = weather(num=24 * 15).with_columns(written=pl.col("ds").dt.truncate("1d"))
        spec = spec_of(
            {"aggregate": "mean", "available_at": "written"}, freq="1d", covariates={"future_missing": "hold"}
        )
        panel = self.panel(read(spec, hourly, rows=TestPeriods.DAYS), spec)
        assert panel.covariate_SNK is not None
        assert panel.covariate_SNK[0, :12, 0].tolist() == [11.5 + 24 * day for day in range(12)]
        assert panel.covariates_ahead(4)[0, 0, 0] == 11.5 + 24 * 5, "published as the fifth day ends"
        assert np.isnan(panel.covariates_ahead(4)[0, 1:, 0]).all()

    def test_instants_of_a_zone_lie_at_the_steps_of_its_wall_clock(self) -> None:
        begin = datetime(2024, 3, 30, 20)
        shift = begin - BEGIN
        zoned = pl.col("ds").dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin")
        rows = measurements(ds=(pl.col("ds") + shift)).with_columns(zoned)
        frame = (
            self.published()
            .with_columns(pl.col("ds", "written") + shift)
            .with_columns(zoned, written=pl.col("written").dt.replace_time_zone("UTC"))
        )
        spec = spec_of({"available_at": "written"})
        panel = self.panel(read(spec, frame, rows=rows), spec)
        # At midnight in UTC it is 1:00, and at 1:00 it is 3:00: the hour from 2:00 on does not exist.
        ahead = panel.covariates_ahead(4)[0, :, 0]
        assert np.isnan(ahead[0])
        assert ahead[1:].tolist() == [5 + 100.0, 6 + 100.0]

    @pytest.mark.parametrize(
        ("table", "said"),
        [
            ({"future": [], "past": ["temperature"], "available_at": "written"}, "available_at is of covariates"),
            ({"available_at": "ds"}, "available_at must be another column"),
        ],
    )
    def test_vintages_that_cannot_be_meant_are_refused(self, table: dict[str, Any], said: str) -> None:
        with pytest.raises(SpecError, match=said):
            spec_of(table)

    def test_rows_without_a_time_of_publication_are_refused(self) -> None:
        frame = self.published().with_columns(
            written=pl.when(pl.col("ds").dt.hour() != 3).then(pl.col("written").cast(pl.String))
        )
        with pytest.raises(SourceError, match=r"4 rows have no time in 'written' \(available_at\), such as that at"):
            read(spec_of({"available_at": "written"}), frame)
        with pytest.raises(SourceError, match="lacks its available_at column 'issued'"):
            read(spec_of({"available_at": "issued"}), frame)
