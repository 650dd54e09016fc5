"""Write the fleet's targets as series, for a library that reads one point a step.

The fleet's networks predict the difference from a season ago, in units of a series' seasonal error. From these
differences as series of their own, a library learns the same targets from the same stretch. It is scored on the same
validation windows by the same loss.
"""

# S series · N grid points, or those to train on · V validation windows · T steps · F horizon steps

from pathlib import Path

import numpy as np

from forecasting.fleet.scaling import measure_scaling
from tests.benchmarks.cases import HORIZON, SEASON_LENGTH, Case, Gathered


def write_differences(path: Path, case: Case, gathered: Gathered) -> None:
    """Write `training_SN`, `validation_x_SVT` and `validation_target_SVF`.

    The training part has exactly the fleet's training windows.

    Args:
        path: File to write.
        case: Sizes, with one point a step.
        gathered: The series, all of one length.
    """
    assert case.segment_length == 1
    assert HORIZON <= SEASON_LENGTH
    y_SN, num_steps = gathered.panel.y_SN, case.num_recurrent_steps
    earlier_SN = np.pad(y_SN, ((0, 0), (SEASON_LENGTH, 0)), mode="edge")[:, : y_SN.shape[1]]
    error_S = measure_scaling(y_SN, season_length=SEASON_LENGTH).error_S
    difference_SN = ((y_SN - earlier_SN) / error_S[:, None]).astype(np.float32)
    first, num_windows = int(gathered.first_S[0]), int(gathered.num_windows_S[0])
    series_S11 = np.arange(len(y_SN))[:, None, None]
    origins_SV1 = gathered.validation_SV[..., None]
    np.savez(
        path,
        training_SN=difference_SN[:, first + 1 - num_steps : first + num_windows + HORIZON],
        validation_x_SVT=difference_SN[series_S11, origins_SV1 + np.arange(1 - num_steps, 1)],
        validation_target_SVF=difference_SN[series_S11, origins_SV1 + np.arange(1, HORIZON + 1)],
    )
