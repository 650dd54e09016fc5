"""Measure accuracy on published data sets: one-shot forecasts of all series by a recipe, scored on held-out actuals.

    FLEETCAST_BENCHMARK_DATA=FOLDER python -m tests.benchmarks.accuracy m4_hourly tourism_monthly --seeds 0 1 2
    FLEETCAST_BENCHMARK_DATA=FOLDER python -m tests.benchmarks.accuracy tourism_monthly --ablation
    FLEETCAST_BENCHMARK_DATA=FOLDER python -m tests.benchmarks.accuracy m4_hourly --recipe fast --sums

Prints rows of `docs/accuracy.md`. Nothing is tuned here: all series of a set have one recipe, which is given only the
frequency, the season lengths and the horizon.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from forecasting.evaluate.leaderboard import leaderboard
from forecasting.fleet.options import FitOptions
from forecasting.flow import one_shot
from forecasting.flow.actuals import read_actuals
from forecasting.flow.holdout import Evaluation, evaluate
from forecasting.flow.processes import Crew, call_on_crew, run_on_crew
from forecasting.flow.sample_paths import find_demands, sample_paths
from forecasting.series.inputs import Input
from forecasting.spec.source import Source
from forecasting.spec.spec import Spec, make_spec
from tests.benchmarks.m4 import DATA_VARIABLE, FROM_OWN_END

COLUMNS = ("MASE", "sMAPE", "OWA", "WQL", "MSIS", "in 80 %", "in 95 %")
SCORES = ("mase", "smape", "owa", "wql", "msis", "coverage_80", "coverage_95")


@dataclass(frozen=True)
class DataSet:
    """What the forecast of a set is given; without a test file of its own, the last horizon is held out."""

    freq: str | int
    season_lengths: tuple[int, ...]
    horizon: int


DATA_SETS: Mapping[str, DataSet] = {
    "m4_hourly": DataSet(1, (24, 168), 48),
    "tourism_monthly": DataSet("1mo", (12,), 24),
    "m3_quarterly": DataSet("3mo", (4,), 8),
    "electricity_weekly": DataSet("1w", (52,), 8),
    "carparts": DataSet("1mo", (12,), 12),
    "covid_deaths_daily": DataSet("1d", (7,), 30),
}
SUM_COLUMNS = ("set", "seed", "steps", "paths", "paths of independent steps", "summed quantiles", "each step")
NUM_PATHS = 500
_ENDS = {"q10": 0.1, "q90": 0.9, "q02_5": 0.025, "q97_5": 0.975}
_PRIOR, _RANDOM = {"start": "prior"}, {"start": "random"}
ABLATED = "gru"
ONE_MEMBER: Mapping[str, Mapping[str, Any]] = {
    "from scratch": {"members": [_RANDOM]},
    "prior alone": {"members": [_PRIOR], "tuning_steps": 0},
    "prior, then tuned": {"members": [_PRIOR]},
}
"""Overrides of the recipe that keep one member of one network; it forecasts without statistical models."""


def main(arguments: Sequence[str]) -> int:
    """Print a row per data set and seed, or per step of the ablation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", choices=DATA_SETS)
    parser.add_argument("--recipe", default="standard")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--ablation", action="store_true", help="what each part of the recipe adds")
    what.add_argument("--sums", action="store_true", help="how often intervals of sums over steps cover the actual sum")
    options = parser.parse_args(arguments)
    root = os.environ.get(DATA_VARIABLE)
    if not root:
        parser.error(f"{DATA_VARIABLE} must name the folder of the data sets")
    columns = SUM_COLUMNS if options.sums else ("set", "forecast", "seed", *COLUMNS, "seconds")
    print("| " + " | ".join(columns) + " |", flush=True)
    print("|---" * len(columns) + "|", flush=True)
    for name in options.sets:
        with TemporaryDirectory() as folder:
            known, actuals = split(Path(root), name, Path(folder))
            for seed in options.seeds:
                rows_of = add_up if options.sums else ablate if options.ablation else judge
                for row in rows_of(name, known, actuals, recipe=options.recipe, seed=seed):
                    print(row, flush=True)
    return 0


