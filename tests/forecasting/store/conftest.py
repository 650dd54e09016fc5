"""A new store for each test, and rows for its tables."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forecasting.schemas import table
from forecasting.spec.frequency import Clock
from forecasting.store.stamp import stamp
from forecasting.store.tables import Store

START = datetime(2024, 1, 1)

RowsOf = Callable[..., pl.DataFrame]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def observations_of() -> RowsOf:
    """Rows of `observations`: `num_points` hours (or steps) of each series, all with the same y."""

    def build(
        *unique_ids: str, y: float = 1.0, spec: str = "demo", num_points: int = 3, clock: Clock = "timestamp"
    ) -> pl.DataFrame:
        ds: list[Any] = [START + timedelta(hours=hour) for hour in range(num_points)]
        if clock == "step":
            ds = list(range(num_points))
        schema = table("observations").schema(clock)
        classes = [{"name": "region", "value": "north"}]
        rows = [{"unique_id": name, "ds": at, "y": y, "categories": classes} for name in unique_ids for at in ds]
        frame = pl.DataFrame(rows, schema={name: schema[name] for name in ("unique_id", "ds", "y", "categories")})
        return stamp(frame, "observations", clock, spec=spec, run_id="run")

    return build


@pytest.fixture
def forecasts_of() -> RowsOf:
    """Rows of `forecasts` or `forecasts_by_step`: `horizon` points after `run_cutoff` of each series and model."""

    def build(
        *unique_ids: str,
        run_cutoff: datetime | int = START,
        models: tuple[str, ...] = ("lstm", "gru"),
        champion: str = "lstm",
        forecast: float = 1.0,
        horizon: int = 2,
        spec: str = "demo",
        run_id: str = "run",
        quantile_columns: tuple[str, ...] = (),
    ) -> pl.DataFrame:
        clock: Clock = "step" if isinstance(run_cutoff, int) else "timestamp"
        schema = table("forecasts").schema(clock, quantile_columns)
        rows = [
            {
                "unique_id": unique_id,
                "model": model,
                "ds": run_cutoff + (step if isinstance(run_cutoff, int) else timedelta(hours=step)),
                "step": step,
                "cutoff": run_cutoff,
                "is_champion": model == champion,
                "forecast": forecast,
                **dict.fromkeys(quantile_columns, forecast),
            }
            for unique_id in unique_ids
            for model in models
            for step in range(1, horizon + 1)
        ]
        stamped = {"spec", "cutoff_date", "run_cutoff", "run_id"}
        frame = pl.DataFrame(rows, schema={name: dtype for name, dtype in schema.items() if name not in stamped})
        return stamp(
            frame, "forecasts", clock,
            spec=spec, run_cutoff=run_cutoff, run_id=run_id, quantile_columns=quantile_columns,
        )  # fmt: skip

    return build
