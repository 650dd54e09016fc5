"""The departures of New York: shape, content and licence."""

from datetime import datetime
from importlib.resources import files

import polars as pl

from forecasting.datasets import nyc_departures
from forecasting.series.read import scan_source
from forecasting.series.regularise import regularise
from forecasting.series.validate import validate
from forecasting.spec.source import Source


def test_it_has_125_complete_series_of_hourly_departures() -> None:
    departures = pl.read_parquet(nyc_departures())
    assert departures.schema == {"unique_id": pl.String, "ds": pl.Datetime("us"), "y": pl.Float64}
    assert departures.null_count().sum_horizontal().item() == 0
    spans = departures.group_by("unique_id").agg(pl.len(), first=pl.col("ds").min(), last=pl.col("ds").max())
    assert len(spans) == 125
    assert spans.drop("unique_id").unique().rows() == [(8760, datetime(2013, 1, 1), datetime(2013, 12, 31, 23))]


def test_the_airports_add_up_to_the_city() -> None:
    departures = pl.scan_parquet(nyc_departures())
    airports = departures.filter(pl.col("unique_id").is_in(["EWR", "JFK", "LGA"])).group_by("ds").agg(pl.col("y").sum())
    city = departures.filter(pl.col("unique_id") == "NYC").select("ds", "y")
    assert airports.sort("ds").collect().equals(city.sort("ds").collect())


def test_every_row_is_accepted_and_already_lies_on_its_grid() -> None:
    validated = validate(scan_source(Source(uri=str(nyc_departures())), "timestamp"), freq="1h")
    grid, rejects = pl.collect_all([regularise(validated.accepted, freq="1h"), validated.rejects], engine="streaming")
    assert rejects.is_empty()
    assert grid["is_observed"].all()
    assert grid.drop("is_observed").equals(pl.read_parquet(nyc_departures()).sort("unique_id", "ds"))


def test_its_source_and_licence_are_stated_beside_it() -> None:
    text = (files("forecasting.datasets") / "nyc_departures_hourly.md").read_text(encoding="utf-8")
    assert "nycflights13" in text
    assert "CC0" in text