def split(root: Path, name: str, folder: Path) -> tuple[Path, Path]:
    """Return the files of the known part and of the actuals."""
    known, actuals = root / name / f"{name}.parquet", root / name / f"{name}_test.parquet"
    if actuals.exists():
        return known, actuals
    left = pl.int_range(pl.len()).reverse().over("unique_id")
    rows = pl.read_parquet(known).sort("unique_id", "ds").with_columns(left=left)
    is_known = pl.col("left") >= DATA_SETS[name].horizon
    files = folder / "known.parquet", folder / "actuals.parquet"
    for part, file in zip((is_known, ~is_known), files, strict=True):
        rows.filter(part).drop("left").write_parquet(file)
    return files


def judge(name: str, known: Path, actuals: Path, *, recipe: str, seed: int) -> Iterator[str]:
    """Yield a row for the champions, and one for each model."""
    outcome, evaluation, seconds = _forecast(describe(name, known, recipe=recipe, seed=seed, overrides={}), actuals)
    board = leaderboard(evaluation.scores, outcome.champions)
    for row in board.filter(pl.col("num_series") > 0).iter_rows(named=True):
        yield _row(name, row["model"], seed, row, seconds if row["model"] == "champion" else None)


def ablate(name: str, known: Path, actuals: Path, *, recipe: str, seed: int) -> Iterator[str]:
    """Yield a row for each step of the ablation, and differences of MASE, paired by series.

    The first steps are one member alone: from random weights, from a prior, and tuned from it. The others are the whole
    recipe: its members, the best model of the backtests for each series or for all, the combination, the champions.

    Args:
        name: Name of the data set.
        known: File of the known part.
        actuals: File of the part to forecast.
        recipe: Recipe of the whole.
        seed: Seed of the spec.

    Yields:
        Rows of a Markdown table.
    """
    of_step: dict[str, pl.DataFrame] = {}
    for step, overrides in ONE_MEMBER.items():
        alone = describe(name, known, recipe=recipe, seed=seed, overrides=overrides)
        alone = alone.model_copy(update={"models": (ABLATED,), "statistics": ()})
        _, evaluation, seconds = _forecast(alone, actuals)
        of_step[step] = evaluation.scores.filter(model=ABLATED)
        if of_step[step]["num_points"].sum():  # all series may be too short for a network of their own
            yield _row(name, step, seed, _score_of(of_step[step]), seconds)
    whole = describe(name, known, recipe=recipe, seed=seed, overrides={})
    outcome, evaluation, seconds = _forecast(whole, actuals)
    rivals = outcome.backtests.filter(pl.col("model") != "combination", pl.col("mase").is_not_null())
    of_models = rivals.group_by("unique_id", "model").agg(pl.col("mase").mean())
    hard = of_models.sort("mase", "model").unique("unique_id", keep="first", maintain_order=True)
    means = of_models.group_by("model").agg(pl.col("mase").mean(), num_series=pl.len())
    single = means.filter(pl.col("num_series") == pl.col("num_series").max()).sort("mase", "model")["model"][0]
    of_step |= {
        "all members": evaluation.scores.filter(model=ABLATED),
        "the best of each series' own backtest": evaluation.scores.join(
            hard.select("unique_id", "model"), on=["unique_id", "model"], how="semi"
        ),
        "the best single model of the backtests": evaluation.scores.filter(model=single),
        "the combination": evaluation.scores.filter(model="combination"),
        "the champions": evaluation.scores.filter("is_champion"),
    }
    for step in list(of_step)[len(ONE_MEMBER) :]:
        label = f"{step}: {single}" if "single" in step else step
        yield _row(name, label, seed, _score_of(of_step[step]), seconds if step == "the champions" else None)
    for better, worse in (
        ("prior, then tuned", "prior alone"),
        ("the combination", "the best of each series' own backtest"),
        ("the combination", "the best single model of the backtests"),
    ):
        yield f"| {name} | {better} less {worse} | {seed} | {_difference(of_step[better], of_step[worse])} |"


def _difference(ours: pl.DataFrame, theirs: pl.DataFrame) -> str:
    """Describe the mean difference of MASE, its standard error over series, and their number."""
    pairs = ours.join(theirs, on="unique_id", suffix="_theirs").with_columns(off=pl.col("mase") - pl.col("mase_theirs"))
    off_S = pairs["off"].drop_nulls().drop_nans().to_numpy()
    return f"{off_S.mean():+.4f} ± {off_S.std(ddof=1) / len(off_S) ** 0.5:.4f} ({len(off_S)} series)"


