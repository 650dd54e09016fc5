"""Forecast the past from several cutoffs, each as if it were the newest observation."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import numpy as np
import polars as pl

from forecasting.errors import SourceError, SpecError
from forecasting.flow.local import predict_here
from forecasting.flow.one_shot import OneShot
from forecasting.flow.outcome import Keeps
from forecasting.flow.predict import Trained, predict_trained
from forecasting.series.covariates import CovariateRows
from forecasting.series.ingest import ingest
from forecasting.spec.spec import Spec
from forecasting.spec.training import KernelName


def place_cutoffs(rows: pl.LazyFrame, spec: Spec, *, num_cutoffs: int, step: int | None = None) -> list[datetime | int]:
    """Return the cutoffs of a backtest, oldest first, on the grid of the longest live series.

    Args:
        rows: Rows of `scan_source` or `scan_frame`.
        spec: What is forecast.
        num_cutoffs: Number of cutoffs.
        step: Grid points between two of them; the horizon where not given.

    Returns:
        Times on the clock of the pipeline; the newest lies a horizon before that series' end.

    Raises:
        SpecError: A number is below 1.
        SourceError: No series is long enough.
    """
    step = spec.horizon if step is None else step
    problems = [
        f"{name} = {value!r}: must be a whole number of 1 or more"
        for name, value in (("cutoffs", num_cutoffs), ("step", step))
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1
    ]
    if problems:
        raise SpecError("backtest", problems)
    ingested = ingest(spec, rows=rows, covariates=CovariateRows())
    features = ingested.features.filter(~pl.col("unique_id").is_in(list(ingested.ended)))
    lengths = features.group_by("unique_id").agg(pl.len(), last=pl.col("ds").max())
    # A series that has ended, or has only begun, must not place the cutoffs of the others.
    live = lengths.filter(pl.col("last") >= pl.col("last").quantile(0.5, "lower"))
    name, length = live.sort("len", "unique_id", descending=[True, False]).select("unique_id", "len").row(0)
    places = [length - 1 - spec.horizon - step * number for number in range(num_cutoffs)]
    if places[-1] < 0:
        needed = spec.horizon + step * (num_cutoffs - 1) + 1
        raise SourceError(
            f"the longest series, '{name}', has {length} grid points, but {num_cutoffs} cutoffs {step} apart with a"
            f" horizon of {spec.horizon} need {needed}; fewer cutoffs or a smaller step need fewer"
        )
    times = features.filter(unique_id=name).sort("ds")["ds"]
    return [times[place] for place in reversed(places)]


def backtest_at(
    cutoffs: Sequence[datetime | int],
    spec: Spec,
    rows: pl.LazyFrame,
    *,
    covariates: CovariateRows,
    refit: bool,
    run: Callable[[datetime | int, Keeps], OneShot],
    kernel: KernelName = "auto",
    processes: int | None = None,
    progress: bool | None = None,
) -> Iterator[pl.DataFrame]:
    """Forecast at each cutoff and join the actuals that followed it.

    Args:
        cutoffs: Cutoffs, oldest first.
        spec: What is forecast.
        rows: Rows of `scan_source` or `scan_frame`.
        covariates: Rows of the spec's covariates.
        refit: Whether networks are trained at every cutoff, or at the oldest one alone.
        run: Trains and forecasts at a cutoff, as `forecast_here` does.
        kernel: The implementation of the recurrence.
        processes: Processes of one thread each.
        progress: How progress is shown.

    Yields:
        For each cutoff: unique_id, cutoff (the run's), ds, step, model, is_champion, y, forecast and the quantiles.
    """
    actuals = ingest(spec, rows=rows, covariates=CovariateRows()).features.select("unique_id", "ds", "y")
    fitted: OneShot | None = None
    for cutoff in cutoffs:
        if refit or fitted is None:
            fitted = run(cutoff, Keeps(networks=not refit))
            forecasts = fitted.forecasts
        else:
            known = ingest(spec, rows=rows, covariates=covariates, cutoff=cutoff)
            forecasts = predict_trained(
                spec,
                Trained(fitted.fitted, fitted.priors, fitted.champions, fitted.factors, fitted.trees),
                known,
                kernel=kernel,
                run_calls=predict_here(num_series=len(known.unique_ids), processes=processes, progress=progress),
            )
        dtype = forecasts.schema["ds"]
        # Rows of a series that has ended may lie at or before the cutoff; they forecast no future.
        ahead = forecasts.filter(pl.col("ds") > pl.lit(cutoff, dtype))
        joined = ahead.join(actuals, on=["unique_id", "ds"], how="left")
        yield joined.with_columns(cutoff=pl.lit(cutoff, dtype)).select(
            "unique_id",
            "cutoff",
            "ds",
            "step",
            "model",
            "is_champion",
            "y",
            "forecast",
            *spec.quantile_columns,
        )
