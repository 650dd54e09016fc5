"""Lay forecasts of a panel's grid out on the points of the horizon: instants of its zone, and days without holidays."""

# S series of a shard · R rows of the panel · F horizon steps · Q quantiles

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecasting.classical.combination import Quantiles
from forecasting.flow.admissible import admissible
from forecasting.series.local_grid import number_points
from forecasting.series.open_calendar import open_points_ahead
from forecasting.series.panel import Panel
from forecasting.spec.frequency import fixed_width, learned_frequency
from forecasting.spec.spec import Spec


@dataclass(frozen=True)
class PointsAhead:
    """The points that are forecast.

    Attributes:
        panel: The series.
        spec: What is forecast.
        ds_SF: The points on the clock of the tables.
        number_SF: The point of the panel's grid that each is, counted from the last known one; None where these are 1
            to F of every series.
    """

    panel: Panel
    spec: Spec
    ds_SF: npt.NDArray[np.generic]
    number_SF: npt.NDArray[np.int64] | None

    def lay_out(self, quantiles_RFQ: Quantiles, rows_R: npt.NDArray[np.int64]) -> Quantiles:
        """Return forecasts of the points, from those of the first F points of the panel's grid.

        Both instants of an hour that autumn repeats have the forecast of that hour. After an hour that spring skips, or
        a holiday, the horizon reaches beyond the F points of the grid: a point there has the forecast of a season
        earlier, or without one in the horizon, the last forecast and the change of the measurements a season earlier. A
        point that repeats the last known hour has its measurement with the spread of the first forecast.

        Args:
            quantiles_RFQ: Forecasts of some series.
            rows_R: Their rows in the panel.

        Returns:
            Forecasts of the same shape.
        """
        if self.number_SF is None:
            return quantiles_RFQ
        number_RF = self.number_SF[rows_R]
        horizon = number_RF.shape[1]
        laid_RFQ = np.take_along_axis(quantiles_RFQ, np.clip(number_RF, 1, horizon)[:, :, None] - 1, axis=1)
        for row, step in np.argwhere((number_RF < 1) | (number_RF > horizon)):
            laid_RFQ[row, step] = self._beyond(quantiles_RFQ[row], self.panel.y_SN[rows_R[row]], number_RF[row, step])
        return admissible(laid_RFQ, self.spec)

    def _beyond(self, quantiles_FQ: npt.NDArray[np.float64], y_N: npt.NDArray[np.float64], number: int) -> Quantiles:
        """Return the forecast of a point that the panel's grid has no forecast of."""
        horizon = len(quantiles_FQ)
        if number < 1:
            middle = list(self.spec.quantiles).index(0.5)
            return _shift(quantiles_FQ[0], _known(y_N, number) - quantiles_FQ[0, middle])
        seasons = [length for length in self.spec.season_lengths if length > 1]
        within = [length for length in seasons if 1 <= number - length <= horizon]
        if within:
            last: Quantiles = quantiles_FQ[number - max(within) - 1]
            return last
        change = _known(y_N, number - seasons[0]) - _known(y_N, horizon - seasons[0]) if seasons else 0.0
        return _shift(quantiles_FQ[-1], change)


def points_ahead(panel: Panel, spec: Spec) -> PointsAhead:
    """Return the points that a forecast of a panel is of.

    Args:
        panel: The series, up to the cutoff.
        spec: Has the frequency, the season lengths and the bounds of forecasts.

    Returns:
        The points.
    """
    horizon = spec.horizon
    if learned_frequency(spec.freq) != spec.freq:
        ds_SF, number_SF = open_points_ahead(panel.last_ds, freq=spec.freq, horizon=horizon)
        return PointsAhead(panel, spec, ds_SF, number_SF)
    if panel.zone is None:
        return PointsAhead(panel, spec, panel.ds_SN[:, -horizon:], None)
    width = fixed_width(spec.freq)
    assert width is not None
    steps_F = np.arange(1, horizon + 1)
    ds_SF = panel.cutoffs[:, None] + (steps_F * width).astype("timedelta64[us]")
    number_SF = number_points(ds_SF, panel.last_ds, zone=panel.zone, freq=spec.freq)
    return PointsAhead(panel, spec, ds_SF, None if (number_SF == steps_F).all() else number_SF)


def _known(y_N: npt.NDArray[np.float64], number: int) -> float:
    """Return the measurement of a point, counted from the last one, which is 0; NaN where there is none."""
    place = len(y_N) - 1 + number
    return float(y_N[place]) if 0 <= place < len(y_N) else np.nan


def _shift(quantiles_Q: npt.NDArray[np.float64], change: float) -> Quantiles:
    shifted: Quantiles = quantiles_Q + (change if np.isfinite(change) else 0.0)
    return shifted
