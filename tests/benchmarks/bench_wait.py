"""Measure how long a user waits: seconds of whole commands from a cold start, on two cores, and what peers take.

Every figure is wall time around processes that start with nothing and end with a file of forecasts. All sides read the
same hourly series (a day's wave, a level of each series' own, noise) and forecast the next day, which is scored by MASE
outside the clock. Runs under half a minute count with the median of three.

- Fleetcast: `fleetcast forecast` as a user types it. All of it counts: features, LSTM and GRU, statistical models,
  backtests, champions and thirteen quantiles.
- statsforecast's AutoETS with season 24, on two processes; no quantiles, no backtest.
- neuralforecast's global NHITS, 1,000 steps on two days, scaled `robust`; no quantiles, no backtest.

`--help`, `query` (of an empty store) and `specs check` are compared with an interpreter that does nothing.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from tests.benchmarks.cold import LONGEST_REPEATED, NUM_CORES, NUM_RUNS, run_cold
from tests.benchmarks.crew import BENCH_PYTHON, ROOT, peers_are_installed
from tests.benchmarks.figures import Figure, describe_machine, rounded

HORIZON = SEASON = 24
SHORT, FULL = ((3, 200),), ((3, 200), (100, 500), (1000, 120))
"""Series and their points."""
RECIPES = ("fast", "standard")
NHITS = {"input_size": 48, "scaler_type": "robust", "max_steps": 1000}
FLEETCAST = str(Path(sys.executable).with_name("fleetcast"))
SPECS = ROOT / "dags" / "specs"


def main(arguments: list[str]) -> int:
    """Print a figure per recipe, size and peer, and one per command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="all sizes; half an hour")
    sizes = FULL if parser.parse_args(arguments).full else SHORT
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:NUM_CORES])
    print(describe_machine(), flush=True)
    for num_series, num_points in sizes:
        with tempfile.TemporaryDirectory(prefix="fleetcast-bench-") as folder:
            _compare(num_series, num_points, Path(folder))
    bare = _median([[sys.executable, "-c", "pass"]])
    with tempfile.TemporaryDirectory(prefix="fleetcast-bench-") as store:
        os.environ["FLEETCAST_STORE"] = store
        for words in (["--help"], ["query", "SELECT count(*) FROM forecasts"], ["specs", "check", str(SPECS)]):
            seconds = _median([[FLEETCAST, *words]])
            setting = f"fleetcast {words[0]}"
            _print(setting, seconds, "an interpreter that does nothing", bare, ratio=seconds / bare)
    return 0


def _compare(num_series: int, num_points: int, folder: Path) -> None:
    y_SN = make_series(num_series, num_points + HORIZON)
    known = folder / "known.parquet"
    frame_of(y_SN[:, :num_points]).write_parquet(known)
    out = folder / "forecasts.parquet"
    request: dict[str, Any] = {"path": str(known), "out": str(out), "horizon": HORIZON}
    peers: dict[str, list[list[str]]] = {
        "statsforecast AutoETS": [
            _ask(
                sys.executable,
                "m4_statistics",
                request | {"model": "AutoETS", "season_length": SEASON, "num_processes": NUM_CORES},
            )
        ]
    }
    if peers_are_installed():
        neural = request | {"model": "NHITS", "settings": NHITS}
        peers["neuralforecast NHITS"] = [_ask(str(BENCH_PYTHON), "m4_neural", neural)]
    else:
        print("neuralforecast is not installed, so it is not measured: run `make bench-setup` first")
    judge = _judge(y_SN, num_points, out)
    found = {name: (_median(commands), judge()) for name, commands in peers.items()}
    for recipe in RECIPES:
        options = ["--freq", "1", "--season-length", str(SEASON), "--horizon", str(HORIZON), "--recipe", recipe]
        seconds = _median([[FLEETCAST, "forecast", str(known), *options, "--out", str(out)]])
        setting = f"{num_series} series of {num_points} points, {recipe}: MASE {judge():.3f}"
        for name, (theirs, mase) in found.items():
            _print(setting, seconds, f"{name}: MASE {mase:.3f}", theirs, ratio=theirs / seconds)


def make_series(num_series: int, num_points: int) -> npt.NDArray[np.float64]:
    """Return hourly waves of a day with phases and levels of their own, and noise, (S, N)."""
    rng, points_N = np.random.default_rng(0), np.arange(num_points)
    phase_S1 = rng.integers(0, SEASON, (num_series, 1))
    wave_SN = 10 * np.sin(2 * np.pi * (points_N + phase_S1) / SEASON)
    y_SN: npt.NDArray[np.float64] = 50 + 5 * rng.random((num_series, 1)) + wave_SN
    return y_SN + rng.normal(0, 2, (num_series, num_points))


def frame_of(y_SN: npt.NDArray[np.float64]) -> pl.DataFrame:
    """Return the rows of a file of observations."""
    num_series, num_points = y_SN.shape
    names = [f"s{row}" for row in range(num_series) for _ in range(num_points)]
    return pl.DataFrame({"unique_id": names, "ds": list(range(num_points)) * num_series, "y": y_SN.flatten()})


def _judge(y_SN: npt.NDArray[np.float64], num_known: int, out: Path) -> Callable[[], float]:
    scale_S = np.abs(y_SN[:, SEASON:num_known] - y_SN[:, : num_known - SEASON]).mean(1)
    actual = frame_of(y_SN).filter(pl.col("ds") >= num_known)

    def judge() -> float:
        joined = actual.join(pl.read_parquet(out), on=["unique_id", "ds"], how="left", maintain_order="left")
        error_SF = np.abs((joined["y"] - joined["forecast"]).to_numpy()).reshape(len(y_SN), HORIZON)
        return float((error_SF.mean(1) / scale_S).mean())

    return judge


def _ask(python: str, side: str, request: dict[str, Any]) -> list[str]:
    return [python, "-m", f"tests.benchmarks.sides.{side}", json.dumps(request)]


def _median(commands: Sequence[Sequence[str]]) -> float:
    seconds: list[float] = []
    while not seconds or (seconds[0] < LONGEST_REPEATED and len(seconds) < NUM_RUNS):
        seconds.append(run_cold(commands, threads=NUM_CORES))
    return statistics.median(seconds)


def _print(setting: str, seconds: float, peer: str, theirs: float, *, ratio: float) -> None:
    unit = "seconds from a cold start to the end"
    Figure("wait", setting, rounded(seconds), unit, peer, rounded(theirs), rounded(ratio), None).print()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
