"""Shards: the series of a run, divided into parts of equal work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from forecasting.fleet.cost.cost import Cost, count_shards
from forecasting.fleet.cost.memory import MIB


@dataclass(frozen=True)
class Shard:
    """The series that one worker takes at a time: a unit of work for the pool.

    Attributes:
        number: Position among the shards of a run, from 0; the longest work comes first.
        unique_ids: Its series.
        num_points: Grid points of its series together.
    """

    number: int
    unique_ids: tuple[str, ...]
    num_points: int

    @property
    def size(self) -> int:
        """The number of its series."""
        return len(self.unique_ids)

    @property
    def description(self) -> str:
        """Its number with its first and last series."""
        ends = dict.fromkeys((self.unique_ids[0], self.unique_ids[-1]))
        return f"shard {self.number} ({len(self.unique_ids)} series, {' to '.join(repr(name) for name in ends)})"


def make_shards(
    num_points: Mapping[str, int],
    *,
    cost: Cost,
    num_workers: int = 1,
    most_bytes: int | None = None,
    shard_size: int | None = None,
) -> list[Shard]:
    """Divide series into shards of equal predicted seconds, as far as whole series allow.

    Series of similar length share a shard, because a panel is as wide as its longest series. The same lengths give the
    same shards in any order of the series.

    Args:
        num_points: Grid points by series.
        cost: Predicts seconds and memory.
        num_workers: Workers among which the shards are divided.
        most_bytes: Memory that a shard may need; a series that alone needs more gets a shard of its own.
        shard_size: Series that a shard may hold, at most.

    Returns:
        The shards, the longest work first. Within a shard, series are sorted by name.
    """
    order = sorted(num_points, key=lambda name: (-num_points[name], name))
    seconds = {length: cost.series_seconds(length) for length in set(num_points.values())}
    work = sum(seconds[num_points[name]] for name in order)
    num_shards = count_shards(work, cost, num_series=len(order), num_workers=num_workers)
    if shard_size is not None:
        num_shards = max(num_shards, -(-len(order) // shard_size))
    members: list[list[str]] = []
    for stretch in _share(order, [seconds[num_points[name]] for name in order], num_shards):
        members += _cut(stretch, num_points, cost, most_bytes, shard_size)
    spent = [sum(seconds[num_points[name]] for name in names) for names in members]
    by_work = sorted(range(len(members)), key=lambda index: (-spent[index], index))
    return [
        Shard(number, tuple(sorted(members[index])), sum(num_points[name] for name in members[index]))
        for number, index in enumerate(by_work)
    ]


def describe_too_large(
    shards: Sequence[Shard], num_points: Mapping[str, int], *, cost: Cost, most_bytes: int
) -> str | None:
    """Describe the shards that are predicted to need more than `most_bytes`; each holds a single series.

    Args:
        shards: The shards of a run.
        num_points: Grid points by series.
        cost: Predicts memory.
        most_bytes: Memory of a worker.

    Returns:
        One sentence for a log, or None where every shard fits.
    """
    needed = {shard: _bytes_of(shard.unique_ids, num_points, cost) for shard in shards}
    large = {shard: num_bytes for shard, num_bytes in needed.items() if num_bytes > most_bytes}
    if not large:
        return None
    worst = max(large, key=lambda shard: large[shard])
    return (
        f"{len(large)} of {len(shards)} shards hold a series that alone needs more memory than the {most_bytes // MIB}"
        f" MiB of a worker, such as {worst.description}: about {large[worst] // MIB} MiB; they run all the same"
    )


def _share(names: Sequence[str], seconds: Sequence[float], num_shards: int) -> list[list[str]]:
    """Lay all work end to end, cut it into equal parts, and put each series where the middle of its own work falls."""
    work, begun = sum(seconds), 0.0
    parts: list[list[str]] = [[] for _ in range(num_shards)]
    for name, own in zip(names, seconds, strict=True):
        parts[min(num_shards - 1, int((begun + own / 2) / work * num_shards))].append(name)
        begun += own
    return [part for part in parts if part]


def _cut(
    names: Sequence[str], num_points: Mapping[str, int], cost: Cost, most_bytes: int | None, shard_size: int | None
) -> list[list[str]]:
    """Divide a stretch of series, longest first, where the limits require it: into equal parts if they allow that."""

    def obeys(begin: int, end: int) -> bool:
        if end - begin == 1:
            return True
        is_small = shard_size is None or end - begin <= shard_size
        return is_small and (most_bytes is None or _bytes_of(names[begin:end], num_points, cost) <= most_bytes)

    bounds = [0]
    while bounds[-1] < len(names):
        last, most = bounds[-1] + 1, len(names)
        while last < most:
            middle = (last + most + 1) // 2
            last, most = (middle, most) if obeys(bounds[-1], middle) else (last, middle - 1)
        bounds.append(last)
    size = -(-len(names) // (len(bounds) - 1))
    equal = [*range(0, len(names), size), len(names)]
    if all(obeys(begin, end) for begin, end in pairwise(equal)):
        bounds = equal
    return [list(names[begin:end]) for begin, end in pairwise(bounds)]


def _bytes_of(names: Sequence[str], num_points: Mapping[str, int], cost: Cost) -> int:
    lengths = [num_points[name] for name in names]
    return cost.worker_bytes(len(lengths), max(lengths), sum(lengths))
