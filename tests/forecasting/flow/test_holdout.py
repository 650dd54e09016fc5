"""Forecasts against a file of actuals: the scores, and everything that was not compared."""

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from forecasting.errors import SourceError
from forecasting.evaluate.metrics import METRICS
from forecasting.flow import holdout
from forecasting.flow.actuals import Actuals, read_actuals
from forecasting.flow.holdout import Evaluation, evaluate
from forecasting.series.ingest import ingest
from forecasting.series.inputs import Input
from forecasting.spec.source import Source
from forecasting.spec.spec import Spec, make_spec

START = datetime(2024, 1, 1)
CUTOFF = START + timedelta(hours=11)
QUANTILES = (0.025, 0.5, 0.975)
KNOWN = {"a": [1.0, 3.0] * 6, "b": [10.0, 14.0] * 6}

Write = Callable[..., Source]


def rows(series: dict[str, list[float | None]], *, first: datetime = START) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"unique_id": name, "ds": first + timedelta(hours=hour), "y": y}
            for name, values in series.items()
            for hour, y in enumerate(values)
        ],
        schema={"unique_id": pl.String, "ds": pl.Datetime("us"), "y": pl.Float64},
    )


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def build(frame: pl.DataFrame, name: str = "actuals.parquet") -> Source:
        path = tmp_path / name
        frame.write_csv(path) if name.endswith(".csv") else frame.write_parquet(path)
        return Source(uri=str(path))

    return build


@pytest.fixture
def spec(write: Write) -> Spec:
    source = write(rows(KNOWN), "known.parquet")
    fields: dict[str, Any] = {"name": "held", "freq": "1h", "season_lengths": [1], "horizon": 3}
    return make_spec(fields | {"source": source, "quantiles": QUANTILES}, subject="the test's spec")


def forecasts(*, b: float | None = 12.0) -> pl.DataFrame:
    """The champion forecasts 2 ± 5 for a, and b ± 5 for b; another model forecasts 0."""
    rows = [("a", "lstm", 2.0, True), ("b", "lstm", b, True), ("a", "gru", 0.0, False), ("b", "gru", 0.0, False)]
    return pl.DataFrame(
        [
            {"unique_id": name, "model": model, "ds": CUTOFF + timedelta(hours=step), "step": step, "cutoff": CUTOFF}
            | {"is_champion": serves, "forecast": value, "q50": value}
            | {"q02_5": None if value is None else value - 5, "q97_5": None if value is None else value + 5}
            for name, model, value, serves in rows
            for step in (1, 2, 3)
        ],
        infer_schema_length=None,
    )


def actuals_of(source: Source, spec: Spec) -> Actuals:
    has_zone = Input(spec.source).zone(spec.clock, spec.freq) is not None
    return read_actuals(Input(source), spec, has_zone=has_zone)


def run(spec: Spec, source: Source, made: pl.DataFrame | None = None) -> Evaluation:
    known = ingest(spec)
    made = forecasts() if made is None else made
    return evaluate(made, actuals_of(source, spec), spec, features=known.features, cutoff=known.cutoff)


def test_scores_are_those_worked_out_by_hand_and_scaled_by_what_was_known(spec: Spec, write: Write) -> None:
    outcome = run(spec, write(rows({"a": [3.0, 2.0, 8.0], "b": [12.0, 12.0, 12.0]}, first=CUTOFF + timedelta(hours=1))))
    assert outcome.scores.columns == ["unique_id", "model", "is_champion", *METRICS]
    assert outcome.scores.select("unique_id", "model").rows() == [
        ("a", "gru"),
        ("a", "lstm"),
        ("b", "gru"),
        ("b", "lstm"),
    ]
    score = outcome.scores.row(1, named=True)
    assert (score["num_points"], score["is_champion"]) == (3, True)
    assert score["mase"] == pytest.approx((1 + 0 + 6) / 3 / 2)
    assert score["msis"] == pytest.approx((10 + 40 * 1 / 3) / 2)
    assert score["naive2_mase"] == pytest.approx((0 + 1 + 5) / 3 / 2)
    assert (outcome.num_compared, outcome.notes) == (6, ())


