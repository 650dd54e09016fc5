"""Effects: how the forecasts of a fleet respond to a covariate that is moved over its range."""

# S series · F horizon steps · K covariates

import difflib
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.errors import DataWarning, SpecError
from forecasting.flow.variants import PanelForecast, Variants
from forecasting.series.covariate_names import code_of, is_coded
from forecasting.series.panel import Panel
from forecasting.spec.spec import Spec

NUM_VALUES = 7
"""Values of a grid that is not given, for covariates of more than two values."""
_RANGE = (0.05, 0.95)
"""Quantiles of the known values that such a grid spans."""


@dataclass(frozen=True)
class Grid:
    """Values that a covariate is moved to.

    Attributes:
        covariate: Its name.
        shown: The values as they were given.
        numbers: The same as panels have them.
    """

    covariate: str
    shown: tuple[Any, ...]
    numbers: tuple[float, ...]


def make_grid(covariate: str, values: Iterable[Any] | None, known: pl.Series, spec: Spec) -> Grid:
    """Check the values that a covariate is moved to, or choose them.

    Args:
        covariate: Name of the covariate.
        values: The values: numbers, booleans or names. Without any, both of two known values, or else seven from the
            5 % to the 95 % quantile of the known ones.
        known: Its known values, some of which may be null.
        spec: Has the covariates.

    Returns:
        The grid, without repeats.

    Raises:
        SpecError: The covariate is unknown, or the values cannot be its own.
    """
    names = spec.covariates.known_ahead
    if covariate not in names:
        meant = difflib.get_close_matches(covariate, names, n=1)
        listed = f": it must be {', '.join(names)}" if names else ", and none is"
        hint = f"; is '{meant[0]}' meant?" if meant else listed
        raise SpecError("effects", [f"'{covariate}' is not a covariate that is known ahead{hint}"])
    past = known.drop_nulls().to_numpy()
    has_names = is_coded(past)
    if values is None:
        if has_names:
            raise SpecError("effects", [f"covariate '{covariate}' has names; grid must list those to compare"])
        numbers = _usual_values(past)
        if len(numbers) < 2:
            raise SpecError("effects", [f"covariate '{covariate}' is constant; grid must list values to compare"])
        return Grid(covariate, tuple(numbers), tuple(numbers))
    shown = list(dict.fromkeys(one.item() if hasattr(one, "item") else one for one in values))
    problems = [
        f"grid has {one!r}, but covariate '{covariate}' has {'names' if has_names else 'numbers'}"
        for one in shown
        if isinstance(one, str) != has_names or not (isinstance(one, str) or _is_number(one))
    ]
    if not problems and len(shown) < 2:
        problems = [f"grid has {len(shown)} value, but needs at least two different ones to compare"]
    if problems:
        raise SpecError("effects", problems)
    numbers = [code_of(one) if isinstance(one, str) else float(one) for one in shown]
    if not has_names and past.size:
        lowest, highest = float(past.min()), float(past.max())
        if outside := [one for one in numbers if not lowest <= one <= highest]:
            warnings.warn(
                f"grid has {outside[0]:g}, outside of the known values of covariate '{covariate}', {lowest:g} to"
                f" {highest:g}; what the models make of it is extrapolated",
                DataWarning,
                stacklevel=4,
            )
    if has_names and (unseen := [one for one in shown if code_of(one) not in past]):
        raise SpecError("effects", [f"grid has {unseen[0]!r}, which covariate '{covariate}' never had"])
    return Grid(covariate, tuple(shown), tuple(numbers))


def respond(panel: Panel, spec: Spec, grid: Grid, *, forecast: PanelForecast) -> pl.DataFrame:
    """Forecast the series of a panel with a covariate at each value of a grid, over the whole horizon.

    Args:
        panel: The series, up to the cutoff.
        spec: What is forecast.
        grid: The covariate and its values.
        forecast: Forecasts the panel.

    Returns:
        unique_id, place in the grid and forecast, the mean over the steps.
    """
    variants = Variants(panel, spec, forecast)
    place_of = spec.covariate_names.index(grid.covariate)
    found = variants.forecast(_moved(panel, place_of, number) for number in grid.numbers)
    ids = variants.served.select("unique_id")
    frames = [ids.with_columns(place=pl.lit(place, pl.Int64), forecast=values) for place, values in enumerate(found)]
    return pl.concat(frames).group_by("unique_id", "place", maintain_order=True).agg(pl.col("forecast").mean())


def summarise(responses: pl.DataFrame, grid: Grid) -> pl.DataFrame:
    """Average the responses of a fleet.

    Args:
        responses: What `respond` returns for all series.
        grid: The grid.

    Returns:
        One row per value, in the grid's order: value; mean_forecast; difference, the mean of forecasts minus those at
        the first value; relative_difference, the mean of these in shares of the series' forecast at the first value;
        agreeing, the share of series whose difference has the sign of the mean one, null for the first value; and
        num_series.
    """
    first = responses.filter(pl.col("place") == 0).select("unique_id", first="forecast")
    compared = responses.join(first, on="unique_id").with_columns(difference=pl.col("forecast") - pl.col("first"))
    share = pl.when(pl.col("first") != 0).then(pl.col("difference") / pl.col("first").abs())
    mean = pl.col("difference").mean()
    agreeing = (pl.col("difference").sign() == mean.sign()) & (mean != 0)
    rows = compared.group_by("place").agg(
        mean_forecast=pl.col("forecast").mean(),
        difference=mean,
        relative_difference=share.mean(),
        agreeing=pl.when(pl.col("place").first() > 0).then(agreeing.mean()),
        num_series=pl.len().cast(pl.Int64),
    )
    values = pl.DataFrame({"place": range(len(grid.shown)), "value": list(grid.shown)}, strict=False)
    return values.join(rows, on="place", how="left").sort("place").drop("place")


def _moved(panel: Panel, place: int, number: float) -> Panel:
    assert panel.covariate_SNK is not None, "a spec with covariates has panels with them"
    covariate_SNK = panel.covariate_SNK.copy()
    covariate_SNK[:, -panel.horizon :, place] = number
    return replace(panel, covariate_SNK=covariate_SNK)


def _usual_values(past: npt.NDArray[np.float64]) -> list[float]:
    different = np.unique(past)
    if len(different) <= 2:
        return [float(one) for one in different]
    lowest, highest = np.quantile(past, _RANGE)
    if lowest == highest:  # nearly always the same value
        lowest, highest = different[0], different[-1]
    return [float(one) for one in np.linspace(lowest, highest, NUM_VALUES)]


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float)) and bool(np.isfinite(value))
