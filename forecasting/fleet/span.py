"""Where the measurements of each series lie in a panel."""

# S series · N grid points

import numpy as np
import numpy.typing as npt


def observed_span(y_SN: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the first observed column of each series, and the columns from it to the last observed one, (S,) each.

    >>> first_S, length_S = observed_span(np.array([[np.nan, 1.0, np.nan, 2.0, np.nan], [np.nan] * 5]))
    >>> first_S.tolist(), length_S.tolist()
    ([1, 0], [3, 0])
    """
    is_observed_SN = np.isfinite(y_SN)
    first_S, trailing_S = is_observed_SN.argmax(1), is_observed_SN[:, ::-1].argmax(1)
    length_S = y_SN.shape[1] - first_S - trailing_S
    return first_S, np.where(is_observed_SN.any(1), length_S, 0)
