"""Score stored forecasts against the actuals that have arrived since."""

# S series

from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl

from forecasting.evaluate.metrics import score_forecasts
from forecasting.evaluate.yardstick import yardsticks
from forecasting.series.local_grid import to_wall_clock, wall_clock_of
from forecasting.series.panel import Panel
from forecasting.spec.spec import Spec


def score(
    panel: Panel,
    forecasts: pl.DataFrame,
    spec: Spec,
    *,
    run_cutoff: datetime | int,
    forecast_run_cutoff: datetime | int | None = None,
) -> pl.DataFrame:
    """Score the forecasts of one earlier run against a panel that has since grown to `run_cutoff`.

    Points that stayed gaps do not count. MASE, MSIS and Naive2 use only what was known at the forecast's own cutoff.

    A forecast `is_complete` when its series has a measurement at or after its last ds. Until then later runs score it
    again, because data may be late. A series that has ended would be scored forever; so its forecast is complete two
    horizons after the run that made it: one for the points to pass, one for their actuals to arrive.

    Args:
        panel: The series, up to `run_cutoff`.
        forecasts: Rows of the table `forecasts` of one run.
        spec: Has the quantiles and the season lengths.
        run_cutoff: The last ds that the scores may know, on the clock of ds.
        forecast_run_cutoff: Cutoff of the run that made the forecasts; None takes each series' own cutoff.

    Returns:
        One row per series and model with a forecast at or before `run_cutoff`, in the columns of the table `scores`,
        sorted.
    """
    if panel.zone is not None:
        cutoffs = forecasts.group_by("unique_id", "model").agg(pl.col("cutoff").first())
        times = ("ds", "cutoff")
        local = forecasts.with_columns(wall_clock_of(pl.col(name), panel.zone) for name in times)
        made_at, until = (to_wall_clock(each, panel.zone) for each in (forecast_run_cutoff, run_cutoff))
        known = replace(panel, zone=None)
        scored = score(known, local, spec, run_cutoff=until, forecast_run_cutoff=made_at)
        return (
            scored.drop("cutoff").join(cutoffs, on=["unique_id", "model"], maintain_order="left").select(scored.columns)
        )
    measured = _observed_points(panel)
    last_measured = measured.group_by("unique_id").agg(last_measured=pl.col("ds").max())
    made_at = pl.col("cutoff") if forecast_run_cutoff is None else pl.lit(forecast_run_cutoff, panel.clock_dtype)
    has_arrived = (pl.col("last_measured") >= pl.col("last_ds")).fill_null(False)
    is_given_up = made_at + 2 * (pl.col("last_ds") - pl.col("cutoff")) <= run_cutoff
    totals = (
        forecasts.group_by("unique_id", "model")
        .agg(pl.col("cutoff").first(), pl.col("is_champion").first(), last_ds=pl.col("ds").max())
        .join(last_measured, on="unique_id", how="left")
        .with_columns(is_complete=has_arrived | is_given_up)
        .drop("last_ds", "last_measured")
    )
    arrived = forecasts.filter(pl.col("ds") <= run_cutoff)
    measures = _yardsticks_at(panel, totals.select("unique_id", "cutoff").unique(), spec)
    points = arrived.join(measured, on=["unique_id", "ds"], how="left").join(
        measures.select("unique_id", "ds", "naive2"), on=["unique_id", "ds"], how="left"
    )
    scale = measures.select("unique_id", "scale", "scaled_by_step").unique("unique_id")
    scored = score_forecasts(points, quantiles=spec.quantiles, scale=scale)
    return scored.join(totals, on=["unique_id", "model"]).sort("unique_id", "model")


def _observed_points(panel: Panel) -> pl.DataFrame:
    """Return the panel's observed points as a frame: unique_id, ds, y."""
    is_observed_SN = np.isfinite(panel.y_SN)
    rows, columns = np.nonzero(is_observed_SN)
    return pl.DataFrame(
        {
            "unique_id": pl.Series(panel.unique_ids, dtype=pl.String).gather(rows),
            "ds": pl.Series(panel.ds_SN[rows, columns]),
            "y": panel.y_SN[rows, columns],
        }
    )


def _yardsticks_at(panel: Panel, cutoffs: pl.DataFrame, spec: Spec) -> pl.DataFrame:
    """Return scale and Naive2 of each series (`evaluate.yardstick`) as of its cutoff."""
    cutoff_of = dict(cutoffs.iter_rows())
    rows = np.array([row for row, name in enumerate(panel.unique_ids) if name in cutoff_of], dtype=np.int64)
    grown = panel.select(rows)
    cutoff_S1 = pl.Series([cutoff_of[name] for name in grown.unique_ids], dtype=panel.clock_dtype).to_numpy()[:, None]
    num_later_S = np.count_nonzero(grown.ds_SN[:, : grown.y_SN.shape[1]] > cutoff_S1, axis=1)
    known = [grown.select(np.flatnonzero(num_later_S == num)).until(int(num)) for num in np.unique(num_later_S)]
    return pl.concat(yardsticks(part, season_length=spec.season_lengths[0]) for part in known or [grown])
