"""Windows of the ridge regressions of one series: inputs and targets at past origins, and the inputs after its end.

There are two designs. *By season*, an equation for each step of a season reads all values of the last seasons, and
windows are a season apart. *By step*, an equation for each step of the horizon reads a few values and the phase of its
season, and windows begin at every point, as is needed where seasons are few or short.
"""

# N grid points, oldest first · F horizon steps · T = N + F · K covariates · W windows, newest first · P inputs
# M targets of a block · O origins (the windows' and the last grid point)

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FEWEST_WINDOWS = 30
NUMS_BY_SEASON = (56, 84, 364, 1092, 1456)
"""Numbers of windows of the fits that are averaged, as far as a series has so many. Short spans follow a change of the
series, long ones estimate more coefficients. Lago et al. (2021) average the first two and the last two for prices."""
NUMS_BY_STEP = (365, 1456)
"""The same of equations by step, whose neighbouring windows differ little."""
SHORTEST_BLOCK = 8
"""Shortest season, in grid points, whose equations are by season."""
_SEASONS_READ = 3
_SHORT_SEASON = 14
"""Longest season of which equations by step read the last two."""
_FEW_RECENT = 8
_MOST_PHASES = 24
"""Longest season whose phases are inputs of equations by step."""

Values = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


class Windows(NamedTuple):
    """Inputs and targets of the equations of one block of steps.

    Attributes:
        input_WP: Inputs of the windows.
        target_WM: Targets of the windows, one for each equation.
        next_P: Inputs after the series' end.
        nums: Numbers of windows to fit to, rising.
    """

    input_WP: Values
    target_WM: Values
    next_P: Values
    nums: tuple[int, ...]


class Known(NamedTuple):
    """What is known of a series, all scaled.

    Attributes:
        y_N: Its values.
        covariate_TK: Its covariates over grid and horizon.
        ahead_NFK: The covariates of the horizon of each grid point, as they were known there; None where
            they were known as they are now.
    """

    y_N: Values
    covariate_TK: Values
    ahead_NFK: Values | None = None

    @property
    def horizon(self) -> int:
        """Number of steps to forecast."""
        return len(self.covariate_TK) - len(self.y_N)

    def covariates_at(self, place: Places, origin: Places) -> Values:
        """Return the covariates at places, as they were known at origins of a shape that broadcasts to theirs."""
        values: Values = self.covariate_TK[place]
        if self.ahead_NFK is None:
            return values
        step = np.minimum(place - origin, self.horizon)
        ahead = self.ahead_NFK[np.broadcast_to(origin, place.shape), np.maximum(step, 1) - 1]
        return np.where((step > 0)[..., None], ahead, values)


def windows_of(known: Known, *, season: int, long_season: int | None) -> Iterator[Windows]:
    """Return the windows of each block of steps: by season where there are enough of these, else by step.

    Args:
        known: The series.
        season: Grid points of its season.
        long_season: Grid points of a longer season, a multiple of `season`; None without one.

    Returns:
        Windows of successive blocks, which together have all steps of the horizon. None where the series has fewer
        points than `least_points`.
    """
    num_points, horizon = len(known.y_N), known.horizon
    if not is_by_step(num_points, horizon=horizon, season=season):
        return _by_season(known, season, long_season)
    if num_points >= _points_by_step(horizon, season):
        return _by_step(known, season, long_season)
    return iter(())


def is_by_step(num_points: int, *, horizon: int, season: int) -> bool:
    """Return whether the equations of a series with so many grid points are by step."""
    return season < SHORTEST_BLOCK or num_points < _points_by_season(horizon, season)


def least_points(*, horizon: int, season: int) -> int:
    """Return the fewest grid points of a series that has windows.

    Args:
        horizon: Number of steps to forecast.
        season: Grid points of its season.

    Returns:
        A number of grid points.

    >>> least_points(horizon=14, season=7), least_points(horizon=24, season=24)
    (71, 69)
    """
    by_step = _points_by_step(horizon, season)
    return min(by_step, _points_by_season(horizon, season)) if season >= SHORTEST_BLOCK else by_step


class Shape(NamedTuple):
    """The size of the fits of a series.

    Attributes:
        num_blocks: Blocks of steps, each with fits of its own.
        num_equations: Equations of a block.
        num_inputs: Inputs of a block's equations.
        nums: Numbers of windows of a block's fits.
    """

    num_blocks: int
    num_equations: int
    num_inputs: int
    nums: tuple[int, ...]


