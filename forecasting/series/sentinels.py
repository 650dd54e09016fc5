"""Numbers such as -999 that stand for a missing measurement: they are far from the other measurements and repeat."""

import json

import numpy as np
import polars as pl

from forecasting.series.columns import well_formed
from forecasting.series.csv_spelling import null_option, read_spelled
from forecasting.series.files import is_csv
from forecasting.spec.source import Source

_WRITTEN = (
    *(float(sign + "9" * digits) for digits in range(3, 10) for sign in ("", "-")),
    *(float(sign + "9" * digits + ".9") for digits in range(2, 6) for sign in ("", "-")),
    *(-99.0, -32768.0, 32767.0, 65535.0, -2147483648.0, 2147483647.0, 1e20, -1e20, 9.969209968386869e36),
)
CODES = tuple({*_WRITTEN, *(float(np.float32(code)) for code in _WRITTEN)})
"""Numbers that formats, sensors and people write where a measurement is missing, with 64 and with 32 bits."""
_LEAST_POSITIVE, _LEAST_NEGATIVE = min(code for code in CODES if code > 0), max(code for code in CODES if code < 0)
FEWEST = 2
"""Rows of a series with such a number."""
FEWEST_OTHERS = 10
"""Other measurements of the series, which say what is usual."""
RATIO = 2
"""How many times as large as the other measurements on its side of zero a code is at least; a price of 999 is not."""
NUM_SHOWN = 3


def find_sentinels(observations: pl.DataFrame) -> pl.DataFrame:
    """Return numbers that seem to stand for a missing measurement.

    Such a number is known as a code, repeats within a series, is much larger than the series' other measurements of its
    sign, and lies farther from the others than these lie from each other.

    Args:
        observations: Accepted rows of whole series: unique_id, ds and y.

    Returns:
        unique_id, code, num (rows), at (the first of them), and the least and the most of the series' other
        measurements; sorted.
    """
    y, is_code = pl.col("y"), pl.col("y").is_in(CODES)
    # Most measurements are smaller than all codes, which costs far less to see than that they are none.
    large = observations.filter((y <= _LEAST_NEGATIVE) | (y >= _LEAST_POSITIVE))
    coded = large.filter(is_code).group_by("unique_id", code="y").agg(num=pl.len(), at=pl.col("ds").min())
    coded = coded.filter(pl.col("num") >= FEWEST)
    others = (
        observations.lazy()
        .filter(pl.col("unique_id").is_in(coded["unique_id"].unique().implode()), ~is_code)
        .group_by("unique_id")
        .agg(num_others=y.count(), least=y.min(), most=y.max())
        .filter(pl.col("num_others") >= FEWEST_OTHERS)
    )
    distance = pl.max_horizontal(pl.col("least") - pl.col("code"), pl.col("code") - pl.col("most"))
    same_sign = pl.when(pl.col("code") > 0).then(pl.col("most")).otherwise(-pl.col("least"))
    if coded.is_empty():
        others = others.head(0)
    named = coded.lazy().join(others, on="unique_id")
    found = named.filter(distance > pl.col("most") - pl.col("least"), pl.col("code").abs() >= RATIO * same_sign)
    return found.sort("unique_id", "code").select("unique_id", "code", "num", "at", "least", "most").collect()


def describe_sentinels(found: pl.DataFrame, rows: pl.LazyFrame, source: Source) -> str | None:
    """Return a sentence about numbers that seem to stand for a missing measurement.

    Args:
        found: Rows of `find_sentinels`, of all series.
        rows: The rows of `scan_source` that they are of, which are only read for the text of such a number.
        source: Their source.

    Returns:
        The sentence; None if there are none.
    """
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
        f"{'; and more' if found.height > NUM_SHOWN else ''}; they are used as they are;"
        f" {_remedy(found['code'], rows, source)}"
    )


def _remedy(codes: pl.Series, rows: pl.LazyFrame, source: Source) -> str:
    """Return what makes numbers gaps: in CSV files, the option with the texts that they are written as."""
    if rows.collect_schema()["y"] == pl.String:
        coded = well_formed(rows).filter(read_spelled(source.csv).is_in(codes.unique().implode()))
        texts = coded.group_by(text=pl.col("y").str.strip_chars()).agg(pl.col("source_file").first()).sort("text")
        words, files = texts.collect(engine="streaming").iter_columns()
        if len(words) and is_csv(files[0]):
            if words.str.contains(",", literal=True).any():
                return f"source.csv.null = {json.dumps(words.to_list())} reads them as gaps"
            return f"{null_option(','.join(words))} reads them as gaps"
    return "if they do, make them null"
