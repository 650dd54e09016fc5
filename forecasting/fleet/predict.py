"""Forecasts of a fitted fleet: every series' quantiles over the horizon after the panel's end."""

# S series · F horizon steps · Q quantiles

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from forecasting.fleet import kernels
from forecasting.fleet.architectures import Recurrent, Seq2Seq, make_wiring
from forecasting.fleet.assembly import Assembly, assemble
from forecasting.fleet.categories import embed, unseen
from forecasting.fleet.engine import runs_in_engine
from forecasting.fleet.fitted import FittedFleet
from forecasting.fleet.network import forecast_windows, reference_of
from forecasting.fleet.span import observed_span
from forecasting.fleet.steps import engine
from forecasting.fleet.stream import forecast_streams
from forecasting.series.panel import Panel
from forecasting.spec.training import KernelName


@torch.no_grad()
def predict(fitted: FittedFleet, panel: Panel, *, kernel: KernelName = "auto") -> npt.NDArray[np.float64]:
    """Forecast the panel's series.

    Crossing quantiles are sorted (rearrangement, Chernozhukov, Fernández-Val & Galichon 2010).

    Args:
        fitted: The fleet.
        panel: Series to forecast; they end at the cutoff.
        kernel: The requested kernel.

    Returns:
        Quantiles (S, F, Q) in the unit of y, rising along Q. A series without weights in the fleet, without an observed
        point, shorter than the fleet's shortest reference, or whose forecast is not finite has NaN.
    """
    task = fitted.task
    quantiles_SFQ = np.full((len(panel.unique_ids), task.horizon, len(task.quantiles)), np.nan)
    fitted = fitted.select(panel.unique_ids)
    row_of = {name: row for row, name in enumerate(panel.unique_ids)}
    rows = np.array([row_of[name] for name in fitted.unique_ids], dtype=np.int64)
    num_observed_S = np.count_nonzero(np.isfinite(panel.y_SN), axis=1)[rows]
    has_reference_S = num_observed_S > 0
    if not fitted.config.is_smoothed:  # the level of a smoothed series is a reference too
        _, span_S = observed_span(panel.y_SN[rows])
        has_reference_S &= span_S >= min(fitted.config.references(task.season_lengths))
    has_gaps_S = num_observed_S < panel.length_S[rows]
    for is_gappy in (False, True):
        slots = np.flatnonzero((has_gaps_S == is_gappy) & has_reference_S)
        if not len(slots):
            continue
        part = fitted.select([fitted.unique_ids[slot] for slot in slots])
        known = panel.select(rows[slots])
        needs_all = is_gappy or fitted.config.is_smoothed or fitted.config.design.stream
        values_SFQ = _forecast(part, known if needs_all else _newest(known, part), kernel)
        is_usable_S = np.isfinite(values_SFQ).all((1, 2))
        quantiles_SFQ[rows[slots[is_usable_S]]] = values_SFQ if is_usable_S.all() else values_SFQ[is_usable_S]
    return quantiles_SFQ


def _newest(panel: Panel, fitted: FittedFleet) -> Panel:
    """Return the part of a panel without gaps that the last windows read; a gap may be filled from long before.

    With two of the longest seasons, a series looks no younger than it is (`forecasting.fleet.young`).
    """
    config, seasons = fitted.config, fitted.config.references(fitted.task.season_lengths)
    width = max(config.segment_length * config.context_segments + seasons[0], 2 * max(seasons))
    return replace(
        panel,
        y_SN=panel.y_SN[:, -width:],
        length_S=np.minimum(panel.length_S, width),
        calendar_SNC=panel.calendar_SNC[:, -width - panel.horizon :],
        ds_SN=panel.ds_SN[:, -width - panel.horizon :],
        coded=panel.coded and panel.coded.columns(slice(-width - panel.horizon, None)),
    )


