"""Covariates whose values are names, such as the kind of a holiday: names become codes, which regressions keep apart.

A code is a number that no measurement has, made from the name alone: it is the same in every run, whichever other names
there are.
"""

from hashlib import sha256

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.errors import SourceError

FIRST_CODE = 2.0**52
"""Codes lie between this number and twice it, where all floats are whole numbers."""
MOST_NAMES = 10_000
"""Different names that a covariate may have."""


def is_coded(values: npt.NDArray[np.float64]) -> bool:
    """Return whether the values of a covariate are codes; NaN is a missing one."""
    known = values[np.isfinite(values)]
    return known.size > 0 and bool((known >= FIRST_CODE).all() and (known < 2 * FIRST_CODE).all())


def code_of(name: str) -> float:
    """Return the code of a name.

    >>> code_of("rain") == code_of("rain"), is_coded(np.array([code_of("rain"), np.nan, code_of("snow")]))
    (True, True)
    """
    return FIRST_CODE + int.from_bytes(sha256(name.encode()).digest()[:6], "big")


def code_names(texts: pl.Series, name: str, *, source: str) -> pl.Series:
    """Replace the names of a covariate by codes.

    Args:
        texts: The names; null where there is none.
        name: The covariate.
        source: What errors call its source.

    Returns:
        Codes, Float64.

    Raises:
        SourceError: There are too many names.
    """
    names = texts.drop_nulls().unique().sort()
    if len(names) > MOST_NAMES:
        raise SourceError(
            f"{source}: covariate '{name}' has {len(names):,} different names, such as '{names[0]}'; it needs numbers,"
            f" or at most {MOST_NAMES:,} names"
        )
    codes = pl.Series([code_of(one) for one in names], dtype=pl.Float64)
    return texts.replace_strict(names, codes, default=None, return_dtype=pl.Float64)
