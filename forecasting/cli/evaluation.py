"""A one-shot outcome and actuals go in; its scores, and on stderr their totals, come out."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from forecasting.cli.board_table import print_board
from forecasting.cli.show import open_console
from forecasting.evaluate.leaderboard import CHAMPION, leaderboard
from forecasting.flow.holdout import Actuals, Evaluation, evaluate
from forecasting.spec.spec import Spec

if TYPE_CHECKING:
    from forecasting.flow.one_shot import OneShot


def evaluate_outcome(outcome: "OneShot", actuals: Actuals, spec: Spec, *, all_models: bool) -> Evaluation:
    """Score every model of every series, or the champions alone."""
    forecasts = outcome.forecasts if all_models else outcome.forecasts.filter("is_champion")
    return evaluate(forecasts, actuals, spec, features=outcome.features, cutoff=outcome.cutoff)


def print_evaluation(evaluation: Evaluation, scores_file: Path | None, *, all_models: bool) -> None:
    """Print totals of the champions, or of every model, and what was not compared."""
    board = leaderboard(evaluation.scores, None)
    if not all_models:
        board = board.filter(pl.col("model") == CHAMPION)
    num_series = evaluation.scores.filter(pl.col("num_points") > 0)["unique_id"].n_unique()
    where = scores_file or "--scores FILE writes them by series"
    title = f"evaluated by {evaluation.num_compared:,} actuals of {num_series:,} series; {where}"
    print_board(board, open_console(sys.stderr), title=title)
    for note in evaluation.notes:
        print(note, file=sys.stderr)
