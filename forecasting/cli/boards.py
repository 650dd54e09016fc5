"""Leaderboards of a store: one per spec, from its newest backtests or the newest scores of its forecasts."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import polars as pl
import polars.selectors as cs

from forecasting.errors import NothingStored
from forecasting.evaluate.leaderboard import leaderboard
from forecasting.schemas import SCORES
from forecasting.series.clock import format_clock, parse_clock
from forecasting.spec.frequency import CLOCKS, Clock, clock_of
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
        is_of_several: Whether backtests are of several training runs.
    """

    spec: str
    kind: Kind
    cutoff: str
    rows: pl.DataFrame
    is_of_several: bool = False

    @property
    def title(self) -> str:
        """The line above the printed leaderboard."""
        if self.kind == "scores":
            return f"{self.spec}: realised errors of all forecasts, up to {self.cutoff}"
        if self.is_of_several:
            return f"{self.spec}: backtests of each series' newest training, at {self.cutoff} or before"
        return f"{self.spec}: backtests of the training run at {self.cutoff}"


def read_boards(store: Store, *, kind: Kind, spec: str | None = None) -> list[Board]:
    """Rank the models of each spec by the newest backtests of its series, or by all its scored forecasts.

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
        # Lists by step, and what else a leaderboard does not read, are several times as large as the scores.
        wanted = ("run_cutoff", "forecast_run_cutoff", "unique_id", "model", "is_champion", *(c.name for c in SCORES))
        rows = store.scan(table, clock).filter(pl.col("spec") == spec)
        return rows.select(cs.by_name(wanted, require_all=False))

    if kind == "scores":
        newest = pl.col("run_cutoff") == pl.col("run_cutoff").max().over("forecast_run_cutoff", "unique_id", "model")
        return Board(spec, kind, format_clock(cutoff), leaderboard(of_spec(kind).filter(newest).collect(), None))
    since = _last_of_all_series(store, clock, spec, cutoff)
    newest = pl.col("run_cutoff") == pl.col("run_cutoff").max().over("unique_id")
    rows, champions = (
        of_spec(table).filter(pl.col("run_cutoff").is_between(pl.lit(since), pl.lit(cutoff))).filter(newest).collect()
        for table in (kind, "champions")
    )
    is_of_several = rows["run_cutoff"].n_unique() > 1
    return Board(spec, kind, format_clock(cutoff), leaderboard(rows, champions), is_of_several)


def _last_of_all_series(store: Store, clock: Clock, spec: str, cutoff: datetime | int) -> datetime | int:
    """Return the newest cutoff up to this one at which all series were backtested; this one if none is recorded.

    Later runs, of changed series or of some series, leave the backtests of the others as they are.
    """
    recorded = store.scan("runs", "timestamp").filter(
        pl.col("spec") == spec, pl.col("job") == "backtest", pl.col("status") == "success"
    )
    cutoffs = []
    for text, arguments in recorded.select("run_cutoff", "arguments").collect().iter_rows():
        given = json.loads(arguments)
        if (
            given["series"] is None
            and not given.get("changed_only", False)
            and clock_of(given["spec"]["freq"]) == clock
        ):
            cutoffs.append(parse_clock(text, clock))
    return max((each for each in cutoffs if each <= cutoff), default=cutoff)  # type: ignore[operator]
