"""Compare training as one fleet with one network per series: a plain loop, Lightning, neuralforecast.

Every side has the same two cores, as one process with two threads or as two processes with one thread each. The better
arrangement of a peer counts. The short setting finds it with few steps; the full one measures both. Fleet, loop and
Lightning start from the same weights and take the same optimiser steps over the same windows, so their losses must
agree. neuralforecast draws its own windows from the same stretch. Its decoder is one linear layer for all steps of the
horizon, each with its own hidden state. It reads only the seasonal differences (I 1), which is less work than the
fleet's inputs, and is scored on the same targets.

The fleet's side includes a whole fit: scaling, planning, gathering, Lightning, a validation pass. Windows of peers are
gathered beforehand.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.cases import CASES, Case, gather_windows
from tests.benchmarks.crew import BENCH_PYTHON, Crew, peers_are_installed
from tests.benchmarks.differences import write_differences
from tests.benchmarks.figures import Figure, describe_machine, median_ratio, rounded

PROCESSES_BY_THREADS = ((2, 1), (1, 2))
FLEET_PROCESSES_BY_THREADS = (2, 1)
RUNS = (("lstm", "small"), ("lstm", "day"), ("lstm", "segments"), ("lstm", "wide"), ("gru", "day"))
PEERS = {"loop": "plain torch loop", "trainer": "Lightning Trainer per series", "neural": "neuralforecast per series"}
TARGETS = {
    ("loop", "small"): 15,
    ("loop", "day"): 2.5,
    ("loop", "segments"): 4,
    ("loop", "wide"): 1.4,
    ("trainer", "small"): 40,
    ("trainer", "day"): 8,
    ("trainer", "segments"): 10,
    ("trainer", "wide"): 3.5,
    ("neural", "small"): 80,
    ("neural", "day"): 12,
    ("neural", "wide"): 4,
}
MOST_LOSSES_DIFFER = 0.01
"""Share by which mean losses of the same work may differ. Rounding is amplified step by step, beyond this after two
hundred steps of a wide network."""
MOST_WORSE = 0.1
"""Share by which the fleet's mean loss may exceed that of a library with another way to learn the same targets."""


@dataclass(frozen=True)
class Effort:
    """How much is measured; peers get few series, because each takes long."""

    num_rounds: int
    num_steps: int
    num_fleet: int
    num_loop: int
    num_others: int


SHORT = Effort(num_rounds=3, num_steps=100, num_fleet=64, num_loop=4, num_others=4)
FULL = Effort(num_rounds=3, num_steps=100, num_fleet=128, num_loop=16, num_others=4)
WARM = Effort(num_rounds=1, num_steps=2, num_fleet=2, num_loop=2, num_others=2)
SCOUT = Effort(num_rounds=1, num_steps=20, num_fleet=64, num_loop=4, num_others=4)


@dataclass
class Contender:
    """One side in one arrangement of processes and threads, with its measurements."""

    side: str
    crew: Crew
    num_processes: int
    threads: int
    milliseconds: list[float] = field(default_factory=list)
    losses: dict[str, float] = field(default_factory=dict)
    kernel: str = ""

    def __str__(self) -> str:
        processes, threads = ("es" if self.num_processes > 1 else ""), ("s" if self.threads > 1 else "")
        return f"{self.num_processes} process{processes} × {self.threads} thread{threads}"

    def measure(self, case: Case, cell: str, effort: Effort, path: Path) -> float:
        """Return the milliseconds per series and optimiser step of one run, and keep its losses."""
        num_series = {"fleet": effort.num_fleet, "loop": effort.num_loop}.get(self.side, effort.num_others)
        shares = [list(range(first, num_series, self.num_processes)) for first in range(self.num_processes)]
        request: dict[str, Any] = {
            "side": self.side,
            "cell": cell,
            "num_steps": effort.num_steps,
            "threads": self.threads,
        }
        if self.side == "neural":
            config = case.config(effort.num_steps)
            request |= {name: getattr(config, name) for name in ("hidden_size", "batch_windows", "learning_rate")}
            request["path"] = str(path)
        else:
            request["case"] = case.name
        self.crew.prepare([request | {"rows": rows} for rows in shares])
        seconds, answers = self.crew.run()
        self.kernel = answers[0].get("kernel", "")
        self.losses = {name: loss for answer in answers for name, loss in answer["losses"].items()}
        return 1000 * seconds / (num_series * effort.num_steps)


