"""`fleetcast plot` from a store and from one-shot files."""

import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forecasting.cli.attributions import attributions_of_store
from forecasting.cli.fans import fans_of_files, fans_of_store
from forecasting.errors import NothingStored, SpecError, UserError
from forecasting.spec.source import Source
from forecasting.store.publish import publish
from forecasting.store.slices import Slice
from forecasting.store.stamp import stamp
from forecasting.store.tables import Store

Fleetcast = Callable[..., Any]
START = datetime(2024, 1, 1)


@pytest.mark.parametrize(("name", "begins"), [("fan.png", b"\x89PNG"), ("fan.svg", b"<?xml")])
def test_plot_draws_series_of_the_store(fleetcast: Fleetcast, store: Store, name: str, begins: bytes) -> None:
    ended = fleetcast("plot", "EWR", "J'FK", "--out", name)
    assert (ended.exit_code, ended.out) == (0, f"{name}\n"), ended.err
    assert Path(name).read_bytes().startswith(begins)


def test_fans_of_a_store_have_champions_history_and_arrived_actuals(store: Store) -> None:
    fans = fans_of_store(store, ["J'FK", "EWR"])
    assert fans.forecasts["unique_id"].to_list() == ["J'FK"] * 3 + ["EWR"] * 3
    assert fans.forecasts["model"].unique().to_list() == ["lstm"]
    short = fans.shorten(4).history.filter(unique_id="EWR")
    assert short["y"].to_list() == [6.0, 7.0, 8.0, 9.0, 10.0, 11.0]


def test_forecasts_of_an_earlier_cutoff_can_be_selected(store: Store) -> None:
    assert fans_of_store(store, ["EWR"], cutoff="2024-01-01T09:00").forecasts.height == 3
    with pytest.raises(NothingStored, match="with the run cutoff 2024-01-01T08:00:00"):
        fans_of_store(store, ["EWR"], cutoff="2024-01-01T08:00")
    with pytest.raises(SpecError, match="--cutoff: 'soon'"):
        fans_of_store(store, ["EWR"], cutoff="soon")


def test_unknown_series_and_specs_are_reported(store: Store, fleetcast: Fleetcast) -> None:
    with pytest.raises(UserError, match="is it 'EWR'"):
        fans_of_store(store, ["EWRR"])
    with pytest.raises(NothingStored, match="spec 'other' has no forecasts; these specs have some: demo"):
        fans_of_store(store, ["EWR"], spec="other")
    assert fleetcast("plot", "EWR", "--out", "fan.pdf").exit_code == 2
    assert fleetcast("plot", "EWR", "--actuals", "a.csv").exit_code == 2


def forecasts_file(tmp_path: Path, *, name: str, zone: str | None = None, freq: str = "h") -> Path:
    cutoff = START if freq == "h" else 10
    ds = [START + timedelta(hours=1), START + timedelta(hours=2)] if freq == "h" else [11, 12]
    rows = pl.DataFrame({"unique_id": ["7", "7"], "ds": ds, "cutoff": [cutoff] * 2, "model": ["gru"] * 2})
    rows = rows.with_columns(forecast=pl.lit(1.0), q10=pl.lit(0.5), q50=pl.lit(1.0), q90=pl.lit(2.0))
    if zone:
        rows = rows.with_columns(pl.col("ds", "cutoff").dt.replace_time_zone("UTC").dt.convert_time_zone(zone))
    path = tmp_path / name
    rows.write_csv(path) if name.lower().endswith(".csv") else rows.write_parquet(path)
    return path


def actuals_source(tmp_path: Path, *, zone: str | None = None, freq: str = "h") -> Source:
    ds: Any = [START, START + timedelta(hours=1)] if freq == "h" else [10, 11]
    rows = pl.DataFrame({"name": [7, 7], "when": ds, "sold": [3.0, 4.0]})
    if zone:
        rows = rows.with_columns(pl.col("when").dt.replace_time_zone("UTC").dt.convert_time_zone(zone))
    rows.write_parquet(tmp_path / "actuals.parquet")
    return Source(uri=str(tmp_path / "actuals.parquet"), id="name", time="when", target="sold")


@pytest.mark.parametrize("name", ["out.csv", "out.parquet", "OUT.CSV", "Out.PARQUET"])
@pytest.mark.parametrize("freq", ["h", "1"])
def test_forecasts_and_actuals_of_files_are_on_one_clock(tmp_path: Path, name: str, freq: str) -> None:
    fans = fans_of_files(forecasts_file(tmp_path, name=name, freq=freq), actuals_source(tmp_path, freq=freq), ["7"])
    assert fans.history["y"].to_list() == [3.0, 4.0]
    assert fans.history["ds"][0] == fans.forecasts["cutoff"][0]
    assert fans.history["ds"][1] == fans.forecasts["ds"][0]


