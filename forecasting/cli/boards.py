"""Leaderboards of a store: one per spec, from its newest backtests or the newest scores of its forecasts."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import polars as pl

from forecasting.errors import NothingStored
from forecasting.evaluate.leaderboard import leaderboard
from forecasting.series.clock import format_clock
from forecasting.spec.frequency import CLOCKS, Clock
from forecasting.store.tables import Store

Kind = Literal["backtests", "scores"]
_MISSING = {
    "backtests": "has no backtests yet; the train DAG writes them",
    "scores": "has no scores yet; they are written when the actuals of a forecast arrive",
}


@dataclass(frozen=True)
class Board:
    """One spec's leaderboard.

    Attributes:
        spec: The name of the spec.
        kind: What the models are ranked by.
        cutoff: The run cutoff of the backtests or of the newest scores, as text.
        rows: The rows of `leaderboard`.
    """

    spec: str
    kind: Kind
    cutoff: str
    rows: pl.DataFrame

    @property
    def title(self) -> str:
        """The line above the printed leaderboard."""
        what = (
            "backtests of the training run at"
            if self.kind == "backtests"
            else "realised errors of all forecasts, up to"
        )
        return f"{self.spec}: {what} {self.cutoff}"


def read_boards(store: Store, *, kind: Kind, spec: str | None = None) -> list[Board]:
    """Rank the models of each spec in its training run with the newest cutoff, or by all its scored forecasts.

    Args:
        store: The store.
        kind: What the models are ranked by.
        spec: The spec to rank; None for all.

    Returns:
        One leaderboard per spec, sorted by name.

    Raises:
        NothingStored: The store has no backtests or scores of the spec, or of any spec.
    """
    boards = []
    for clock in CLOCKS:
        rows = store.scan(kind, clock)
        if spec is not None:
            rows = rows.filter(pl.col("spec") == spec)
        newest = rows.group_by("spec").agg(pl.col("run_cutoff").max()).collect()
        for name, cutoff in newest.iter_rows():
            boards.append(_board(store, kind, clock, name, cutoff))
    if not boards:
        raise NothingStored(f"{'the store' if spec is None else f'spec {spec!r}'} {_MISSING[kind]}")
    return sorted(boards, key=lambda board: board.spec)


def _board(store: Store, kind: Kind, clock: Clock, spec: str, cutoff: datetime | int) -> Board:
    def of_spec(table: str) -> pl.LazyFrame:
        return store.scan(table, clock).filter(pl.col("spec") == spec)

    if kind == "scores":
        newest = pl.col("run_cutoff") == pl.col("run_cutoff").max().over("forecast_run_cutoff", "unique_id", "model")
        return Board(spec, kind, format_clock(cutoff), leaderboard(of_spec(kind).filter(newest).collect(), None))
    rows, champions = (
        of_spec(table).filter(pl.col("run_cutoff") == pl.lit(cutoff)).collect() for table in (kind, "champions")
    )
    return Board(spec, kind, format_clock(cutoff), leaderboard(rows, champions))
