"""Rows of gradient-boosted trees, and what their inputs mean: kinds and scales of covariates, and names kept apart.

The meaning is fixed when trees are fitted, and stored with them.
"""

# S series · N grid points · R rows

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from forecasting.series.categories import Coded
from forecasting.series.covariate_names import is_coded
from forecasting.series.panel import Panel

MOST_NAMES = 64
"""Names of a covariate, and values of a category, that trees keep apart; rarer ones count as unknown."""
_CALENDAR = ("hour", "weekday", "month")
"""Categories of the calendar that every row reads as numbers, so that their codes are left out."""

Values = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
Kind = Literal["unused", "static", "numbers", "marks", "names"]


class Rows(NamedTuple):
    """Rows of inputs: the series, the column of the origin, and the step after it, each (R,)."""

    series_R: Places
    origin_R: Places
    step_R: Places

    @property
    def target(self) -> Places:
        """The column of the step to forecast."""
        return self.origin_R + self.step_R

    def part(self, rows: Any) -> "Rows":
        """Return some of the rows."""
        return Rows(self.series_R[rows], self.origin_R[rows], self.step_R[rows])


@dataclass(frozen=True)
class Meaning:
    """What the inputs of a model mean, fixed when it is fitted.

    Attributes:
        season_lengths: The first season, and the longer one where there is one, a multiple of it.
        kinds: What the values of each covariate are: numbers, of which each series has its own scale; marks, two values
            that are the same for all series; names; or static, constant in each series. Those of one value are unused.
        scales: Of each covariate of numbers, a scale for series in which it was constant; 1 of others.
        names: Of each covariate of names, the codes of those that are kept apart; empty of others.
        categories: Values of the categories, by name.
    """

    season_lengths: tuple[int, ...]
    kinds: tuple[Kind, ...]
    scales: tuple[float, ...]
    names: tuple[tuple[float, ...], ...]
    categories: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, panel: Panel, season_lengths: Sequence[int], end_S: Places) -> Self:
        """Find the meaning of the covariates and categories of a panel.

        Args:
            panel: The series to fit to.
            season_lengths: Grid points of each season; the first two are used.
            end_S: Last column of each series that may be read.

        Returns:
            The meaning.
        """
        season = season_lengths[0]
        long = round(season_lengths[1] / season) * season if len(season_lengths) > 1 else season
        kinds: list[Kind] = []
        scales, names = [], []
        covariate_SNK = panel.covariate_SNK
        is_past_SN = np.arange(panel.y_SN.shape[1]) <= end_S[:, None]
        for number in range(0 if covariate_SNK is None else covariate_SNK.shape[2]):
            assert covariate_SNK is not None, "there are covariates"
            value_SN = np.where(is_past_SN, covariate_SNK[:, : panel.y_SN.shape[1], number], np.nan)
            found, counts = np.unique(value_SN[np.isfinite(value_SN)], return_counts=True)
            kinds.append(_kind_of(value_SN, found))
            frequent = found[np.lexsort((found, -counts))][:MOST_NAMES]
            names.append(tuple(frequent.tolist()) if kinds[-1] == "names" else ())
            scales.append(_usual_scale(value_SN) if kinds[-1] == "numbers" else 1.0)
        return cls(
            (season, long) if long > season else (season,),
            tuple(kinds),
            tuple(scales),
            tuple(names),
            {} if panel.coded is None else _vocabulary(panel.coded),
        )

    def describe(self) -> dict[str, Any]:
        """Return the meaning as plain values, which `read` turns back."""
        return {**vars(self), "categories": dict(self.categories)}

    @classmethod
    def read(cls, described: Mapping[str, Any]) -> Self:
        """Return the meaning that `describe` described, also from JSON."""
        return cls(
            tuple(described["season_lengths"]),
            tuple(described["kinds"]),
            tuple(described["scales"]),
            tuple(map(tuple, described["names"])),
            {name: tuple(values) for name, values in described["categories"].items()},
        )


def _kind_of(value_SN: Values, found: Values) -> Kind:
    """Return what the values of a covariate are, by its values up to the end and the different ones among them."""
    if len(found) < 2:
        return "unused"
    if is_coded(found):
        return "names"
    least_S, most_S = (
        pick.reduce(np.where(np.isfinite(value_SN), value_SN, empty), axis=1)
        for pick, empty in ((np.minimum, np.inf), (np.maximum, -np.inf))
    )
    if (least_S >= most_S).all():
        return "static"
    return "marks" if len(found) == 2 else "numbers"


def scales_of(value_SN: Values) -> tuple[Values, Values]:
    """Return each series' median and standard deviation of a covariate, 0 where it is unknown or constant."""
    centre_S, spread_S = np.zeros(len(value_SN)), np.zeros(len(value_SN))
    for row, value_N in enumerate(value_SN):
        known = value_N[np.isfinite(value_N)]
        if known.size:
            centre_S[row], spread_S[row] = np.median(known), known.std()
    return centre_S, spread_S


def _usual_scale(value_SN: Values) -> float:
    """Return the median over series of the spread of a covariate where it varies."""
    _, spread_S = scales_of(value_SN)
    return float(np.median(spread_S[spread_S > 0])) if (spread_S > 0).any() else 1.0


def _vocabulary(coded: Coded) -> dict[str, tuple[str, ...]]:
    return {
        name: values[:MOST_NAMES]
        for name, values in zip(coded.names, coded.values, strict=True)
        if name not in _CALENDAR
    }


def running_sum(values: Values) -> Values:
    """Return sums before each place of the last axis, and of all; unknown values count as 0."""
    sums = np.nancumsum(values, axis=-1)
    return np.concatenate([np.zeros((*values.shape[:-1], 1)), sums], axis=-1)
