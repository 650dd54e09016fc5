"""Measure which share of the machine's limit the kernel and a prior reach: their rates over that of the best BLAS.

The limit is a product of two 2048² single-precision matrices, by every BLAS that is installed; the best one counts. The
kernel's rate counts only the matrix products of the forward and backward pass. Gates, activations and reading of inputs
take time but do not count. A prior is measured in whole optimiser steps, of which the products of the recurrence and of
the head count. One core is one process with one thread, two cores are two of them, on both sides.
"""

import argparse
import statistics
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.cases import CASES, PRIOR
from tests.benchmarks.crew import BENCH_PYTHON, Crew, peers_are_installed
from tests.benchmarks.figures import Figure, describe_machine, median_ratio, rounded

CASE = "day"
NUM_SERIES = 8
"""Few: training keeps the stored steps of one series at a time in the cache, the kernel by itself those of all."""
TARGET, TARGET_OF_PRIORS = ">=0.40", ">=0.45"
NUM_PRIOR_SERIES = 100
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
SHORT_ROUNDS, FULL_ROUNDS = 3, 15
SECONDS = 0.4


@dataclass
class Runner:
    """A kernel or a BLAS in processes of its own, and its rates in GFLOP/s, all processes together."""

    name: str
    crew: Crew
    request: dict[str, Any]
    rates: list[float] = field(default_factory=list)

    def measure(self, num_cores: int) -> None:
        self.crew.prepare([self.request | {"seconds": SECONDS}] * num_cores)
        _, answers = self.crew.run()
        self.rates.append(sum(answer["rate"] for answer in answers))
        self.name = answers[0].get("kernel", self.name)


def main(arguments: list[str]) -> int:
    """Print a figure per cell and number of cores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="more rounds")
    num_rounds = FULL_ROUNDS if parser.parse_args(arguments).full else SHORT_ROUNDS
    print(f"{describe_machine()}\n{num_rounds} rounds of {SECONDS} s, {NUM_SERIES} series a process, a prior over more")
    with ExitStack() as stack:
        libraries = _libraries(stack)
        crew = stack.enter_context(Crew(2, environment=ONE_THREAD))
        for num_cores in (1, 2):
            for cell in ("lstm", "gru"):
                cores = f"{num_cores} core{'s' if num_cores > 1 else ''}"
                of_kernel = {"side": "kernel", "case": CASE, "cell": cell, "num_series": NUM_SERIES}
                of_prior = {"side": "prior", "cell": cell, "num_series": NUM_PRIOR_SERIES}
                for request, case, target in (
                    (of_kernel, CASES[CASE], TARGET),
                    (of_prior, PRIOR, TARGET_OF_PRIORS),
                ):
                    runner, setting = Runner("kernel", crew, request), f"{cell} {case}, {cores}"
                    _compare(runner, libraries, setting, num_cores, num_rounds, target).print()
    return 0


def _libraries(stack: ExitStack) -> list[Runner]:
    """Start every BLAS that is installed: numpy's OpenBLAS, torch's own, and MKL if the peers are installed."""
    request: dict[str, Any] = {"side": "product", "path": None}
    libraries = [
        Runner(name, stack.enter_context(Crew(2, environment=ONE_THREAD)), request | {"library": library})
        for name, library in (("numpy's OpenBLAS", "openblas"), ("torch's own", "torch"))
    ]
    for path in sorted(BENCH_PYTHON.parents[1].glob("lib/libmkl_rt.so*")) if peers_are_installed() else ():
        crew = stack.enter_context(Crew(2, python=BENCH_PYTHON, environment=ONE_THREAD))
        libraries.append(Runner("MKL", crew, request | {"library": "mkl", "path": str(path)}))
    return libraries


def _compare(
    kernel: Runner, libraries: list[Runner], setting: str, num_cores: int, num_rounds: int, target: str
) -> Figure:
    """Measure the kernel and every BLAS in turn, round after round, and compare the kernel with the best BLAS."""
    for runner in (kernel, *libraries):
        runner.rates.clear()
    for _ in range(num_rounds):
        for runner in (kernel, *libraries):
            runner.measure(num_cores)
    rates = ", ".join(f"{runner.name} {statistics.median(runner.rates):.1f}" for runner in (kernel, *libraries))
    print(f"{setting}: GFLOP/s of {rates}")
    best = max(libraries, key=lambda library: statistics.median(library.rates))
    return Figure(
        benchmark="limit",
        setting=setting,
        figure=rounded(statistics.median(kernel.rates)),
        unit=f"GFLOP/s of kernel '{kernel.name}'",
        peer=f"2048² product, {best.name}",
        peer_figure=rounded(statistics.median(best.rates)),
        ratio=rounded(median_ratio(kernel.rates, best.rates)),
        target=target,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
