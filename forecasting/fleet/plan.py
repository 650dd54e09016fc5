"""The training plan of a fleet: a panel in; which series to train, on which windows, and why not others, out."""

# S series · N grid points · V validation windows

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt

from forecasting.fleet.scaling import Scaling
from forecasting.series.panel import Panel
from forecasting.spec.training import MemberConfig, Status, TrainingConfig

MIN_WINDOWS = 8
"""Training windows without which a network is not worth fitting."""

MOST_POINTS, MOST_SERIES = 4_000_000, 20_000
"""Of all series, what a prior is trained on at most, each counted as long as the longest of them: more would teach it
little, and has to lie in one memory."""

GAINS_SERIES = 256
"""The series at most by which is measured how far all go from a prior."""

LONGEST_OF_MEDIAN = 20
"""A series so many times as long as the median would make a panel of many almost empty."""

IntS = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Refusal:
    """A series that gets no network; `status` is too_short, constant, empty or broken."""

    unique_id: str
    status: Status
    reason: str


@dataclass(frozen=True)
class TrainingPlan:
    """Training origins `first_S … first_S + num_windows_S - 1` and validation origins, all columns of the panel."""

    rows_S: IntS
    first_S: IntS
    num_windows_S: IntS
    validation_SV: npt.NDArray[np.int64]
    refused: tuple[Refusal, ...]


def required_length(config: TrainingConfig, *, horizon: int) -> int:
    """Return the grid points that a series needs: a segment, a few windows, and a horizon each to learn and judge.

    Where a member begins from a prior, which serves a series that is too short to be tuned, a segment and a point.
    """
    return min(
        member.segment_length + (1 if member.start == "prior" else MIN_WINDOWS - 1 + 2 * horizon)
        for member in config.member_configs
    )


def prior_series(
    num_points: Mapping[str, int], *, fits: Callable[[int, int, int], bool] = lambda *_: True
) -> list[str]:
    """Return the series that priors are trained on: all, or those of the least hashes that fit, `MOST_SERIES` at most.

    A panel is as wide as its longest series, so that what fits is `MOST_POINTS` of such rows; a series far longer than
    most (`LONGEST_OF_MEDIAN`) is passed over, as are those that would leave too little room for what is chosen.
    `fits` tells whether a worker's memory holds so many series, the longest of so many points, with so many in all;
    where it holds not even one, that one is returned.
    """
    order = sorted(num_points, key=lambda name: (hashlib.sha256(name.encode()).digest(), name))
    longest_taken = LONGEST_OF_MEDIAN * median([num for num in num_points.values() if num] or [0])
    chosen: list[str] = []
    longest = 0
    for name in order:
        width = max(longest, num_points[name])
        if len(chosen) < MOST_SERIES and width <= longest_taken and width * (len(chosen) + 1) <= MOST_POINTS:
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
    """Plan for a panel whose series s may be read up to `dropped_S[s]` points before its end.

    The last part (two horizons, or a tenth of a long series) validates; no training target reaches into it. The
    context of a window may begin before its series where that leaves more windows, but holds one segment at least.
    A series with fewer than `least_windows` is refused.
    """
    horizon, segment = panel.horizon, config.segment_length
    num_columns = panel.y_SN.shape[1]
    is_observed_SN = np.isfinite(panel.y_SN)
    num_observed_S = is_observed_SN.sum(1)
    # What ends in a gap is planned to its last observed point, so that there is something to judge by.
    trailing_S = np.where(num_observed_S > 0, np.argmax(is_observed_SN[:, ::-1], axis=1), 0)
    dropped_S = np.maximum(dropped_S, trailing_S)
    length_S = panel.length_S - dropped_S
    largest_S = length_S - horizon - segment - (MIN_WINDOWS - 1)
    validation_S = (
        np.maximum(length_S // 10, 2 * horizon).clip(max=np.maximum(length_S // 3, horizon)).clip(max=largest_S)
    )
    judged_S = validation_S if with_validation else np.zeros_like(length_S)
    room_S = length_S - judged_S - horizon
    context_S = np.clip(room_S - 63, segment, segment * config.context_segments)
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
        elif not is_observed_SN[row, first_S[row] + 1 : end_S[row] - judged_S[row]].any():
            refused.append(Refusal(unique_id, "empty", f"series '{unique_id}' has no observed point to learn from"))
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
