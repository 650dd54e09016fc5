"""Measurements in the spelling of a CSV dialect, with its decimal sign and its thousands sign."""

import re

import polars as pl

from forecasting.spec.dialect import CsvDialect

_LIKE = {" ": "[ \u00a0\u2009\u202f]", "'": "['\u2019]"}
"""Characters that spreadsheets write for a sign that has several forms."""


def read_decimal(column: str, dialect: CsvDialect) -> pl.Expr:
    """Read text as numbers, strictly: a text that does not follow the dialect's spelling becomes null.

    Args:
        column: The column of text.
        dialect: The dialect. Thousands signs may be absent, but those in a text are between groups of three digits.

    Returns:
        Float64 values.
    """
    text = pl.col(column).str.strip_chars()
    whole, sign = "[0-9]+", ""
    if dialect.thousands:
        sign = _LIKE.get(dialect.thousands, re.escape(dialect.thousands))
        whole = f"(?:[0-9]{{1,3}}(?:{sign}[0-9]{{3}})+|[0-9]+)"
    decimal = re.escape(dialect.decimal)
    number = f"(?:{whole}(?:{decimal}[0-9]*)?|{decimal}[0-9]+)(?:[eE][+-]?[0-9]+)?"
    follows = text.str.contains(f"^[+-]?(?:{number}|(?i:nan|inf|infinity))$")
    plain = text.str.replace_all(sign, "") if sign else text
    return pl.when(follows).then(plain.str.replace(dialect.decimal, ".", literal=True)).cast(pl.Float64, strict=False)
