"""Read the values of covariates: numbers, truth values and names, in any spelling that measurements may have."""

from collections.abc import Sequence

import polars as pl

from forecasting.errors import SourceError
from forecasting.series.columns import read_number
from forecasting.series.covariate_names import code_names
from forecasting.series.read import covariate_column, number_of
from forecasting.spec.source import Source


def raw_columns(rows: pl.LazyFrame, num_covariates: int) -> list[str]:
    """Return the columns that have the values of covariates, and their numbers where these have columns of their own.

    Args:
        rows: Rows in the columns of `scan_source`.
        num_covariates: Number of covariates.

    Returns:
        Names of columns.
    """
    schema = rows.collect_schema()
    values = [covariate_column(number) for number in range(num_covariates)]
    return [name for value in values for name in (value, number_of(value)) if name in schema]


def read_values(
    raw: pl.DataFrame, names: Sequence[str], *, source: Source, subject: str, categories: Sequence[str]
) -> tuple[pl.DataFrame, list[str]]:
    """Read the values of covariates.

    Args:
        raw: Rows with unique_id, ds and `raw_columns`.
        names: The covariates.
        source: How the rows are read.
        subject: What messages call them.
        categories: Covariates whose values are names.

    Returns:
        A column of Float64 per covariate, null where a value is unknown or cannot be read; and what is to be said.

    Raises:
        SourceError: Too many values cannot be read, or a covariate has too many names.
    """
    columns, notes = [], []
    for number, name in enumerate(names):
        column = covariate_column(number)
        is_declared = name in categories
        written = raw[column]
        if written.dtype == pl.String:
            written = written.str.strip_chars()
            written = written.set(written == "", None) if (written == "").any() else written
        numbers = _numbers(raw, column)
        if written.dtype == pl.String or is_declared:
            texts = written.cast(pl.String)
            if is_declared or (texts.null_count() < len(texts) and numbers.null_count() == len(numbers)):
                codes = code_names(texts, name, source=subject)
                columns.append(codes.alias(name))
                continue
        is_unread = (written.is_not_null() & numbers.is_null()) | ~numbers.is_finite().fill_null(True)
        if is_unread.any():
            unread = raw.filter(is_unread).select("unique_id", "ds", written=pl.col(column).cast(pl.String))
            num_read = int(numbers.is_finite().sum())
            notes.append(_describe_unread(name, unread, num_read=num_read, source=source, subject=subject))
            numbers = numbers.set(is_unread, None)
        columns.append(numbers.alias(name))
    return pl.DataFrame(columns), notes


def _numbers(raw: pl.DataFrame, column: str) -> pl.Series:
    """Return the numbers that a column has; the texts true and false are 1 and 0."""
    text, number = raw.schema[column] == pl.String, number_of(column)
    read = pl.col(number) if number in raw.columns else read_number(column, raw.schema[column], subject=column)
    if not text:
        return raw.select(read.cast(pl.Float64)).to_series()
    word = pl.col(column).str.strip_chars().str.to_lowercase()
    of_words = pl.when(word == "true").then(1.0).when(word == "false").then(0.0)
    return raw.select(pl.coalesce(read, of_words).cast(pl.Float64)).to_series()


def _describe_unread(name: str, unread: pl.DataFrame, *, num_read: int, source: Source, subject: str) -> str:
    """Return a note about values that cannot be read; raise SourceError where they are too many."""
    share = unread.height / (unread.height + num_read)
    row = unread.row(0, named=True)
    example = f"'{row['written']}' of series '{row['unique_id']}' at {row['ds']}"
    found = f"{unread.height:,} values of covariate '{name}' are not numbers, such as {example}"
    if unread.height > 10 and share > max(0.01, source.allow_rejects):
        raise SourceError(
            f"{subject}: {found}; --covariate-categories {name} (covariates.categories) reads the values as names, and"
            f" --allow-rejects {min(1.0, share + 0.0005):.3f} (source.allow_rejects) takes these as missing"
        )
    return f"{found}; they are taken as missing"
