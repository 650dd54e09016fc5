"""Covariates that are known ahead: read as measurements are, kept with the features, laid out on a panel's grid."""

import math
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from forecasting.errors import SourceError, SpecError
from forecasting.series import covariate_names
from forecasting.series.covariate_names import code_of, is_coded
from forecasting.series.covariates import merge_covariates, read_covariates, scan_covariates
from forecasting.series.ingest import Ingested, ingest, panel_of
from forecasting.series.inputs import read_input
from forecasting.spec.spec import Spec, make_spec

BEGIN = datetime(2024, 1, 1)
HORIZON = 3
LENGTHS = {"a": 12, "b": 9}
"""Hours with a measurement; all series end at the same time."""


def rows(**changed: Any) -> pl.DataFrame:
    """Hours of two series with a measurement, and the horizon without; the covariates number the hours."""
    last = max(LENGTHS.values())
    parts = [
        pl.DataFrame(
            {
                "unique_id": name,
                "ds": [BEGIN + timedelta(hours=hour) for hour in range(last - length, last + HORIZON)],
                "y": [float(hour) for hour in range(length)] + [None] * HORIZON,
                "price": [100.0 + hour + 1000 * (name == "b") for hour in range(last - length, last + HORIZON)],
                "is_open": [hour % 2 == 0 for hour in range(last - length, last + HORIZON)],
            }
        )
        for name, length in LENGTHS.items()
    ]
    return pl.concat(parts).with_columns(**changed)


def spec_of(uri: Path | str = "x.parquet", **fields: Any) -> Spec:
    source = {"uri": str(uri), **fields.pop("source", {})}
    base = {"name": "small", "source": source, "freq": "1h", "season_lengths": [2], "horizon": HORIZON}
    covariates = {"future": ["price", "is_open"], **fields.pop("covariates", {})}
    return make_spec({**base, "covariates": covariates, **fields}, subject="spec")


def read(frame: pl.DataFrame, spec: Spec, **options: Any) -> Ingested:
    given, _ = read_input(frame, {}, covariates=spec.covariates.of_source)
    covariates = given.scan_covariates(spec.clock, spec.covariates.of_source)
    return ingest(spec, rows=given.scan(spec.clock), covariates=covariates, **options)


def panel_values(ingested: Ingested, spec: Spec) -> np.ndarray:
    found = panel_of(ingested.features, spec, ingested.unique_ids, run_cutoff=ingested.cutoff).covariate_SNK
    assert found is not None
    return found


EXPECTED = np.array(
    [
        [[100.0 + hour, float(hour % 2 == 0)] for hour in range(12 + HORIZON)],
        [
            [1100.0 + hour if hour > 2 else math.nan, float(hour % 2 == 0) if hour > 2 else math.nan]
            for hour in range(15)
        ],
    ]
)
"""(series, hour, covariate)."""


def write(frame: pl.DataFrame, folder: Path, kind: str) -> tuple[Path, dict[str, Any]]:
    """Write a frame as a file, and return its path and the fields of a source that reads it."""
    path = folder / f"rows.{kind.split(' ')[0]}"
    if kind == "parquet":
        frame.write_parquet(path)
    elif kind == "csv":
        frame.write_csv(path)
    else:
        words = pl.when("is_open").then(pl.lit("TRUE")).otherwise(pl.lit("False"))
        commas = (pl.col(name).cast(pl.String).str.replace(".", ",", literal=True) for name in ("y", "price"))
        text = frame.with_columns(*commas, is_open=words)
        text.write_csv(path, separator=";")
        return path, {"csv": {"separator": ";", "decimal": ","}}
    return path, {}


@pytest.mark.parametrize("kind", ["parquet", "csv", "csv with commas"])
def test_same_values_from_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    path, fields = write(rows(), tmp_path, kind)
    spec = spec_of(path, source=fields)
    assert np.array_equal(panel_values(ingest(spec), spec), EXPECTED, equal_nan=True)