def add_up(name: str, known: Path, actuals: Path, *, recipe: str, seed: int) -> Iterator[str]:
    """Yield a row for sums over the first step, a quarter, half and all of the horizon."""
    spec = describe(name, known, recipe=recipe, seed=seed, overrides={}, paths=NUM_PATHS)
    outcome = _run(spec)
    served = outcome.forecasts.filter("is_champion", pl.col("forecast").is_not_null())
    met = served.join(
        read_actuals(Input(Source(uri=str(actuals))), spec, has_zone=False).observed, on=["unique_id", "ds"], how="left"
    )
    is_whole = pl.col("y").is_not_null().all().over("unique_id")
    points = met.filter(is_whole).select("unique_id", "step", "ds", "y", *_ENDS)
    alone = outcome.correlations.with_columns(
        correlations=pl.Series(np.eye(spec.horizon)[outcome.correlations["step"] - 1].tolist())
    )
    demands = find_demands(outcome.features)
    drawn = [
        pl.concat(sample_paths(served, each, spec, demands=demands)).drop("cutoff")
        for each in (outcome.correlations, alone)
    ]
    for num_steps in sorted({1, spec.horizon // 4, spec.horizon // 2, spec.horizon}):
        some = points.filter(pl.col("step") <= num_steps)
        summed = some.group_by("unique_id").agg(pl.col("y", *_ENDS).sum())
        of_paths = [
            rows.join(some.select("unique_id", "ds"), on=["unique_id", "ds"])
            .group_by("unique_id", "path")
            .agg(pl.col("y").sum())
            .group_by("unique_id")
            .agg(pl.col("y").quantile(level, "linear").alias(name) for name, level in _ENDS.items())
            .join(summed.select("unique_id", "y"), on="unique_id")
            for rows in drawn
        ]
        covered = [
            f"{_covered(rows, 'q10', 'q90')} / {_covered(rows, 'q02_5', 'q97_5')}" for rows in (*of_paths, summed, some)
        ]
        yield f"| {name} | {seed} | {num_steps} | " + " | ".join(covered) + " |"


def _covered(rows: pl.DataFrame, low: str, high: str) -> str:
    return f"{100 * rows.select(pl.col('y').is_between(low, high).mean()).item():.0f} %"


def _score_of(scores: pl.DataFrame) -> dict[str, Any]:
    return leaderboard(scores.with_columns(model=pl.lit("any")).drop("is_champion"), None).row(0, named=True)


def _forecast(spec: Spec, actuals: Path) -> tuple[one_shot.OneShot, Evaluation, float]:
    began = time.monotonic()
    outcome = _run(spec)
    seconds = time.monotonic() - began
    held_out = read_actuals(Input(Source(uri=str(actuals))), spec, has_zone=False)
    return (
        outcome,
        evaluate(outcome.forecasts, held_out, spec, features=outcome.features, cutoff=outcome.cutoff),
        seconds,
    )


def describe(name: str, known: Path, *, recipe: str, seed: int, overrides: Mapping[str, Any], paths: int = 0) -> Spec:
    """Return the spec of a set's forecast."""
    described = DATA_SETS[name]
    fields: dict[str, Any] = {
        "name": "accuracy",
        "freq": described.freq,
        "season_lengths": described.season_lengths,
        "paths": paths,
    }
    fields |= {"horizon": described.horizon, "recipe": recipe, "seed": seed, "overrides": dict(overrides)}
    return make_spec(fields | {"source": {"uri": str(known), **FROM_OWN_END}}, subject=name)


def _run(spec: Spec) -> one_shot.OneShot:
    """Forecast on every core, as `fleetcast forecast` does."""
    num_processes = os.cpu_count() or 1
    with Crew(num_processes) as crew:
        return one_shot.forecast(
            spec,
            num_workers=num_processes,
            options=FitOptions(show_progress=False),
            run_shards=partial(run_on_crew, crew=crew),
            run_calls=partial(call_on_crew, crew=crew),
            crew=crew,
        )


def _row(name: str, what: str, seed: int, scores: Mapping[str, Any], seconds: float | None) -> str:
    digits = (3, 2, 3, 4, 2, 3, 3)
    cells = ["" if scores[key] is None else f"{scores[key]:.{num}f}" for key, num in zip(SCORES, digits, strict=True)]
    return f"| {name} | {what} | {seed} | " + " | ".join(cells) + f" | {'' if seconds is None else f'{seconds:.0f}'} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