def test_many_refused_actuals_are_an_error_that_names_the_option(spec: Spec, write: Write) -> None:
    daily = make_spec(spec.model_dump() | {"freq": "1d", "season_lengths": [7]}, subject="days")
    hours = rows({"a": [1.0] * 96})
    with pytest.raises(SourceError, match=r"(?s)92 of 96 rows are refused.*source.aggregate.*--allow-rejects 0.959 "):
        actuals_of(write(hours), daily)
    allowed = write(hours).model_copy(update={"allow_rejects": 1.0})
    assert actuals_of(allowed, daily).observed.height == 4
    conflicts = pl.concat([rows({"a": [1.0] * 20}), rows({"a": [2.0] * 20})])
    with pytest.raises(SourceError, match=r"20 of 40 rows are refused"):
        actuals_of(write(conflicts), spec)


def test_everything_that_is_not_compared_is_noted(spec: Spec, write: Write) -> None:
    later = rows({"a": [1.0, math.nan, 2.0, 4.0], "new": [5.0]}, first=CUTOFF + timedelta(hours=1))
    outcome = run(spec, write(pl.concat([rows({"a": [1.0] * 12}), later])))
    assert outcome.num_compared == 2
    assert outcome.notes == (
        "actuals that meet no forecast: 14, 12 at or before the cutoff · 1 after the horizon · "
        "1 of series that were not forecast",
        "forecast points without an actual: 4 of 6; 1 series have none",
        "rows refused: 1, 1 y is NaN",
    )
    assert outcome.scores.filter(unique_id="b")["num_points"].to_list() == [0, 0]


def test_actuals_of_a_series_that_no_model_could_forecast_are_noted(spec: Spec, write: Write) -> None:
    actuals = write(rows({"a": [1.0] * 3, "b": [1.0] * 3}, first=CUTOFF + timedelta(hours=1)))
    outcome = run(spec, actuals, forecasts(b=None))
    assert outcome.notes == ("actuals of series that no model could forecast: 3",)


def test_series_beyond_a_first_panel_are_measured_too(
    spec: Spec, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    actuals = write(rows({"a": [1.0] * 3, "b": [1.0] * 3}, first=CUTOFF + timedelta(hours=1)))
    whole = run(spec, actuals).scores
    monkeypatch.setattr(holdout, "NUM_SERIES_AT_ONCE", 1)
    assert run(spec, actuals).scores.equals(whole)
    assert np.isfinite(whole["mase"].to_numpy()).all()


def test_actuals_that_meet_nothing_are_the_users_mistake(spec: Spec, write: Write) -> None:
    with pytest.raises(SourceError, match=r"no actual could be compared .* 1 of series that were not forecast"):
        run(spec, write(rows({"other": [1.0]}, first=CUTOFF)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop("y"), "lacks its target column 'y'"),
        (lambda frame: frame.with_columns(ds=pl.int_range(pl.len())), "needs timestamps"),
        (lambda frame: frame.with_columns(y=pl.lit(None, pl.Float64)), "has no actual in its 2 rows"),
        (lambda frame: frame.with_columns(y=pl.lit(math.nan)), "has no actual in its 2 rows; .* y is NaN"),
        (
            lambda frame: frame.with_columns(pl.col("ds").dt.replace_time_zone("America/New_York")),
            "time column 'ds' has a time zone or offset, but that of the input does not have one",
        ),
    ],
)
def test_actuals_of_other_columns_or_another_clock_are_refused(
    spec: Spec, write: Write, change: Callable[[pl.DataFrame], pl.DataFrame], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        actuals_of(write(change(rows({"a": [1.0, 2.0]}))), spec)


def test_actuals_in_csv_are_read_as_the_input_is(spec: Spec, write: Write) -> None:
    held = rows({"a": [1.0] * 3, "b": [1.0] * 3}, first=CUTOFF + timedelta(hours=1))
    assert run(spec, write(held, "actuals.csv")).scores.equals(run(spec, write(held)).scores)
