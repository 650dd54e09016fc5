"""What follows learning, as pure functions: a panel and fleets in; backtests, champions, forecasts and scores out.

The jobs on a cluster and the one-shot command both run these, shard by shard, so that they cannot differ. Frames carry
the columns of the store's tables without the bookkeeping (spec, run cutoff, run), which the store stamps on.
"""

# S series of a shard · F horizon steps · Q quantiles

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.classical.baselines import NAIVE, can_serve, seasonal_naive, seasonal_naive_name
from forecasting.classical.combination import COMBINATION, combine
from forecasting.evaluate import backtest as rolling
from forecasting.evaluate import conformal
from forecasting.evaluate.champion import choose_champions
from forecasting.evaluate.conformal import count_ratios
from forecasting.evaluate.dependence import SUMS, count_products
from forecasting.evaluate.metrics import score_forecasts
from forecasting.evaluate.yardstick import yardsticks
from forecasting.fleet.fitted import FittedFleet
from forecasting.fleet.predict import find_unseen, predict
from forecasting.flow.learn import origins_of
from forecasting.flow.serving import (
    Block,
    Quantiles,
    admissible,
    combinable,
    forecast_frame,
    serve,
    versions_of,
    with_combination,
)
from forecasting.flow.statistics_choice import statistics_forecasters
from forecasting.series.panel import Panel
from forecasting.spec.spec import STATISTICS, Spec
from forecasting.spec.training import KernelName

MEMBER_MARK = "/"
"""Between the name of a network and the number of its member."""


class ShardResult(NamedTuple):
    """Everything that one shard of a one-shot forecast returns.

    Attributes:
        forecasts: rows of the table `forecasts`, not calibrated yet.
        backtests: rows of the table `backtests`.
        champions: rows of the table `champions`.
        ratios: counts for the calibration (`evaluate.conformal`).
        products: sums for the correlations of sample paths (`evaluate.dependence`).
    """

    forecasts: pl.DataFrame
    backtests: pl.DataFrame
    champions: pl.DataFrame
    ratios: pl.DataFrame
    products: pl.DataFrame


class Backtested(NamedTuple):
    """What backtests of a shard leave: scores, champions, and what the driver adds up over shards.

    `ratios` are counts for the calibration (`evaluate.conformal`), `products` sums for the correlations of sample paths
    (`evaluate.dependence`), without rows where the spec asks for no paths.
    """

    backtests: pl.DataFrame
    champions: pl.DataFrame
    ratios: pl.DataFrame
    products: pl.DataFrame


def backtest_shard(
    panel: Panel,
    spec: Spec,
    candidates: Sequence[FittedFleet],
    *,
    networks: Sequence[str],
    kernel: KernelName = "auto",
) -> Backtested:
    """Score candidates, statistical models and seasonal naives at rolling origins and choose each series' champion."""
    statistics = statistics_forecasters(spec, panel.length_S)
    ratios: list[pl.DataFrame] = []
    products = [pl.DataFrame(schema=SUMS)]

    def inspect(points: pl.DataFrame) -> None:
        ratios.append(count_ratios(points, quantiles=spec.quantiles))
        if spec.paths:
            products.append(count_products(points, quantiles=spec.quantiles, horizon=spec.horizon))

    backtests = rolling.backtest(
        panel,
        forecasters=_baselines(spec) | statistics | _members(candidates, kernel),
        origins_SJ=origins_of(panel, spec),
        quantiles=spec.quantiles,
        season_length=spec.season_lengths[0],
        assemble=partial(_assemble, spec, networks),
        inspect=inspect,
    )
    champions = choose_champions(
        backtests,
        unique_ids=panel.unique_ids,
        networks=networks,
        season_lengths=spec.season_lengths,
        margin=spec.backtest.margin,
        unavailable=_unavailable(panel, spec, candidates, networks),
        alone=networks[0] if len(networks) == 1 else None,
        statistics=tuple(statistics),
        combinable=combinable(panel, spec, networks),
    )
    return Backtested(backtests, champions, pl.concat(ratios), pl.concat(products))


