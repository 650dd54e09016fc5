"""`fleetcast plot --attention`: shares of attention from the networks and features in a store, and their picture."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from forecasting.cli.attention import attention_of_store
from forecasting.errors import NothingStored
from forecasting.fleet.fit import fit_candidates, fit_serving
from forecasting.fleet.options import FitOptions
from forecasting.fleet.task import ForecastTask
from forecasting.flow.registry import registry_rows
from forecasting.plots import Attention, attention_chart
from forecasting.series.calendar import calendar_columns
from forecasting.series.panel import to_panel
from forecasting.spec.training import MemberConfig
from forecasting.store.publish import publish
from forecasting.store.slices import Slice
from forecasting.store.stamp import stamp
from forecasting.store.tables import Store

Fleetcast = Callable[..., Any]
URI = "weights/demo/attention.safetensors"
CONFIG = MemberConfig(
    hidden_size=4, segment_length=2, context_segments=4, max_steps=4, evaluate_every=2, batch_windows=4
)


@pytest.fixture
def attentive(store: Store) -> Store:
    """The common store, in which EWR also has a network with attention."""
    names = calendar_columns("1h")
    features = store.scan("features", "timestamp").filter(unique_id="EWR").with_columns(pl.col(names).fill_null(0.0))
    start = features.collect()["ds"].min()
    # The store has few features; the network was trained on more.
    long = pl.DataFrame({"ds": [start + timedelta(hours=hour) for hour in range(60)]}).with_columns(
        pl.lit("EWR").alias("unique_id"),
        pl.Series("y", 20 + 5 * np.sin(np.arange(60.0))),
        *(pl.lit(0.0, pl.Float32).alias(name) for name in names),
    )
    panel = to_panel(long, freq="1h", horizon=3, unique_ids=["EWR"])
    options = FitOptions(accelerator="cpu", show_progress=False)
    model, task = "attention", ForecastTask("1h", 3, (0.1, 0.5, 0.9), (6,))
    candidates = fit_candidates(panel, model, task, CONFIG, seed=0, dropped_S=np.array([6]), options=options)
    fleet = fit_serving(panel, candidates, options=options)
    store.write_bytes(URI, fleet.to_bytes())
    rows = registry_rows(fleet, panel).with_columns(
        weights_uri=pl.lit(URI), data_version=pl.lit(0, pl.Int64), architecture=pl.lit("{}")
    )
    cutoff = long["ds"].max()
    stamped = stamp(rows, "models", "timestamp", spec="demo", run_id="run_1", run_cutoff=cutoff)
    publish(
        store, "models", "timestamp", stamped, slice=Slice("demo", run_cutoff=cutoff), application="m", generation=0
    )
    return store


def test_shares_cover_the_steps_of_a_series_with_their_times(attentive: Store) -> None:
    (found,) = attention_of_store(attentive, ["EWR"])
    assert found.unique_id == "EWR"
    assert found.share_KT.shape == (2, 4)
    np.testing.assert_allclose(found.share_KT.sum(1), 1, rtol=1e-5)
    history = attentive.scan("features", "timestamp").filter(unique_id="EWR").collect()["ds"]
    assert found.ends_T[-1] == np.datetime64(history.max(), "us")
    assert np.diff(found.ends_T).tolist() == [timedelta(hours=2)] * 3
    assert found.begins_K[0] == np.datetime64(history.max() + timedelta(hours=1), "us")


def test_picture_is_drawn(fleetcast: Fleetcast, attentive: Store) -> None:
    ended = fleetcast("plot", "EWR", "--attention", "--out", "attention.png")
    assert (ended.exit_code, ended.out) == (0, "attention.png\n"), ended.err
    assert Path("attention.png").read_bytes().startswith(b"\x89PNG")


def test_series_without_such_a_network_is_reported(fleetcast: Fleetcast, attentive: Store) -> None:
    with pytest.raises(NothingStored, match="spec 'demo' has no network 'attention' of \"J'FK\": train with"):
        attention_of_store(attentive, ["EWR", "J'FK"])
    with pytest.raises(NothingStored, match="at or before 2023"):
        attention_of_store(attentive, ["EWR"], cutoff="2023-01-01T00:00")
    ended = fleetcast("plot", "EWR", "--attention", "--forecasts", "f.csv")
    assert ended.exit_code == 2
    assert "--attention reads networks of the store" in ended.err


def test_each_series_has_a_panel_with_a_row_per_segment_of_the_horizon() -> None:
    share_KT = np.array([[0.2, 0.8], [0.5, 0.5], [1.0, 0.0]])
    figure = attention_chart([Attention(name, np.array([1, 2]), np.array([3, 4, 5]), share_KT) for name in "ab"])
    images = [axes.get_images()[0] for axes in figure.axes if axes.get_images()]
    assert len(images) == 2
    np.testing.assert_array_equal(images[1].get_array(), share_KT)
