"""What a source has now, beside what earlier runs stored."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.series.restated import compare

STORED = {
    "unique_id": pl.String, "ds": pl.Int64, "y": pl.Float64, "data_version": pl.Int64, "is_stored": pl.Boolean,
    "old_y": pl.Float64, "is_known": pl.Boolean, "is_respecified": pl.Boolean,
}  # fmt: skip
VALUES = st.dictionaries(
    st.tuples(st.sampled_from("ab"), st.integers(0, 5)), st.one_of(st.none(), st.sampled_from([1.0, 2.0]))
)


def read_of(values):
    rows = [(name, ds, y) for (name, ds), y in sorted(values.items())]
    return pl.DataFrame(rows, {name: STORED[name] for name in ("unique_id", "ds", "y")}, orient="row")


def stored_of(values, *, is_respecified=False):
    """Stored rows; the version of each is its time."""
    rows = [
        (name, ds, y, ds, True, y, y is not None and not is_respecified, is_respecified)
        for (name, ds), y in values.items()
    ]
    return pl.DataFrame(rows, STORED, orient="row")


@given(before=VALUES, now=VALUES)
def test_every_measurement_is_unchanged_restated_new_or_gone(before, now):
    compared = compare(read_of(now), stored_of(before), version=7, is_aggregated=False)
    firsts = {name: min(ds for each, ds in now if each == name) for name, _ in now}
    known = {key: y for key, y in before.items() if y is not None}
    gone = {(name, ds) for name, ds in known if ds < firsts.get(name, 99)}
    expected = {key: (y, now.get(key)) for key, y in known.items() if key not in gone and now.get(key) != y}
    found = {(name, ds): (old, new) for name, ds, old, new, _ in compared.restated.iter_rows()}
    assert found == expected
    assert compared.num_gone == len(gone)
    assert compared.num_respecified == 0
    versions = [key[1] if key in before and before[key] == now[key] else 7 for key in sorted(now)]
    assert compared.data_version.to_list() == versions
    assert compared.restated["data_version"].to_list() == [7] * len(expected)


@given(before=VALUES, now=VALUES)
def test_nothing_is_restated_where_rows_were_read_in_another_way(before, now):
    stored = stored_of(before, is_respecified=True)
    compared = compare(read_of(now), stored, version=7, is_aggregated=False)
    assert compared.restated.is_empty()
    newest = {name: max(ds for each, ds in before if each == name) for name, _ in before}
    versions = [ds if (name, ds) in before else 7 if ds > newest.get(name, -1) else None for name, ds in sorted(now)]
    assert compared.data_version.to_list() == versions


@pytest.mark.parametrize(("y", "num_restated"), [(0.6000000000000001, 0), (0.6001, 1)])
def test_aggregates_may_differ_in_their_last_bits(y, num_restated):
    compared = compare(read_of({("a", 1): y}), stored_of({("a", 1): 0.6}), version=7, is_aggregated=True)
    assert compared.restated.height == num_restated
    assert compared.data_version.to_list() == [7 if num_restated else 1]