def test_frame_has_them_too_and_rows_in_the_future_are_none_of_impossible_times() -> None:
    spec = spec_of()
    shift = timedelta(hours=round((datetime.now() - BEGIN) / timedelta(hours=1)) - max(LENGTHS.values()) - 24)
    found = read(rows(ds=pl.col("ds") + shift), spec)
    assert found.rejects.is_empty()
    assert np.array_equal(panel_values(found, spec), EXPECTED, equal_nan=True)


def test_earlier_cutoff_has_the_values_of_its_own_horizon() -> None:
    spec = spec_of()
    found = panel_values(read(rows(), spec, cutoff=BEGIN + timedelta(hours=9)), spec)
    assert np.array_equal(found, EXPECTED[:, : 10 + HORIZON], equal_nan=True)


def test_values_after_the_horizon_are_never_read() -> None:
    spec, cutoff = spec_of(), BEGIN + timedelta(hours=8)
    late = pl.when(pl.col("ds") > cutoff + timedelta(hours=HORIZON)).then(-1.0).otherwise("price")
    one, other = (read(frame, spec, cutoff=cutoff) for frame in (rows(), rows(price=late)))
    assert one.features.equals(other.features)


class TestMissingAhead:
    """Values that are missing within the horizon."""

    @staticmethod
    def lacking() -> pl.DataFrame:
        return rows(price=pl.when(pl.col("ds") < BEGIN + timedelta(hours=13)).then("price"))

    def test_stops_before_training_and_names_covariate_series_and_time(self) -> None:
        said = (
            r"covariate 'price' has no value at 4 of the 6 steps .* in 2 series; the first is 2024-01-01T13:00:00 of"
            r" series 'a'.*--future-missing hold"
        )
        with pytest.raises(SourceError, match=said):
            read(self.lacking(), spec_of())

    def test_rows_without_values_and_absent_rows_are_alike(self) -> None:
        with pytest.raises(SourceError, match="covariate 'price' has no value at 6 of the 6 steps"):
            read(rows().filter(pl.col("y").is_not_null()), spec_of())

    def test_hold_repeats_the_last_value_and_says_so(self) -> None:
        spec = spec_of(covariates={"future_missing": "hold"})
        found = read(self.lacking(), spec)
        assert panel_values(found, spec)[:, -HORIZON:, 0].tolist() == [[112.0] * 3, [1112.0] * 3]
        assert any("the last known value is held" in note for note in found.notes)

    def test_drop_column_leaves_it_out_and_says_so(self) -> None:
        spec = spec_of(covariates={"future_missing": "drop_column"})
        found = read(self.lacking(), spec)
        values = panel_values(found, spec)
        assert np.isnan(values[:, :, 0]).all()
        assert np.array_equal(values[:, :, 1], EXPECTED[:, :, 1], equal_nan=True)
        assert any("the covariate is left out" in note for note in found.notes)

    def test_does_not_matter_for_a_series_that_has_ended(self) -> None:
        ended = rows().filter((pl.col("unique_id") == "a") | (pl.col("ds") < BEGIN + timedelta(hours=5)))
        spec = spec_of(source={"ended_after": 2})
        found = read(ended, spec)
        assert set(found.ended) == {"b"}


def test_gap_up_to_the_cutoff_is_reported() -> None:
    spec = spec_of()
    found = read(rows(price=pl.when(pl.col("ds") != BEGIN + timedelta(hours=5)).then("price")), spec)
    assert np.isnan(panel_values(found, spec)[:, 5, 0]).all()
    (note,) = [note for note in found.notes if "covariates have no value" in note]
    assert "'price' at 2" in note


def test_first_change_within_the_horizon_is_reported() -> None:
    ahead = (pl.col("unique_id") == "b") & pl.col("y").is_null()
    found = read(rows(is_open=~ahead), spec_of())
    (note,) = [note for note in found.notes if "for the first time" in note]
    assert note.startswith("covariate 'is_open' changes within the horizon for the first time in 1 series, such as 'b'")
    assert not [note for note in read(rows(), spec_of()).notes if "for the first time" in note]


