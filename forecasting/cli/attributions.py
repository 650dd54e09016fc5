"""Attributions of the newest forecasts of some series, from the store."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from forecasting.cli.fans import find_spec, on_wall_clock
from forecasting.errors import NothingStored
from forecasting.series.clock import format_clock, parse_clock

if TYPE_CHECKING:
    from forecasting.store.tables import Store


def attributions_of_store(
    store: "Store", series: Sequence[str], *, spec: str | None = None, cutoff: str | None = None
) -> pl.DataFrame:
    """Read the parts of forecasts of some series.

    Args:
        store: The store.
        series: The series.
        spec: The spec of the forecasts; None takes the only one that has such series.
        cutoff: The run cutoff of the forecasts as text; None takes the newest one of each series.

    Returns:
        Rows of the table `attributions`, series in the requested order; times on the wall clock of the source.

    Raises:
        NothingStored: A series has no attributions.
        UserError: A series has no forecast, or several specs have such series.
    """
    clock, spec = find_spec(store, series, spec)
    rows = store.scan("attributions", clock).filter(pl.col("spec") == spec, pl.col("unique_id").is_in(list(series)))
    at = ""
    if cutoff is not None:
        until = parse_clock(cutoff, clock, subject="--cutoff")
        rows, at = rows.filter(pl.col("run_cutoff") == until), f" at {format_clock(until)}"
    found = rows.filter(pl.col("run_cutoff") == pl.col("run_cutoff").max().over("unique_id")).collect()
    if missing := [name for name in series if name not in set(found["unique_id"])]:
        raise NothingStored(
            f"spec '{spec}' has no attributions of {', '.join(map(repr, missing))}{at}: set attributions = true in the"
            " spec, and run the forecast again"
        )
    zones: list[str] = found["zone"].drop_nulls().to_list() if "zone" in found.columns else []
    order = pl.DataFrame({"unique_id": list(dict.fromkeys(series))})
    kinds = pl.Enum(["reference", "past", "calendar", "covariate"])
    sorted_rows = found.sort("ds", pl.col("kind").cast(kinds), "component")
    shown = order.join(sorted_rows, on="unique_id", maintain_order="left_right")
    return on_wall_clock(shown, zones[0] if zones else None)
