"""Covariates whose values are names, such as the kind of a holiday: names become codes, which regressions keep apart.

A code is a number that no measurement has, made from the name alone: it is the same in every run, whichever other names
there are.
"""

from hashlib import sha256

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.errors import SourceError
from forecasting.series.columns import well_formed
from forecasting.spec.source import Source

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


def with_codes(rows: pl.LazyFrame, name: str, *, source: Source, is_declared: bool) -> pl.LazyFrame:
    """Replace the names of a covariate by codes.

    Args:
        rows: Rows in the columns of `scan_source`, whose `y` is the covariate.
        name: Name of the covariate.
        source: The source, which errors name.
        is_declared: Whether the spec says that its values are names. Otherwise they are if none of them is a number.

    Returns:
        The rows, unchanged where the values are numbers.

    Raises:
        SourceError: There are too many names.
    """
    schema = rows.collect_schema()
    if schema["y"] != pl.String and not is_declared:
        return rows
    text = pl.col("y").cast(pl.String).str.strip_chars()
    number = pl.col("number") if "number" in schema else text.cast(pl.Float64, strict=False)
    found = (
        well_formed(rows)
        .select(text=text, is_number=number.is_not_null())
        .filter(pl.col("text") != "")
        .unique()
        .collect(engine="streaming")
    )
    if not is_declared and (found.is_empty() or found["is_number"].any()):
        return rows
    if found.height > MOST_NAMES:
        raise SourceError(
            f"source {source}: covariate '{name}' has {found.height:,} different names, such as '{found['text'][0]}';"
            f" it needs numbers, or at most {MOST_NAMES:,} names"
        )
    names = found["text"].unique().sort()
    codes = pl.Series([code_of(one) for one in names], dtype=pl.Float64)
    coded = rows.drop("number", strict=False)
    return coded.with_columns(y=text.replace_strict(names, codes, default=None, return_dtype=pl.Float64))
