"""The command run in this process, small inputs, and a small store."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from forecasting.cli import main
from forecasting.schemas import table
from forecasting.spec.frequency import Clock
from forecasting.store.publish import append_run, publish
from forecasting.store.slices import Slice
from forecasting.store.stamp import stamp
from forecasting.store.tables import Store

START = datetime(2024, 1, 1)
QUANTILES = ("q02_5", "q05", "q10", "q20", "q30", "q40", "q50", "q60", "q70", "q80", "q90", "q95", "q97_5")


@dataclass(frozen=True)
class Ended:
    exit_code: int
    out: str
    err: str


Fleetcast = Callable[..., Ended]


@pytest.fixture
def fleetcast(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fleetcast:
    """Run the command in a temporary folder, with one thread."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLEETCAST_PROCESSES", "1")
    monkeypatch.setenv("POLARS_MAX_THREADS", "1")
    monkeypatch.delenv("FLEETCAST_SETTINGS", raising=False)
    monkeypatch.delenv("FLEETCAST_STORE", raising=False)

    def run(*arguments: Any) -> Ended:
        exit_code = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Ended(exit_code, printed.out, printed.err)

    return run


@pytest.fixture
def hourly() -> Callable[..., pl.DataFrame]:
    """Two waves of 60 hours, and a series of their last six that is too short for a network."""

    def build(*names: str, num_points: int = 60) -> pl.DataFrame:
        parts = []
        for seed, name in enumerate(names or ("b", "a", "short")):
            points = np.arange(max(0, num_points - 6) if name == "short" else 0, num_points)
            y = 20 + 5 * np.sin(points + seed) + np.random.default_rng(seed).normal(0, 0.3, len(points))
            ds = [START + timedelta(hours=int(point)) for point in points]
            parts.append(pl.DataFrame({"unique_id": [name] * len(points), "ds": ds, "y": y}))
        return pl.concat(parts)

    return build


@pytest.fixture
def quick() -> list[str]:
    """Options of a forecast that takes a second."""
    sets = (
        *("max_steps=4", "evaluate_every=2", "hidden_size=4", "batch_windows=4", "validation_windows=4"),
        *("prior_steps=8", "prior_hidden_size=4", "tuning_steps=2"),
    )
    return ["--season-length", "6", "--horizon", "4", *(word for pair in sets for word in ("--set", pair))]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fleetcast: Fleetcast) -> Store:
    """A store with the features, forecasts, backtests, champions, scores and runs of spec `demo`, two series."""
    root = tmp_path / "a store"
    monkeypatch.setenv("FLEETCAST_STORE", str(root))
    store = Store(root)
    cutoff = START + timedelta(hours=9)
    names, models = ("EWR", "J'FK"), ("lstm", "seasonal_naive_6")
    features = [
        {"unique_id": name, "ds": START + timedelta(hours=hour), "y": float(hour), "is_observed": True}
        for name in names
        for hour in range(12)
    ]
    forecasts = [
        {"unique_id": name, "model": model, "ds": cutoff + timedelta(hours=step), "step": step, "cutoff": cutoff}
        | {"is_champion": model == "lstm", "forecast": 10.0 + step}
        | {column: 10.0 + step + place for place, column in enumerate(QUANTILES, start=-6)}
        for name in names
        for model in models
        for step in (1, 2, 3)
    ]
    scored = {"num_points": 3, "smape": 20.0, "bias": 0.0, "quantile_loss_sum": 1.0, "abs_y_sum": 10.0, "wql": 0.1}
    errors = [
        {"unique_id": name, "model": model, "origin": START, "mae": 1.0, "mase": mase, "is_champion": model == "lstm"}
        | {"forecast_run_cutoff": cutoff, "cutoff": cutoff, "is_complete": True, "coverage_80": 0.8, "coverage_95": 1.0}
        | scored
        for name in names
        for model, mase in (("lstm", 0.5), ("seasonal_naive_6", 1.0))
    ]
    champions = [{"unique_id": name, "model": "lstm", "mase": 0.5, "is_fallback": False} for name in names]
    rows = {"features": features, "forecasts": forecasts, "backtests": errors, "champions": champions, "scores": errors}
    for name, cells in rows.items():
        _publish(store, name, cells, cutoff)
    append_run(
        store,
        {"run_id": "run_1", "job": "predict", "spec": "demo", "status": "success", "started_at": datetime.now(UTC)},
    )
    return store


def _publish(store: Store, name: str, cells: list[dict[str, Any]], cutoff: datetime) -> None:
    clock: Clock = "timestamp"
    schema = table(name).schema(clock)
    frame = pl.DataFrame(cells, schema={column: schema[column] for column in schema if column in cells[0]})
    is_dated = table(name).is_dated
    added = frame.with_columns(
        pl.lit(None, dtype).alias(column) for column, dtype in schema.items() if column not in frame.columns
    )
    stamped = stamp(
        added.select(column for column in schema if column not in _STAMPED),
        name,
        clock,
        spec="demo",
        run_id="run_1",
        **({"run_cutoff": cutoff} if is_dated else {}),
    )
    slice = Slice("demo", run_cutoff=cutoff if is_dated else None)
    publish(store, name, clock, stamped, slice=slice, application=f"{name}_1", generation=0)


_STAMPED = ("spec", "cutoff_date", "run_cutoff", "run_id")
