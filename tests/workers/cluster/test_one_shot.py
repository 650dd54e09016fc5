from datetime import datetime, timedelta
from importlib.metadata import entry_points

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from forecasting.errors import SourceError
from forecasting.flow import one_shot
from forecasting.series.inputs import Input
from forecasting.spec.spec import Spec
from workers.cluster.one_shot import forecast_on_ray


@pytest.fixture
def spec(tmp_path):
    hours = np.arange(24 * 8)
    wave = {name: level + np.sin(hours * np.pi / 12) for name, level in (("a", 3), ("b", 5), ("c", 9))}
    rows = pl.concat(
        pl.DataFrame(
            {"unique_id": name, "ds": [datetime(2024, 1, 1) + timedelta(hours=int(hour)) for hour in hours], "y": y}
        )
        for name, y in wave.items()
    )
    short = pl.DataFrame({"unique_id": "short", "ds": [datetime(2024, 1, 2)], "y": 4.0})
    pl.concat([rows, short]).write_parquet(tmp_path / "source.parquet")
    return Spec(
        name="small",
        source={"uri": str(tmp_path / "source.parquet"), "ended": "forecast"},
        freq="1h",
        season_lengths=(24,),
        horizon=6,
        models=("gru",),
        recipe="fast",
        overrides={
            "max_steps": 10,
            "evaluate_every": 5,
            "hidden_size": 4,
            "context_segments": 2,
            "members": [{}, {"start": "prior"}],
            "prior_hidden_size": 4,
            "prior_steps": 10,
            "prior_windows": 8,
            "tuning_steps": 5,
        },
    )


@pytest.mark.ray
def test_the_cluster_forecasts_what_this_process_does(ray_cluster, spec, monkeypatch, capfd):
    monkeypatch.setenv("FLEETCAST_GPUS_PER_WORKER", "0")
    counts = []
    on_ray = forecast_on_ray(spec, Input(spec.source), on_shard=lambda done, total: counts.append((done, total)))
    here = one_shot.forecast(spec)
    assert_frame_equal(on_ray.forecasts, here.forecasts, abs_tol=1e-5)
    assert_frame_equal(on_ray.champions, here.champions, abs_tol=1e-5)
    assert counts[-1] == (4, 4)
    assert len(counts) == 2, "four series must keep both workers busy"
    assert "max_restarts" not in capfd.readouterr().err, "Ray warns that it may be unable to restart the actors"


@pytest.mark.ray
def test_a_mistake_in_the_source_is_raised_as_it_is(ray_cluster, spec):
    missing = spec.model_copy(update={"source": spec.source.model_copy(update={"uri": "/nowhere/source.parquet"})})
    with pytest.raises(SourceError, match="nowhere"):
        forecast_on_ray(missing, Input(missing.source))


def test_the_command_finds_the_cluster_by_its_entry_point():
    (runner,) = entry_points(group="fleetcast.runners", name="ray")
    assert runner.load() is forecast_on_ray
