"""Lengths of series go in; balanced shards, each named by what it holds, come out."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """The series that one worker takes at a time; `number` counts from 0, heaviest first."""

    number: int
    unique_ids: tuple[str, ...]
    num_points: int

    def __str__(self) -> str:
        ends = dict.fromkeys((self.unique_ids[0], self.unique_ids[-1]))
        return f"shard {self.number} ({len(self.unique_ids)} series, {' to '.join(repr(name) for name in ends)})"


def make_shards(num_points: Mapping[str, int], *, shard_size: int, num_workers: int = 1) -> list[Shard]:
    """Spread series over as few shards as hold them, but at least one per worker where there are as many series.

    Longest first into the shard with the fewest points so far that has room (Graham's rule, 1969). The same lengths
    give the same shards, whatever their order; within a shard series are sorted by name.
    """
    if not num_points:
        return []
    num_shards = max(-(-len(num_points) // shard_size), min(num_workers, len(num_points)))
    members: list[list[str]] = [[] for _ in range(num_shards)]
    loads = [0] * num_shards
    open_shards = [(0, index) for index in range(num_shards)]
    for unique_id, length in sorted(num_points.items(), key=lambda item: (-item[1], item[0])):
        load, index = heapq.heappop(open_shards)
        members[index].append(unique_id)
        # A point more per series, so that series without any points spread as well.
        loads[index] = load + length + 1
        if len(members[index]) < shard_size:
            heapq.heappush(open_shards, (loads[index], index))
    order = sorted(range(num_shards), key=lambda index: (-loads[index], min(members[index])))
    return [
        Shard(number, tuple(sorted(members[index])), loads[index] - len(members[index]))
        for number, index in enumerate(order)
    ]
