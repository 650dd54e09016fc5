"""Measure the time to a forecast of given quality: seconds on two cores, cold start included, to forecast M4 Hourly.

Every figure is wall time around a process (two for neuralforecast per series) that starts with nothing and ends with a
file of forecasts. Imports and reading count. They also have figures of their own, from processes that do nothing else.
All sides read the same file, forecast 48 steps of each of 414 series, and are scored in the same way, outside the
measured time (`m4.py`). A curve of accuracy over seconds is a ladder of training lengths, each a run of its own. Runs
under half a minute count with the median of three; all others run once, so no ratio here is a median.

- Fleetcast: `fleetcast forecast` as a user types it, recipes fast and standard, at shares of the recipe's steps. All of
  it counts: features, LSTM and GRU, the statistical models that the recipe chooses, backtest, champions and thirteen
  quantiles. One process per core, each with one thread.
- neuralforecast, one LSTM per series: every twentieth series. The time beyond imports and reading is extrapolated to
  all; the accuracy is of those series. A layer of 32 units, a linear decoder, 300 steps of 32 windows, Adam at 0.005:
  small, as is suitable for one series. Two processes with one thread each: such a small network gains nothing from two
  threads.
- neuralforecast, global LSTM and NHITS: the library's defaults (LSTM: 2 layers of 128, 128 windows a step; NHITS: 3
  stacks of 512 × 512, 1024 windows a step; Adam at 0.001), two threads.
- All of neuralforecast reads two weeks (336 points), learns the MAE and has no quantiles; progress bars, loggers and
  checkpoints are off. Its windows are scaled `robust`, the default of its LSTM. NHITS has no scaling by default and was
  far worse without it (OWA 1.87 against 0.75 after 60 steps on every sixth series). Denormals are flushed to zero,
  which is not torch's default either. Gradients vanish over 336 steps, and a step of the global LSTM took 9 s without
  it, 0.8 s with it.
- statsforecast: defaults, season 24, MSTL 24 and 168, on two processes; no quantiles.

The time to an OWA is that of the fastest run that reaches it. Its peers are neuralforecast per series, at its end, and
NHITS, at the best OWA on its own curve. A target that none of our runs reaches counts as a ratio of 0.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from forecasting.spec.recipes import RECIPES
from forecasting.spec.spec import Spec
from tests.benchmarks.cold import NUM_CORES, Result, measure, measure_start
from tests.benchmarks.crew import BENCH_PYTHON, peers_are_installed
from tests.benchmarks.figures import Figure, describe_machine, rounded
from tests.benchmarks.m4 import HORIZON, SEASON_LENGTHS, DataMissing, M4Hourly

STEPS = ("max_steps", "prior_steps", "tuning_steps")
"""Fields of a training configuration that count optimiser steps."""
GLOBAL = {"input_size": 336, "scaler_type": "robust"}
PER_SERIES = GLOBAL | {
    "encoder_n_layers": 1,
    "encoder_hidden_size": 32,
    "decoder_layers": 1,
    "windows_batch_size": 32,
    "max_steps": 300,
    "learning_rate": 5e-3,
}
SEASON_OF: Mapping[str, Any] = {
    "SeasonalNaive": 24,
    "AutoETS": 24,
    "DynamicOptimizedTheta": 24,
    "AutoCES": 24,
    "MSTL": SEASON_LENGTHS,
}
UNIT = "seconds from a cold start to all forecasts"


@dataclass(frozen=True)
class Effort:
    """What is measured: shares of each recipe's steps, which series get one network each, and ladders of steps."""

    shares: Mapping[str, Sequence[Fraction]]
    every: int
    ladders: Mapping[str, Sequence[int]]
    statistics: Sequence[str]


SHARES = tuple(Fraction(1, parts) for parts in (16, 8, 4, 2, 1))
SHORT = Effort({"fast": SHARES[2:3]}, every=50, ladders={}, statistics=())
FULL = Effort(
    {"fast": SHARES, "standard": SHARES},
    every=20,
    ladders={"LSTM": (50, 200, 500), "NHITS": (50, 100, 200, 500, 1000, 1500)},
    statistics=tuple(SEASON_OF),
)


