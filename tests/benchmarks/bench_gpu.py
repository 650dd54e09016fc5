"""Compare training of a fleet on a GPU with a loop over networks there, plain torch kernels, and the CPU.

The loop over series trains `torch.nn`'s recurrences (cuDNN's) with fused Adam on the same GPU. Its windows are gathered
and moved beforehand. It trains few series, because its time per series does not depend on their number. The CPU's side
is the same fit with the engine on all cores. Both take the fleet's optimiser steps over the same windows, so losses
must agree. A whole fit includes scaling, planning, Lightning and a validation pass. The programs are compiled
beforehand, once for each size, which takes seconds and is kept on disk by Triton.

Steps alone are measured with the reference kernel too, and without capturing the launches as a graph. The recipe is
`standard` with all members, candidates and serving networks, priors included. Without a GPU nothing is measured.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from forecasting.fleet.cost.memory import MIB
from forecasting.spec.spec import make_spec
from tests.benchmarks.cases import CASES, Case
from tests.benchmarks.figures import Figure, describe_machine, median_ratio, rounded
from tests.benchmarks.sides import fleet, loop, recipe, steps

NUM_SERIES, NUM_STEPS = 1024, 200
NUM_LOOP, NUM_ON_CPU = 4, 64
STEPS_ALONE = 50
NUM_HOURLY = 414
HOURLY = {"name": "hours", "source": {"uri": "/none"}, "freq": "1h", "horizon": 48, "season_lengths": (24, 168)}
CELLS = ("lstm", "gru")
MOST_LOSSES_DIFFER = 0.02
"""Share by which mean losses of the same work may differ: rounding (cuDNN's products keep ten bits by default) is
amplified over two hundred steps."""
LOOP, ENGINE = "plain torch loop on the GPU", f"CPU engine, {len(os.sched_getaffinity(0))} cores"
REFERENCE, ONE_BY_ONE = "reference kernel on the GPU", "launches one by one"

Run = Callable[[], dict[str, Any]]


@dataclass
class Contender:
    """One side, its numbers of series and steps, and its measurements."""

    begin: Callable[[], Run]
    num_series: int
    num_steps: int
    milliseconds: list[float] = field(default_factory=list)
    answer: dict[str, Any] = field(default_factory=dict)

    def measure(self) -> None:
        run = self.begin()
        torch.cuda.synchronize()
        began = time.perf_counter()
        self.answer = run()
        torch.cuda.synchronize()
        self.milliseconds.append(1000 * (time.perf_counter() - began) / (self.num_series * self.num_steps))


def _fit(side: Callable[..., Run], num_series: int, **request: Any) -> Contender:
    """Fit from the beginning each time; the first fit, which compiles and loads, does not count."""

    def begin() -> Run:
        return side(rows=list(range(num_series)), num_steps=NUM_STEPS, **request)

    begin()()
    return Contender(begin, num_series, NUM_STEPS)


def _steps(**request: Any) -> Contender:
    """Take further steps of one fleet each time; the answer is that of the first ones."""
    run = steps.prepare(rows=list(range(NUM_SERIES)), num_steps=STEPS_ALONE, **request)
    return Contender(lambda: run, NUM_SERIES, STEPS_ALONE, answer=run())


def main(arguments: list[str]) -> int:
    """Print four figures per cell and case; return 1 where losses do not agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="more rounds")
    parser.add_argument("--only", help="one run, such as lstm-day")
    options = parser.parse_args(arguments)
    print(describe_machine())
    has_gpu, num_rounds, disagreements = torch.cuda.is_available(), 3 if options.full else 1, []
    if not has_gpu:
        print("this machine has no GPU, so nothing is measured")
    for cell in CELLS:
        for case in CASES.values():
            if options.only not in (None, f"{cell}-{case.name}"):
                continue
            if not has_gpu:
                for peer in (LOOP, ENGINE, REFERENCE, ONE_BY_ONE):
                    _figure(cell, case, None, peer, None).print()
                continue
            disagreements += _compare_fits(cell, case, num_rounds)
            _compare_steps(cell, case, num_rounds)
    if options.only in (None, "recipe"):
        _compare_recipe(is_measured=has_gpu and (options.full or options.only is not None))
    for disagreement in disagreements:
        print(f"error: {disagreement}", file=sys.stderr)
    return 1 if disagreements else 0