def test_texts_that_are_no_numbers_are_reported_and_many_of_them_stop_the_run(tmp_path: Path) -> None:
    texts = pl.col("price").cast(pl.String)
    path = tmp_path / "rows.csv"
    rows(price=pl.when(pl.col("ds") == BEGIN + timedelta(hours=5)).then(pl.lit("n/a")).otherwise(texts)).write_csv(path)
    found = ingest(spec_of(path))
    assert any("2 values of covariate 'price' are not numbers, such as 'n/a'" in note for note in found.notes)
    rows(price=pl.when(pl.col("y").is_not_null()).then(pl.lit("n/a")).otherwise(texts)).write_csv(path)
    with pytest.raises(SourceError, match=r"21 values of covariate 'price' are not numbers.*--allow-rejects"):
        ingest(spec_of(path))


def test_absent_column_is_named(tmp_path: Path) -> None:
    path, _ = write(rows(), tmp_path, "parquet")
    with pytest.raises(SourceError, match=r"lacks its covariate column 'Price'.*is it 'price'"):
        ingest(spec_of(path, covariates={"future": ["Price"]}))


def test_hours_that_clocks_skip_and_repeat_have_the_values_of_the_instants() -> None:
    """Tables are in UTC, panels on the wall clock: a skipped hour is unknown, a repeated one has the later value."""
    for day, hours in ((datetime(2024, 3, 30, 12), 24), (datetime(2024, 10, 26, 12), 24)):
        times = [day + timedelta(hours=hour) for hour in range(hours + HORIZON)]
        frame = pl.DataFrame(
            {
                "unique_id": "a",
                "ds": pl.Series(times).dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin"),
                "y": [1.0 + hour % 2 for hour in range(hours)] + [None] * HORIZON,
                "price": [float(hour) for hour in range(hours + HORIZON)],
            }
        )
        spec = spec_of(covariates={"future": ["price"]})
        found = read(frame, spec)
        panel = panel_of(found.features, spec, ["a"], run_cutoff=found.cutoff)
        assert panel.covariate_SNK is not None
        wall = pl.Series(panel.ds_SN[0]).to_list()
        known = dict(zip(frame["ds"].dt.replace_time_zone(None).to_list(), frame["price"].to_list(), strict=True))
        assert len(wall) in (hours + HORIZON + 1, hours + HORIZON - 1)
        for place, time in enumerate(wall):
            value = panel.covariate_SNK[0, place, 0]
            if time in known:
                assert value == known[time], time
            else:
                assert math.isnan(value), time


@pytest.mark.parametrize(("freq", "step"), [("1mo", "1mo"), ("1d", "1d"), ("1b", "1d"), (1, None)])
def test_other_grids(freq: str | int, step: str | None) -> None:
    if step is None:
        ds: Any = list(range(15))
    else:
        every = pl.datetime_range(datetime(2024, 1, 1), datetime(2026, 1, 1), step, eager=True)
        ds = every.filter(every.dt.weekday() < 6 if freq == "1b" else pl.Series([True] * len(every))).head(15)
    frame = pl.DataFrame(
        {
            "unique_id": "a",
            "ds": ds,
            "y": [float(n) for n in range(12)] + [None] * 3,
            "price": [float(n) for n in range(15)],
        }
    )
    spec = spec_of(freq=freq, covariates={"future": ["price"]})
    assert panel_values(read(frame, spec), spec)[0, :, 0].tolist() == [float(n) for n in range(15)]


