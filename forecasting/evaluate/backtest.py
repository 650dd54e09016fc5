"""A panel and forecasters go in; their scores at rolling origins, in the columns of `backtests`, come out.

No forecaster can see past an origin: it is handed a copy that ends there.
"""

# S series · N grid points · F horizon steps · Q quantiles

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.evaluate.coverage import coverage_by_step
from forecasting.evaluate.metrics import score_forecasts
from forecasting.evaluate.yardstick import yardsticks
from forecasting.series.panel import Panel
from forecasting.spec.quantiles import quantile_column

Forecaster = Callable[[Panel], npt.NDArray[np.float64]]
"""Returns quantiles, shape SFQ in units of y, for every series of the panel it is given; NaN where it has none."""
Forecasts = Mapping[str, npt.NDArray[np.float64]]
"""Quantiles of several models, by name."""


def place_origins(
    length_S: npt.NDArray[np.int64], *, wanted: int, step: int, horizon: int, season_length: int, minimum_length: int
) -> npt.NDArray[np.int64]:
    """Return how many grid points lie after each rolling origin, newest first and 0 where there is none; (S, J).

    The newest of the J = `wanted` origins lies a horizon before a series' end, so that each has a whole horizon to be
    compared with; the others lie `step` grid points apart before it. The oldest of several goes further back, to whole
    seasons of `season_length` before the end, where the series is long enough: what follows it is the time of the
    season that is about to be forecast.

    Before its first origin a series keeps at least `minimum_length` grid points, and never none. A second origin, and
    each further one, costs candidates no more than a quarter of their series: what is compared would else be worse
    than what serves.

    >>> lengths = np.array([50, 100, 200, 900])
    >>> place_origins(lengths, wanted=3, step=24, horizon=24, season_length=168, minimum_length=48).tolist()
    [[0, 0, 0], [24, 0, 0], [24, 48, 0], [24, 48, 168]]
    """
    lengths_S1 = np.asarray(length_S, dtype=np.int64)[:, None]
    after_J = horizon + step * np.arange(wanted)
    most_S1 = np.minimum(lengths_S1 - max(minimum_length, 1), np.maximum(lengths_S1 // 4, horizon))
    origins_SJ = np.where(after_J <= most_S1, after_J, 0)
    seasons = season_length * -(-int(after_J[-1]) // season_length)
    if wanted > 1:
        origins_SJ[:, -1] = np.where(seasons <= most_S1[:, 0], seasons, origins_SJ[:, -1])
    return origins_SJ


def backtest(
    panel: Panel,
    *,
    forecasters: Mapping[str, Forecaster],
    origins_SJ: npt.NDArray[np.int64],
    quantiles: Sequence[float],
    season_length: int,
    assemble: Callable[[Forecasts], Forecasts] = dict,
    inspect: Callable[[pl.DataFrame], None] | None = None,
) -> pl.DataFrame:
    """Score every forecaster at each series' rolling origins, or what `assemble` makes of all their forecasts there.

    `origins_SJ` are as `place_origins` places them. At each origin a forecaster is given all series as they were then,
    and those that have this origin are scored over the horizon that followed. MASE and MSIS are scaled by
    `season_length` over the data up to that origin, and Naive2 knows no more.

    Returns one row per (`unique_id`, `model`, `origin`) with the scores and the coverage of each step, sorted; `origin`
    is the `ds` that the forecast was made at. A forecast that is not finite in every step and quantile has no row.
    `quantiles` must hold 0.5. `inspect` is shown every point: `unique_id, model, origin, ds, y, forecast` and the
    quantiles. Raises ValueError where a series is given an origin that it has no room for.
    """
    _check_room(panel, origins_SJ)
    comparisons = []
    for dropped in np.unique(origins_SJ[origins_SJ > 0])[::-1].tolist():
        rows = np.flatnonzero((origins_SJ == dropped).any(1))
        measures = yardsticks(panel.select(rows).until(dropped), season_length=season_length)
        # Each has its own copy, so that none can look past the origin or change what the next one reads.
        told = {name: forecaster(_copy_until(panel, dropped)) for name, forecaster in forecasters.items()}
        for model, forecast in assemble(told).items():
            forecast_SFQ = np.asarray(forecast, dtype=np.float64)
            is_broken_S = np.count_nonzero(~np.isfinite(forecast_SFQ), axis=(1, 2)) > 0
            scored = rows[~is_broken_S[rows]]
            points = _compare(panel.select(scored), dropped, forecast_SFQ[scored], quantiles)
            measured = points.join(measures, on=["unique_id", "ds"], how="left")
            comparisons.append(measured.with_columns(model=pl.lit(model)))
    comparison = pl.concat(comparisons) if comparisons else _no_comparison(panel, quantiles)
    if inspect is not None:
        inspect(comparison)
    scores = score_forecasts(comparison, quantiles=quantiles, by=["origin"])
    coverage = coverage_by_step(comparison, quantiles=quantiles, by=["origin"])
    return scores.join(coverage, on=["unique_id", "model", "origin"], how="left", maintain_order="left")


def _check_room(panel: Panel, origins_SJ: npt.NDArray[np.int64]) -> None:
    most_S = origins_SJ.max(1, initial=0)
    for row in np.flatnonzero((most_S > 0) & (panel.length_S <= most_S))[:1]:
        raise ValueError(
            f"series '{panel.unique_ids[row]}' has {panel.length_S[row]} grid points, but its first rolling origin"
            f" needs {most_S[row] + 1}"
        )


def _copy_until(panel: Panel, dropped: int) -> Panel:
    """Return a panel that ends earlier and shares no memory with what followed; of the future it has the calendar."""
    known = panel.until(dropped)
    return replace(
        known,
        y_SN=known.y_SN.copy(),
        length_S=known.length_S.copy(),
        calendar_SNC=known.calendar_SNC.copy(),
        ds_SN=known.ds_SN.copy(),
        coded=known.coded and replace(known.coded, code_SNK=known.coded.code_SNK.copy()),
    )


def _compare(
    panel: Panel,
    dropped: int,
    forecast_SFQ: npt.NDArray[np.float64],
    quantiles: Sequence[float],
) -> pl.DataFrame:
    """Put forecasts beside the horizon that followed the origin, one row per series and step."""
    first = panel.y_SN.shape[1] - dropped
    window = slice(first, first + panel.horizon)
    row_of_point = np.repeat(np.arange(len(panel.unique_ids)), panel.horizon)
    return pl.DataFrame(
        {
            "unique_id": pl.Series(panel.unique_ids, dtype=pl.String).gather(row_of_point),
            "origin": panel.ds_SN[row_of_point, first - 1],
            "ds": panel.ds_SN[:, window].ravel(),
            "y": panel.y_SN[:, window].ravel(),
            "forecast": forecast_SFQ[:, :, list(quantiles).index(0.5)].ravel(),
            **{quantile_column(q): forecast_SFQ[:, :, place].ravel() for place, q in enumerate(quantiles)},
        }
    )


def _no_comparison(panel: Panel, quantiles: Sequence[float]) -> pl.DataFrame:
    """Return the columns that `_compare` gives, without rows."""
    on_clock = pl.Int64() if np.issubdtype(panel.ds_SN.dtype, np.integer) else pl.Datetime("us")
    columns = {"unique_id": pl.String(), "model": pl.String(), "origin": on_clock, "ds": on_clock}
    numbers = ("y", "scale", "naive2", "forecast", *(quantile_column(q) for q in quantiles))
    return pl.DataFrame(schema=columns | dict.fromkeys(numbers, pl.Float64()))
