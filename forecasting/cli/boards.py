"""A store goes in; the leaderboard of each spec's newest backtests, or of its newest realised scores, comes out."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

import polars as pl

from forecasting.errors import NothingStored
from forecasting.evaluate.leaderboard import leaderboard
from forecasting.series.clock import format_clock
from forecasting.spec.frequency import Clock
from forecasting.store.tables import Store

Kind = Literal["backtests", "scores"]
_MISSING = {
    "backtests": "has no backtests yet; its train DAG makes them",
    "scores": "has no scores yet; they are made when the actuals of a forecast arrive",
}


@dataclass(frozen=True)
class Board:
    """One spec's leaderboard; `cutoff` is that of the run that it comes from, as text."""

    spec: str
    kind: Kind
    cutoff: str
    rows: pl.DataFrame

    @property
    def title(self) -> str:
        what = "backtests of the training run" if self.kind == "backtests" else "realised errors, scored"
        return f"{self.spec}: {what} at {self.cutoff}"


def read_boards(store: Store, *, kind: Kind, spec: str | None = None) -> list[Board]:
    """Rank the models of every spec, or of one, in its run with the newest cutoff; sorted by spec.

    Raises NothingStored where there is nothing to rank.
    """
    boards = []
    for clock in get_args(Clock):
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
    def newest(table: str) -> pl.DataFrame:
        at = store.scan(table, clock).filter(pl.col("spec") == spec, pl.col("run_cutoff") == pl.lit(cutoff))
        return at.collect()

    champions = newest("champions") if kind == "backtests" else None
    return Board(spec, kind, format_clock(cutoff), leaderboard(newest(kind), champions))
