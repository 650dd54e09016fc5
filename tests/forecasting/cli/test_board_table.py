"""The printed leaderboard: errors below scores, within a hundred columns, or a paragraph per model."""

import io
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from forecasting.cli.board_table import print_board
from forecasting.evaluate.leaderboard import SCORES


def board(*models: str, **cells: Any) -> pl.DataFrame:
    figures = {"mase": 0.83412, "smape": 13.912, "owa": 0.5, "wql": 0.02843, "msis": 10.434, "bias": -223.6}
    scores = figures | {"coverage_80": 0.7325, "coverage_95": 0.951}
    errors = {f"{name}_se": score / 10 for name, score in scores.items()} | {"bias_se": 75.8}
    row = {"num_series": 100_000, "num_points": 9, "share_served": 0.455}
    row |= {"num_scaled": cells.get("num_series", 100_000), "num_scaled_by_step": 0}
    row |= scores | errors | cells
    return pl.DataFrame([{"model": model} | row for model in models])


def printed(rows: pl.DataFrame, *, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    print_board(rows, console, title="demo: backtests")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_every_score_has_its_error_below_it_within_a_hundred_columns() -> None:
    lines = printed(board("seasonal_naive_168"), width=100)
    assert lines[0] == "demo: backtests"
    head, figures, errors = (" ".join(line.split()) for line in lines[1:] if line.strip("─ "))
    assert head == "model series served MASE sMAPE OWA WQL MSIS in 80 % in 95 % bias"
    assert figures == "seasonal_naive_168 100,000 46 % 0.834 13.91 0.500 0.0284 10.43 73.2 95.1 -224"
    assert errors == "±0.083 ±1.39 ±0.050 ±0.0028 ±1.04 ±7.3 ±9.5 ±75.8"
    assert max(map(len, lines)) <= 100


def test_long_name_with_small_errors_fits_as_well() -> None:
    lines = printed(board("seasonal_naive_168", num_series=125, bias=0.0011712, bias_se=0.005614), width=100)
    assert (lines[-2].split()[-1], lines[-1].split()[-1]) == ("0.0012", "±0.0056")
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("width", [60, 80])
def test_narrow_terminal_shows_a_complete_paragraph_per_model(width: int) -> None:
    lines = printed(board("lstm", "gru"), width=width)
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines[1:]).split())
    assert text.count("100,000 series, champion of 46 %") == 2
    assert "lstm: " in text
    assert text.count("MASE 0.834 ±0.083 · sMAPE 13.91 ±1.39 · OWA 0.500 ±0.050 · WQL 0.0284 ±0.0028") == 2
    assert text.count("bias -224 ±75.8") == 2


def test_undefined_and_large_scores_are_readable() -> None:
    undefined = dict.fromkeys(SCORES) | {f"{name}_se": None for name in SCORES}
    lines = printed(board("none", **undefined | {"share_served": None, "mase": 123456.7}), width=100)
    assert lines[-1].split() == ["none", "100,000", "–", "1.23e+05", *["–"] * 7]
    assert not any("nan" in line for line in lines)


def test_control_characters_and_markup_are_printed_literally() -> None:
    text = "\n".join(printed(board("[red]\x1b[31m"), width=100))
    assert "[red]\\x1b[31m" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [60, 100])
def test_series_without_a_mase_or_with_that_of_a_step_are_counted(width: int) -> None:
    assert not any("MASE and MSIS" in line for line in printed(board("naive"), width=width))
    lines = printed(board("naive", num_series=1_200, num_scaled=1_100, num_scaled_by_step=12), width=width)
    assert lines[-1] == (
        "MASE and MSIS: means over 1,100 of 1,200 series; 12 series are too short for a season, and have the error of"
        " one step as their unit"
    )
