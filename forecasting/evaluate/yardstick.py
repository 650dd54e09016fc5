"""A panel goes in; what its forecasts are measured against, each series' scale and Naive2, comes out."""

import numpy as np
import polars as pl

from forecasting.classical.naive2 import naive2
from forecasting.evaluate.metrics import seasonal_scale
from forecasting.series.panel import Panel


def yardsticks(panel: Panel, *, season_length: int) -> pl.DataFrame:
    """Return one row per series and step of the horizon: `unique_id, ds, scale, naive2`, NaN where undefined.

    Naive2 is scored beside the models and never serves: it is what the OWA divides by. Plain as M4 has it, it obeys no
    bound of a spec.
    """
    rows = np.repeat(np.arange(len(panel.unique_ids)), panel.horizon)
    return pl.DataFrame(
        {
            "unique_id": pl.Series(panel.unique_ids, dtype=pl.String).gather(rows),
            "ds": pl.Series(panel.ds_SN[:, -panel.horizon :].ravel(), dtype=panel.clock_dtype),
            "scale": seasonal_scale(panel, season_length=season_length)[rows],
            "naive2": naive2(panel, season_length=season_length).ravel(),
        }
    )