def main(arguments: list[str]) -> int:
    """Print a figure for each run, one for each library's start, and the two comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="both recipes, every peer, all ladders; about an hour")
    effort = FULL if parser.parse_args(arguments).full else SHORT
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:NUM_CORES])
    print(describe_machine(), flush=True)
    ours: list[Result] = []
    per_series: list[Result] = []
    nhits: list[Result] = []
    try:
        m4 = M4Hourly()
    except DataMissing as missing:
        print(f"{missing}, so nothing is measured")
    else:
        ours = _print_results(_measure_fleetcast(m4, effort))
        if peers_are_installed():
            per_series = _print_results(_measure_per_series(m4, effort))
            _print_results(_measure_global(m4, "LSTM", effort))
            nhits = _print_results(_measure_global(m4, "NHITS", effort))
        else:
            print("neuralforecast is not installed, so it is not measured: run `make bench-setup` first")
        if effort.statistics:
            _print_results(_measure_statsforecast(m4, effort))
    compare(0.60, ours, "neuralforecast LSTM per series, to its end", per_series, target=">=100").print()
    compare(0.50, ours, "neuralforecast global NHITS, to its best", nhits, target=">=5").print()
    return 0


def compare(owa: float, ours: Sequence[Result], peer: str, theirs: Sequence[Result], *, target: str) -> Figure:
    """Compare the fastest run that reaches an OWA with the most accurate one of a peer.

    >>> from tests.benchmarks.m4 import Accuracy
    >>> fast, good, peer = (Result("x", s, Accuracy(10, 1, owa)) for s, owa in ((9, 0.7), (30, 0.5), (90, 0.6)))
    >>> compare(0.5, [fast, good], "y", [peer], target=">=5").ratio
    3.0
    >>> compare(0.5, [fast], "y", [peer], target=">=5").is_reached
    False
    >>> compare(0.5, [], "y", [peer], target=">=5").is_reached
    """
    reached = min((one for one in ours if one.accuracy.owa <= owa), key=lambda one: one.seconds, default=None)
    best = min(theirs, key=lambda one: one.accuracy.owa, default=None)
    ratio = None
    if ours and best is not None:
        ratio = 0.0 if reached is None else best.seconds / reached.seconds
    run = str(reached) if reached is not None else "reached by no run" if ours else ""
    return Figure(
        benchmark="quality",
        setting=f"M4 Hourly, to OWA {owa:.2f}" + (f": {run}" if run else ""),
        figure=rounded(None if reached is None else reached.seconds),
        unit=UNIT,
        peer=peer if best is None else f"{peer}: {best.accuracy}",
        peer_figure=rounded(None if best is None else best.seconds),
        ratio=rounded(ratio),
        target=target,
    )


def share_of_steps(recipe: str, spec: Spec, share: Fraction) -> dict[str, int]:
    """Return the overrides that keep a share of every number of steps of a recipe, rounded up."""
    config = RECIPES[recipe](spec)
    return {name: math.ceil(getattr(config, name) * share) for name in STEPS if hasattr(config, name)}


def _measure_fleetcast(m4: M4Hourly, effort: Effort) -> Iterator[Result]:
    _print_start("Fleetcast", _ask(m4, sys.executable, "m4_fleet", [{}], Path()))
    for recipe, shares in effort.shares.items():
        for share in shares:
            commands = partial(_fleetcast, m4, recipe, share_of_steps(recipe, m4.spec, share))
            label = f"{share} of its steps" if share < 1 else "all of its steps"
            yield measure(f"Fleetcast {recipe}, {label}", commands, m4, threads=NUM_CORES)


def _fleetcast(m4: M4Hourly, recipe: str, steps: Mapping[str, int], folder: Path) -> list[list[str]]:
    program, out = Path(sys.executable).with_name("fleetcast"), folder / "forecasts.parquet"
    options = ["--freq", "1", "--horizon", str(HORIZON), "--recipe", recipe, "--out", str(out)]
    seasons = [word for length in SEASON_LENGTHS for word in ("--season-length", str(length))]
    overrides = [word for name, number in steps.items() for word in ("--set", f"{name}={number}")]
    return [[str(program), "forecast", str(m4.path), *options, *seasons, *overrides]]


def _measure_per_series(m4: M4Hourly, effort: Effort) -> Iterator[Result]:
    """Extrapolate the time of networks of all series from that of some."""
    ask = partial(_ask, m4, BENCH_PYTHON, "m4_neural")
    start = _print_start("neuralforecast", ask([{"model": None, "settings": {}}], Path()))
    series = m4.unique_ids[:: effort.every]
    request = {"model": "LSTM", "settings": PER_SERIES, "is_per_series": True}
    shares = [request | {"series": series[number::NUM_CORES]} for number in range(min(NUM_CORES, len(series)))]
    some = measure(f"neuralforecast LSTM for each of {len(series)} series", partial(ask, shares), m4, threads=1)
    if some.seconds <= start:
        raise ValueError(
            f"{some} took {some.seconds} s, imports alone {start} s: another process must have been running"
        )
    seconds = start + (some.seconds - start) * len(m4.unique_ids) / len(series)
    yield replace(some, name=f"neuralforecast LSTM per series, extrapolated from {len(series)}", seconds=seconds)


def _measure_global(m4: M4Hourly, model: str, effort: Effort) -> Iterator[Result]:
    for num_steps in effort.ladders.get(model, ()):
        request = {"model": model, "settings": GLOBAL | {"max_steps": num_steps}}
        commands = partial(_ask, m4, BENCH_PYTHON, "m4_neural", [request])
        yield measure(f"neuralforecast global {model}, {num_steps} steps", commands, m4, threads=NUM_CORES)


def _measure_statsforecast(m4: M4Hourly, effort: Effort) -> Iterator[Result]:
    ask = partial(_ask, m4, sys.executable, "m4_statistics")
    shared = {"num_processes": NUM_CORES}
    _print_start("statsforecast", ask([shared | {"model": None, "season_length": None}], Path()))
    for model in effort.statistics:
        request = shared | {"model": model, "season_length": SEASON_OF[model]}
        yield measure(f"statsforecast {model}", partial(ask, [request]), m4, threads=1)


def _ask(
    m4: M4Hourly, python: Path | str, side: str, requests: Sequence[Mapping[str, Any]], folder: Path
) -> list[list[str]]:
    """Return one command of a module in `sides/` per request; each writes a file of its own."""
    fields = [
        {"path": str(m4.path), "horizon": HORIZON, "out": str(folder / f"{number}.parquet"), **one}
        for number, one in enumerate(requests)
    ]
    return [[str(python), "-m", f"tests.benchmarks.sides.{side}", json.dumps(one)] for one in fields]


def _print_start(library: str, commands: Sequence[Sequence[str]]) -> float:
    seconds = measure_start(commands)
    _figure(f"imports and reading alone: {library}", seconds, "seconds, part of each of its runs").print()
    return seconds


def _print_results(results: Iterator[Result]) -> list[Result]:
    """Print a figure of each result as soon as it exists, and return all."""
    printed = []
    for result in results:
        _figure(str(result), result.seconds, UNIT).print()
        printed.append(result)
    return printed


def _figure(setting: str, seconds: float, unit: str) -> Figure:
    return Figure("quality", f"M4 Hourly, {setting}", rounded(seconds), unit, None, None, None, None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
