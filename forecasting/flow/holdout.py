"""Score a one-shot forecast by actuals."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from forecasting.errors import SourceError
from forecasting.evaluate.metrics import score_forecasts
from forecasting.evaluate.yardstick import yardsticks
from forecasting.flow.actuals import Actuals
from forecasting.series.ingest import panel_of
from forecasting.series.local_grid import wall_clock_of, zone_in
from forecasting.spec.spec import Spec

NUM_SERIES_AT_ONCE = 1000
"""A panel is as wide as its longest series; what is measured on it is small."""
_POINT = ["unique_id", "ds"]


@dataclass(frozen=True)
class Evaluation:
    """Scores of every series and model that was forecast.

    Attributes:
        scores: Rows in the columns of the table `scores`.
        num_compared: Actuals that were compared with a forecast.
        notes: Sentences about actuals without a forecast and forecasts without an actual.
    """

    scores: pl.DataFrame
    num_compared: int
    notes: tuple[str, ...]


def evaluate(
    forecasts: pl.DataFrame, actuals: Actuals, spec: Spec, *, features: pl.DataFrame, cutoff: datetime | int
) -> Evaluation:
    """Score forecasts by actuals.

    The scales of MASE and MSIS, and Naive2, use only the features.

    Args:
        forecasts: Forecasts of a spec, in the columns of that table.
        actuals: The actuals on the same clock.
        spec: The spec.
        features: The series on even grids, as the forecasts know them up to `cutoff`.
        cutoff: The last time of the features.

    Returns:
        Scores, the number of compared actuals and notes on what was not compared.

    Raises:
        SourceError: No actual matches a forecast, so that nothing can be scored.
    """
    points = forecasts.join(actuals.observed, on=_POINT, how="left")
    met = points.filter(pl.col("y").is_not_null() & pl.col("forecast").is_not_null())
    num_compared = met.select(_POINT).n_unique()
    notes = tuple(_describe_gaps(points, actuals))
    if not num_compared:
        raise SourceError(f"{actuals.source}: no actual could be compared with a forecast; {'; '.join(notes)}")
    measures = _measure(met["unique_id"].unique().sort().to_list(), spec, features, cutoff)
    zone = zone_in(features)
    place = pl.col("ds") if zone is None else wall_clock_of(pl.col("ds"), zone)
    naive2 = measures.select("unique_id", "naive2", place="ds")
    # A forecast beyond the panel's grid, as after a holiday, has a scale, but no Naive2.
    scale = measures.select("unique_id", "scale", "scaled_by_step").unique("unique_id", keep="first")
    measured = (
        points.with_columns(place=place)
        .join(naive2, on=["unique_id", "place"], how="left", maintain_order="left")
        .join(scale, on="unique_id", how="left", maintain_order="left")
    )
    scores = score_forecasts(measured.drop("place"), quantiles=spec.quantiles)
    serving = forecasts.select("unique_id", "model", "is_champion").unique()
    rows = serving.join(scores, on=["unique_id", "model"]).sort("unique_id", "model")
    return Evaluation(rows.select("unique_id", "model", pl.exclude("unique_id", "model")), num_compared, notes)


def _measure(unique_ids: list[str], spec: Spec, features: pl.DataFrame, cutoff: datetime | int) -> pl.DataFrame:
    return pl.concat(
        yardsticks(
            panel_of(features, spec, unique_ids[first : first + NUM_SERIES_AT_ONCE], run_cutoff=cutoff),
            season_length=spec.season_lengths[0],
        )
        for first in range(0, len(unique_ids), NUM_SERIES_AT_ONCE)
    )


def _describe_gaps(points: pl.DataFrame, actuals: Actuals) -> Iterator[str]:
    spans = points.group_by("unique_id").agg(pl.col("cutoff").first(), end=pl.col("ds").max())
    unmet = actuals.observed.join(points.select(_POINT).unique(), on=_POINT, how="anti")
    why = (
        pl.when(pl.col("end").is_null())
        .then(pl.lit("of series that were not forecast"))
        .when(pl.col("ds") <= pl.col("cutoff"))
        .then(pl.lit("at or before the cutoff"))
        .when(pl.col("ds") > pl.col("end"))
        .then(pl.lit("after the horizon"))
        .otherwise(pl.lit("between the points that are forecast"))
    )
    reasons = unmet.join(spans, on="unique_id", how="left").select(why=why)["why"]
    if unmet.height:
        yield f"actuals that meet no forecast: {unmet.height}, {_counted(reasons)}"
    served = points.filter("is_champion")
    without_forecast = served.filter(pl.col("forecast").is_null() & pl.col("y").is_not_null())
    if without_forecast.height:
        yield f"actuals of series that no model could forecast: {without_forecast.height}"
    without_actual = served.filter(pl.col("y").is_null())
    if without_actual.height:
        num_series = served.group_by("unique_id").agg(pl.col("y").is_null().all()).filter("y").height
        series = f"; {num_series} series have none" if num_series else ""
        yield f"forecast points without an actual: {without_actual.height} of {served.height}{series}"
    if actuals.refused.height:
        yield f"rows refused: {actuals.refused.height}, {_counted(actuals.refused['reason'])}"
    yield from actuals.notes


def _counted(reasons: pl.Series) -> str:
    counts = reasons.value_counts().sort(["count", reasons.name], descending=[True, False])
    return " · ".join(f"{count} {reason}" for reason, count in counts.iter_rows())
