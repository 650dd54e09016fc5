"""Print the totals of an evaluation on stderr."""

import sys
from pathlib import Path

from forecasting.cli.board_table import print_board
from forecasting.cli.show import open_console
from forecasting.flow.results import Evaluation


def print_evaluation(evaluation: Evaluation, scores_file: Path | None) -> None:
    """Print the totals of an evaluation, and what was not compared.

    Args:
        evaluation: Scores as Polars frames.
        scores_file: The file that the scores of every series were written to, if any.
    """
    num_series = evaluation.scores.filter(evaluation.scores["num_points"] > 0)["unique_id"].n_unique()
    where = scores_file or "--scores FILE writes them by series"
    title = f"evaluated by {evaluation.num_compared:,} actuals of {num_series:,} series; {where}"
    print_board(evaluation.leaderboard, open_console(sys.stderr), title=title)
    for note in evaluation.notes:
        print(note, file=sys.stderr)