def test_actuals_of_a_dialect_are_drawn_without_malformed_rows(fleetcast: Fleetcast, tmp_path: Path) -> None:
    path = forecasts_file(tmp_path, name="x.csv")
    actuals = tmp_path / "actuals.csv"
    actuals.write_text("unique_id;ds;y\n7;2024-01-01 00:00;1,5\n7;2024-01-01 01:00;2;5\n")
    csv = {"separator": ";", "decimal": ","}
    assert fans_of_files(path, Source(uri=str(actuals), csv=csv), ["7"]).history["y"].to_list() == [1.5]
    options = ["--source", "csv.separator=;", "--source", "csv.decimal=,"]
    ended = fleetcast("plot", "7", "--forecasts", str(path), "--actuals", str(actuals), *options, "--out", "fan.png")
    assert ended.exit_code == 0, ended.err


def test_zones_are_drawn_on_the_forecasts_wall_clock(tmp_path: Path) -> None:
    path = forecasts_file(tmp_path, name="out.parquet", zone="Asia/Tokyo")
    fans = fans_of_files(path, actuals_source(tmp_path, zone="Europe/Paris"), ["7"])
    assert fans.forecasts["cutoff"][0] == fans.history["ds"][0] == START + timedelta(hours=9)


def test_plot_of_files_draws_without_a_store(fleetcast: Fleetcast, tmp_path: Path) -> None:
    forecasts_file(tmp_path, name="out.parquet")
    actuals_source(tmp_path)
    columns = ["--id", "name", "--time", "when", "--target", "sold"]
    ended = fleetcast("plot", "7", "--forecasts", "out.parquet", "--actuals", "actuals.parquet", *columns)
    assert (ended.exit_code, ended.out, ended.err) == (0, "fan.png\n", "")


def test_plot_of_files_needs_neither_duckdb_nor_deltalake(tmp_path: Path) -> None:
    forecasts_file(tmp_path, name="out.parquet")
    code = """
import sys
sys.modules |= dict.fromkeys(("deltalake", "duckdb"))
from forecasting.cli import main
raise SystemExit(main(["plot", "7", "--forecasts", "out.parquet"]))
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "fan.png\n", "")


def test_name_that_no_font_has_is_drawn_without_a_warning(fleetcast: Fleetcast, tmp_path: Path) -> None:
    path = forecasts_file(tmp_path, name="out.parquet")
    nowhere = "店 \U000323af"
    pl.read_parquet(path).with_columns(unique_id=pl.lit(nowhere)).write_parquet(path)
    ended = fleetcast("plot", nowhere, "--forecasts", "out.parquet")
    assert (ended.exit_code, ended.out, ended.err) == (0, "fan.png\n", "")


def test_file_without_forecasts_is_refused(fleetcast: Fleetcast, tmp_path: Path) -> None:
    pl.DataFrame({"unique_id": ["a"], "ds": [1]}).write_parquet(tmp_path / "in.parquet")
    ended = fleetcast("plot", "a", "--forecasts", "in.parquet")
    assert ended.exit_code == 2
    assert "lacks cutoff, model, forecast" in ended.err


def test_explain_draws_the_parts_of_forecasts_and_names_what_is_missing(fleetcast: Fleetcast, store: Store) -> None:
    refused = fleetcast("plot", "EWR", "--explain", "--out", "parts.png")
    assert refused.exit_code == 2
    assert "spec 'demo' has no attributions of 'EWR': set attributions = true in the spec" in refused.err
    cutoff = START + timedelta(hours=11)
    parts = [("reference", "reference", 5.0), ("past", "past", -1.0), ("covariate", "$price", 2.0)]
    points = [(name, cutoff + timedelta(hours=step), step) for name in ("EWR", "J'FK") for step in (1, 2)]
    rows = pl.DataFrame(
        [(*point, *part) for point in points for part in parts],
        schema={
            "unique_id": pl.String, "ds": pl.Datetime("us"), "step": pl.Int32, "kind": pl.String,
            "component": pl.String, "contribution": pl.Float64,
        },
        orient="row",
    ).with_columns(model=pl.lit("lstm"), cutoff=pl.lit(cutoff))  # fmt: skip
    stamped = stamp(rows, "attributions", "timestamp", spec="demo", run_cutoff=cutoff, run_id="r")
    slice = Slice("demo", run_cutoff=cutoff)
    publish(store, "attributions", "timestamp", stamped, slice=slice, application="r", generation=0)
    ended = fleetcast("plot", "EWR", "J'FK", "--explain", "--out", "parts.svg")
    assert ended.exit_code == 0, ended.err
    assert Path("parts.svg").read_text().startswith("<?xml")
    found = attributions_of_store(store, ["J'FK", "EWR"])
    assert found["unique_id"].unique(maintain_order=True).to_list() == ["J'FK", "EWR"]
    assert found["kind"].to_list()[:3] == ["reference", "past", "covariate"]
    for more in (["--attention"], ["--forecasts", "f.parquet"]):
        assert "--explain reads attributions of the store" in fleetcast("plot", "EWR", "--explain", *more).err
