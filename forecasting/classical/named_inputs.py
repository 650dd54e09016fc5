"""Inputs of regressions for covariates whose values are names: one of 0 and 1 for each frequent name."""

# T grid points and horizon · K covariates · I inputs

import numpy as np
import numpy.typing as npt

from forecasting.series.covariate_names import is_coded

MOST_INPUTS = 24
"""Names of a series with inputs of their own; rarer ones have 0 in all of them."""

Values = npt.NDArray[np.float64]


def expand_names(covariate_TK: Values, num_points: int) -> Values:
    """Replace each covariate of codes by inputs that say which name it has.

    Args:
        covariate_TK: Values of covariates, of which some may be codes of names; NaN where they are unknown.
        num_points: Number of points up to the cutoff, whose names have inputs.

    Returns:
        Inputs (T, I): numbers as they are. Those of names are NaN where the name is unknown. A name that is new within
        the horizon has 0 in all of them.
    """
    inputs: list[Values] = []
    for value_T in covariate_TK.T:
        if not is_coded(value_T):
            inputs.append(value_T)
            continue
        past_N = value_T[:num_points]
        codes, counts = np.unique(past_N[np.isfinite(past_N)], return_counts=True)
        frequent = codes[np.lexsort((codes, -counts))][:MOST_INPUTS]
        inputs += [np.where(np.isfinite(value_T), (value_T == code).astype(np.float64), np.nan) for code in frequent]
    return np.stack(inputs, axis=1) if inputs else np.empty((len(covariate_TK), 0))
