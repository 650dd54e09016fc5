"""The pace of this machine, by which time limits are scaled: a fixed piece of work, timed."""

import statistics
import subprocess
import sys
import time

REFERENCE_SECONDS = 3.0
"""What the work takes on the machine for which the limits are set: an idle Xeon with 2 cores."""

NUM_RUNS = 3

WORK = """
import torch
torch.set_num_threads(1)
x = torch.rand(256, 256)
for _ in range(300):
    x = torch.tanh(x @ x / 256)
sum(number * number for number in range(5_000_000))
"""
"""Like the benchmarks, it starts a process, loads torch, multiplies matrices and runs Python."""


def measure_pace() -> float:
    """Time the reference work in processes of its own, one after the other.

    Returns:
        The median time, as a multiple of REFERENCE_SECONDS: 2 for a machine that takes twice as long.
    """
    seconds = []
    for _ in range(NUM_RUNS):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", WORK], check=True)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) / REFERENCE_SECONDS


def scale_limit(seconds: float, pace: float) -> float:
    """Return a time limit for a machine of this pace; a fast machine keeps the whole limit.

    >>> scale_limit(300, 2.0), scale_limit(300, 0.5)
    (600.0, 300.0)
    """
    return seconds * max(1.0, pace)