def find_unseen(fitted: FittedFleet, panel: Panel) -> dict[str, tuple[tuple[str, str], ...]]:
    """Return the categories, with values, that a forecast reads although its network has not seen them.

    A network reads them as the vector of unseen values.

    Args:
        fitted: The fleet.
        panel: Series to forecast.

    Returns:
        Pairs of category and value for each series that has any; series without weights in the fleet are left out.
    """
    fitted = fitted.select(panel.unique_ids)
    if not fitted.vocabulary or not fitted.unique_ids or panel.coded is None:
        return {}
    row_of = {name: row for row, name in enumerate(panel.unique_ids)}
    coded = panel.coded.rows(np.array([row_of[name] for name in fitted.unique_ids], dtype=np.int64))
    wiring, num_known = make_wiring(fitted.model, fitted.config.design), panel.y_SN.shape[1]
    first = 0
    if not wiring.is_stream:
        first = max(0, num_known - fitted.config.segment_length * fitted.config.context_segments)
    num_ahead = wiring.count_read_ahead(fitted.task.dimensions(fitted.config, num_inputs=0))
    columns = slice(first, num_known + num_ahead)
    found = unseen(coded, fitted.vocabulary, fitted.weights, columns)
    return {name: values for name, values in zip(fitted.unique_ids, found, strict=True) if values}


@torch.no_grad()
def attend(fitted: FittedFleet, panel: Panel) -> npt.NDArray[np.float64]:
    """Return the attention weights of each segment of the horizon over the steps of the context.

    Args:
        fitted: A fleet of networks with attention, which has weights for all of the panel's series.
        panel: Series to forecast.

    Returns:
        Weights (S, K, T) of K segments and T steps, which sum to one along T.
    """
    fitted = fitted.select(panel.unique_ids)
    ready, origins_S1 = _prepare(fitted, panel)
    assert isinstance(ready.wiring, Seq2Seq), "only a decoder attends"
    batch = embed(ready.windows.gather(origins_S1, weights=fitted.weights), fitted.weights)
    reference_SBF = reference_of(batch, fitted.weights)
    _, share_SBKT = ready.wiring.run_with_attention(batch, reference_SBF, fitted.weights, ready.dimensions)
    assert share_SBKT is not None, "a decoder without attention has no weights"
    shares: npt.NDArray[np.float64] = share_SBKT[:, 0].double().numpy()
    return shares


def _prepare(fitted: FittedFleet, panel: Panel) -> tuple[Assembly, Tensor]:
    """Assemble the windows of the fleet's series, which the panel has in order; origins (S, 1) are its last column."""
    ready = assemble(
        panel,
        fitted.scaling,
        model=fitted.model,
        task=fitted.task,
        config=fitted.config,
        vocabulary=fitted.vocabulary,
    )
    return ready, torch.full((len(panel.unique_ids), 1), panel.y_SN.shape[1] - 1)


def _forecast(fitted: FittedFleet, panel: Panel, wanted: KernelName) -> npt.NDArray[np.float64]:
    """Return (S, F, Q) in the unit of y for a panel of the fleet's series, in its order."""
    ready, origins_S1 = _prepare(fitted, panel)
    wiring, windows, scaling = ready.wiring, ready.windows, fitted.scaling
    quantiles_Q = torch.tensor(fitted.task.quantiles, dtype=torch.float32)
    # A forecast takes milliseconds, so it moves to a GPU only where the requested kernel needs one.
    device = torch.device("cuda" if wanted == "gpu" and torch.cuda.is_available() else "cpu")
    cell = wiring.cell
    kernel = kernels.choose(cell, device, torch.float32, fitted.config.hidden_size, wanted=wanted)
    if cell is not None and runs_in_engine(kernel.NAME, wiring, is_smoothed=windows.smoothing is not None):
        predicted_SBFQ = engine.forecast(cell.name, windows, fitted.weights, origins_S1, quantiles_Q=quantiles_Q)
    else:
        weights = {name: weight.to(device) for name, weight in fitted.weights.items()}
        windows, origins_S1 = windows.to(device), origins_S1.to(device)
        if isinstance(wiring, Recurrent) and wiring.is_stream:
            predicted_SBFQ = forecast_streams(wiring, windows, weights, origins_S1[:, 0], ready.dimensions)
        else:
            batch = windows.gather(origins_S1, weights=weights)
            predicted_SBFQ = forecast_windows(wiring, ready.dimensions, batch, weights, kernel=kernel)
    values_SFQ: npt.NDArray[np.float64] = predicted_SBFQ[:, 0].cpu().double().numpy()
    crosses_SF = (values_SFQ[..., 1:] < values_SFQ[..., :-1]).any(-1)
    values_SFQ[crosses_SF] = np.sort(values_SFQ[crosses_SF], axis=-1)
    values_SFQ *= np.where(scaling.error_S > 0, scaling.error_S, 1.0)[:, None, None]
    values_SFQ += scaling.location_S[:, None, None]
    return scaling.to_y(values_SFQ)