def predict_shard(
    panel: Panel,
    spec: Spec,
    serving: Sequence[FittedFleet],
    champions: pl.DataFrame,
    *,
    networks: Sequence[str],
    kernel: KernelName = "auto",
    lent: Sequence[FittedFleet] = (),
    versions: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Forecast every series of a shard with every requested network, its statistical models and seasonal naives.

    Each series has exactly one model with `is_champion`; where the chosen one has no forecast, the simplest model
    that can serve stands in and `reason` says why. `lent` are networks of a prior for series that have none of
    their own (`forecasting.fleet.prior.lending`): what was chosen among networks is void for them, and without a
    champion the combination serves, if every network has a forecast. `versions` (unique_id, model, version) are the
    registry's; where they are not given, the weights tell them.
    """
    fleets = [*serving, *lent]
    # What was chosen among networks that a series has no more says nothing of those that it is lent.
    borrowers = {name for fleet in lent for name in fleet.unique_ids}
    is_void = pl.col("unique_id").is_in(borrowers) & pl.col("model").is_in([*networks, COMBINATION])
    champions = champions.filter(~is_void)
    crowned = dict(champions.select("unique_id", "model").iter_rows())
    is_crowned = {
        model: np.array([crowned.get(name) == model for name in panel.unique_ids], dtype=bool) for model in STATISTICS
    }
    statistics = statistics_forecasters(spec, panel.length_S, also=is_crowned)
    forecasters = _baselines(spec) | statistics | _members(fleets, kernel)
    told = {name: forecaster(panel) for name, forecaster in forecasters.items()}
    forecasts = _assemble(spec, networks, told)
    del told
    able: dict[str, npt.NDArray[np.bool_]] = {
        model: np.asarray(np.isfinite(quantiles_SFQ).all((1, 2))) for model, quantiles_SFQ in forecasts.items()
    }
    blocks = [
        Block(
            model, np.flatnonzero(is_able_S), forecasts[model][is_able_S] if not is_able_S.all() else forecasts[model]
        )
        for model, is_able_S in able.items()
    ]
    served, stand_ins = serve(panel, spec, champions, able, networks, borrowers=borrowers)
    if versions is None:
        versions = versions_of(fleets, panel)
    described = with_combination(versions).join(
        _describe_unseen(panel, fleets), on=["unique_id", "model"], how="full", coalesce=True
    )
    return forecast_frame(panel, spec, blocks + stand_ins, served, described)


def calibrate(forecasts: pl.DataFrame, factors: pl.DataFrame, spec: Spec) -> pl.DataFrame:
    """Stretch every model's intervals as the fleet's backtests say (`evaluate.conformal`), within what y can be."""
    stretched = conformal.calibrate(forecasts, factors, quantiles=spec.quantiles)
    admissible = [pl.col(name) for name in spec.quantile_columns]
    if spec.integer_valued:
        admissible = [column.round() for column in admissible]
    if spec.lower_bound is not None:
        least = math.ceil(spec.lower_bound) if spec.integer_valued else spec.lower_bound
        admissible = [column.clip(lower_bound=least) for column in admissible]
    return stretched.with_columns(admissible)


def score(
    panel: Panel,
    forecasts: pl.DataFrame,
    spec: Spec,
    *,
    run_cutoff: datetime | int,
    forecast_run_cutoff: datetime | int | None = None,
) -> pl.DataFrame:
    """Score the forecasts of one earlier run against a panel that has since grown to `run_cutoff`.

    Returns one row per series and model that forecast a point at or before `run_cutoff`, in the columns of `scores`;
    points that stayed gaps count for nothing. MASE and MSIS are scaled by what was known at the forecast's own cutoff,
    and Naive2 knows no more.

    A forecast `is_complete` when its series has a measurement at or after its last ds; until then later runs score it
    anew, since data may lag. So that a series which has ended is not waited for for ever, it is complete without one
    two horizons after the run that forecast it: one for the points to pass, one for their actuals to come in. That
    run's cutoff is `forecast_run_cutoff`, or the series' own cutoff where it is not given.
    """
    measured = panel_frame(panel)
    last_measured = measured.group_by("unique_id").agg(last_measured=pl.col("ds").max())
    made_at = pl.col("cutoff") if forecast_run_cutoff is None else pl.lit(forecast_run_cutoff, panel.clock_dtype)
    has_arrived = (pl.col("last_measured") >= pl.col("last_ds")).fill_null(False)
    is_given_up = made_at + 2 * (pl.col("last_ds") - pl.col("cutoff")) <= run_cutoff
    totals = (
        forecasts.group_by("unique_id", "model")
        .agg(pl.col("cutoff").first(), pl.col("is_champion").first(), last_ds=pl.col("ds").max())
        .join(last_measured, on="unique_id", how="left")
        .with_columns(is_complete=has_arrived | is_given_up)
        .drop("last_ds", "last_measured")
    )
    arrived = forecasts.filter(pl.col("ds") <= run_cutoff)
    measures = _yardsticks_at(panel, totals.select("unique_id", "cutoff").unique(), spec)
    points = arrived.join(measured, on=["unique_id", "ds"], how="left").join(
        measures.select("unique_id", "ds", "naive2"), on=["unique_id", "ds"], how="left"
    )
    scale = measures.select("unique_id", "scale").unique("unique_id")
    scored = score_forecasts(points, quantiles=spec.quantiles, scale=scale)
    return scored.join(totals, on=["unique_id", "model"]).sort("unique_id", "model")


def panel_frame(panel: Panel) -> pl.DataFrame:
    """Return the panel's observed points as a frame: unique_id, ds, y."""
    is_observed_SN = np.isfinite(panel.y_SN)
    rows, columns = np.nonzero(is_observed_SN)
    return pl.DataFrame(
        {
            "unique_id": pl.Series(panel.unique_ids, dtype=pl.String).gather(rows),
            "ds": pl.Series(panel.ds_SN[rows, columns]),
            "y": panel.y_SN[rows, columns],
        }
    )


def _baselines(spec: Spec) -> dict[str, Callable[[Panel], Quantiles]]:
    return {
        seasonal_naive_name(length): partial(seasonal_naive, season_length=length, quantiles=spec.quantiles)
        for length in spec.season_lengths
    }


def _assemble(spec: Spec, networks: Sequence[str], told: Mapping[str, Quantiles]) -> dict[str, Quantiles]:
    """Make models of what members and others say: a network is the median of its members, each quantile by itself.

    The combination is of all that is told; it needs every network of the spec, and of a series more than naives.
    """
    members: dict[str, list[Quantiles]] = {}
    for name, quantiles_SFQ in told.items():
        members.setdefault(name.partition(MEMBER_MARK)[0], []).append(quantiles_SFQ)
    models = {model: _median(each) for model, each in members.items()}
    others = [name for name in told if name not in _baselines(spec)]
    if others and set(spec.models) <= set(networks):
        has_more_S = np.any([np.isfinite(told[name][:, 0, 0]) for name in others], axis=0)
        combined_SFQ = combine(told, networks={name for name in told if MEMBER_MARK in name})
        models[COMBINATION] = np.where(has_more_S[:, None, None], combined_SFQ, np.nan)
    return {model: admissible(quantiles_SFQ, spec) for model, quantiles_SFQ in models.items()}


def _unavailable(
    panel: Panel, spec: Spec, candidates: Sequence[FittedFleet], networks: Sequence[str]
) -> dict[tuple[str, str], str]:
    """Say for each series and model that has no forecast why not."""
    reasons: dict[tuple[str, str], str] = {}
    trained = {(name, fleet.model) for fleet in candidates for name in fleet.unique_ids}
    refused = {(r.unique_id, fleet.model): r.reason for fleet in candidates for r in fleet.refused}
    for network in networks:
        for name in panel.unique_ids:
            if (name, network) not in trained:
                reasons[name, network] = refused.get((name, network), f"{network} was not trained for series '{name}'")
    needs = {seasonal_naive_name(length): length for length in spec.season_lengths} | {NAIVE: 0}
    for model, length in needs.items():
        for name, is_able in zip(panel.unique_ids, can_serve(panel, season_length=length), strict=True):
            if not is_able:
                reasons[name, model] = f"series '{name}' has too few observed points for {model}"
    return reasons


def _describe_unseen(panel: Panel, serving: Sequence[FittedFleet]) -> pl.DataFrame:
    """Say for each series which categories its networks had not seen in training: unique_id, model, unseen."""
    found: dict[tuple[str, str], set[str]] = {}
    for fleet in serving:
        for name, values in find_unseen(fleet, panel).items():
            for model in (fleet.model, COMBINATION):
                found.setdefault((name, model), set()).update(f"{category} '{value}'" for category, value in values)
    rows = [(name, model, sorted(told)) for (name, model), told in found.items()]
    schema: dict[str, Any] = {"unique_id": pl.String, "model": pl.String, "unseen": pl.List(pl.String)}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _members(fleets: Sequence[FittedFleet], kernel: KernelName) -> dict[str, Callable[[Panel], Quantiles]]:
    """Return a forecaster for each member of each network among the fleets; its series may lie in several of them."""
    parts: dict[str, list[FittedFleet]] = {}
    for fleet in fleets:
        parts.setdefault(f"{fleet.model}{MEMBER_MARK}{fleet.member}", []).append(fleet)
    return {name: partial(_forecast_member, parts[name], kernel=kernel) for name in sorted(parts)}


def _forecast_member(fleets: Sequence[FittedFleet], panel: Panel, *, kernel: KernelName) -> Quantiles:
    result_SFQ = predict(fleets[0], panel, kernel=kernel)
    for fleet in fleets[1:]:
        quantiles_SFQ = predict(fleet, panel, kernel=kernel)
        result_SFQ = np.where(np.isfinite(quantiles_SFQ), quantiles_SFQ, result_SFQ)
    return result_SFQ


def _median(member_KSFQ: Sequence[Quantiles]) -> Quantiles:
    """Return the median over members of each quantile; a member without a forecast of a series has no say there."""
    if len(member_KSFQ) == 1:
        return member_KSFQ[0]
    is_able_SK = np.stack([np.isfinite(each_SFQ[:, 0, 0]) for each_SFQ in member_KSFQ], axis=1)
    result_SFQ = np.full_like(member_KSFQ[0], np.nan)
    for able_K in np.unique(is_able_SK, axis=0):
        if able_K.any():
            rows = np.flatnonzero((is_able_SK == able_K).all(1))
            told = [each_SFQ[rows] for each_SFQ, is_able in zip(member_KSFQ, able_K, strict=True) if is_able]
            result_SFQ[rows] = np.median(told, axis=0)
    return result_SFQ


def _yardsticks_at(panel: Panel, cutoffs: pl.DataFrame, spec: Spec) -> pl.DataFrame:
    """Return what each series' forecast is measured against, as it was at its cutoff."""
    cutoff_of = dict(cutoffs.iter_rows())
    rows = np.array([row for row, name in enumerate(panel.unique_ids) if name in cutoff_of], dtype=np.int64)
    grown = panel.select(rows)
    cutoff_S1 = pl.Series([cutoff_of[name] for name in grown.unique_ids], dtype=panel.clock_dtype).to_numpy()[:, None]
    num_later_S = np.count_nonzero(grown.ds_SN[:, : grown.y_SN.shape[1]] > cutoff_S1, axis=1)
    known = [grown.select(np.flatnonzero(num_later_S == num)).until(int(num)) for num in np.unique(num_later_S)]
    return pl.concat(yardsticks(part, season_length=spec.season_lengths[0]) for part in known or [grown])
