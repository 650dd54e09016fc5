"""Compute the denominators of relative scores: each series' MASE scale and Naive2 forecast."""

import numpy as np
import polars as pl

from forecasting.classical.naive2 import naive2
from forecasting.evaluate.metrics import seasonal_scale, step_scale
from forecasting.series.panel import Panel


def yardsticks(panel: Panel, *, season_length: int) -> pl.DataFrame:
    """Return the MASE scale and the Naive2 forecast of every series.

    Naive2 is scored for the OWA alone and is never a candidate. It is as M4 defines it, without the bounds of a spec.

    Args:
        panel: The series, in units of y.
        season_length: Grid points of the season of both.

    Returns:
        One row per series and step of the horizon: `unique_id, ds, scale, scaled_by_step, naive2`, NaN where undefined.
    """
    seasonal_S, step_S = (scale(panel, season_length=season_length) for scale in (seasonal_scale, step_scale))
    is_short_S = np.isfinite(step_S)
    rows = np.repeat(np.arange(len(panel.unique_ids)), panel.horizon)
    return pl.DataFrame(
        {
            "unique_id": pl.Series(panel.unique_ids, dtype=pl.String).gather(rows),
            "ds": pl.Series(panel.ds_SN[:, -panel.horizon :].ravel(), dtype=panel.clock_dtype),
            "scale": np.where(is_short_S, step_S, seasonal_S)[rows],
            "scaled_by_step": is_short_S[rows],
            "naive2": naive2(panel, season_length=season_length).ravel(),
        }
    )
