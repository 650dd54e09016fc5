"""Figures of benchmarks: medians of paired ratios, lines of JSON, and the machine's description."""

import importlib.metadata
import json
import operator
import os
import platform
import re
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

COMPARISONS = {">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True)
class Figure:
    """One line of `build/bench.jsonl`; unmeasured values are None, and `target` is in the unit of `ratio`."""

    benchmark: str
    setting: str
    figure: float | None
    unit: str
    peer: str | None
    peer_figure: float | None
    ratio: float | None
    target: str | None

    def line(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    def print(self) -> None:
        """Print the line that the runner reads as a figure."""
        print(self.line(), flush=True)

    @property
    def is_reached(self) -> bool | None:
        """Whether the ratio meets the target; None without a target or a measurement.

        >>> Figure("fleet", "day", 0.2, "ms", "loop", 0.6, 3.0, ">=2.5").is_reached
        True
        """
        if self.target is None or self.ratio is None:
            return None
        found = re.fullmatch(r"(>=|<=)\s*([\d.]+)", self.target)
        if found is None:
            raise ValueError(f"target '{self.target}' is neither '>=' nor '<=' and a number")
        return bool(COMPARISONS[found[1]](self.ratio, float(found[2])))


COLUMNS = tuple(field.name for field in fields(Figure))


def read_figures(text: str) -> list[Figure]:
    """Read figures from lines of JSON; skip other lines."""
    return [Figure(**json.loads(line)) for line in text.splitlines() if line.startswith("{")]


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Return the median of the ratios of paired measurements, which share the machine's drift.

    >>> median_ratio([2.0, 8.0, 3.0], [1.0, 2.0, 1.0])
    3.0
    """
    return statistics.median(above / below for above, below in zip(numerators, denominators, strict=True))


def rounded(value: float | None) -> float | None:
    """Keep four significant digits; a fifth would be noise."""
    return None if value is None else float(f"{value:.4g}")


def describe_machine() -> str:
    """Name the processors, the cores this process may use, and the versions that figures depend on."""
    gpus = _gpus()
    names = ("torch", *["triton"] * bool(gpus), "numpy", "pytorch-lightning")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in names]
    cores = len(os.sched_getaffinity(0))
    return " · ".join([*gpus, f"{_processor()}, {cores} cores", f"Python {platform.python_version()}", *versions])


def _processor() -> str:
    names = re.findall(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return names[0] if names else platform.machine()


def _gpus() -> list[str]:
    """Name NVIDIA's GPUs as their driver does, because loading torch takes seconds."""
    described = [path.read_text(encoding="utf-8") for path in Path("/proc/driver/nvidia/gpus").glob("*/information")]
    return [name.strip() for text in described for name in re.findall(r"^Model:(.*)$", text, re.MULTILINE)]
