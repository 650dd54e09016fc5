"""Take the effects of covariates out of series, and add them to the forecasts of models that do not read covariates.

A network or a statistical model then forecasts what the covariates leave, the *remainder*. Its forecast changes with
the difference between the covariates of a step to come and those of the past values that it starts from.
"""

# S series · N grid points · F horizon steps · T = N + F · K covariates · Q quantiles

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from forecasting.classical.covariate_effect import Effect, find_effect
from forecasting.series.panel import Panel

Values = npt.NDArray[np.float64]
Forecast = Callable[[Panel], Values]


@dataclass(frozen=True)
class Remainder:
    """Series without the effects of their covariates.

    Attributes:
        panel: The series, without covariates. Points at which a covariate means zero are gaps.
        effects: The effect of each series that has one, by its row.
    """

    panel: Panel
    effects: dict[int, Effect]

    def restore(self, quantiles_SFQ: Values) -> Values:
        """Return forecasts with the effects of the covariates of their steps.

        Args:
            quantiles_SFQ: Forecasts of the remainder.

        Returns:
            Forecasts in units of y; those of series without effects have the same bits.
        """
        if not self.effects:
            return quantiles_SFQ
        result_SFQ = quantiles_SFQ.copy()
        for row, effect in self.effects.items():
            result_SFQ[row] = effect.add_to(quantiles_SFQ[row])
        return result_SFQ


def without_effects(panel: Panel, *, season_lengths: Sequence[int]) -> Remainder:
    """Take the effects of covariates out of every series; each is estimated from its own series up to its last value.

    Members and origins of a shard share few panels, whose effects are kept (`_MOST_KEPT`).

    Args:
        panel: The series; measurements that may not be read are gaps at their ends.
        season_lengths: Grid points of each season.

    Returns:
        The remainder; series without covariates, or that these do not explain, have the same bits.
    """
    if panel.covariate_SNK is None:
        return Remainder(panel, {})
    key = _digest(panel.y_SN, panel.covariate_SNK, season_lengths)
    if key not in _kept:
        while len(_kept) >= _MOST_KEPT:
            del _kept[next(iter(_kept))]
        _kept[key] = _find_effects(panel.y_SN, panel.covariate_SNK, season_lengths)
    effects = _kept[key]
    y_SN = panel.y_SN.copy() if effects else panel.y_SN
    for row, effect in effects.items():
        y_SN[row] = effect.take_from(panel.y_SN[row])
    return Remainder(replace(panel, y_SN=y_SN, covariate_SNK=None, vintage_SNFV=None, vintages=()), effects)


@dataclass(frozen=True)
class WithEffects:
    """Forecasts the remainder of a panel and adds the effects of covariates.

    Attributes:
        blind: Forecasts panels without covariates.
        season_lengths: Grid points of each season.
    """

    blind: Forecast
    season_lengths: tuple[int, ...]

    def __call__(self, panel: Panel) -> Values:
        """Forecast a panel with covariates."""
        remainder = self.remainder_of(panel)
        return remainder.restore(self.blind(remainder.panel))

    def remainder_of(self, panel: Panel) -> Remainder:
        """Return the panel without the effects of its covariates."""
        return without_effects(panel, season_lengths=self.season_lengths)


_MOST_KEPT = 4
_kept: dict[bytes, dict[int, Effect]] = {}


def _digest(y_SN: Values, covariate_SNK: Values, season_lengths: Sequence[int]) -> bytes:
    digest = hashlib.blake2b(repr((y_SN.shape, covariate_SNK.shape, tuple(season_lengths))).encode())
    digest.update(np.ascontiguousarray(y_SN).data)
    digest.update(np.ascontiguousarray(covariate_SNK).data)
    return digest.digest()


def _find_effects(y_SN: Values, covariate_SNK: Values, season_lengths: Sequence[int]) -> dict[int, Effect]:
    effects = {}
    for row, y_N in enumerate(y_SN):
        with np.errstate(all="ignore"):
            try:
                effect = find_effect(y_N, covariate_SNK[row], season_lengths=season_lengths)
            except np.linalg.LinAlgError:
                continue
        if effect is not None and np.isfinite(effect.effect_T).all():
            effects[row] = effect
    return effects
