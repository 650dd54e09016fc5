"""What follows learning, as pure functions: a panel and fleets in; backtests, champions, forecasts and scores out.

The jobs on a cluster and the one-shot command both run these, shard by shard, so that they cannot differ. Frames carry
the columns of the store's tables without the bookkeeping (spec, run cutoff, run), which the store stamps on.
"""

# S series of a shard · F horizon steps · Q quantiles

import math
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.evaluate import backtest as rolling
from forecasting.evaluate import conformal
from forecasting.evaluate.baselines import (
    NAIVE,
    NONE,
    can_serve,
    seasonal_naive,
    seasonal_naive_name,
    serve_simplest,
)
from forecasting.evaluate.champion import choose_champions
from forecasting.evaluate.combination import COMBINATION, combine
from forecasting.evaluate.conformal import count_ratios
from forecasting.evaluate.dependence import SUMS, count_products
from forecasting.evaluate.metrics import score_forecasts
from forecasting.evaluate.yardstick import yardsticks
from forecasting.fleet.fitted import FittedFleet
from forecasting.fleet.plan import required_length
from forecasting.fleet.predict import find_unseen, predict
from forecasting.learn import origins_of
from forecasting.recipes import configure
from forecasting.series.panel import Panel
from forecasting.spec import STATISTICS, Spec
from forecasting.statistics_choice import statistics_forecasters
from forecasting.training import KernelName

MEMBER_MARK = "/"
"""Between the name of a network and the number of its member."""

Quantiles = npt.NDArray[np.float64]
"""Shape (S, F, Q), in units of y, rising along Q; NaN where a model has nothing to say about a series."""


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
        combinable=_combinable(panel, spec, networks),
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
    versions: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Forecast every series of a shard with every requested network, its statistical models and seasonal naives.

    Each series has exactly one model with `is_champion`; where the chosen one has no forecast, the simplest model
    that can serve stands in and `reason` says why. A series without a champion is served by the combination, if
    every network has a forecast of it: its own, or what was lent by a prior (`forecasting.fleet.lending`).
    `versions` (unique_id, model, version) are the registry's; where they are not given, the weights tell them.
    """
    crowned = dict(champions.select("unique_id", "model").iter_rows())
    is_crowned = {
        model: np.array([crowned.get(name) == model for name in panel.unique_ids], dtype=bool) for model in STATISTICS
    }
    statistics = statistics_forecasters(spec, panel.length_S, also=is_crowned)
    forecasters = _baselines(spec) | statistics | _members(serving, kernel)
    told = {name: forecaster(panel) for name, forecaster in forecasters.items()}
    forecasts = _assemble(spec, networks, told)
    del told
    able: dict[str, npt.NDArray[np.bool_]] = {
        model: np.asarray(np.isfinite(quantiles_SFQ).all((1, 2))) for model, quantiles_SFQ in forecasts.items()
    }
    blocks = [
        _Block(
            model, np.flatnonzero(is_able_S), forecasts[model][is_able_S] if not is_able_S.all() else forecasts[model]
        )
        for model, is_able_S in able.items()
    ]
    served, stand_ins = _serve(panel, spec, champions, able, networks)
    if versions is None:
        versions = _versions(serving, panel)
    described = _with_combination(versions).join(
        _describe_unseen(panel, serving), on=["unique_id", "model"], how="full", coalesce=True
    )
    return _forecast_frame(panel, spec, blocks + stand_ins, served, described)


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


def admissible(values: Quantiles, spec: Spec) -> Quantiles:
    """Return what the spec's y can be, of any shape: counts are whole numbers, and nothing is below the bound."""
    if spec.integer_valued:
        values = np.rint(values)
    if spec.lower_bound is None:
        return values
    return np.maximum(values, np.ceil(spec.lower_bound) if spec.integer_valued else spec.lower_bound)


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


_NEW = "no model has been chosen for the series yet; until a training compares them, the combination of all serves"
_VERSIONS = {"unique_id": pl.String, "model": pl.String, "version": pl.String}


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


def _combinable(panel: Panel, spec: Spec, networks: Sequence[str]) -> Set[str]:
    """Return the series that are long enough for the combination at their end; their values must differ, too."""
    if not set(spec.models) <= set(networks):
        return frozenset()
    is_long_S = panel.length_S >= required_length(configure(spec), horizon=spec.horizon)
    least_S, most_S = (
        pick.reduce(np.where(np.isfinite(panel.y_SN), panel.y_SN, empty), axis=1)
        for pick, empty in ((np.minimum, np.inf), (np.maximum, -np.inf))
    )
    return frozenset(panel.unique_ids[row] for row in np.flatnonzero(is_long_S & (least_S < most_S)))


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


