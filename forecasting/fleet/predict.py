"""Forecast with a fitted fleet: a panel in, every series' quantiles over the horizon after its end out."""

# S series · F horizon steps · Q quantiles

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from forecasting.fleet import kernels
from forecasting.fleet.cells import CELLS
from forecasting.fleet.fitted import FittedFleet
from forecasting.fleet.network import forecast_windows
from forecasting.fleet.steps import engine
from forecasting.fleet.windows import WindowSource, window_source
from forecasting.series.panel import Panel
from forecasting.training import KernelName


@torch.no_grad()
def predict(fitted: FittedFleet, panel: Panel, *, kernel: KernelName = "auto") -> npt.NDArray[np.float64]:
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
    predicted_SBFQ = _forecast(fitted, windows, origins_S1, kernel)
    in_error_units_SFQ = np.sort(predicted_SBFQ[:, 0].double().numpy(), axis=-1)
    error_S11 = np.where(fitted.scaling.error_S > 0, fitted.scaling.error_S, 1.0)[:, None, None]
    values_SFQ = in_error_units_SFQ * error_S11 + fitted.scaling.location_S[:, None, None]
    is_usable_S = np.isfinite(values_SFQ).all((1, 2)) & np.isfinite(known.y_SN).any(1)
    quantiles_SFQ[rows[is_usable_S]] = values_SFQ[is_usable_S]
    return quantiles_SFQ


def _forecast(fitted: FittedFleet, windows: WindowSource, origins_SB: Tensor, wanted: KernelName) -> Tensor:
    cell, quantiles_Q = CELLS[fitted.model], torch.tensor(fitted.architecture.quantiles, dtype=torch.float32)
    kernel = kernels.choose(cell, origins_SB.device, torch.float32, fitted.config.hidden_size, wanted=wanted)
    if kernel.NAME == "cpu":
        return engine.forecast(cell.name, windows, fitted.weights, origins_SB, quantiles_Q=quantiles_Q)
    batch = windows.gather(origins_SB)
    return forecast_windows(cell, batch, fitted.weights, kernel=kernel, num_quantiles=len(quantiles_Q))
