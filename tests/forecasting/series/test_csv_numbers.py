"""Measurements with the decimal sign and the thousands sign of a dialect."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.series.csv_numbers import read_decimal
from forecasting.spec.dialect import CsvDialect


def _read(text: str, **fields: Any) -> float | None:
    value: float | None = pl.select(y=pl.lit(text)).select(read_decimal("y", CsvDialect(**fields))).item()
    return value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.231,17", 1231.17),
        ("1231,17", 1231.17),
        (" -1.231.000 ", -1_231_000.0),
        ("+,5e3", 500.0),
        ("12.", None),
        ("1.5", None),
        ("12.31,5", None),
        ("1234.567", None),
        ("1,231.17", None),
        ("1,231,17", None),
        ("1,5x", None),
        (",", None),
        ("", None),
    ],
)
def test_text_that_does_not_follow_decimal_and_grouping_is_refused(text: str, value: float | None) -> None:
    assert _read(text, decimal=",", thousands=".") == value


def test_forms_of_a_thousands_sign_are_read() -> None:
    for blank in " \u00a0\u202f":
        assert _read(f"1{blank}231,17", decimal=",", thousands="space") == 1231.17
    assert _read("1'231.17", thousands="'") == _read("1\u2019231.17", thousands="'") == 1231.17
    assert _read("1,231.17", thousands=",") == 1231.17
    assert _read("1.231", decimal=",") is None
    assert str(_read("NaN", decimal=",")) == "nan"


@given(
    value=st.decimals(min_value=-(10**9), max_value=10**9, places=3),
    decimal=st.sampled_from(".,"),
    thousands=st.sampled_from(["", ".", ",", " ", "'", "_"]),
)
def test_every_number_is_read_back_from_its_spelling(value: Any, decimal: str, thousands: str) -> None:
    if decimal == thousands:
        return
    text = f"{value:,}".replace(",", "t").replace(".", decimal).replace("t", thousands)
    assert _read(text, decimal=decimal, thousands=thousands) == float(value)
