"""Print a leaderboard as a table within a hundred columns, with each standard error below its score."""

from collections.abc import Mapping
from typing import Any

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from forecasting.cli.show import WIDTH_OF_A_PIPE, printable

_HEADINGS = {
    "mase": "MASE",
    "smape": "sMAPE",
    "owa": "OWA",
    "wql": "WQL",
    "msis": "MSIS",
    "coverage_80": "in 80 %",
    "coverage_95": "in 95 %",
    "bias": "bias",
}
"""The heading of each score; coverages are percentages of actuals within the interval."""
_DECIMALS = {"mase": 3, "smape": 2, "owa": 3, "wql": 4, "msis": 2, "coverage_80": 1, "coverage_95": 1}
_UNDEFINED = "–"


def print_board(board: pl.DataFrame, console: Console, *, title: str | None = None) -> None:
    """Print a leaderboard, with ± one standard error; if a line does not fit, as one paragraph per model.

    Args:
        board: Rows of `leaderboard`.
        console: Where to print.
        title: A line above the table.
    """
    if title:
        console.print(printable(title), markup=False, soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("model", no_wrap=True)
    for heading in ("series", "served", *_HEADINGS.values()):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in board.iter_rows(named=True):
        cells = ("\n".join(filter(None, _figure_and_error(row, name))) for name in _HEADINGS)
        table.add_row(Text(printable(row["model"])), f"{row['num_series']:,}", _share(row["share_served"]), *cells)
    note = _describe_scales(board)
    if console.measure(table, options=console.options.update(width=WIDTH_OF_A_PIPE)).maximum <= console.width:
        console.print(table, markup=False)
        if note:
            console.print(note, markup=False, soft_wrap=True)
        return
    for row in board.iter_rows(named=True):
        scores = [f"{heading} {' '.join(_figure_and_error(row, name))}".strip() for name, heading in _HEADINGS.items()]
        counts = f"{row['num_series']:,} series, champion of {_share(row['share_served'])}"
        console.print(f"{printable(row['model'])}: {' · '.join([counts, *scores])}", markup=False)
    if note:
        console.print(note, markup=False, soft_wrap=True)


def _describe_scales(board: pl.DataFrame) -> str | None:
    """Return a sentence about series without a MASE, or with one in units of a step; None where there are none."""
    if board.is_empty():
        return None
    num_series, num_scaled, num_short = board.select("num_series", "num_scaled", "num_scaled_by_step").max().row(0)
    said = [f"MASE and MSIS: means over {num_scaled:,} of {num_series:,} series"] if num_scaled < num_series else []
    if num_short:
        said.append(f"{num_short:,} series are too short for a season, and have the error of one step as their unit")
    return "; ".join(said) or None


def _figure_and_error(row: Mapping[str, Any], name: str) -> tuple[str, str]:
    value, error = row[name], row[f"{name}_se"]
    if value is None:
        return _UNDEFINED, ""
    return _number(value, name), "" if error is None else f"±{_number(error, name)}"


def _number(value: float, name: str) -> str:
    if name not in _DECIMALS or abs(value) >= 1000:
        return f"{value:.2g}" if abs(value) < 1 else f"{value:.3g}"
    return f"{100 * value if name.startswith('coverage') else value:.{_DECIMALS[name]}f}"


def _share(share: float | None) -> str:
    return _UNDEFINED if share is None else f"{share:.0%}".replace("%", " %")
