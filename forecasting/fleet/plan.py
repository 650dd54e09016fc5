"""Training plans: which series of a panel are trained, on which windows, and why the others are not."""

# S series · N grid points · V validation windows

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt

from forecasting.fleet.parts import MIN_WINDOWS, context_points, validation_points
from forecasting.fleet.scaling import Scaling
from forecasting.series.panel import Panel
from forecasting.spec.training import MemberConfig, Status, TrainingConfig

MOST_POINTS, MOST_SERIES = 4_000_000, 20_000
"""Limits of a prior's training data, with every series counted as long as the longest. More data would improve it
little, and must fit into one memory."""

GAINS_SERIES = 256
"""Largest number of series on which a prior's gains are measured."""

LONGEST_OF_MEDIAN = 20
"""Length over median length at which a series is left out: it would make the panel almost empty."""

IntS = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Refusal:
    """A series without a network, and why it has none."""

    unique_id: str
    status: Status
    reason: str


@dataclass(frozen=True)
class TrainingPlan:
    """Origins of the series that are trained, as columns of the panel.

    Training origins are `first_S … first_S + num_windows_S - 1`.
    """

    rows_S: IntS
    first_S: IntS
    num_windows_S: IntS
    validation_SV: npt.NDArray[np.int64]
    refused: tuple[Refusal, ...]


def required_length(config: TrainingConfig, *, horizon: int) -> int:
    """Return the grid points that a series needs: a segment, a few windows, and a horizon each to train and validate.

    Args:
        config: Configuration of the ensemble.
        horizon: Steps ahead.

    Returns:
        The least number over members. A member that begins from a prior needs one segment and one point, because a
        series too short to be tuned uses the prior directly.
    """
    return min(
        member.segment_length + (1 if member.start == "prior" else MIN_WINDOWS - 1 + 2 * horizon)
        for member in config.member_configs
    )


def prior_series(
    num_points: Mapping[str, int], *, fits: Callable[[int, int, int], bool] = lambda *_: True
) -> list[str]:
    """Return the series that priors are trained on: all, or those with the smallest hashes that fit.

    A panel is as wide as its longest series, so `MOST_POINTS` and `MOST_SERIES` limit rows of that width. A series far
    longer than the median (`LONGEST_OF_MEDIAN`) is left out, as is one that would leave no room for those chosen.

    Args:
        num_points: Grid points of each series.
        fits: Whether a worker's memory holds a number of series, the grid points of the longest, and the points of all.

    Returns:
        Names in alphabetical order; at least one, even where `fits` accepts none.
    """
    order = sorted(num_points, key=lambda name: (hashlib.sha256(name.encode()).digest(), name))
    longest_allowed = LONGEST_OF_MEDIAN * median([num for num in num_points.values() if num] or [0])
    chosen: list[str] = []
    longest = 0
    for name in order:
        width = max(longest, num_points[name])
        if len(chosen) < MOST_SERIES and width <= longest_allowed and width * (len(chosen) + 1) <= MOST_POINTS:
            chosen.append(name)
            longest = width
    chosen = chosen or order[:1]
    lengths = [num_points[name] for name in chosen]
    least, most = 1, len(chosen)
    while least < most:
        middle = (least + most + 1) // 2
        is_enough = fits(middle, max(lengths[:middle]), sum(lengths[:middle]))
        least, most = (middle, most) if is_enough else (least, middle - 1)
    return sorted(chosen[:least])


def plan_training(
    panel: Panel,
    scaling: Scaling,
    *,
    model: str,
    config: MemberConfig,
    dropped_S: IntS,
    with_validation: bool,
    least_windows: int = MIN_WINDOWS,
) -> TrainingPlan:
    """Plan the training of a panel whose series s may be read up to `dropped_S[s]` points before its end.

    The last part of a series (two horizons, or a tenth of a long series) is for validation; no training target reaches
    into it. The context of a window may begin before its series where that gives more windows, but at least one segment
    lies inside.

    Args:
        panel: The series.
        scaling: Scales of the panel's series.
        model: Name of the network, for messages.
        config: Configuration of the member.
        dropped_S: Grid points at the end of each series that are hidden.
        with_validation: Whether to reserve validation windows.
        least_windows: Fewest training windows of a series that is not refused.

    Returns:
        Origins of the series that are trained, and reasons for the others.
    """
    horizon, segment = panel.horizon, config.segment_length
    num_columns = panel.y_SN.shape[1]
    is_observed_SN = np.isfinite(panel.y_SN)
    num_observed_S = is_observed_SN.sum(1)
    # A series that ends in a gap is planned up to its last observed point, so that its validation has targets.
    trailing_S = np.where(num_observed_S > 0, np.argmax(is_observed_SN[:, ::-1], axis=1), 0)
    dropped_S = np.maximum(dropped_S, trailing_S)
    length_S = panel.length_S - dropped_S
    validation_S = validation_points(length_S, horizon=horizon, segment=segment)
    reserved_S = validation_S if with_validation else np.zeros_like(length_S)
    room_S = length_S - reserved_S - horizon
    context_S = context_points(room_S, config)
    start_S, end_S = num_columns - panel.length_S, num_columns - dropped_S
    first_S = start_S + context_S - 1
    num_windows_S = room_S - context_S + 1

    rows, refused = [], []
    for row, unique_id in enumerate(panel.unique_ids):
        needed = segment + least_windows - 1 + (2 if with_validation else 1) * horizon
        if num_observed_S[row] == 0:
            refused.append(Refusal(unique_id, "empty", f"series '{unique_id}' has no observed point"))
        elif length_S[row] < needed or num_windows_S[row] < least_windows:
            refused.append(
                Refusal(
                    unique_id, "too_short", f"series '{unique_id}' has {length_S[row]} points; {model} needs {needed}"
                )
            )
        elif scaling.spread_S[row] == 0:
            refused.append(
                Refusal(unique_id, "constant", f"series '{unique_id}' is constant; there is nothing to learn")
            )
        elif not is_observed_SN[row, first_S[row] + 1 : end_S[row] - reserved_S[row]].any():
            refused.append(Refusal(unique_id, "empty", f"series '{unique_id}' has no observed point to train on"))
        else:
            rows.append(row)
    rows_S = np.array(rows, dtype=np.int64)
    validation_SV = np.zeros((len(rows_S), 0), dtype=np.int64)
    if with_validation and len(rows_S):
        spread_V = np.linspace(0.0, 1.0, config.validation_windows)
        first_validation_S1 = (end_S - validation_S - 1)[rows_S, None]
        num_between_S1 = (validation_S - horizon)[rows_S, None]
        validation_SV = first_validation_S1 + np.round(num_between_S1 * spread_V).astype(np.int64)
    return TrainingPlan(rows_S, first_S[rows_S], num_windows_S[rows_S], validation_SV, tuple(refused))