class _Block(NamedTuple):
    """One model's forecasts of some series, rows of the panel; R counts them."""

    model: str
    rows_R: npt.NDArray[np.int64]
    quantiles_RFQ: Quantiles


def _serve(
    panel: Panel,
    spec: Spec,
    champions: pl.DataFrame,
    able: Mapping[str, npt.NDArray[np.bool_]],
    networks: Sequence[str],
) -> tuple[pl.DataFrame, list[_Block]]:
    """Return model and reason of what serves each series, and the forecasts that stand in where `able` has none."""
    alone = networks[0] if len(networks) == 1 else None
    chosen = pl.DataFrame({"unique_id": panel.unique_ids}, schema={"unique_id": pl.String}).join(
        champions.select("unique_id", "model", "baseline", "is_fallback", "reason"),
        on="unique_id",
        how="left",
        maintain_order="left",
    )
    nobody_S = np.zeros(chosen.height, dtype=bool)
    serves_alone_S = able.get(alone or "", nobody_S)
    is_usable_S = nobody_S.copy()
    for model, is_able_S in able.items():
        is_usable_S |= is_able_S & (chosen["model"] == model).fill_null(value=False).to_numpy()
    # A champion needs a reason where it only stands in, or is not the network that was asked for.
    is_told_S = is_usable_S & ~serves_alone_S & (chosen["is_fallback"].fill_null(value=False).to_numpy() | bool(alone))
    combinable = _combinable(panel, spec, networks) if spec.backtest.margin < 0 else frozenset()
    is_new_S = chosen["model"].is_null().to_numpy() & [name in combinable for name in panel.unique_ids]
    for is_able_S in (~serves_alone_S, *(able.get(model, nobody_S) for model in (*networks, COMBINATION))):
        is_new_S &= is_able_S
    served = chosen.select(
        model=pl.when(pl.lit(pl.Series(serves_alone_S)))
        .then(pl.lit(alone, pl.String))
        .when(pl.lit(pl.Series(is_new_S)))
        .then(pl.lit(COMBINATION))
        .otherwise("model"),
        reason=pl.when(pl.lit(pl.Series(is_told_S)))
        .then("reason")
        .when(pl.lit(pl.Series(is_new_S)))
        .then(pl.lit(_NEW)),
    )
    rows = np.flatnonzero(~(is_usable_S | serves_alone_S | is_new_S))
    if not len(rows):
        return served, []
    simplest_RFQ, simplest_R, why_R = serve_simplest(
        panel.select(rows), season_lengths=spec.season_lengths, quantiles=spec.quantiles
    )
    decided = [
        _stand_in(champion, {model for model, is_able_S in able.items() if is_able_S[row]}, simplest, why)
        for row, champion, simplest, why in zip(
            rows, chosen[rows].iter_rows(named=True), simplest_R, why_R, strict=True
        )
    ]
    models_R, reasons_R = (pl.Series(values, dtype=pl.String) for values in zip(*decided, strict=True))
    served = served.with_columns(
        model=served["model"].scatter(rows, models_R), reason=served["reason"].scatter(rows, reasons_R)
    )
    simplest_RFQ = admissible(simplest_RFQ, spec)
    blocks = []
    for model in models_R.unique().sort():
        is_due_R = (models_R == model).to_numpy() & ~able.get(model, nobody_S)[rows]
        blocks.append(_Block(model, rows[is_due_R], simplest_RFQ[is_due_R]))
    return served, blocks


def _stand_in(
    chosen: Mapping[str, Any], available: Set[str], simplest: str, why_simplest: str | None
) -> tuple[str, str | None]:
    """Return the model that serves a series whose champion cannot, and the reason."""
    if chosen["model"] is None:
        return simplest, f"{simplest} stands in: the series has no champion yet; train first"
    if simplest == NONE:
        return simplest, why_simplest
    if chosen["baseline"] in available:
        simplest = chosen["baseline"]
    if chosen["model"] == simplest:
        return simplest, "; ".join(reason for reason in (why_simplest, chosen["reason"]) if reason)
    return simplest, f"{simplest} stands in: champion {chosen['model']} has no usable forecast ({chosen['reason']})"


def join_versions(versions: pl.DataFrame) -> pl.DataFrame:
    """Return one version for each series and model (unique_id, model, version): its members' in order, joined by +."""
    return (
        versions.drop_nulls("version")
        .unique(["unique_id", "model", "member"], keep="last")
        .sort("unique_id", "model", "member")
        .group_by("unique_id", "model", maintain_order=True)
        .agg(pl.col("version").str.join("+"))
    )


