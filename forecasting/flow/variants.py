"""Forecasts of variants of a panel, which differ over the horizon alone, by the serving models of its series."""

# S series · F horizon steps · R rows of the forecast

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.classical.combination import Quantiles
from forecasting.classical.ridge import forecast_ridge_variants
from forecasting.series.panel import Panel
from forecasting.spec.spec import Spec

RIDGE = "ridge"
MOST_TOGETHER = 16
"""Variants that are in memory at once."""
_KEY = ("unique_id", "ds", "step", "cutoff", "model")

Values = npt.NDArray[np.float64]


class PanelForecast(Protocol):
    """Forecasts a panel with the serving models of its series, as `predict_shard` does."""

    def __call__(self, panel: Panel, *, known: dict[Any, Quantiles]) -> pl.DataFrame:
        """Return rows of `forecasts`; forecasts of some models may be known already."""
        ...


class Variants:
    """Forecasts a panel once, and then variants of it, with the models and equations of the panel itself.

    Args:
        panel: The series, up to the cutoff.
        spec: What is forecast.
        forecast: Forecasts the panel.

    Attributes:
        served: The forecasts of serving models that have a value: unique_id, ds, step, cutoff, model, forecast, and
            zone where there is one; sorted by series and step.
    """

    def __init__(self, panel: Panel, spec: Spec, forecast: PanelForecast) -> None:
        self._panel, self._spec, self._forecast = panel, spec, forecast
        self._known: dict[Any, Quantiles] = {}
        self.served = _served(forecast(panel, known=self._known))

    def forecast(self, variants: Iterable[Panel]) -> list[Values]:
        """Forecast variants of the panel, a few at a time.

        Args:
            variants: Panels with other covariates or another calendar over the horizon.

        Returns:
            The forecasts of each, in the order of `served`.
        """
        found: list[Values] = []
        left = iter(variants)
        while some := list(islice(left, MOST_TOGETHER)):
            ridge = self._ridge(some)
            known = [self._known | ({RIDGE: ridge[place]} if ridge else {}) for place in range(len(some))]
            frames = [self._forecast(variant, known=each) for variant, each in zip(some, known, strict=True)]
            found += [_served(frame)["forecast"].to_numpy() for frame in frames]
        return found

    def _ridge(self, variants: Sequence[Panel]) -> list[Quantiles]:
        """Return the forecasts of variants by the ridge regression that is fitted to the panel; none without it."""
        if RIDGE not in self._spec.chosen_regressions:
            return []
        lengths, quantiles = self._spec.season_lengths, self._spec.quantiles
        return forecast_ridge_variants([self._panel, *variants], season_lengths=lengths, quantiles=quantiles)[1:]


def _served(rows: pl.DataFrame) -> pl.DataFrame:
    served = rows.filter(pl.col("is_champion"), pl.col("forecast").is_not_null()).sort("unique_id", "step")
    return served.select(*_KEY, *(["zone"] if "zone" in rows.columns else []), "forecast")
