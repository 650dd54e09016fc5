"""Measure what covariates cost that explain nothing: M4 Hourly with ten random ones, and with a constant one.

    FLEETCAST_BENCHMARK_DATA=FOLDER python -m tests.benchmarks.random_covariates --seeds 0 1 2
    FLEETCAST_BENCHMARK_DATA=FOLDER python -m tests.benchmarks.random_covariates --tune --every 8

Prints rows of `docs/covariates.md`. Every series has covariates of its own: four of independent noise, three random
walks, and three with a daily season. They are known ahead. `--tune` forecasts the last horizon of the training part
instead of the test part, by which designs may be chosen.
"""

import argparse
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

import forecasting as fc
from forecasting.errors import DataWarning
from tests.benchmarks.m4 import DATA_VARIABLE, FROM_OWN_END, HORIZON, SEASON_LENGTHS

NUM_NOISE, NUM_WALKS, NUM_SEASONAL = 4, 3, 3
RANDOM = tuple(f"random_{number}" for number in range(NUM_NOISE + NUM_WALKS + NUM_SEASONAL))
KINDS = {"none": (), "a constant one": ("constant",), "ten random ones": RANDOM}


def main(arguments: Sequence[str]) -> int:
    """Print a row per seed and kind of covariates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="standard")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of the covariates and of the networks")
    parser.add_argument("--every", type=int, default=1, help="every n-th series")
    parser.add_argument("--tune", action="store_true", help="the last horizon of the training part")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    options = parser.parse_args(arguments)
    root = os.environ.get(DATA_VARIABLE)
    if not root:
        parser.error(f"{DATA_VARIABLE} must name the folder of the data sets")
    history, actuals = read_parts(Path(root), every=options.every, is_tuning=options.tune)
    columns = ("covariates", "seed", "MASE", "± over series", "cost", "± over series", "share of ridge", "seconds")
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns), flush=True)
    for seed in options.seeds:
        rows = add_covariates(history, seed=seed)
        plain: pl.DataFrame | None = None
        for kind in options.kinds:
            began = time.monotonic()
            scores, share = measure(rows, actuals, KINDS[kind], recipe=options.recipe, seed=seed)
            plain = scores if plain is None else plain
            print(describe(kind, seed, scores, plain, share, time.monotonic() - began), flush=True)
    return 0


def read_parts(root: Path, *, every: int, is_tuning: bool) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the history and the actuals of some series, whose steps are counted from the end of the history."""
    known, test = (
        pl.read_parquet(root / "m4_hourly" / f"{name}.parquet").select("unique_id", pl.col("ds").cast(pl.Int64), "y")
        for name in ("m4_hourly", "m4_hourly_test")
    )
    kept = known["unique_id"].unique(maintain_order=True)[::every]
    whole = (known if is_tuning else pl.concat([known, test])).filter(pl.col("unique_id").is_in(kept.implode()))
    # All series end at the same step, so that rows of the horizon lie after the cutoff.
    left = pl.int_range(pl.len(), dtype=pl.Int64).reverse().over("unique_id", order_by="ds")
    aligned = whole.with_columns(ds=HORIZON - left).sort("unique_id", "ds")
    return aligned.filter(pl.col("ds") <= 0), aligned.filter(pl.col("ds") > 0)


def add_covariates(history: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    """Return the history with covariates, and the rows of the horizon, whose `y` is null."""
    parts = []
    for number, ((unique_id,), part) in enumerate(history.group_by("unique_id", maintain_order=True)):
        rng = np.random.default_rng([seed, number])
        num = part.height + HORIZON
        hour_N = np.arange(num)
        noise_NK = rng.normal(size=(num, NUM_NOISE))
        walk_NK = rng.normal(size=(num, NUM_WALKS)).cumsum(0)
        phase_K = rng.uniform(0, 2 * np.pi, NUM_SEASONAL)
        wave_NK = np.sin(2 * np.pi * hour_N[:, None] / SEASON_LENGTHS[0] + phase_K)
        seasonal_NK = wave_NK + 0.5 * rng.normal(size=(num, NUM_SEASONAL))
        first = part["ds"][0]
        columns = dict(zip(RANDOM, np.concatenate([noise_NK, walk_NK, seasonal_NK], axis=1).T, strict=True))
        grid = pl.DataFrame({"ds": np.arange(first, first + num)} | columns)
        parts.append(
            grid.join(part.select("ds", "y"), on="ds", how="left", maintain_order="left").with_columns(
                unique_id=pl.lit(unique_id), constant=pl.lit(1.0)
            )
        )
    return pl.concat(parts)


def measure(
    rows: pl.DataFrame, actuals: pl.DataFrame, covariates: Sequence[str], *, recipe: str, seed: int
) -> tuple[pl.DataFrame, float | None]:
    """Return the MASE of each series' champion (unique_id, mase), and the mean share of the regressions."""
    given = rows if covariates else rows.drop_nulls("y")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        result = fc.forecast(
            given.select("unique_id", "ds", "y", *covariates),
            freq=1,
            season_lengths=list(SEASON_LENGTHS),
            horizon=HORIZON,
            recipe=recipe,
            seed=seed,
            known_ahead=list(covariates) or None,
            source=FROM_OWN_END,
            progress=False,
        )
        scores = result.evaluate(actuals).scores.filter("is_champion").select("unique_id", "mase")
    return scores.sort("unique_id"), result.champions["regression_share"].mean()


def describe(
    kind: str, seed: int, scores: pl.DataFrame, plain: pl.DataFrame, share: float | None, seconds: float
) -> str:
    """Return a row of the table; the cost is relative to the MASE of the first kind."""
    mase_S = scores["mase"].to_numpy()
    base_S = plain.join(scores.select("unique_id"), on="unique_id", maintain_order="right")["mase"].to_numpy()
    change_S = mase_S - base_S
    root = len(mase_S) ** 0.5
    cost, error = 100 * change_S.mean() / base_S.mean(), 100 * change_S.std(ddof=1) / root / base_S.mean()
    cells = (kind, seed, f"{mase_S.mean():.4f}", f"{mase_S.std(ddof=1) / root:.4f}", f"{cost:+.2f} %", f"{error:.2f} %")
    return "| " + " | ".join(map(str, cells)) + f" | {'' if share is None else f'{share:.2f}'} | {seconds:.0f} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
