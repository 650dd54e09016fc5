"""Score forecasters at rolling origins, as rows of the table `backtests`.

No forecaster can see past an origin: it gets a copy of the panel that ends there.
"""

# S series · N grid points · F horizon steps · Q quantiles

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.classical.combination import Quantiles
from forecasting.evaluate.coverage import coverage_by_step
from forecasting.evaluate.metrics import score_forecasts
from forecasting.evaluate.yardstick import yardsticks
from forecasting.series.panel import Panel
from forecasting.spec.quantiles import quantile_column

Forecaster = Callable[[Panel], Quantiles]
"""Forecasts every series of a panel."""
Key = TypeVar("Key", bound=Hashable)


def place_origins(
    length_S: npt.NDArray[np.int64], *, wanted: int, step: int, horizon: int, season_length: int, minimum_length: int
) -> npt.NDArray[np.int64]:
    """Return the number of grid points after each rolling origin of each series.

    The newest origin lies a horizon before a series' end, so that every origin has a whole horizon to compare with. The
    others lie `step` grid points apart before it. Of several origins, the oldest moves further back, to whole seasons
    before the end, where the series is long enough: the season's phase is then that of the coming forecast.

    A second origin, and each further one, costs candidates at most a quarter of their series. Otherwise the compared
    candidates would be worse than the serving networks.

    Args:
        length_S: Grid points of each series.
        wanted: Number of origins J.
        step: Grid points between two origins.
        horizon: Grid points that each origin is compared over.
        season_length: Grid points of the longest season.
        minimum_length: Grid points that a series keeps before its first origin; at least one is kept.

    Returns:
        Counts (S, J), newest origin first, 0 where a series has no room for an origin.

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
    forecasters: Mapping[Key, Forecaster],
    origins_SJ: npt.NDArray[np.int64],
    quantiles: Sequence[float],
    season_length: int,
    assemble: Callable[[Mapping[Key, Quantiles]], Mapping[str, Quantiles]] | None = None,
    inspect: Callable[[pl.DataFrame], None] | None = None,
) -> pl.DataFrame:
    """Score forecasts at each series' rolling origins.

    At each origin a forecaster gets all series as they were then. Those that have this origin are scored over the
    horizon that followed. MASE, MSIS and Naive2 use only what was known at that origin.

    Args:
        panel: The series; those without an origin are forecast, but not scored.
        forecasters: Each forecasts whole panels.
        origins_SJ: Grid points after each origin, as `place_origins` returns them.
        quantiles: What forecasters return along Q; must hold 0.5.
        season_length: Season of the scale of MASE and MSIS, and of Naive2.
        assemble: Turns the forecasters' quantiles into those of models; by default each forecaster is a model.
        inspect: Receives every compared point: `unique_id, model, origin, ds, y, forecast` and the quantiles.

    Returns:
        One row per (`unique_id`, `model`, `origin`) with the scores and the coverage of each step, sorted; `origin` is
        the `ds` of the last known point. A forecast that is not finite in every step and quantile has no row.

    Raises:
        ValueError: A series has an origin that it has no room for.
    """
    _check_room(panel, origins_SJ)
    comparisons = []
    for dropped in np.unique(origins_SJ[origins_SJ > 0])[::-1].tolist():
        rows = np.flatnonzero((origins_SJ == dropped).any(1))
        measures = yardsticks(panel.select(rows).until(dropped), season_length=season_length)
        # Each gets its own copy, so that none can read past the origin or change what the next one reads.
        forecasts = {key: forecaster(_copy_until(panel, dropped)) for key, forecaster in forecasters.items()}
        models = {str(key): each for key, each in forecasts.items()} if assemble is None else assemble(forecasts)
        for model, forecast in models.items():
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
    """Return a panel that ends earlier, shares no memory with later points, and knows the calendar of its horizon."""
    known = panel.until(dropped)
    return replace(
        known,
        y_SN=known.y_SN.copy(),
        length_S=known.length_S.copy(),
        calendar_SNC=known.calendar_SNC.copy(),
        ds_SN=known.ds_SN.copy(),
        coded=known.coded and replace(known.coded, code_SNK=known.coded.code_SNK.copy()),
        covariate_SNK=None if known.covariate_SNK is None else known.covariate_SNK.copy(),
        vintage_SNFV=None if known.vintage_SNFV is None else known.vintage_SNFV.copy(),
    )


def _compare(
    panel: Panel,
    dropped: int,
    forecast_SFQ: npt.NDArray[np.float64],
    quantiles: Sequence[float],
) -> pl.DataFrame:
    """Join forecasts with the actuals of the horizon after the origin, one row per series and step."""
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
    """Return the columns of `_compare`, without rows."""
    on_clock = pl.Int64() if np.issubdtype(panel.ds_SN.dtype, np.integer) else pl.Datetime("us")
    columns = {"unique_id": pl.String(), "model": pl.String(), "origin": on_clock, "ds": on_clock}
    numbers = ("y", "scale", "naive2", "forecast", *(quantile_column(q) for q in quantiles))
    return pl.DataFrame(schema=columns | dict.fromkeys(numbers, pl.Float64()))