def test_newer_values_replace_older_ones_column_by_column() -> None:
    spec = spec_of()
    given, _ = read_input(rows(), {}, covariates=spec.covariates.future)
    known = read_covariates(given.scan_covariates(spec.clock, spec.covariates.future), spec).rows.collect()
    newer = rows(price=pl.lit(7.0), is_open=pl.lit(None, pl.Boolean)).filter(pl.col("y").is_null())
    given, _ = read_input(newer, {}, covariates=spec.covariates.future)
    merged = merge_covariates(known, read_covariates(given.scan_covariates(spec.clock, spec.covariates.future), spec))
    assert merged.height == known.height
    assert merged.filter(pl.col("ds") >= BEGIN + timedelta(hours=12))["price"].unique().to_list() == [7.0]
    assert merged["is_open"].equals(known.sort("unique_id", "ds")["is_open"])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"covariates": {"future": ["y"]}}, "covariates.future must be other columns than id, time and target: y"),
        ({"covariates": {"future": ["price", "price"]}}, "price"),
        ({"covariates": {"future": ["step"]}}, "'step' names a column of the features; rename it in the source"),
        ({"covariates": {"future": ["ds"]}, "source": {"time": "hour"}}, "'ds' names a column of the features"),
        ({"source": {"aggregate": "sum"}}, "covariates.future needs one row per period"),
        ({"covariates": {"future_missing": "guess"}}, "error"),
    ],
)
def test_spec_that_cannot_be_meant_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        spec_of(**fields)


def test_covariates_of_a_database_are_read_from_the_same_table(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "rows.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE sales (unique_id TEXT, ds TEXT, y REAL, price REAL, is_open INTEGER)")
        text = rows(ds=pl.col("ds").dt.to_string("%Y-%m-%d %H:%M:%S"), is_open=pl.col("is_open").cast(pl.Int64))
        connection.executemany("INSERT INTO sales VALUES (?, ?, ?, ?, ?)", text.rows())
    connection.close()
    spec = spec_of(f"sqlite:///{path}", source={"table": "sales"})
    assert np.array_equal(panel_values(ingest(spec), spec), EXPECTED, equal_nan=True)


