"""Shards: equal work, within the limits, and the same from the same lengths."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.fleet.cost.cost import MOST_SECONDS, SHARDS_PER_WORKER, Cost, ForecastCost, TrainingCost
from forecasting.fleet.cost.memory import MIB
from forecasting.fleet.cost.sizes import sizes_of
from forecasting.spec.spec import Spec
from workers.cluster.shards import Shard, describe_too_large, make_shards

LENGTHS = st.dictionaries(st.text(min_size=1, max_size=6), st.integers(0, 5000), max_size=60)


@dataclass(frozen=True)
class Plain:
    """A second a point and a second a series; a byte a cell of the panel."""

    fixed_seconds: float = 0.0

    def series_seconds(self, num_points: int) -> float:
        return num_points + 1.0

    def worker_bytes(self, num_series: int, longest: int, num_points: int) -> int:
        return num_series * longest


@st.composite
def costs(draw: st.DrawFn) -> Cost:
    """The cost model of a train, a backtest or a predict job of any spec."""
    spec = Spec(
        name="any",
        source={"uri": "any.parquet"},
        freq=draw(st.sampled_from(["1h", "1d", 1])),
        season_lengths=draw(st.sampled_from([(24,), (7, 365), (1,)])),
        horizon=draw(st.integers(1, 200)),
        models=draw(st.sampled_from([("lstm",), ("gru", "lstm")])),
        overrides={"hidden_size": draw(st.integers(1, 128)), "weight_average": draw(st.sampled_from([0, 0.9]))},
    )
    sizes = sizes_of(spec, spec.models, kernel=draw(st.sampled_from(["cpu", "reference", "gpu"])))
    return draw(st.sampled_from([TrainingCost(sizes, 50), ForecastCost(sizes), ForecastCost(sizes, 5)]))


@given(LENGTHS, costs(), st.integers(0, 5000), st.integers(1, 5))
def test_no_shard_needs_more_memory_than_allowed_unless_it_holds_one_series(lengths, cost, allowed_mib, num_workers):
    most_bytes = cost.worker_bytes(0, 0, 0) + allowed_mib * MIB // 10
    shards = make_shards(lengths, cost=cost, num_workers=num_workers, most_bytes=most_bytes)
    for shard in shards:
        points = [lengths[name] for name in shard.unique_ids]
        assert len(points) == 1 or cost.worker_bytes(len(points), max(points), sum(points)) <= most_bytes


@given(LENGTHS, st.integers(1, 12), st.integers(0, 20_000), st.integers(1, 5))
def test_every_series_is_in_exactly_one_shard_and_none_is_too_large(lengths, shard_size, most_bytes, num_workers):
    shards = make_shards(lengths, cost=Plain(), shard_size=shard_size, most_bytes=most_bytes, num_workers=num_workers)
    assert sorted(name for shard in shards for name in shard.unique_ids) == sorted(lengths)
    assert all(1 <= len(shard.unique_ids) <= shard_size for shard in shards)
    assert [shard.number for shard in shards] == list(range(len(shards)))
    assert all(shard.num_points == sum(lengths[name] for name in shard.unique_ids) for shard in shards)


@given(LENGTHS, st.integers(1, 5), st.randoms(use_true_random=False))
def test_the_order_of_the_series_changes_nothing(lengths, num_workers, random):
    shuffled = list(lengths.items())
    random.shuffle(shuffled)
    first, again = (make_shards(series, cost=Plain(), num_workers=num_workers) for series in (lengths, dict(shuffled)))
    assert first == again


@given(LENGTHS, st.integers(1, 5))
def test_shards_differ_by_two_series_work_at_most_and_the_longest_comes_first(lengths, num_workers):
    shards = make_shards(lengths, cost=Plain(), num_workers=num_workers)
    loads = [shard.num_points + len(shard.unique_ids) for shard in shards]
    assert loads == sorted(loads, reverse=True)
    if loads:
        assert max(loads) - min(loads) <= 2 * (max(lengths.values()) + 1)


@given(LENGTHS, st.integers(1, 5))
def test_series_of_similar_length_share_a_shard(lengths, num_workers):
    shards = make_shards(lengths, cost=Plain(), num_workers=num_workers)
    spans = sorted(
        (min(lengths[name] for name in shard.unique_ids), max(lengths[name] for name in shard.unique_ids))
        for shard in shards
    )
    assert all(longest <= shortest for (_, longest), (shortest, _) in pairwise(spans))


def test_long_work_is_cut_into_several_shards_a_worker_that_are_not_too_long():
    day = dict.fromkeys((f"s{n}" for n in range(800)), 0)
    assert len(make_shards(day, cost=Plain(), num_workers=2)) == 800 / MOST_SECONDS
    assert len(make_shards(dict(list(day.items())[:60]), cost=Plain(), num_workers=2)) == 2 * SHARDS_PER_WORKER


def test_short_work_is_not_cut_into_shards_that_cost_more_than_they_do():
    series = dict.fromkeys((f"s{n}" for n in range(60)), 0)
    assert len(make_shards(series, cost=Plain(fixed_seconds=1.0), num_workers=2)) == 2
    assert len(make_shards(series, cost=Plain(fixed_seconds=0.3), num_workers=2)) == 6


def test_few_series_still_occupy_every_worker():
    assert len(make_shards(dict.fromkeys("abcdef", 10), cost=Plain(1e9), num_workers=4)) == 4
    assert len(make_shards(dict.fromkeys("ab", 10), cost=Plain(1e9), num_workers=4)) == 2


def test_a_limit_of_series_cuts_evenly():
    shards = make_shards(dict.fromkeys("abcdefghij", 10), cost=Plain(1e9), shard_size=4)
    assert sorted(len(shard.unique_ids) for shard in shards) == [3, 3, 4]


def test_series_that_alone_needs_too_much_has_a_shard_of_its_own_and_is_reported():
    lengths = {"huge": 5000 * MIB, "big": 900 * MIB, "small": MIB, "tiny": 1}
    shards = make_shards(lengths, cost=Plain(), num_workers=1, most_bytes=1000 * MIB)
    (alone,) = (shard for shard in shards if "huge" in shard.unique_ids)
    assert alone.unique_ids == ("huge",)
    warning = describe_too_large(shards, lengths, cost=Plain(), most_bytes=1000 * MIB)
    assert warning == (
        f"1 of {len(shards)} shards hold a series that alone needs more memory than the 1000 MiB of a worker, such as"
        " shard 0 (1 series, 'huge'): about 5000 MiB; they run all the same"
    )
    assert describe_too_large(shards[1:], lengths, cost=Plain(), most_bytes=1000 * MIB) is None


@pytest.mark.parametrize(
    ("unique_ids", "text"),
    [(("a",), "shard 3 (1 series, 'a')"), (("a", "b", "c"), "shard 3 (3 series, 'a' to 'c')")],
)
def test_a_shard_is_described_by_its_first_and_last_series(unique_ids, text):
    assert Shard(3, unique_ids, 10).description == text
