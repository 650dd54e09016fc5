"""Series that repeat their newest value."""

from collections.abc import Sequence

import polars as pl
import pytest

from forecasting.series import stuck

NOISE = [float(number * number % 101) + 0.5 for number in range(100)]


def describe_stuck(*rows: pl.DataFrame) -> str | None:
    """Describe the newest values of series that are in blocks of their own, or in several given ones."""
    blocks = rows if len(rows) > 1 else rows[0].partition_by("unique_id") or rows
    found = [stuck.find_stuck(block) for block in blocks]
    names = pl.concat(each for each, _ in found).sort("unique_id")
    return stuck.describe_stuck(names, sum(num_series for _, num_series in found))


def rows_of(**series: Sequence[float | None]) -> pl.DataFrame:
    rows = [(name, day, y) for name, ys in series.items() for day, y in enumerate(ys)]
    return pl.DataFrame(rows, schema={"unique_id": pl.String, "ds": pl.Int64, "y": pl.Float64}, orient="row")


def test_series_that_is_stuck_is_named_with_where_it_begins() -> None:
    rows = rows_of(a=NOISE, b=[*NOISE, 7.0, 7.0, None, 7.0, 7.0, 7.0])
    assert describe_stuck(rows) == (
        "1 series repeat their newest value against their habit, such as 'b', which is 7 from 100 on, in 5 rows, but"
        " repeated a value in 1 of 101 rows before; if such rows are filled in, make their measurements null"
    )


@pytest.mark.parametrize(
    "ys",
    [
        NOISE,
        [*NOISE, 7.0, 7.0, 7.0],
        [*NOISE, *[0.0] * 30],  # it has stopped
        [*NOISE, 101.0, 99.5, *[101.0] * 9],  # full
        [*(number + 0.5 for number in NOISE), 1.0, 1.5, *[1.0] * 9],  # few sales, all of one piece
        [float(number // 20) for number in range(100)],  # a price
        [1.0, 2.0, 1.0, 1.0, 2.0, 2.0, 1.0] * 9 + [2.0] * 6,
        [1.0, *[2.0, 2.0, 3.0, 3.0] * 10, *[1.0] * 300],  # a constant, mostly
        [5.0] * 50,
        [*NOISE[:10], *[5.0] * 50],
        [5.0],
        [None],
        [],
    ],
)
def test_ordinary_repetition_is_not_suspected(ys: Sequence[float | None]) -> None:
    assert describe_stuck(rows_of(a=ys)) is None


def test_repetition_by_chance_in_a_large_fleet_is_not_suspected() -> None:
    usual = [float(number % 7 + 1) for number in range(42)]
    rows = rows_of(a=[*usual, *[5.0] * 6])
    assert describe_stuck(rows) is not None
    others = rows_of(b=usual).drop("unique_id").join(pl.DataFrame({"unique_id": range(10_000)}), how="cross")
    others = others.select(pl.format("s{}", "unique_id").alias("unique_id"), "ds", "y")
    assert describe_stuck(rows, others) is None