def _compare_fits(cell: str, case: Case, num_rounds: int) -> list[str]:
    """Measure whole fits in turn, print their figures, and return the losses that disagree."""
    common: dict[str, Any] = {"case": case.name, "cell": cell}
    cores = len(os.sched_getaffinity(0))
    ours = _fit(fleet.prepare, NUM_SERIES, threads=cores, accelerator="cuda", **common)
    peers = {
        LOOP: _fit(loop.prepare, NUM_LOOP, threads=cores, device="cuda", **common),
        ENGINE: _fit(fleet.prepare, NUM_ON_CPU, threads=cores, **common),
    }
    _measure([ours, *peers.values()], num_rounds)
    disagreements = []
    for name, peer in peers.items():
        theirs = statistics.mean(peer.answer["losses"].values())
        mine = statistics.mean(ours.answer["losses"][series] for series in peer.answer["losses"])
        kernels = f"kernel '{ours.answer['kernel']}', {name} '{peer.answer.get('kernel', 'cuDNN')}'"
        print(f"{cell} {case}: loss {mine:.5f}, {theirs:.5f} over {peer.num_series} series; {kernels}")
        if not abs(mine / theirs - 1) <= MOST_LOSSES_DIFFER:
            disagreements.append(f"{cell} {case}: the fleet's mean loss is {mine:.5f}, that of {name} {theirs:.5f}")
        _figure(cell, case, ours, name, peer).print()
    return disagreements


def _compare_steps(cell: str, case: Case, num_rounds: int) -> None:
    common: dict[str, Any] = {"case": case.name, "cell": cell}
    ours = _steps(kernel="gpu", **common)
    megabytes = ours.answer["bytes"] / MIB
    peers = {
        REFERENCE: _steps(kernel="reference", **common),
        ONE_BY_ONE: _steps(kernel="gpu", is_graphed=False, **common),
    }
    _measure([ours, *peers.values()], num_rounds)
    milliseconds = statistics.median(ours.milliseconds)
    rate = 1e-9 * case.count_flops(cell) / milliseconds
    print(
        f"{cell} {case}: a step of {NUM_SERIES} series takes {NUM_SERIES * milliseconds:.3f} ms and at most"
        f" {megabytes:.0f} MiB of the GPU; {rate:.2f} TFLOP/s of recurrent products"
    )
    for name, peer in peers.items():
        _figure(cell, case, ours, name, peer).print()


def _compare_recipe(*, is_measured: bool) -> None:
    """Fit a recipe's members once on each side, on the GPU twice: the first fit compiles programs."""
    seconds: dict[str, float] = {}
    for accelerator in ("cuda", "cuda", "cpu") if is_measured else ():
        spec, cores = make_spec(HOURLY, subject="hours"), len(os.sched_getaffinity(0))
        run = recipe.prepare(spec=spec, cell="lstm", num_series=NUM_HOURLY, threads=cores, accelerator=accelerator)
        began = time.perf_counter()
        answer = run()
        seconds[accelerator] = time.perf_counter() - began
        print(f"recipe standard on {accelerator}: {seconds[accelerator]:.2f} s, losses {answer['losses']}")
    ours, theirs = seconds.get("cuda"), seconds.get("cpu")
    Figure(
        benchmark="gpu",
        setting=f"lstm, recipe standard, {NUM_HOURLY} hourly series of {recipe.NUM_POINTS} points",
        figure=rounded(ours),
        unit="seconds",
        peer=ENGINE,
        peer_figure=rounded(theirs),
        ratio=rounded(theirs / ours) if ours and theirs else None,
        target=None,
    ).print()


def _measure(contenders: list[Contender], num_rounds: int) -> None:
    for number in range(num_rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            contender.measure()


def _figure(cell: str, case: Case, ours: Contender | None, name: str, peer: Contender | None) -> Figure:
    what = "whole fit" if name in (LOOP, ENGINE) else "steps alone"
    return Figure(
        benchmark="gpu",
        setting=f"{cell} {case}, {NUM_SERIES} series, {what}",
        figure=rounded(statistics.median(ours.milliseconds)) if ours else None,
        unit="ms per series and step",
        peer=name,
        peer_figure=rounded(statistics.median(peer.milliseconds)) if peer else None,
        ratio=rounded(median_ratio(peer.milliseconds, ours.milliseconds)) if ours and peer else None,
        target=None,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
