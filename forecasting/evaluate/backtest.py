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
from forecasting.spec import quantile_column

Forecaster = Callable[[Panel], npt.NDArray[np.float64]]
"""Returns quantiles, shape SFQ in units of y, for every series of the panel it is given; NaN where it has none."""
Forecasts = Mapping[str, npt.NDArray[np.float64]]
"""Quantiles of several models, by name."""


def held_back(origins: npt.ArrayLike, *, step: int, horizon: int) -> npt.NDArray[np.int64]:
    """Return how many grid points lie after the first of so many rolling origins; 0 where there are none.

    The newest origin lies a horizon before the end, so that each has a whole horizon to be compared with; the others
    lie `step` grid points apart before it. A candidate is fitted to data that ends as many points before the end.

    >>> held_back([0, 1, 3], step=24, horizon=48).tolist()
    [0, 48, 96]
    """
    num_origins = np.asarray(origins, dtype=np.int64)
    return np.where(num_origins > 0, horizon + (num_origins - 1) * step, 0)


def num_origins(
    length_S: npt.NDArray[np.int64], *, wanted: int, step: int, horizon: int, minimum_length: int
) -> npt.NDArray[np.int64]:
    """Return how many rolling origins each series has room for, from 0 to `wanted`; shape S.

    Before its first origin a series keeps at least `minimum_length` grid points, and never none; after it lie
    `held_back` ones. A second origin, and each further one, costs candidates no more than a quarter of their series:
    what is compared would else be worse than what serves.

    >>> num_origins(np.array([50, 100, 200, 500]), wanted=3, step=24, horizon=24, minimum_length=48).tolist()
    [0, 1, 2, 3]
    """
    lengths_S = np.asarray(length_S, dtype=np.int64)
    room_S = lengths_S - max(minimum_length, 1) - horizon
    fitting_S = np.where(room_S < 0, 0, room_S // step + 1)
    affordable_S = np.maximum(1, (lengths_S // 4 - horizon) // step + 1)
    return np.clip(np.minimum(fitting_S, affordable_S), 0, wanted)


def backtest(
    panel: Panel,
    *,
    forecasters: Mapping[str, Forecaster],
    origins_S: npt.NDArray[np.int64],
    step: int,
    quantiles: Sequence[float],
    season_length: int,
    assemble: Callable[[Forecasts], Forecasts] = dict,
    inspect: Callable[[pl.DataFrame], None] | None = None,
) -> pl.DataFrame:
    """Score every forecaster at each series' rolling origins, or what `assemble` makes of all their forecasts there.

    At origin j, which `held_back(j)` grid points follow, a forecaster is given all series as they were then, and those
    with at least j origins are scored over the horizon that followed. MASE and MSIS are scaled by `season_length` over
    the data up to that origin, and Naive2 knows no more.

    Returns one row per (`unique_id`, `model`, `origin`) with the scores and the coverage of each step, sorted; `origin`
    is the `ds` that the forecast was made at. A forecast that is not finite in every step and quantile has no row.
    `quantiles` must hold 0.5. `inspect` is shown every point: `unique_id, model, origin, ds, y, forecast` and the
    quantiles. Raises ValueError where a series is given more origins than it has room for.
    """
    _check_room(panel, origins_S, step)
    comparisons = []
    for origin in range(int(np.max(origins_S, initial=0)), 0, -1):
        dropped = int(held_back(origin, step=step, horizon=panel.horizon))
        rows = np.flatnonzero(origins_S >= origin)
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


def _check_room(panel: Panel, origins_S: npt.NDArray[np.int64], step: int) -> None:
    needed_S = held_back(origins_S, step=step, horizon=panel.horizon) + 1
    for row in np.flatnonzero((origins_S > 0) & (panel.length_S < needed_S))[:1]:
        raise ValueError(
            f"series '{panel.unique_ids[row]}' has {panel.length_S[row]} grid points, but {origins_S[row]} rolling "
            f"origins need {needed_S[row]}"
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
