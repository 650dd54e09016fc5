"""Jobs on a source with a zone: tables have instants and the zone, forecasts follow the wall clock, scores compare."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from forecasting.store.query import query
from workers.jobs.backtest import backtest
from workers.jobs.features import write_features
from workers.jobs.predict import predict
from workers.jobs.run import Run
from workers.jobs.score import score

ZONE = ZoneInfo("Europe/Berlin")
CUTOFF = datetime(2024, 3, 30, 22)
"""An instant three hours before the clocks of spring change."""


@pytest.fixture
def zoned(small: Any, serial: Any) -> Any:
    """A series with a peak at 8:00 in Berlin, from a source of naive local times, a day beyond the cutoff."""
    instants = [CUTOFF + timedelta(hours=hour) for hour in range(-20 * 24, 25)]
    local = [each.replace(tzinfo=UTC).astimezone(ZONE).replace(tzinfo=None) for each in instants]
    small.write(*(f"a,{time},{10 + 40 * (time.hour == 8) + 0.1 * (time.day % 2)}" for time in local))
    fields = {"season_lengths": (24,), "horizon": 24, "statistics": (), "paths": 10}
    source = small.spec.source.model_copy(update={"timezone": "Europe/Berlin"})
    small.spec = small.spec.model_copy(update={**fields, "source": source})
    return small


def run_at(small: Any, job: str, at: datetime, **options: Any) -> Run:
    run: Run = replace(small.run(job, 0, **options), cutoff=at)
    return run


def test_jobs_keep_instants_and_follow_the_wall_clock(zoned: Any) -> None:
    write_features(run_at(zoned, "features", CUTOFF, cutoff="given"))
    observed = zoned.store.scan("observations", "timestamp").collect()
    assert (observed["ds"].max(), observed["zone"].unique().to_list()) == (CUTOFF, ["Europe/Berlin"])
    backtest(run_at(zoned, "backtest", CUTOFF, flow="train"))
    origins = zoned.store.scan("backtests", "timestamp").collect()["origin"]
    assert origins.max() <= CUTOFF - timedelta(hours=23)
    predict(run_at(zoned, "predict", CUTOFF))
    rows = query(zoned.store, "SELECT ds, ds_local, cutoff, zone, forecast FROM latest_forecasts ORDER BY ds")
    assert rows["ds"].to_list() == [CUTOFF + timedelta(hours=step) for step in range(1, 25)]
    assert rows["cutoff"].unique().to_list() == [CUTOFF]
    assert rows.filter(pl.col("forecast") > 30)["ds_local"].to_list() == [datetime(2024, 3, 31, 8)]
    paths = query(zoned.store, "SELECT DISTINCT ds, ds_local FROM latest_sample_paths ORDER BY ds")
    assert paths.equals(rows.select("ds", "ds_local"))
    later = CUTOFF + timedelta(hours=24)
    write_features(run_at(zoned, "features", later, cutoff="given"))
    score(run_at(zoned, "score", later))
    scores = zoned.store.scan("scores", "timestamp").filter(pl.col("is_champion")).collect()
    assert scores.select("num_points", "cutoff", "is_complete").rows() == [(24, CUTOFF, True)]
    assert scores["mae"][0] < 0.2  # a peak that is an hour off costs 80 of 24 points
    assert scores["mase"][0] < 2
