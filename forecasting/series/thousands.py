"""Find points that are read as decimal points, but separate thousands: 1.050 beside 998 is 1050."""

import polars as pl

from forecasting.errors import SourceError
from forecasting.series.columns import well_formed
from forecasting.series.csv_spelling import describe_dialects
from forecasting.series.files import is_csv, name_row
from forecasting.spec.source import Source

RATIO = 10
"""How many times as large the largest whole number of a series is, at least, as its median number with a point."""
FEWEST_WHOLE = 3
"""Whole numbers of a series that shows how numbers are written."""
_GROUPED = r"^[+-]?[1-9][0-9]{0,2}\.[0-9]{3}$"
_WHOLE = r"^[+-]?[1-9][0-9]{0,2}$"
_DECIMAL = (
    r"^[+-]?(?:0?\.[0-9]+|[0-9]+\.(?:[0-9]{1,2}|[0-9]{4,})?|0[0-9]*\.[0-9]{3}|[0-9]{4,}(?:\.[0-9]*)?)(?:[eE].*)?$"
)
"""A point that no thousand has before or after it, or a number of four digits and more without a thousands sign."""


def check_thousands(rows: pl.LazyFrame, source: Source) -> None:
    """Check rows as `refuse_thousands` does; text alone is read.

    Args:
        rows: Rows of `scan_source`.
        source: Their source.

    Raises:
        SourceError: A point of a measurement seems to separate thousands.
    """
    if has_text_numbers(rows, source) and find_points(rows).collect(engine="streaming").item():
        refuse_thousands(count_spellings(rows).collect(engine="streaming"), source)


def has_text_numbers(rows: pl.LazyFrame, source: Source) -> bool:
    """Return whether the measurements of a source are text, of which it does not declare the signs."""
    is_declared = "decimal" in source.csv.model_fields_set or bool(source.csv.thousands)
    return not is_declared and rows.collect_schema()["y"] == pl.String


def find_points(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Find out whether points may separate thousands, which costs far less than to count the spellings of each series.

    Args:
        rows: Rows of `scan_source`, with `y` as text.

    Returns:
        One row, `may_separate`: some number has three digits after its point, and none shows a decimal point.
    """
    return spell_points(rows).select(may_separate=pl.col("has_grouped") & ~pl.col("has_decimal"))


def spell_points(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Return one row, `has_grouped` and `has_decimal`: whether some number has three digits after its point, or others.

    Args:
        rows: Rows of `scan_source`, with `y` as text.

    Returns:
        The row.
    """
    text = pl.col("y").str.strip_chars()
    return well_formed(rows).select(
        has_grouped=text.str.contains(_GROUPED).any(), has_decimal=text.str.contains(_DECIMAL).any()
    )


def count_spellings(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Count how the measurements of each series are written.

    Args:
        rows: Rows of `scan_source`, with `y` as text.

    Returns:
        What `refuse_thousands` takes.
    """
    text = pl.col("y").str.strip_chars()
    is_grouped, is_whole = text.str.contains(_GROUPED), text.str.contains(_WHOLE)
    grouped, whole = (text.filter(is_kind).cast(pl.Float64, strict=False).abs() for is_kind in (is_grouped, is_whole))
    return (
        well_formed(rows)
        .group_by("unique_id")
        .agg(
            num_decimal=text.str.contains(_DECIMAL).sum(),
            num_whole=is_whole.sum(),
            num_grouped=is_grouped.sum(),
            largest=whole.max(),
            usual=grouped.median(),
            first=pl.struct("source_file", "source_row", text.alias("text")).filter(is_grouped).first(),
        )
    )


def refuse_thousands(counted: pl.DataFrame, source: Source) -> None:
    """Check that no point of a measurement seems to separate thousands.

    It does where a series has whole numbers below 1000 and much smaller ones with exactly three digits after a point,
    and no measurement of the source shows that points are decimal points.

    Args:
        counted: Rows of `count_spellings`.
        source: The source, for the message.

    Raises:
        SourceError: A point does.
    """
    if counted["num_decimal"].sum():
        return
    suspects = counted.filter(
        pl.col("num_grouped") > 0,
        pl.col("num_whole") >= FEWEST_WHOLE,
        pl.col("largest") >= RATIO * pl.col("usual"),
    ).sort("unique_id")
    if suspects.is_empty():
        return
    name, largest, first = suspects.select("unique_id", "largest", "first").row(0)
    file, row, text = first.values()
    remedy = "cast the column to numbers"
    if is_csv(file):
        remedy = f"it {_other_dialect(source)}; --csv-decimal '.' reads points as decimal points"
    raise SourceError(
        f"{name_row(file, row)}: measurement '{text}' would be read as {float(text):g}, but it may be"
        f" {text.replace('.', '')}: series '{name}' has whole numbers up to {largest:g}, and no measurement has another"
        f" number of digits after its point than three; {remedy}"
    )


def describe_points(counted: pl.DataFrame, source: Source) -> str | None:
    """Describe points that are read as decimal points, although each of them may separate thousands.

    In a CSV file whose fields are separated by commas they are decimal points: where points separate thousands, commas
    are decimal signs, and fields are separated by other signs.

    Args:
        counted: Rows of `count_spellings`.
        source: The source, for the options.

    Returns:
        A sentence with an example and the options; None where some measurement shows what points are, or none has one.
    """
    num_grouped = int(counted["num_grouped"].sum())
    if counted["num_decimal"].sum() or not num_grouped:
        return None
    file, row, text = counted.filter(pl.col("num_grouped") > 0).sort("unique_id")["first"][0].values()
    if is_csv(file) and source.csv.separator == ",":
        return None
    remedy = f"if so, it {_other_dialect(source)}; " if is_csv(file) else ""
    confirmation = "--csv-decimal '.' confirms decimal points" if is_csv(file) else "cast the column to numbers"
    return (
        f"{num_grouped} measurement{'s' * (num_grouped != 1)} with exactly three digits after the point are read as"
        f" decimal numbers, and no other shows whether points separate thousands: {name_row(file, row)}: '{text}' is"
        f" {float(text):g}, not {text.replace('.', '')}; {remedy}{confirmation}"
    )


def _other_dialect(source: Source) -> str:
    """Describe the dialect whose points separate thousands."""
    other = source.csv.model_copy(update={"decimal": ",", "thousands": "."})
    return describe_dialects([other], source.csv)