def shape_of(num_points: int, *, horizon: int, season: int, num_covariates: int) -> Shape | None:
    """Return the size of the fits of a series with a long season.

    Args:
        num_points: Grid points of the series.
        horizon: Number of steps to forecast.
        season: Grid points of its season.
        num_covariates: Number of covariates, squares included.

    Returns:
        The size; None for a series that has fewer points than `least_points`.
    """
    if not is_by_step(num_points, horizon=horizon, season=season):
        num_equations, num_blocks = min(season, horizon), -(-horizon // season)
        num_inputs = _SEASONS_READ * season + num_equations * (1 + 3 * num_covariates)
        num = (num_points - (_SEASONS_READ + num_blocks - 1) * season) // season
        return Shape(num_blocks, num_equations, num_inputs, _nums(NUMS_BY_SEASON, num))
    if num_points < _points_by_step(horizon, season):
        return None
    backs = 1 + (len(_seasons_before(1, season)) or 1)
    num_phases = season if 1 < season <= _MOST_PHASES else 0
    num_inputs = _num_recent(season) + 2 + num_phases + backs + (4 + min(backs, 2)) * num_covariates
    return Shape(
        horizon, 1, num_inputs, _nums(NUMS_BY_STEP, num_points - _reach_by_step(horizon, season) - horizon + 1)
    )


def _points_by_season(horizon: int, season: int) -> int:
    return (_SEASONS_READ + -(-horizon // season) + FEWEST_WINDOWS - 1) * season


def _points_by_step(horizon: int, season: int) -> int:
    return _reach_by_step(horizon, season) + horizon + FEWEST_WINDOWS - 1


def _by_season(known: Known, season: int, long_season: int | None) -> Iterator[Windows]:
    y_N, num_points = known.y_N, len(known.y_N)
    for first in range(0, known.horizon, season):
        steps_M = np.arange(first, min(first + season, known.horizon))
        newest, reach = num_points - 1 - first - season, _SEASONS_READ * season
        back = long_season and -(-(first + len(steps_M)) // long_season) * long_season
        if back and not _is_affordable(newest, reach, back - first, season):
            back = None
        num = _count(newest, max(reach, back - first) if back else reach, season)
        origin_O1 = np.append(num_points - 1, newest - season * np.arange(min(num, NUMS_BY_SEASON[-1])))[:, None]
        block_OM = origin_O1 + 1 + steps_M
        inputs = [y_N[origin_O1 - np.arange(reach)]]
        if back and back - first > reach:
            inputs.append(y_N[block_OM - back])
        if known.covariate_TK.shape[1]:
            shifts = (0, season, back or 2 * season)
            at_shifts = (known.covariates_at(block_OM - shift, origin_O1) for shift in shifts)
            inputs += [values.reshape(len(origin_O1), -1) for values in at_shifts]
        input_OP = np.concatenate(inputs, axis=1)
        yield Windows(input_OP[1:], y_N[block_OM[1:]], input_OP[0], _nums(NUMS_BY_SEASON, len(input_OP) - 1))


def _by_step(known: Known, season: int, long_season: int | None) -> Iterator[Windows]:
    y_N, covariate_TK, num_points = known.y_N, known.covariate_TK, len(known.y_N)
    recent, last = _num_recent(season), len(known.covariate_TK) - 1
    sum_N, sum_TK = _running_sum(y_N), _running_sum(covariate_TK)
    for step in range(1, known.horizon + 1):
        newest, reach = num_points - 1 - step, _reach_by_step(step, season)
        backs = _seasons_before(step, season)
        for length in (season if season > _SHORT_SEASON else None, long_season):
            back = length and -(-step // length) * length
            if back and _is_affordable(newest, reach, back - step + 1, 1):
                backs, reach = [*backs, back], max(reach, back - step + 1)
        origin_O = np.append(num_points - 1, newest - np.arange(min(_count(newest, reach, 1), NUMS_BY_STEP[-1])))
        target_O = origin_O + step
        inputs = [y_N[origin_O[:, None] - np.arange(recent)]]
        inputs += [_mean_before(sum_N, origin_O, num)[:, None] for num in (recent // 2, 2 * recent)]
        inputs += [y_N[target_O - back][:, None] for back in backs]
        if 1 < season <= _MOST_PHASES:
            inputs.append((target_O[:, None] % season == np.arange(season)).astype(np.float64))
        if covariate_TK.shape[1]:
            inputs += [known.covariates_at(np.minimum(target_O + shift, last), origin_O) for shift in (0, -1, 1)]
            inputs += [covariate_TK[target_O - back] for back in backs[:2]]
            inputs.append(_mean_before(sum_TK, origin_O, recent // 2))
        input_OP = np.concatenate(inputs, axis=1)
        yield Windows(input_OP[1:], y_N[target_O[1:], None], input_OP[0], _nums(NUMS_BY_STEP, len(input_OP) - 1))


def _nums(wanted: tuple[int, ...], num: int) -> tuple[int, ...]:
    return tuple(sorted({min(each, num) for each in wanted}))


def _count(newest: int, reach: int, stride: int) -> int:
    """Return the number of origins, from the newest one back, that have `reach` points up to them."""
    return max((newest + 1 - reach) // stride + 1, 0)


def _is_affordable(newest: int, reach: int, longer: int, stride: int) -> bool:
    """Whether a longer reach leaves enough windows, and at least half of them."""
    num = _count(newest, max(reach, longer), stride)
    return num >= FEWEST_WINDOWS and 2 * num >= _count(newest, reach, stride)


def _num_recent(season: int) -> int:
    return 2 * season if _FEW_RECENT <= 2 * season <= 2 * _SHORT_SEASON else _FEW_RECENT


def _seasons_before(step: int, season: int) -> list[int]:
    """Return the distances from a step to the known values of the same phase that are always read."""
    nearest = -(-step // season)
    return [(nearest + more) * season for more in range(_SEASONS_READ)] if 1 < season <= _SHORT_SEASON else []


def _reach_by_step(step: int, season: int) -> int:
    """Return the number of points up to an origin that the equation of a step reads at least."""
    return max(2 * _num_recent(season), *(back - step + 1 for back in _seasons_before(step, season)), 0)


def _running_sum(values: Values) -> Values:
    return np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, axis=0)])


def _mean_before(sums: Values, origin_O: Places, num: int) -> Values:
    """Return the mean of the last `num` values up to each origin."""
    mean: Values = (sums[origin_O + 1] - sums[origin_O + 1 - num]) / num
    return mean