def main(arguments: list[str]) -> int:
    """Print a figure per run and peer; return 1 where losses do not agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="more rounds and more series")
    parser.add_argument("--only", help="one run, such as lstm-day")
    effort = FULL if (options := parser.parse_args(arguments)).full else SHORT
    print(f"{describe_machine()}\n{effort}")
    if not peers_are_installed():
        print("neuralforecast is not installed, so it is not measured: run `make bench-setup` first")
    disagreements = []
    for cell, name in RUNS:
        if options.only in (None, f"{cell}-{name}"):
            with _contenders(CASES[name]) as contenders:
                disagreements += _compare(contenders, CASES[name], cell, effort)
    for disagreement in disagreements:
        print(f"error: {disagreement}", file=sys.stderr)
    return 1 if disagreements else 0


@contextmanager
def _contenders(case: Case) -> Iterator[list[Contender]]:
    """Start new processes for one run: a process cannot hold Trainers by the hundred."""
    with ExitStack() as stack:
        crew = stack.enter_context(Crew(2))
        contenders = [Contender("fleet", crew, *FLEET_PROCESSES_BY_THREADS)]
        for side in ("loop", "trainer"):
            contenders += [Contender(side, crew, *arrangement) for arrangement in PROCESSES_BY_THREADS]
        if ("neural", case.name) in TARGETS and peers_are_installed():
            theirs = stack.enter_context(Crew(2, python=BENCH_PYTHON))
            contenders += [Contender("neural", theirs, *arrangement) for arrangement in PROCESSES_BY_THREADS]
        yield contenders


def _compare(contenders: list[Contender], case: Case, cell: str, effort: Effort) -> list[str]:
    """Measure all in turn, round after round, print the figures, and return the losses that disagree."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "differences.npz"
        if any(contender.side == "neural" for contender in contenders):
            write_differences(path, case, gather_windows(case, cell, list(range(effort.num_others)), num_steps=1))
        for contender in contenders:
            contender.measure(case, cell, WARM, path)
        if effort is SHORT:
            contenders = _scout(contenders, case, cell, path)
        for number in range(effort.num_rounds):
            for contender in contenders if number % 2 == 0 else reversed(contenders):
                contender.milliseconds.append(contender.measure(case, cell, effort, path))
    fleet, *peers = contenders
    print(f"\n{cell} {case}")
    milliseconds = statistics.median(fleet.milliseconds)
    print(
        f"  {'fleet':30} {fleet!s:24} {milliseconds:8.4f} ms per series and step, kernel '{fleet.kernel}', "
        f"{1e-6 * case.count_flops(cell) / milliseconds:.0f} GFLOP/s of recurrent products over the whole fit"
    )
    disagreements = []
    for peer in peers:
        ours = statistics.mean(fleet.losses[name] for name in peer.losses)
        theirs = statistics.mean(peer.losses.values())
        print(
            f"  {PEERS[peer.side]:30} {peer!s:24} {statistics.median(peer.milliseconds):8.4f} ms, "
            f"loss {theirs:.5f}, the fleet's {ours:.5f} over the same {len(peer.losses)} series"
        )
        difference = ours / theirs - 1
        if not (difference <= MOST_WORSE if peer.side == "neural" else abs(difference) <= MOST_LOSSES_DIFFER):
            disagreements.append(
                f"{cell} {case}: the fleet's mean loss is {ours:.5f}, that of {PEERS[peer.side]} {theirs:.5f}"
            )
    for side in PEERS:
        if (side, case.name) in TARGETS:
            _figure(f"{cell} {case}", fleet, [peer for peer in peers if peer.side == side], side, case.name).print()
    return disagreements


def _scout(contenders: list[Contender], case: Case, cell: str, path: Path) -> list[Contender]:
    """Keep the arrangement of each side that is faster over a few steps."""
    milliseconds = {id(contender): contender.measure(case, cell, SCOUT, path) for contender in contenders}
    return [
        min((one for one in contenders if one.side == side), key=lambda one: milliseconds[id(one)])
        for side in dict.fromkeys(contender.side for contender in contenders)
    ]


def _figure(setting: str, fleet: Contender, arrangements: list[Contender], side: str, case: str) -> Figure:
    """Compare with the better arrangement of a peer; figures of an unmeasured peer are empty."""
    best = min(arrangements, key=lambda peer: statistics.median(peer.milliseconds), default=None)
    return Figure(
        benchmark="fleet",
        setting=setting,
        figure=rounded(statistics.median(fleet.milliseconds)),
        unit="ms per series and step",
        peer=PEERS[side] + (f", {best}" if best else ""),
        peer_figure=rounded(statistics.median(best.milliseconds)) if best else None,
        ratio=rounded(median_ratio(best.milliseconds, fleet.milliseconds)) if best else None,
        target=f">={TARGETS[side, case]}",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
