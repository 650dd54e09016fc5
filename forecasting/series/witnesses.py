"""Judge the rows of a block by themselves; most blocks have no row to refuse, which few of their rows show.

Whether a row is refused depends on its name, its time and its measurement. A time is refused where it is unknown, lies
before or after all times that are accepted, or is a text that is refused wherever it stands. So all rows of a block are
accepted if these witnesses are: a row of each series and file, the earliest and the latest row, the latest measurement,
one without a value, and a row of each text of a time.
"""

from datetime import datetime

import polars as pl

from forecasting.series.judge import add_reasons, judge_alone, read_columns
from forecasting.series.runs import Runs, find_runs

_READ = {"source_file", "source_row", "unique_id", "written_id", "ds", "y"}
"""Columns that the rules for names, times and measurements read. Others have rules of their own, for each row."""


def judge_each(
    rows: pl.DataFrame, runs: Runs, *, freq: str | int, now: datetime | None, unfinished: pl.Expr | None
) -> pl.DataFrame:
    """Judge each row of a block as `judge_alone` does.

    Args:
        rows: Rows with the columns of `scan_source`.
        runs: The runs of their names.
        freq: The frequency of the grid.
        now: The current time, as of `judge_alone`.
        unfinished: Which rows are of periods that are not over, as of `judge_alone`.

    Returns:
        The rows of `judge_alone`.
    """
    schema = rows.schema
    if not set(schema) <= _READ:
        return judge_alone(rows.lazy(), freq=freq, now=now, unfinished=unfinished).collect(engine="streaming")
    read = read_columns(rows.lazy(), freq=freq).collect()
    witnesses = _find_witnesses(read, runs)
    if witnesses is not None:
        judged = add_reasons(witnesses.lazy(), schema, freq=freq, now=now, unfinished=None).collect()
        is_open = unfinished is not None and read.select(unfinished.any()).item()
        if judged["reason"].null_count() == judged.height and not is_open:
            return read.with_columns(reason=pl.lit(None, pl.String), is_unfinished=pl.lit(False))
    return add_reasons(read.lazy(), schema, freq=freq, now=now, unfinished=unfinished).collect(engine="streaming")


def _find_witnesses(read: pl.DataFrame, runs: Runs) -> pl.DataFrame | None:
    """Return the rows that decide whether one is refused; None where that is likely, or they are not few."""
    time, y = read["ds"], read["y"]
    if read.is_empty() or time.has_nulls() or not y.is_finite().all():
        return None
    at = [*runs.begin_S, time.arg_min(), time.arg_max()]
    if read["source_ds"].dtype == pl.String:
        at += [*read["source_ds"].arg_unique(), *find_runs(read["source_file"]).begin_S]
    if 2 * len(at) > read.height:
        return None
    if y.has_nulls():
        if read["source_y"].dtype == pl.String:
            return None
        measured = time.set(y.is_null(), None)
        at += [each for each in (measured.arg_max(), y.is_null().arg_max()) if each is not None]
    return read[at]
