"""A plan is read by the rules of covariates; what it does not change, and what of it is not used, is said."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from forecasting.errors import SourceError, SpecError
from forecasting.flow.scenario import Scenario, place_plan, read_plan
from forecasting.spec.spec import Spec, make_spec

CUTOFF = datetime(2024, 3, 1)
DAYS = [CUTOFF + timedelta(days=step) for step in (1, 2, 3)]


def spec_of(**covariates: Any) -> Spec:
    fields = {
        "name": "sales",
        "source": {"uri": "/tmp/sales.csv"},
        "freq": "1d",
        "season_lengths": [7],
        "horizon": 3,
        "covariates": {"future": ["price", "promotion"]} | covariates,
    }
    return make_spec(fields, subject="spec")


def known() -> pl.LazyFrame:
    """Two series with a price of 1 and no promotion within the horizon."""
    points = [(name, day, 1.0, 0.0) for name in ("a", "b") for day in DAYS]
    return pl.LazyFrame(points, schema=["unique_id", "ds", "price", "promotion"], orient="row")


def place(plan: Any, spec: Spec | None = None, **options: Any) -> Scenario:
    spec = spec or spec_of()
    read = read_plan(plan, spec, {}, has_zone=False, **options)
    return place_plan(read, known(), known(), cutoff=CUTOFF)


def rows_of(scenario: Scenario) -> list[tuple[Any, ...]]:
    return scenario.covariates.rows.collect().rows()


def frame(*rows: tuple[Any, ...], columns: tuple[str, ...] = ("unique_id", "ds", "price", "promotion")) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=list(columns), orient="row")


def test_plan_of_one_covariate_keeps_the_others_and_says_so() -> None:
    found = place(frame(("a", DAYS[0], 2.0), ("a", DAYS[1], 1.0), columns=("unique_id", "ds", "price")))
    assert rows_of(found) == [("a", DAYS[0], 2.0, None), ("a", DAYS[1], 1.0, None)]
    assert (found.num_changed, found.num_series) == ({"price": 1, "promotion": 0}, 1)
    assert found.describe() == "price at 1 points, in 1 series"
    assert found.notes == ("future has no column 'promotion', whose known values are kept",)


def test_rows_outside_the_forecast_are_counted_and_not_used() -> None:
    found = place(
        frame(
            ("a", DAYS[0], 2.0, True),
            ("a", CUTOFF, 9.0, True),
            ("a", DAYS[2] + timedelta(days=1), 9.0, True),
            ("c", DAYS[0], 9.0, True),
            ("b", DAYS[1], None, None),
        )
    )
    assert rows_of(found) == [("a", DAYS[0], 2.0, 1.0)]
    assert found.notes == (
        "1 rows of future are not used, because their 1 series are not forecast, such as 'c'",
        "1 rows of future are not used, because they are not after the cutoff 2024-03-01T00:00:00",
        "1 rows of future are not used, because they lie at no time of the horizon, such as 2024-03-05T00:00:00 of"
        " series 'a'",
    )


def test_plan_that_changes_nothing_says_so() -> None:
    found = place(frame(("a", DAYS[0], 1.0, False)))
    assert (found.num_series, found.describe()) == (0, "no value")
    assert found.notes == ("future changes no value within the horizon: the scenario is the forecast",)


def test_csv_file_is_read_as_a_source_is(tmp_path: Any) -> None:
    path = tmp_path / "plan.csv"
    path.write_text("unique_id,ds,price,promotion,remark\na,2024-03-02,2.5,TRUE,x\na,2024-03-03,,false,\n")
    found = place(str(path))
    assert rows_of(found) == [("a", DAYS[0], 2.5, 1.0), ("a", DAYS[1], None, 0.0)]
    assert "future has columns that are not covariates and are not read: 'remark'" in found.notes


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (frame(("a", DAYS[0], 1.0), columns=("unique_id", "ds", "prize")), "column 'prize', .* is 'price' meant"),
        (frame(("a", DAYS[0], 1.0), columns=("unique_id", "ds", "other")), "lacks its covariates: it has 'unique_id'"),
        (frame(("x", DAYS[0], 1.0, True)), "no series that is forecast: it has 'x', but needs series such as 'a'"),
        (frame(("a", CUTOFF, 1.0, True)), "future ends at 2024-03-01T00:00:00; it needs values after the cutoff"),
        (frame(("a", datetime(2024, 4, 1), 1.0, True)), "horizon, which is 2024-03-02T00:00:00 to 2024-03-04T00:00:00"),
        (frame(("a", DAYS[0], None, None)), "future has no values"),
        (frame(("a", DAYS[0], 1.0, True), ("a", DAYS[0], 2.0, True)), "two values of 'price' at 2024-03-02"),
        (frame(("a", DAYS[0], "high", True)), "has names for covariate 'price' but needs numbers"),
        (frame(("a", DAYS[0].astimezone(), 1.0, True)).with_columns(pl.col("ds").dt.convert_time_zone("UTC")), "zone"),
    ],
)
def test_plan_that_cannot_be_meant_is_refused(plan: pl.DataFrame, message: str) -> None:
    spec = spec_of() if message != "zone" else spec_of().model_copy(update={"freq": "1h"})
    with pytest.raises(SourceError, match=message):
        place(plan, spec)


def test_same_row_twice_is_one_row() -> None:
    row = ("a", DAYS[0], 2.0, True)
    assert rows_of(place(frame(row, row))) == [("a", DAYS[0], 2.0, 1.0)]


def test_rows_that_cannot_be_read_are_said(tmp_path: Any) -> None:
    path = tmp_path / "plan.csv"
    path.write_text("unique_id,ds,price,promotion\na,2024-03-02,2.5,1\na,soon,2.5,1\na,2024-03-03,none of these,0\n")
    found = place(str(path))
    assert rows_of(found) == [("a", DAYS[0], 2.5, 1.0), ("a", DAYS[1], None, 0.0)]
    assert any("1 rows of future are not used" in note and "'soon'" in note for note in found.notes)
    assert any("'none of these' of series 'a'" in note for note in found.notes)


def test_spec_without_covariates_has_no_scenario() -> None:
    with pytest.raises(SpecError, match="future: needs covariates that are known ahead"):
        place(frame(("a", DAYS[0], 2.0, True)), spec_of(future=[]))


def test_plan_of_a_single_series_needs_no_column_of_series() -> None:
    read = read_plan(
        frame((DAYS[0], 2.0, True), columns=("ds", "price", "promotion")), spec_of(), {}, has_zone=False, only="a"
    )
    assert rows_of(place_plan(read, known(), known(), cutoff=CUTOFF)) == [("a", DAYS[0], 2.0, 1.0)]
