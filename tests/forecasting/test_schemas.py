"""The declarations of tables agree with each other."""

import polars as pl
import pytest

from forecasting.errors import NothingStored
from forecasting.schemas import TABLES, table
from forecasting.spec.frequency import CLOCKS, Clock


@pytest.mark.parametrize("name", TABLES)
def test_every_column_is_declared_once_with_its_meaning(name: str) -> None:
    columns = TABLES[name].columns
    assert len({column.name for column in columns}) == len(columns)
    assert all(column.meaning for column in columns)
    assert TABLES[name].meaning


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("name", TABLES)
def test_keys_and_partitions_are_columns_and_the_series_is_not_a_partition(name: str, clock: Clock) -> None:
    declared = TABLES[name]
    schema = declared.schema(clock)
    assert set(declared.key) <= set(schema)
    assert set(declared.partition_by(clock)) <= set(schema)
    assert "unique_id" not in declared.partition_by(clock)
    assert pl.Object() not in schema.values()


def test_clock_decides_the_dtype_of_times_and_the_stored_name() -> None:
    forecasts = table("forecasts")
    stamps, steps = forecasts.schema("timestamp"), forecasts.schema("step")
    assert (stamps["ds"], stamps["run_cutoff"]) == (pl.Datetime("us"), pl.Datetime("us"))
    assert (steps["ds"], steps["cutoff"]) == (pl.Int64(), pl.Int64())
    assert "cutoff_date" in stamps
    assert "cutoff_date" not in steps
    assert (forecasts.stored_as("timestamp"), forecasts.stored_as("step")) == ("forecasts", "forecasts_by_step")
    assert forecasts.partition_by("timestamp") == ("spec", "cutoff_date")
    assert forecasts.partition_by("step") == ("spec",)


def test_runs_hold_rows_of_both_clocks() -> None:
    runs = table("runs")
    assert runs.stored_as("step") == "runs"
    assert runs.schema("step") == runs.schema("timestamp")
    assert runs.partition_by("timestamp") == ()


def test_further_quantiles_come_last_and_declared_ones_once() -> None:
    schema = table("forecasts").schema("timestamp", ("q50", "q99"))
    assert schema.names()[-1] == "q99"
    assert schema.names().count("q50") == 1


def test_rows_that_are_not_stamped_lack_the_bookkeeping_and_what_the_job_adds() -> None:
    assert table("calibrations").row_schema("step").names() == ["model", "quantile", "factor", "num_points", "coverage"]
    rows = table("models").row_schema("step", without=["weights_uri"])
    assert [name for name in table("models").schema("step") if name not in rows] == [
        *("spec", "run_cutoff", "weights_uri", "data_version", "run_id")
    ]
    assert rows["trained_until"] == pl.Int64()


def test_undeclared_table_is_refused_with_the_declared_ones() -> None:
    with pytest.raises(NothingStored, match="table 'forecast' does not exist; the tables are observations, rejects"):
        table("forecast")
