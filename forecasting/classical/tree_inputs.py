"""Inputs of gradient-boosted trees: what is known of a step to come at an origin, relative to a seasonal reference.

All steps of the horizon share one model, so a row is a series, an origin and a step. The reference of a row is the
value of the same phase in the last season that ends at or before the origin; further seasons lie before it. Trees
cannot extrapolate, so values of a series are differences from the reference, in units of its seasonal changes.
"""

# S series · N grid points · F horizon steps · T = N + F · K covariates · R rows · P inputs

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from forecasting.classical.pooled_effect import pooled_effect
from forecasting.classical.statistics import fill_from_past
from forecasting.classical.tree_covariates import TreeCovariate
from forecasting.classical.tree_meaning import Meaning, Places, Rows, Values, running_sum
from forecasting.series.categories import Coded
from forecasting.series.panel import Panel

SEASONS_READ, LONG_SEASONS_READ = 3, 2
"""Values of the same phase that a row reads: of the first season, and of a longer one."""
_HOUR, _DAY = 3_600_000_000, 86_400_000_000


@dataclass(frozen=True)
class Known:
    """A panel as rows read it.

    Attributes:
        meaning: What inputs mean.
        horizon: Number of steps to forecast.
        first_S: Column of the first measurement of each series; N where there is none.
        centre_S: Median of each series.
        spread_S: Mean seasonal change of each series, its unit.
        z_SN: Values in this unit, less `effect_ST`, without gaps from the first measurement on; NaN before it.
        sum_SN: Their sums before each column, (S, N + 1).
        effect_ST: Linear effect of the covariates on each series, which trees would need many leaves for.
        covariates: The covariates.
        codes: Of each category, its codes (S, T); NaN for unknown values.
        ds_ST: Times.
    """

    meaning: Meaning
    horizon: int
    first_S: Places
    centre_S: Values
    spread_S: Values
    z_SN: Values
    sum_SN: Values
    effect_ST: Values
    covariates: tuple[TreeCovariate, ...]
    codes: tuple[Values, ...]
    ds_ST: npt.NDArray[np.generic]

    @classmethod
    def of(cls, panel: Panel, meaning: Meaning, end_S: Places) -> Self:
        """Scale a panel; nothing after `end_S` is read, except by `inputs` at later steps.

        Args:
            panel: The series.
            meaning: What inputs mean.
            end_S: Last column of each series whose measurement may be read.

        Returns:
            The scaled panel.
        """
        num_points = panel.y_SN.shape[1]
        is_past_SN = np.arange(num_points) <= end_S[:, None]
        y_SN = np.where(is_past_SN & np.isfinite(panel.y_SN), panel.y_SN, np.nan)
        is_known_SN = np.isfinite(y_SN)
        first_S = np.where(is_known_SN.any(1), is_known_SN.argmax(1), num_points)
        centre_S, spread_S = np.zeros(len(y_SN)), np.ones(len(y_SN))
        z_SN = np.full(y_SN.shape, np.nan)
        season = meaning.season_lengths[0]
        for row, first in enumerate(first_S):
            if first < num_points:
                y_N = y_SN[row, first:]
                centre_S[row], spread_S[row] = _unit_of(y_N, season)
                z_SN[row, first:] = (fill_from_past(y_N, season_length=season) - centre_S[row]) / spread_S[row]
        covariates = [TreeCovariate.of(panel, meaning, number, is_past_SN) for number in range(len(meaning.kinds))]
        effect_ST = _effects(z_SN, covariates, meaning, first_S, end_S, panel.ds_SN.shape[1])
        z_SN -= effect_ST[:, :num_points]
        codes = [] if panel.coded is None else _codes(panel.coded, meaning.categories)
        return cls(
            meaning,
            panel.horizon,
            first_S.astype(np.int64),
            centre_S,
            spread_S,
            z_SN,
            running_sum(z_SN),
            effect_ST,
            tuple(covariates),
            tuple(codes),
            panel.ds_SN,
        )

    def reference(self, rows: Rows) -> Values:
        """Return the reference of each row (R,), in units of its series; NaN where it has none."""
        return self._before(rows, self.meaning.season_lengths[0], 0)

    def inputs(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Return the inputs of rows, (R, P); NaN for what is unknown."""
        season, *others = self.meaning.season_lengths
        reference_R = self.reference(rows)
        inputs = [rows.step_R, -(-rows.step_R // season), reference_R]
        inputs += [self._before(rows, season, more) - reference_R for more in range(1, SEASONS_READ)]
        for long in others:
            inputs += [self._before(rows, long, more) - reference_R for more in range(LONG_SEASONS_READ)]
        last_R = self._mean(rows, season)
        inputs += [
            reference_R - last_R,
            last_R - self._mean(rows, max(self.meaning.season_lengths[-1], 4 * season)),
            self._value(rows, rows.origin_R) - last_R,
            self._value(rows, rows.origin_R) - self._value(rows, rows.origin_R - season),
            last_R - self._mean(rows, 2 * season),
        ]
        inputs += self._calendar(rows)
        for covariate in self.covariates:
            inputs += covariate.inputs(rows, self.meaning.season_lengths, self.horizon)
        inputs += [code_ST[rows.series_R, rows.target] for code_ST in self.codes]
        return np.stack(inputs, axis=1).astype(np.float32)

    def categorical(self) -> list[int]:
        """Return the numbers of the inputs that are codes, not numbers."""
        num_seasons = SEASONS_READ + LONG_SEASONS_READ * (len(self.meaning.season_lengths) - 1)
        place = 2 + num_seasons + 5 + self._num_calendar
        found = []
        for kind in self.meaning.kinds:
            if kind == "names":
                found += [place, place + 1]
            place += {"unused": 0, "static": 1, "names": 2}.get(kind, 4 + len(self.meaning.season_lengths))
        return [*found, *range(place, place + len(self.codes))]

    @property
    def _num_calendar(self) -> int:
        return len(self.meaning.season_lengths) if np.issubdtype(self.ds_ST.dtype, np.integer) else 4

    def _value(self, rows: Rows, column_R: Places) -> Values:
        """Return values at columns; NaN before the first measurement."""
        value_R = self.z_SN[rows.series_R, np.clip(column_R, 0, self.z_SN.shape[1] - 1)]
        return np.where(column_R >= 0, value_R, np.nan)

    def _before(self, rows: Rows, season: int, more: int) -> Values:
        """Return the value of the same phase in the last season before an origin, or in one before that."""
        back_R = (-(-rows.step_R // season) + more) * season
        return self._value(rows, rows.target - back_R)

    def _mean(self, rows: Rows, num: int) -> Values:
        """Return the mean of the last `num` values up to the origins; NaN where there are fewer."""
        first_R = np.maximum(rows.origin_R + 1 - num, 0)
        mean_R = (self.sum_SN[rows.series_R, rows.origin_R + 1] - self.sum_SN[rows.series_R, first_R]) / num
        return np.where(rows.origin_R + 1 - num >= self.first_S[rows.series_R], mean_R, np.nan)

    def _calendar(self, rows: Rows) -> list[Values]:
        ds_R = self.ds_ST[rows.series_R, rows.target]
        if np.issubdtype(ds_R.dtype, np.integer):
            steps_R = ds_R.astype(np.int64)
            return [(steps_R % season).astype(np.float64) for season in self.meaning.season_lengths]
        micro_R = ds_R.astype("datetime64[us]").astype(np.int64)
        month_R = ds_R.astype("datetime64[M]")
        day_R = (ds_R.astype("datetime64[D]") - month_R.astype("datetime64[D]")).astype(np.int64)
        return [
            micro_R % _DAY / _HOUR,
            (micro_R // _DAY + 3) % 7 * 1.0,
            day_R * 1.0,
            month_R.astype(np.int64) % 12 * 1.0,
        ]


def _unit_of(y_N: Values, season: int) -> tuple[float, float]:
    """Return the median of a series, and its mean seasonal change or else its standard deviation."""
    known = y_N[np.isfinite(y_N)]
    change = np.abs(y_N[season:] - y_N[:-season])
    change = change[np.isfinite(change)]
    spread = float(change.mean()) if change.size else 0.0
    if not spread > 1e-9 * np.abs(known).max():
        spread = float(known.std())
    return float(np.median(known)), spread if spread > 0 else 1.0


def _effects(
    z_SN: Values,
    covariates: Sequence[TreeCovariate],
    meaning: Meaning,
    first_S: Places,
    end_S: Places,
    num_columns: int,
) -> Values:
    """Return the linear effect of the covariates on each series (S, T), as `pooled_effect` estimates it."""
    read = [covariate.value_ST for covariate in covariates if covariate.is_linear]
    if not read:
        return np.zeros((len(z_SN), num_columns))
    effect_ST = np.zeros((len(z_SN), num_columns))
    season, *others = meaning.season_lengths
    for row, (first, end) in enumerate(zip(first_S.tolist(), end_S.tolist(), strict=True)):
        if first < end:
            value_TK = np.nan_to_num(np.stack([value_ST[row, first:] for value_ST in read], axis=1), nan=0.0)
            effect_ST[row, first:] = pooled_effect(
                z_SN[row, first : end + 1], value_TK, season=season, long_season=others[0] if others else None
            )
    return effect_ST


def _codes(coded: Coded, categories: Mapping[str, tuple[str, ...]]) -> list[Values]:
    """Return the codes of each category in a vocabulary, NaN for values that it lacks."""
    codes = []
    for name, vocabulary in categories.items():
        place = coded.names.index(name)
        number = {value: code for code, value in enumerate(vocabulary)}
        # The last one is for `MISSING`, -1.
        code_V = np.array([*(number.get(value, np.nan) for value in coded.values[place]), np.nan], dtype=np.float64)
        codes.append(code_V[coded.code_SNK[:, :, place]])
    return codes