def test_scan_names_the_role_of_a_column_of_another_type(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    rows(price=pl.col("ds")).write_parquet(path)
    with pytest.raises(SourceError, match=r"covariate column 'price' has Datetime.*needs numbers"):
        scan_covariates(spec_of(path).source, "timestamp", ["price"])


class TestNames:
    """Covariates whose values are names."""

    WEATHER = ("rain", "snow", "sun")

    def frame(self, *, dtype: Any = pl.String) -> pl.DataFrame:
        hour = pl.col("ds").dt.hour().cast(pl.Int64)
        names = pl.Series(self.WEATHER, dtype=pl.String)
        weather = pl.lit(names.implode()).list.get(hour % 3)
        return rows(price=pl.when(hour == 5).then(None).otherwise(weather).cast(dtype))

    def expected(self) -> np.ndarray:
        codes = [math.nan if hour == 5 else code_of(self.WEATHER[hour % 3]) for hour in range(12 + HORIZON)]
        return np.array([codes, [math.nan if hour < 3 else code for hour, code in enumerate(codes)]])

    @pytest.mark.parametrize("dtype", [pl.String, pl.Categorical, pl.Enum(["rain", "snow", "sun"])])
    def test_column_without_any_number_has_names(self, dtype: Any) -> None:
        spec = spec_of()
        found = panel_values(read(self.frame(dtype=dtype), spec), spec)
        assert np.array_equal(found[:, :, 0], self.expected(), equal_nan=True)
        assert is_coded(found[:, :, 0])
        assert not is_coded(found[:, :, 1])

    @pytest.mark.parametrize("kind", ["parquet", "csv"])
    def test_files_have_the_same_codes(self, tmp_path: Path, kind: str) -> None:
        path, _ = write(self.frame(), tmp_path, kind)
        spec = spec_of(path)
        assert np.array_equal(panel_values(ingest(spec), spec)[:, :, 0], self.expected(), equal_nan=True)

    def test_names_among_numbers_must_be_declared(self) -> None:
        mixed = rows(price=pl.when(pl.col("ds").dt.hour() % 2 == 0).then(pl.lit("0")).otherwise(pl.lit("a")))
        with pytest.raises(
            SourceError, match=r"--covariate-categories price \(covariates.categories\) reads the values"
        ):
            read(mixed, spec_of())
        spec = spec_of(covariates={"categories": ["price"]})
        found = panel_values(read(mixed, spec), spec)[0, :, 0]
        assert found.tolist() == [code_of("0" if hour % 2 == 0 else "a") for hour in range(12 + HORIZON)]

    def test_numbers_that_are_declared_are_names(self) -> None:
        spec = spec_of(covariates={"categories": ["price"]})
        assert is_coded(panel_values(read(rows(price=pl.lit(3)), spec), spec)[:, :, 0])

    def test_too_many_names_are_no_names(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(covariate_names, "MOST_NAMES", 2)
        with pytest.raises(SourceError, match="covariate 'price' has 3 different names"):
            read(self.frame(), spec_of())

    def test_declared_column_must_be_a_covariate(self) -> None:
        said = "categories must be among the columns of future or past, but colour is not"
        with pytest.raises(SpecError, match=said):
            spec_of(covariates={"categories": ["colour"]})


class TestPast:
    """Covariates that are known up to the cutoff alone."""

    def test_panel_has_the_values_of_whole_seasons_before(self) -> None:
        spec = spec_of(covariates={"future": ["is_open"], "past": ["price"]})
        assert spec.past_lag == 4
        found = panel_values(read(rows(), spec), spec)
        assert np.array_equal(found[:, :, 0], EXPECTED[:, :, 1], equal_nan=True)
        assert np.isnan(found[:, :4, 1]).all()
        assert np.array_equal(found[:, 4:, 1], EXPECTED[:, :-4, 0], equal_nan=True)

    def test_nothing_after_the_cutoff_is_read(self) -> None:
        spec, cutoff = spec_of(covariates={"future": [], "past": ["price"]}), BEGIN + timedelta(hours=9)
        changed = pl.when(pl.col("ds") > cutoff).then(pl.lit(-5.0)).otherwise("price")
        frames = (rows(), rows(price=changed), rows().filter(pl.col("ds") <= cutoff))
        one, *others = (read(frame, spec, cutoff=cutoff) for frame in frames)
        assert all(each.features.equals(one.features) and each.notes == one.notes for each in others)
        assert one.features["covariates_ahead"].drop_nulls().to_list() == [[[None]] * HORIZON] * 2

    def test_features_have_the_values_of_their_own_time(self) -> None:
        spec = spec_of(covariates={"future": ["is_open"], "past": ["price"]})
        values = read(rows(), spec).features.filter(unique_id="a").sort("ds")["covariates"].to_list()
        assert values == [[float(hour % 2 == 0), 100.0 + hour] for hour in range(12)]


class TestStatic:
    """Covariates that are constant in each series."""

    SIZE = pl.when(pl.col("unique_id") == "a").then(3.0).otherwise(8.5)

    def test_every_point_has_the_number_of_its_series(self) -> None:
        spec = spec_of(covariates={"future": [], "static": ["size"]})
        some = pl.when(pl.col("ds").dt.hour() % 4 == 3).then(self.SIZE)
        found = panel_values(read(rows(size=some), spec), spec)
        first = 12 - LENGTHS["b"]
        assert np.array_equal(found[0, :, 0], np.full(15, 3.0))
        assert np.array_equal(found[1, first:, 0], np.full(15 - first, 8.5))
        assert spec.chosen_regressions == ()

    def test_series_in_which_it_varies_is_named(self) -> None:
        varying = self.SIZE + (pl.col("ds").dt.hour() == 5)
        with pytest.raises(
            SourceError, match="'size' varies from 3 to 4 within series 'a' and 1 others, but covariates"
        ):
            read(rows(size=varying), spec_of(covariates={"future": [], "static": ["size"]}))

    def test_change_after_the_cutoff_is_not_read(self) -> None:
        spec = spec_of(covariates={"future": [], "static": ["size"]})
        late = self.SIZE + (pl.col("ds") > BEGIN + timedelta(hours=11))
        assert read(rows(size=late), spec).features.equals(read(rows(size=self.SIZE), spec).features)

    def test_series_without_a_number_is_named(self) -> None:
        spec = spec_of(covariates={"future": [], "static": ["size"]})
        found = read(rows(size=pl.when(pl.col("unique_id") == "a").then(3)), spec)
        assert "covariate 'size' is not known of 1 series, such as 'b'" in found.notes
