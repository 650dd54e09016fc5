"""Forecast with a fitted fleet: a panel in, every series' quantiles over the horizon after its end out."""

# S series · F horizon steps · Q quantiles

import numpy as np
import numpy.typing as npt
import torch

from forecasting.fleet.cells import CELLS
from forecasting.fleet.fitted import FittedFleet
from forecasting.fleet.network import forecast_windows
from forecasting.fleet.windows import window_source
from forecasting.series.panel import Panel


@torch.no_grad()
def predict(fitted: FittedFleet, panel: Panel) -> npt.NDArray[np.float64]:
    """Return (S, F, Q) quantiles in the unit of y for the panel's series, rising along Q.

    A series without weights in the fleet, without a point in the panel, or whose forecast is not finite gets NaN.
    Crossing quantiles are sorted (rearrangement, Chernozhukov, Fernández-Val & Galichon 2010).
    """
    architecture = fitted.architecture
    quantiles_SFQ = np.full((len(panel.unique_ids), architecture.horizon, len(architecture.quantiles)), np.nan)
    fitted = fitted.select(panel.unique_ids)
    row_of = {name: row for row, name in enumerate(panel.unique_ids)}
    rows = np.array([row_of[name] for name in fitted.unique_ids], dtype=np.int64)
    if not len(rows):
        return quantiles_SFQ
    known = panel.select(rows)
    windows = window_source(known, fitted.scaling, config=fitted.config, season_lengths=architecture.season_lengths)
    origins_S1 = torch.full((len(rows), 1), known.y_SN.shape[1] - 1)
    predicted_SBFQ = forecast_windows(
        CELLS[fitted.model], windows.gather(origins_S1), fitted.weights, num_quantiles=len(architecture.quantiles)
    )
    in_error_units_SFQ = np.sort(predicted_SBFQ[:, 0].double().numpy(), axis=-1)
    error_S11 = np.where(fitted.scaling.error_S > 0, fitted.scaling.error_S, 1.0)[:, None, None]
    values_SFQ = in_error_units_SFQ * error_S11 + fitted.scaling.location_S[:, None, None]
    is_usable_S = np.isfinite(values_SFQ).all((1, 2)) & np.isfinite(known.y_SN).any(1)
    quantiles_SFQ[rows[is_usable_S]] = values_SFQ[is_usable_S]
    return quantiles_SFQ
