import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.shards import Shard, make_shards

LENGTHS = st.dictionaries(st.text(min_size=1, max_size=6), st.integers(0, 5000), max_size=60)


@given(LENGTHS, st.integers(1, 12), st.integers(1, 5))
def test_every_series_is_in_exactly_one_shard_and_none_is_too_large(lengths, shard_size, num_workers):
    shards = make_shards(lengths, shard_size=shard_size, num_workers=num_workers)
    assert sorted(name for shard in shards for name in shard.unique_ids) == sorted(lengths)
    assert all(1 <= len(shard.unique_ids) <= shard_size for shard in shards)
    assert [shard.number for shard in shards] == list(range(len(shards)))
    assert all(shard.num_points == sum(lengths[name] for name in shard.unique_ids) for shard in shards)


@given(LENGTHS, st.integers(1, 12), st.randoms(use_true_random=False))
def test_the_order_of_the_series_changes_nothing(lengths, shard_size, random):
    shuffled = list(lengths.items())
    random.shuffle(shuffled)
    assert make_shards(dict(shuffled), shard_size=shard_size) == make_shards(lengths, shard_size=shard_size)


@given(LENGTHS, st.integers(1, 12))
def test_two_shards_with_room_differ_by_one_series_at_most(lengths, shard_size):
    shards = make_shards(lengths, shard_size=shard_size)
    loads = [shard.num_points + len(shard.unique_ids) for shard in shards if len(shard.unique_ids) < shard_size]
    if len(loads) == len(shards) > 0:
        assert max(loads) - min(loads) <= max(lengths.values()) + 1


def test_long_series_are_spread_and_the_heaviest_shard_comes_first():
    shards = make_shards({"a": 900, "b": 800, "c": 100, "d": 90}, shard_size=2)
    assert [shard.unique_ids for shard in shards] == [("a", "d"), ("b", "c")]


def test_few_series_still_occupy_every_worker():
    assert len(make_shards(dict.fromkeys("abcdef", 10), shard_size=32, num_workers=4)) == 4
    assert len(make_shards(dict.fromkeys("ab", 10), shard_size=32, num_workers=4)) == 2


@pytest.mark.parametrize(
    ("unique_ids", "text"),
    [(("a",), "shard 3 (1 series, 'a')"), (("a", "b", "c"), "shard 3 (3 series, 'a' to 'c')")],
)
def test_a_shard_names_itself_by_its_first_and_last_series(unique_ids, text):
    assert str(Shard(3, unique_ids, 10)) == text