def _versions(serving: Sequence[FittedFleet], panel: Panel) -> pl.DataFrame:
    parts = [fleet.select(panel.unique_ids) for fleet in serving]
    frames = [
        pl.DataFrame({"unique_id": part.unique_ids, "version": part.versions()}, schema_overrides=_VERSIONS).select(
            "unique_id", "version", model=pl.lit(part.model), member=pl.lit(part.member)
        )
        for part in parts
        if part.unique_ids
    ]
    return join_versions(pl.concat(frames)) if frames else pl.DataFrame(schema=_VERSIONS)


def _with_combination(versions: pl.DataFrame) -> pl.DataFrame:
    """Add the combination's version of each series: those of its networks, joined by +."""
    joined = versions.sort("unique_id", "model").group_by("unique_id", maintain_order=True)
    combined = joined.agg(pl.col("version").str.join("+")).with_columns(model=pl.lit(COMBINATION))
    return pl.concat([versions, combined.select(versions.columns)])


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


def _forecast_frame(
    panel: Panel, spec: Spec, blocks: Sequence[_Block], served: pl.DataFrame, described: pl.DataFrame
) -> pl.DataFrame:
    """Lay blocks of forecasts out as rows, sorted by series, model and time.

    `described` says of series and models their version, and what their networks had not seen.
    """
    horizon = spec.horizon
    rows_P = np.concatenate([block.rows_R for block in blocks])
    ids = pl.Series(panel.unique_ids, dtype=pl.String)
    models = [pl.repeat(block.model, len(block.rows_R), dtype=pl.String, eager=True) for block in blocks]
    parts = pl.DataFrame({"row": rows_P, "unique_id": ids.gather(rows_P), "model": pl.concat(models)})
    order_P = parts.select(pl.arg_sort_by("unique_id", "model")).to_series().to_numpy()
    place_P = np.empty_like(order_P)
    place_P[order_P] = np.arange(len(order_P))
    quantiles_QPF = np.empty((len(spec.quantiles), len(order_P), horizon))
    end = 0
    for block in blocks:
        begin, end = end, end + len(block.rows_R)
        quantiles_QPF[:, place_P[begin:end]] = block.quantiles_RFQ.transpose(2, 0, 1)
    rows_P = rows_P[order_P]
    champion = pl.col("model") == served["model"].gather(rows_P)
    parts = (
        parts[order_P]
        .with_columns(
            cutoff=pl.Series(panel.last_ds[rows_P], dtype=panel.clock_dtype),
            is_champion=champion,
            reason=pl.when(champion).then(served["reason"].gather(rows_P)),
        )
        .join(described, on=["unique_id", "model"], how="left", maintain_order="left")
    )
    points = np.repeat(np.arange(parts.height), horizon)
    repeated = parts.select("unique_id", "model", "cutoff", "is_champion", "reason", "unseen", model_version="version")[
        points
    ]
    columns = {
        name: pl.Series(values_PF.reshape(-1)).fill_nan(None)
        for name, values_PF in zip(spec.quantile_columns, quantiles_QPF, strict=True)
    }
    return repeated.with_columns(
        ds=pl.Series(panel.ds_SN[rows_P, -horizon:].reshape(-1), dtype=panel.clock_dtype),
        step=pl.Series(np.tile(np.arange(1, horizon + 1), parts.height), dtype=pl.Int32),
        forecast=columns["q50"],
        **columns,
    )


def _yardsticks_at(panel: Panel, cutoffs: pl.DataFrame, spec: Spec) -> pl.DataFrame:
    """Return what each series' forecast is measured against, as it was at its cutoff."""
    cutoff_of = dict(cutoffs.iter_rows())
    rows = np.array([row for row, name in enumerate(panel.unique_ids) if name in cutoff_of], dtype=np.int64)
    grown = panel.select(rows)
    cutoff_S1 = pl.Series([cutoff_of[name] for name in grown.unique_ids], dtype=panel.clock_dtype).to_numpy()[:, None]
    num_later_S = np.count_nonzero(grown.ds_SN[:, : grown.y_SN.shape[1]] > cutoff_S1, axis=1)
    known = [grown.select(np.flatnonzero(num_later_S == num)).until(int(num)) for num in np.unique(num_later_S)]
    return pl.concat(yardsticks(part, season_length=spec.season_lengths[0]) for part in known or [grown])
