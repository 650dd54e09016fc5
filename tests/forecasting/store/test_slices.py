"""Slices as predicates, and slices that a table cannot have."""

from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forecasting.errors import StoreError
from forecasting.schemas import CATEGORIES, table
from forecasting.store.publish import publish
from forecasting.store.slices import Slice
from forecasting.store.stamp import stamp
from forecasting.store.tables import Store

START = datetime(2024, 1, 1)
OBSERVATIONS, FORECASTS = table("observations"), table("forecasts")

awkward = st.text(
    st.sampled_from("a'\"\\%_;-\n\tÄ漢🚲`${}()") | st.characters(exclude_characters="\x00", codec="utf-8")
)


def test_predicate_names_the_partitions_first():
    place = Slice("demo", run_cutoff=START, unique_ids=["a", "it's"], models=("lstm",))
    assert place.predicate(FORECASTS, "timestamp") == (
        "spec = 'demo' AND cutoff_date = '2024-01-01' AND run_cutoff = '2024-01-01 00:00:00.000000'"
        " AND unique_id IN ('a', 'it''s') AND model IN ('lstm')"
    )
    assert Slice("demo", run_cutoff=-5).predicate(FORECASTS, "step") == "spec = 'demo' AND run_cutoff = -5"
    assert Slice("demo", until=7).predicate(OBSERVATIONS, "step") == "spec = 'demo' AND ds <= 7"


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(unique_ids=st.lists(awkward, min_size=2, max_size=4, unique=True))
def test_series_of_any_name_is_replaced_alone(tmp_path_factory, unique_ids):
    store = Store(tmp_path_factory.mktemp("names"))

    def rows(names: list[str], y: float) -> pl.DataFrame:
        frame = pl.DataFrame({"unique_id": names, "ds": [START] * len(names), "y": [y] * len(names)})
        frame = frame.with_columns(categories=pl.lit(None, CATEGORIES))
        return stamp(frame, "observations", "timestamp", spec="demo", run_id="run")

    first, *others = unique_ids
    publish(
        store, "observations", "timestamp", rows(unique_ids, 1.0), slice=Slice("demo"), application="r", generation=0
    )
    publish(
        store, "observations", "timestamp", rows([first], 2.0),
        slice=Slice("demo", unique_ids=(first,)), application="r", generation=1,
    )  # fmt: skip
    stored = store.scan("observations", "timestamp").collect()
    assert dict(stored.select("unique_id", "y").iter_rows()) == {first: 2.0, **dict.fromkeys(others, 1.0)}
    assert stored.height == len(unique_ids)


def test_thousands_of_series_fit_in_one_slice(store, observations_of):
    names = [f"series '{number}'" for number in range(5_000)]
    rows = observations_of(*names, num_points=1)
    for generation in (0, 1):
        publish(
            store, "observations", "timestamp", rows,
            slice=Slice("demo", unique_ids=names), application="r", generation=generation,
        )  # fmt: skip
    assert store.scan("observations", "timestamp").collect().height == 5_000


@pytest.mark.parametrize(
    ("name", "clock", "place", "message"),
    [
        ("forecasts", "timestamp", Slice("demo"), "needs a run_cutoff"),
        ("forecasts", "timestamp", Slice("demo", run_cutoff=START, until=START), "cannot have until"),
        ("rejects", "timestamp", Slice("demo", run_cutoff=START, until=START), "cannot have until"),
        ("observations", "timestamp", Slice("demo", run_cutoff=START), "no column 'run_cutoff'"),
        ("observations", "timestamp", Slice("demo", models=("lstm",)), "no column 'model'"),
        ("observations", "timestamp", Slice("demo", until=5), "until = 5 is not on the clock"),
        ("observations", "step", Slice("demo", until=START), "which needs an integer"),
        ("observations", "step", Slice("demo", until=True), "which needs an integer"),
        ("forecasts", "timestamp", Slice("demo", run_cutoff=START.replace(tzinfo=UTC)), "without a time zone"),
        ("runs", "timestamp", Slice("demo"), "has no slices"),
    ],
)
def test_slice_that_a_table_cannot_have_is_refused(name, clock, place, message):
    with pytest.raises(StoreError, match=message):
        place.predicate(table(name), clock)


@pytest.mark.parametrize("values", [(), "abc", (1,)])
def test_empty_filter_is_refused(values):
    with pytest.raises(StoreError, match="must be a list of at least one name"):
        Slice("demo", unique_ids=values)


def test_zero_byte_is_refused():
    with pytest.raises(StoreError, match="zero byte"):
        Slice("demo", unique_ids=("a\x00b",)).predicate(OBSERVATIONS, "timestamp")
