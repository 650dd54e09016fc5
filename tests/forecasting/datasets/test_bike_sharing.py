"""The rentals of bikes: shape, content and licence."""

from datetime import datetime
from importlib.resources import files

import polars as pl

from forecasting.datasets import bike_sharing
from forecasting.series.read import scan_source
from forecasting.series.validate import validate
from forecasting.spec.source import Source


def test_it_has_one_series_with_weather_and_calendar_and_nothing_that_adds_up_to_it() -> None:
    rentals = pl.read_parquet(bike_sharing())
    assert rentals.schema == {
        "unique_id": pl.String,
        "ds": pl.Datetime("us"),
        "y": pl.Float64,
        "temp": pl.Float64,
        "atemp": pl.Float64,
        "hum": pl.Float64,
        "windspeed": pl.Float64,
        "weathersit": pl.Int8,
        "workingday": pl.Boolean,
        "holiday": pl.Boolean,
    }
    assert rentals.null_count().sum_horizontal().item() == 0
    assert (rentals.height, rentals["unique_id"].unique().to_list()) == (17_379, ["bikes"])
    assert (rentals["ds"].min(), rentals["ds"].max()) == (datetime(2011, 1, 1), datetime(2012, 12, 31, 23))
    assert rentals["y"].sum() == 3_292_679  # as the source states


def test_every_row_is_accepted_and_holidays_are_no_working_days() -> None:
    validated = validate(scan_source(Source(uri=str(bike_sharing())), "timestamp"), freq="1h")
    assert validated.rejects.collect().is_empty()
    assert pl.read_parquet(bike_sharing()).filter(pl.col("holiday") & pl.col("workingday")).is_empty()


def test_the_file_is_small_and_its_source_and_licence_are_stated_beside_it() -> None:
    assert bike_sharing().stat().st_size < 150_000
    text = (files("forecasting.datasets") / "bike_sharing_hourly.md").read_text(encoding="utf-8")
    for words in ("Fanaee-T", "10.24432/C5W894", "CC BY 4.0", "creativecommons.org/licenses/by/4.0", "Changes:"):
        assert words in text
