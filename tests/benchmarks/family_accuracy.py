"""Measure every network on published data sets: each alone, with one random member a series.

    FLEETCAST_BENCHMARK_DATA=FOLDER python -m tests.benchmarks.family_accuracy m4_hourly:4 tourism_monthly

Prints rows of `docs/models.md`: scores of the network's own forecasts on the test part, without statistical models or a
combination, and scores of the seasonal naives. `:4` takes every fourth series. Each network has a process of its own
with one thread, and two run at the same time. Seconds are those of the forecast without imports; MiB is the growth of
the process up to its peak.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from forecasting.evaluate.leaderboard import leaderboard
from forecasting.series.inputs import Input
from forecasting.spec.source import Source
from forecasting.spec.spec import NETWORKS
from tests.benchmarks.accuracy import DATA_SETS, describe, split
from tests.benchmarks.crew import ROOT
from tests.benchmarks.m4 import DATA_VARIABLE

NUM_BESIDE = 2
DESIGNS: dict[str, dict[str, Any]] = {"indrnn": {"layers": 2}}
"""Recommended variants that are not defaults: units of an IndRNN are combined only in the layer above."""
SCORES = {"MASE": ("mase", 3), "sMAPE": ("smape", 2), "OWA": ("owa", 3), "WQL": ("wql", 4)}


def main(arguments: Sequence[str]) -> int:
    """Print a row per set and network, and one per seasonal naive."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="SET[:N]", help=", ".join(DATA_SETS))
    parser.add_argument("--models", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one is not None:
        print(json.dumps(forecast(**options.one)))
        return 0
    root = os.environ.get(DATA_VARIABLE)
    if not root:
        parser.error(f"{DATA_VARIABLE} must name the folder of the data sets")
    print("| set | model | " + " | ".join(SCORES) + " | seconds | MiB | weights a series |", flush=True)
    print("|---" * 9 + "|", flush=True)
    for chosen_set in options.sets:
        name, _, every = chosen_set.partition(":")
        with TemporaryDirectory() as folder, ThreadPoolExecutor(NUM_BESIDE) as pool:
            files = thin_out(split(Path(root), name, Path(folder)), Path(folder), every=int(every or 1))
            naives: set[str] = set()
            for rows in pool.map(partial(_in_its_own_process, name, *map(str, files)), options.models):
                for row in rows:
                    if row["model"] in NETWORKS or row["model"] not in naives:
                        naives.add(row["model"])
                        print(_as_text(name, row), flush=True)
    return 0


def thin_out(files: tuple[Path, Path], folder: Path, *, every: int) -> tuple[Path, Path]:
    """Return files with every n-th series (`every`) of the known part and of the actuals."""
    kept = pl.read_parquet(files[0])["unique_id"].unique().sort()[::every]
    thin = folder / "thin_known.parquet", folder / "thin_actuals.parquet"
    for whole, part in zip(files, thin, strict=True):
        pl.read_parquet(whole).filter(pl.col("unique_id").is_in(kept.implode())).write_parquet(part)
    return thin


def forecast(name: str, known: str, actuals: str, model: str) -> list[dict[str, Any]]:
    """Train, forecast and score one network; return a row for it, and one for each seasonal naive."""
    import torch

    from forecasting.fleet import fit as _loads_lightning  # noqa: F401
    from forecasting.fleet.cost.sizes import sizes_of
    from forecasting.fleet.options import FitOptions
    from forecasting.flow import one_shot
    from forecasting.flow.actuals import read_actuals
    from forecasting.flow.holdout import evaluate

    torch.set_num_threads(1)
    overrides: dict[str, Any] = {"members": [{}]}
    if model in DESIGNS:
        overrides["design"] = DESIGNS[model]
    spec = describe(name, Path(known), recipe="standard", seed=0, overrides=overrides)
    spec = spec.model_copy(update={"models": (model,), "statistics": ()})
    before, began = _peak_mib(), time.monotonic()
    outcome = one_shot.forecast(spec, options=FitOptions(show_progress=False))
    seconds, mib = time.monotonic() - began, _peak_mib() - before
    held_out = read_actuals(Input(Source(uri=actuals)), spec, has_zone=False)
    scored = evaluate(outcome.forecasts, held_out, spec, features=outcome.features, cutoff=outcome.cutoff)
    board = leaderboard(scored.scores.filter(pl.col("model") != "combination"), outcome.champions)
    (sizes,) = sizes_of(spec, [model], kernel="cpu")
    return [
        {"model": row["model"]}
        | {key: row[key] for key, _ in SCORES.values()}
        | ({"seconds": seconds, "mib": mib, "weights": sizes.num_weights} if row["model"] == model else {})
        for row in board.iter_rows(named=True)
        if row["model"] == model or row["model"].startswith("seasonal_naive")
    ]


def _in_its_own_process(name: str, known: str, actuals: str, model: str) -> list[dict[str, Any]]:
    request = json.dumps({"name": name, "known": known, "actuals": actuals, "model": model})
    ended = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.family_accuracy", name, "--one", request],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    rows: list[dict[str, Any]] = json.loads(ended.stdout.splitlines()[-1])
    return rows


def _peak_mib() -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def _as_text(name: str, row: dict[str, Any]) -> str:
    scores = " | ".join(f"{row[key]:.{digits}f}" for key, digits in SCORES.values())
    costs = [f"{row[key]:,.0f}" if key in row else "" for key in ("seconds", "mib", "weights")]
    return f"| {name} | {row['model']} | {scores} | " + " | ".join(costs) + " |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
