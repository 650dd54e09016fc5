"""A covariate as inputs of gradient-boosted trees: at a step, as it was known at the origin, and relative to others."""

# S series · N grid points · F horizon steps · T = N + F · R rows

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from forecasting.classical.tree_meaning import Kind, Meaning, Places, Rows, Values, running_sum, scales_of
from forecasting.series.panel import Panel


@dataclass(frozen=True)
class TreeCovariate:
    """One covariate of a panel.

    Attributes:
        kind: What its values are.
        value_ST: Its inputs: numbers in the scale of their series, marks as they are, names as codes from 0.
        ahead_SNF: Inputs in the horizon of each grid point, as they were published there; None where they were known
            as they are now.
    """

    kind: Kind
    value_ST: Values
    ahead_SNF: Values | None

    @classmethod
    def of(cls, panel: Panel, meaning: Meaning, number: int, is_past_SN: npt.NDArray[np.bool_]) -> Self:
        """Turn the values of a panel into inputs.

        Args:
            panel: The series.
            meaning: What inputs mean.
            number: Number of the covariate.
            is_past_SN: Marks of the points that scales may read.

        Returns:
            The covariate.
        """
        assert panel.covariate_SNK is not None, "there are covariates"
        value_ST, kind = panel.covariate_SNK[:, :, number], meaning.kinds[number]
        ahead_SNF = None
        if panel.vintage_SNFV is not None and number in panel.vintages:
            ahead_SNF = panel.vintage_SNFV[:, :, :, panel.vintages.index(number)]
        centre_S, spread_S = np.zeros(len(value_ST)), np.ones(len(value_ST))
        if kind == "numbers":
            past_SN = np.where(is_past_SN & np.isfinite(value_ST[:, : is_past_SN.shape[1]]), 1.0, np.nan)
            centre_S, spread_S = scales_of(past_SN * value_ST[:, : is_past_SN.shape[1]])
            spread_S = np.where(spread_S > 0, spread_S, meaning.scales[number])

        def encode(values: Values) -> Values:
            values = np.where(np.isfinite(values), values, np.nan)
            if kind == "names":
                return _codes_of(values, np.array(meaning.names[number]))
            shape = (-1, *(1,) * (values.ndim - 1))
            encoded: Values = (values - centre_S.reshape(shape)) / spread_S.reshape(shape)
            return encoded

        return cls(kind, encode(value_ST), None if ahead_SNF is None else encode(ahead_SNF))

    @property
    def is_linear(self) -> bool:
        """Whether a linear effect may be taken out; that of measurements is not that of their forecasts."""
        return self.kind in ("numbers", "marks") and self.ahead_SNF is None

    def inputs(self, rows: Rows, season_lengths: tuple[int, ...], horizon: int) -> list[Values]:
        """Return the inputs of rows: at the step, relative to the references and to the steps around it.

        Args:
            rows: The rows.
            season_lengths: Grid points of each season.
            horizon: Number of steps to forecast.

        Returns:
            Inputs, (R,) each; NaN for what is unknown.
        """
        if self.kind == "unused":
            return []
        season, target_R = season_lengths[0], rows.target
        now_R = self._at(rows, target_R)
        if self.kind == "static":
            return [now_R]
        backs = [-(-rows.step_R // length) * length for length in season_lengths]
        if self.kind == "names":
            return [now_R, self._at(rows, target_R - backs[0])]
        last_R = np.minimum(rows.origin_R + horizon, self.value_ST.shape[1] - 1)
        after_R = self._at(rows, np.minimum(target_R + 1, last_R))
        from_backs = [now_R - self._at(rows, target_R - back_R) for back_R in backs]
        mean_R = self._mean_around(rows, season, horizon)
        return [now_R, *from_backs, now_R - mean_R, now_R - self._at(rows, target_R - 1), after_R - now_R]

    def _at(self, rows: Rows, column_R: Places) -> Values:
        """Return inputs at columns, as they were known at the origins of rows."""
        width = self.value_ST.shape[1]
        value_R = np.where(column_R >= 0, self.value_ST[rows.series_R, np.clip(column_R, 0, width - 1)], np.nan)
        if self.ahead_SNF is None:
            return value_R
        num_points, horizon = self.ahead_SNF.shape[1:]
        step_R = column_R - rows.origin_R
        ahead_R = self.ahead_SNF[rows.series_R, rows.origin_R, np.clip(step_R, 1, horizon) - 1]
        # The newest are complete, or those of a plan.
        return np.where((step_R > 0) & (rows.origin_R < num_points - 1), ahead_R, value_R)

    def _mean_around(self, rows: Rows, season: int, horizon: int) -> Values:
        """Return the mean over the season of the horizon that a step lies in, as far as it is known ahead."""
        first_R = (rows.step_R - 1) // season * season
        begin_R = rows.origin_R + 1 + first_R
        end_R = np.minimum(begin_R + season, np.minimum(rows.origin_R + 1 + horizon, self.value_ST.shape[1]))
        sum_ST = running_sum(self.value_ST)
        sum_R = sum_ST[rows.series_R, end_R] - sum_ST[rows.series_R, begin_R]
        if self.ahead_SNF is not None:
            ahead_SNF = running_sum(self.ahead_SNF)
            series_R, origin_R = rows.series_R, rows.origin_R
            until_R = np.minimum(first_R + season, horizon)
            ahead_R = ahead_SNF[series_R, origin_R, until_R] - ahead_SNF[series_R, origin_R, first_R]
            sum_R = np.where(origin_R < self.ahead_SNF.shape[1] - 1, ahead_R, sum_R)
        mean_R: Values = sum_R / (end_R - begin_R)
        return mean_R


def _codes_of(values: Values, known: Values) -> Values:
    """Return the places of names among those that are kept apart, NaN for others."""
    order = np.argsort(known)
    place = np.clip(np.searchsorted(known, values, sorter=order), 0, max(len(known) - 1, 0))
    return np.where(known[order][place] == values, order[place].astype(np.float64), np.nan)
