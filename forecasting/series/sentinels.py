"""Numbers such as -999 that stand for a missing measurement: they are far from the other measurements and repeat."""

import numpy as np
import polars as pl

_WRITTEN = (
    *(float(sign + "9" * digits) for digits in range(3, 10) for sign in ("", "-")),
    *(float(sign + "9" * digits + ".9") for digits in range(2, 6) for sign in ("", "-")),
    *(-99.0, -32768.0, 32767.0, 65535.0, -2147483648.0, 2147483647.0, 1e20, -1e20, 9.969209968386869e36),
)
CODES = tuple({*_WRITTEN, *(float(np.float32(code)) for code in _WRITTEN)})
"""Numbers that formats, sensors and people write where a measurement is missing, with 64 and with 32 bits."""
FEWEST = 2
"""Rows of a series with such a number."""
FEWEST_OTHERS = 10
"""Other measurements of the series, which say what is usual."""
NUM_SHOWN = 3


def describe_sentinels(observations: pl.DataFrame) -> str | None:
    """Return a sentence about numbers that seem to stand for a missing measurement.

    Such a number is known as a code, repeats within a series, and lies farther from the series' other measurements than
    these lie from each other.

    Args:
        observations: Accepted rows: unique_id, ds and y.

    Returns:
        The sentence; None if there are none.
    """
    y, is_code = pl.col("y"), pl.col("y").is_in(CODES)
    rows = observations.filter(is_code)
    coded = rows.group_by("unique_id", code="y").agg(num=pl.len(), at=pl.col("ds").min())
    coded = coded.filter(pl.col("num") >= FEWEST)
    if coded.is_empty():
        return None
    others = (
        observations.lazy()
        .filter(pl.col("unique_id").is_in(coded["unique_id"].unique().implode()), ~is_code)
        .group_by("unique_id")
        .agg(num_others=y.count(), least=y.min(), most=y.max())
        .filter(pl.col("num_others") >= FEWEST_OTHERS)
    )
    distance = pl.max_horizontal(pl.col("least") - pl.col("code"), pl.col("code") - pl.col("most"))
    found = (
        coded.lazy()
        .join(others, on="unique_id")
        .filter(distance > pl.col("most") - pl.col("least"))
        .sort("unique_id", "code")
        .collect()
    )
    if found.is_empty():
        return None
    shown = "; ".join(
        f"'{name}' has {code:g} in {num:,} rows, such as at {at}, and is otherwise between {least:g} and {most:g}"
        for name, code, num, at, least, most in found.select("unique_id", "code", "num", "at", "least", "most")
        .head(NUM_SHOWN)
        .iter_rows()
    )
    num_series = found["unique_id"].n_unique()
    return (
        f"{num_series:,} series have numbers that seem to stand for a missing measurement: {shown}"
        f"{'; and more' if found.height > NUM_SHOWN else ''}; they are used as they are; make them null, or in a CSV"
        f" file declare their text, such as --csv-null={found['code'][0]:g} (source.csv.null)"
    )
