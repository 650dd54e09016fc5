"""Forecast with networks that are already trained, from everything that is known by now.

The module does not import torch; its functions do when they are called, often in another process.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from forecasting.classical.remainder import without_effects
from forecasting.classical.trees import Trees
from forecasting.flow.admissible import calibrate
from forecasting.flow.outcome import FittedShard
from forecasting.series.budget import mark_unserved
from forecasting.series.ingest import Ingested, panel_of
from forecasting.series.panel import Panel
from forecasting.spec.spec import Spec
from forecasting.spec.training import KernelName

if TYPE_CHECKING:
    from forecasting.fleet.fitted import FittedFleet, Prior
    from forecasting.flow.variants import PanelForecast

RunPredictions = Callable[[Sequence[Callable[[], pl.DataFrame]]], Sequence[pl.DataFrame]]
"""Makes calls, and returns their frames in the calls' order."""


@dataclass(frozen=True)
class Trained:
    """Everything besides the data that forecasts of trained networks depend on.

    Attributes:
        shards: Serving networks of each shard.
        priors: Serving priors, for series that came later.
        champions: The serving model of each series.
        factors: Factors that intervals are stretched by.
        trees: The serving trees, as a file; None where the spec has none.
    """

    shards: Sequence[FittedShard]
    priors: Sequence[bytes]
    champions: pl.DataFrame
    factors: pl.DataFrame
    trees: bytes | None


def predict_trained(
    spec: Spec,
    trained: Trained,
    ingested: Ingested,
    *,
    kernel: KernelName = "auto",
    run_calls: RunPredictions | None = None,
) -> pl.DataFrame:
    """Forecast every series of the training and of the data; no network is trained.

    Series that came after the training use the priors directly. Statistical models are fitted to everything known.

    Args:
        spec: What to forecast.
        trained: Networks, champions and calibration.
        ingested: Everything known up to the cutoff.
        kernel: The implementation of the recurrence.
        run_calls: Makes the calls for the shards; one after the other in this process where not given.

    Returns:
        Calibrated forecasts of every candidate, in the columns of that table.
    """
    ingested = ingested.without_ended(spec)
    known = {name for shard in trained.shards for name in shard.unique_ids}
    later = tuple(name for name in ingested.unique_ids if name not in known)
    parts: list[tuple[tuple[str, ...], tuple[bytes, ...], tuple[bytes, ...]]] = [
        (shard.unique_ids, shard.weights, ()) for shard in trained.shards
    ]
    if later:
        parts.append((later, (), tuple(trained.priors)))
    calls = []
    for names, weights, priors in parts:
        panel = panel_of(ingested.features, spec, names, run_cutoff=ingested.cutoff)
        champions = trained.champions.filter(pl.col("unique_id").is_in(names))
        call = partial(predict_fitted_shard, panel, spec, weights, priors, champions, trees=trained.trees)
        calls.append(partial(call, kernel=kernel))
    frames = run_calls(calls) if run_calls is not None else [call() for call in calls]
    return mark_unserved(calibrate(pl.concat(frames), trained.factors, spec), ingested.unserved)


def predict_fitted_shard(
    panel: Panel,
    spec: Spec,
    weights: Sequence[bytes],
    priors: Sequence[bytes],
    champions: pl.DataFrame,
    *,
    trees: bytes | None = None,
    kernel: KernelName = "auto",
) -> pl.DataFrame:
    """Forecast the series of one shard; its forecasts are not calibrated yet.

    Args:
        panel: The series with everything known of them.
        spec: What to forecast.
        weights: Files of their serving networks.
        priors: Files of priors for series without networks.
        champions: The serving model of each series.
        trees: File of the serving trees.
        kernel: The implementation of the recurrence.

    Returns:
        Rows of the table `forecasts`.
    """
    return _forecaster(panel, spec, weights, priors, champions, trees, kernel)(panel)


def forecasters_of(
    spec: Spec, trained: Trained, features: pl.DataFrame, names: Sequence[str], *, cutoff: datetime | int
) -> Iterator[tuple[Panel, pl.DataFrame, "PanelForecast"]]:
    """Yield, for each shard of some series, what is needed to forecast variants of them as `predict_trained` would.

    Args:
        spec: What is forecast.
        trained: Networks, champions and calibration.
        features: Everything known of the series up to the cutoff.
        names: The series.
        cutoff: The cutoff of the forecast.

    Yields:
        The panel, its champions, and a function that forecasts such a panel.
    """
    for own, weights, priors in _parts_of(trained, names):
        panel = panel_of(features, spec, own, run_cutoff=cutoff)
        champions = trained.champions.filter(pl.col("unique_id").is_in(own))
        yield panel, champions, _forecaster(panel, spec, weights, priors, champions, trained.trees, "auto")


_Part = tuple[tuple[str, ...], tuple[bytes, ...], tuple[bytes, ...]]
"""Some series, with the files of their networks and of priors for series without networks."""


def _parts_of(trained: Trained, names: Sequence[str]) -> list[_Part]:
    """Return some series by shard, those that came after the training last."""
    wanted, known = set(names), {name for shard in trained.shards for name in shard.unique_ids}
    parts: list[_Part] = [
        (tuple(name for name in shard.unique_ids if name in wanted), shard.weights, ()) for shard in trained.shards
    ]
    later = tuple(name for name in names if name not in known)
    return [part for part in [*parts, (later, (), tuple(trained.priors))] if part[0]]


def _forecaster(
    panel: Panel,
    spec: Spec,
    weights: Sequence[bytes],
    priors: Sequence[bytes],
    champions: pl.DataFrame,
    trees: bytes | None,
    kernel: KernelName,
) -> Callable[..., pl.DataFrame]:
    """Return a function that forecasts a panel of these series."""
    from forecasting.fleet.fitted import FittedFleet, Prior
    from forecasting.flow.shards import predict_shard

    serving = [FittedFleet.from_bytes(content).select(panel.unique_ids) for content in weights]
    direct = use_priors(panel, [Prior.from_bytes(content) for content in priors], having=series_by_network(serving))
    return partial(
        predict_shard,
        spec=spec,
        serving=serving,
        champions=champions,
        networks=spec.models,
        trees=None if trees is None else Trees.from_bytes(trees),
        kernel=kernel,
        direct=direct,
    )


def use_priors(panel: Panel, priors: Sequence["Prior"], *, having: Mapping[str, set[str]]) -> list["FittedFleet"]:
    """Return the priors as the networks of the series that have none of their own, without effects of covariates.

    Args:
        panel: The series.
        priors: Serving priors of any networks and members.
        having: Series that have a network of their own, by the network's name.

    Returns:
        A fleet per prior that any series uses, in the order of `priors`.
    """
    from forecasting.fleet.prior.direct import use_prior_directly

    if priors:
        panel = without_effects(panel, season_lengths=priors[0].task.season_lengths).panel
    fleets = []
    for prior in priors:
        known = having.get(prior.model, set())
        rows = [row for row, name in enumerate(panel.unique_ids) if name not in known]
        if rows:
            fleets.append(use_prior_directly(prior, panel.select(np.array(rows, dtype=np.int64))))
    return fleets


def series_by_network(fleets: Sequence["FittedFleet"]) -> dict[str, set[str]]:
    """Return the series that have a network of their own, by the network's name."""
    having: dict[str, set[str]] = {}
    for fleet in fleets:
        having.setdefault(fleet.model, set()).update(fleet.unique_ids)
    return having
