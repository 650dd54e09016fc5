"""Numbers that stand for a missing measurement."""

import numpy as np
import polars as pl
import pytest

from forecasting.series.sentinels import describe_sentinels as describe_of_source
from forecasting.series.sentinels import find_sentinels
from forecasting.spec.source import Source

USUAL = [float(40 + step % 12) for step in range(30)]


def rows_of(**series: list[float | None]) -> pl.DataFrame:
    rows = [(name, day, y) for name, ys in series.items() for day, y in enumerate(ys)]
    return pl.DataFrame(rows, schema={"unique_id": pl.String, "ds": pl.Int64, "y": pl.Float64}, orient="row")


def describe_sentinels(observations: pl.DataFrame, file: str = "x.csv", **csv: str) -> str | None:
    """Describe the codes of measurements that a file has as text, or a parquet file as numbers."""
    y = pl.col("y").cast(pl.String).str.replace(".", csv.get("decimal", "."), literal=True)
    rows = observations.lazy().with_columns(y if file.endswith(".csv") else pl.col("y"), source_file=pl.lit(file))
    return describe_of_source(find_sentinels(observations), rows, Source.model_validate({"uri": file, "csv": csv}))


def test_repeated_code_far_from_the_others_is_named_with_the_option() -> None:
    assert describe_sentinels(rows_of(a=USUAL, b=[*USUAL, -999.0, 41.0, -999.0])) == (
        "1 series have numbers that seem to stand for a missing measurement: 'b' has -999 in 2 rows, such as at 30, and"
        " is otherwise between 40 and 51; they are used as they are; --csv-null -999.0 (source.csv.null) reads them as"
        " gaps"
    )


def test_option_has_the_texts_of_the_file() -> None:
    rows = rows_of(a=[*USUAL, -999.0, -999.0], b=[*USUAL, 9999.0, 9999.0])
    assert "; --csv-null -999.0,9999.0 (source.csv.null) reads" in str(describe_sentinels(rows))
    rows = rows_of(a=[*USUAL, -99.9, -99.9])
    assert str(describe_sentinels(rows, decimal=",")).endswith('; source.csv.null = ["-99,9"] reads them as gaps')
    assert str(describe_sentinels(rows, "x.parquet")).endswith(
        "; they are used as they are; if they do, make them null"
    )


@pytest.mark.parametrize("code", [-99.9, 9999.0, 1e20, 9.969209968386869e36])
def test_codes_are_found_in_numbers_of_32_bits(code: float) -> None:
    short = float(np.float32(code))
    assert describe_sentinels(rows_of(a=[*USUAL, short, short])) is not None


@pytest.mark.parametrize(
    "ys",
    [
        [*USUAL, -999.0],  # once is an outlier
        [*(value * 30 for value in USUAL), 999.0, 999.0],  # between the others
        [*USUAL, -40.0, -40.0],  # no code
        [*(1199 + value % 5 for value in USUAL), 999.0, 999.0],  # a price
        [*(79.9 + value % 3 for value in USUAL), 99.9, 99.9],
        [*(-60 + value % 5 for value in USUAL), -99.0, -99.0],  # decibels
        [-999.0] * 30,
        [*USUAL[:5], -999.0, -999.0],  # too few others
        [None, None],
        [],
    ],
)
def test_ordinary_numbers_are_not_suspected(ys: list[float | None]) -> None:
    assert describe_sentinels(rows_of(a=ys)) is None
