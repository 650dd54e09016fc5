"""Measure what covariates gain on public data sets: the same backtest with and without them.

    FLEETCAST_BENCHMARK_DATA=FOLDER python -m tests.benchmarks.covariates epf_germany bike_sharing_uci

Prints rows of `docs/covariates.md`: the mean MASE of windows at the end of each series, scaled by each window's own
past with a season of 24 hours. Networks, shares and calibrations are those of the first cutoff; statistical models and
regressions are fitted at each. `--tune` measures windows before these instead, by which designs may be chosen.

Sources of the sets: EPEX prices of Germany (Lago et al., 2021; fev-bench's task `epf_de` has these windows), bikes of
Washington (Fanaee-T and Gama, 2013), traffic on the I-94 (UCI), and load of 20 zones (GEFCom2012).
"""

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import polars as pl

import forecasting as fc
from forecasting.errors import DataWarning
from forecasting.spec.spec import REGRESSIONS
from tests.benchmarks.m4 import DATA_VARIABLE

SEASON = 24


class Task(NamedTuple):
    """What is forecast of a set.

    Attributes:
        covariates: Columns that are known ahead, or taken to be: measured weather stands for its forecast.
        horizon: Hours of a window.
        num_windows: Windows at the end of each series.
        prepare: Makes the columns of the set's file.
    """

    covariates: tuple[str, ...]
    horizon: int
    num_windows: int
    prepare: Callable[[pl.DataFrame], pl.DataFrame] = lambda rows: rows


def _with_holidays(rows: pl.DataFrame) -> pl.DataFrame:
    """Mark all hours of a holiday; the file names it at its first hour."""
    is_named = pl.col("holiday").cast(pl.String).fill_null("None") != "None"
    return rows.with_columns(is_holiday=is_named.any().over(pl.col("ds").dt.date()))


TASKS = {
    "epf_germany": Task(("load_forecast", "wind_solar_forecast"), 24, 20),
    "bike_sharing_uci": Task(("temp", "atemp", "hum", "windspeed", "weathersit", "holiday", "workingday"), 48, 8),
    "traffic_i94": Task(("temp", "rain_1h", "snow_1h", "clouds_all", "is_holiday"), 168, 8, _with_holidays),
    "gefcom2012_load": Task(("temp_mean",), 168, 8),
}


def main(arguments: Sequence[str]) -> int:
    """Print a row per set, with and without covariates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", choices=TASKS)
    parser.add_argument("--recipe", default="standard")
    parser.add_argument("--regressions", help="such as ridge,lightgbm; the default of a spec otherwise")
    parser.add_argument("--holidays", help="a country such as US, whose holidays are covariates too")
    parser.add_argument("--only-with", action="store_true", help="skip the row without covariates")
    parser.add_argument("--series", type=int, help="the first N series of a set")
    parser.add_argument("--windows", type=int, help="fewer windows than the task has")
    parser.add_argument("--tune", action="store_true", help="windows before those of the task")
    options = parser.parse_args(arguments)
    root = os.environ.get(DATA_VARIABLE)
    if not root:
        parser.error(f"{DATA_VARIABLE} must name the folder of the data sets")
    columns = ("set", "covariates", "champion", *REGRESSIONS, "best other model", "naive", "seconds")
    print(f"| {' | '.join(columns)} |\n|" + "---|" * len(columns), flush=True)
    for name in options.sets:
        task = TASKS[name]
        rows = read_rows(Path(root), name, num_series=options.series, is_tuning=options.tune)
        for covariates in (task.covariates,) if options.only_with else ((), task.covariates):
            windows = options.windows or task.num_windows
            began = time.monotonic()
            regressions = options.regressions.split(",") if options.regressions and covariates else None
            scores = measure(
                rows,
                task,
                covariates,
                recipe=options.recipe,
                num_windows=windows,
                regressions=regressions,
                holidays=options.holidays if covariates else None,
            )
            print(describe(name, covariates, scores, time.monotonic() - began), flush=True)
    return 0


def read_rows(root: Path, name: str, *, num_series: int | None, is_tuning: bool) -> pl.DataFrame:
    """Return the rows of a set, of the first series, or up to the first window of its task."""
    task = TASKS[name]
    rows = task.prepare(pl.read_parquet(root / name / f"{name}.parquet")).sort("unique_id", "ds")
    if num_series:
        rows = rows.filter(pl.col("unique_id").is_in(rows["unique_id"].unique().sort()[:num_series].implode()))
    if is_tuning:
        test = timedelta(hours=task.horizon * task.num_windows)
        rows = rows.filter(pl.col("ds") <= pl.col("ds").max().over("unique_id") - test)
    return rows


def measure(
    rows: pl.DataFrame,
    task: Task,
    covariates: Sequence[str],
    *,
    recipe: str,
    num_windows: int,
    regressions: Sequence[str] | None = None,
    holidays: str | None = None,
) -> pl.DataFrame:
    """Return the MASE of each model in each window: unique_id, cutoff, model, is_champion, mase."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # gaps of the sets are known
        found = fc.backtest(
            rows.select("unique_id", "ds", "y", *covariates),
            cutoffs=num_windows,
            refit=False,
            freq="1h",
            season_lengths=[SEASON, 7 * SEASON],
            horizon=task.horizon,
            recipe=recipe,
            known_ahead=covariates or None,
            regressions=regressions,
            holidays=holidays,
            future_missing="hold",
            source={"missing_rows": "gap", "ended": "forecast"},
            progress=False,
        )
    return score(rows, found)


def score(rows: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """Return the MASE of each model in each window: unique_id, cutoff, model, is_champion, mase.

    Args:
        rows: The rows of the set.
        found: Forecasts and what came: unique_id, cutoff, ds, y, model, is_champion and forecast.
    """
    measured = rows.select("unique_id", "ds", "y").drop_nulls("y")
    before = measured.with_columns(pl.col("ds") + timedelta(hours=SEASON))
    steps = measured.join(before, on=["unique_id", "ds"], suffix="_before").select(
        "unique_id", "ds", step=(pl.col("y") - pl.col("y_before")).abs()
    )
    cutoffs = found.select("unique_id", "cutoff").unique()
    scales = (
        cutoffs.join(steps, on="unique_id")
        .filter(pl.col("ds") <= pl.col("cutoff"))
        .group_by("unique_id", "cutoff")
        .agg(scale=pl.col("step").mean())
    )
    scored: pl.DataFrame = (
        found.join(scales, on=["unique_id", "cutoff"])
        .group_by("unique_id", "cutoff", "model", "is_champion")
        .agg(mase=((pl.col("y") - pl.col("forecast")).abs() / pl.col("scale")).mean())
        .drop_nulls("mase")
    )
    return scored


def describe(name: str, covariates: Sequence[str], scores: pl.DataFrame, seconds: float) -> str:
    """Return a row of the table."""
    means = dict(scores.group_by("model").agg(pl.col("mase").mean()).iter_rows())
    served = scores.filter("is_champion").select(pl.col("mase").mean()).item()
    others = {model: mase for model, mase in means.items() if model not in ("combination", *REGRESSIONS)}
    best = min(others, key=others.__getitem__)
    alone = [f"{means[model]:.3f}" if model in means else "" for model in REGRESSIONS]
    naive = means[f"seasonal_naive_{SEASON}"]
    cells = (name, len(covariates), f"{served:.3f}", *alone, f"{best} {others[best]:.3f}", f"{naive:.3f}")
    return "| " + " | ".join(map(str, cells)) + f" | {seconds:.0f} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
