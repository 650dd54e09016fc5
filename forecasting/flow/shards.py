"""Backtest, forecast and calibrate the series of one shard, as pure functions.

The jobs on a cluster and the one-shot command both call these functions, so that their results cannot differ. Frames
have the columns of the store's tables without the bookkeeping (spec, run cutoff, run), which the store adds.
"""

# S series of a shard · K members · F horizon steps · Q quantiles

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.classical.baselines import NAIVE, can_forecast, naive_of_young, seasonal_naive, seasonal_naive_name
from forecasting.classical.combination import COMBINATION, Quantiles, combine
from forecasting.classical.remainder import WithEffects
from forecasting.classical.statistics import NEED_A_SEASON
from forecasting.classical.trees import Trees
from forecasting.evaluate import backtest as rolling
from forecasting.evaluate.backtest import Forecaster
from forecasting.evaluate.champion import choose_champions
from forecasting.evaluate.conformal import count_ratios
from forecasting.evaluate.dependence import SUMS, count_products
from forecasting.fleet.fitted import FittedFleet
from forecasting.fleet.predict import find_unseen, predict
from forecasting.flow.admissible import admissible
from forecasting.flow.blend import blend, choose_shares, keep_chosen, shares_of, variants
from forecasting.flow.members import MemberKey, origins_of
from forecasting.flow.serving import (
    Block,
    choose_serving_models,
    combinable,
    combined_regressions,
    forecast_frame,
    only_network,
    versions_of,
    versions_of_trees,
    with_combination,
)
from forecasting.flow.statistics_choice import statistics_forecasters
from forecasting.series.intermittent import without_residues
from forecasting.series.local_grid import to_instants
from forecasting.series.panel import Panel
from forecasting.spec.spec import REGRESSIONS, STATISTICS, Spec
from forecasting.spec.training import KernelName


class VoterKey(NamedTuple):
    """Names a naive that forecasts a series without the effects of its covariates: a vote of the combination."""

    naive: str


ForecasterKey = str | MemberKey | VoterKey
"""Names a forecaster: a statistical model or naive by its model, a network by its member."""


class Backtested(NamedTuple):
    """The backtests of a shard, and the counts and sums that the driver adds up over shards.

    Attributes:
        backtests: Rows of the table `backtests`.
        champions: Rows of the table `champions`.
        ratios: Counts for the calibration (`evaluate.conformal`).
        products: Sums for the correlations of sample paths (`evaluate.dependence`); no rows where the spec has no
            paths.
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
    statistics: Mapping[str, Forecaster] | None = None,
    trees: Trees | None = None,
    kernel: KernelName = "auto",
    keeps_correlations: bool = False,
) -> Backtested:
    """Score all models at rolling origins and choose each series' champion.

    Args:
        panel: The series of the shard, up to the run's cutoff.
        spec: What to forecast.
        candidates: Fleets that have read nothing after the first origin of any series.
        networks: Networks that compete; one alone is the champion wherever it was trained.
        statistics: Statistical models; those that the spec's series have where not given.
        trees: Trees of the fleet that have read nothing after the first origin of any series.
        kernel: Implementation of the recurrence.
        keeps_correlations: Whether sums for sample paths are kept although the spec has no paths.

    Returns:
        Scores of candidates, statistical models and seasonal naives, champions, and the counts and sums.
    """
    if statistics is None:
        statistics = statistics_forecasters(spec, panel.length_S, trees=trees)
    ratios: list[pl.DataFrame] = []
    products = [pl.DataFrame(schema=SUMS)]
    chosen: list[tuple[pl.DataFrame, pl.DataFrame]] = []

    def inspect(points: pl.DataFrame) -> None:
        if spec.chosen_regressions:
            chosen.append(choose_shares(points))
            points = keep_chosen(points, chosen[0][1])
        ratios.append(count_ratios(points, quantiles=spec.quantiles))
        if spec.paths or keeps_correlations:
            products.append(count_products(points, quantiles=spec.quantiles, horizon=spec.horizon))

    backtests = rolling.backtest(
        panel,
        forecasters=_forecasters(spec, statistics, candidates, kernel),
        origins_SJ=origins_of(panel, spec),
        quantiles=spec.quantiles,
        season_length=spec.season_lengths[0],
        assemble=partial(_assemble, spec, networks),
        inspect=inspect,
    )
    if chosen:
        backtests = keep_chosen(backtests, chosen[0][1]).sort("unique_id", "model", "origin")
    champions = choose_champions(
        backtests,
        unique_ids=panel.unique_ids,
        networks=networks,
        season_lengths=spec.season_lengths,
        margin=spec.backtest.margin,
        unavailable=_unavailable(panel, spec, candidates, networks),
        alone=only_network(spec, networks),
        regressions=combined_regressions(spec, networks),
        statistics=tuple(statistics),
        combinable=combinable(panel, spec, networks),
    )
    if chosen:
        shares = champions.drop("regression_share").join(
            chosen[0][0], on="unique_id", how="left", maintain_order="left"
        )
        champions = shares.select(champions.columns)
    return Backtested(_on_clock(backtests, panel), champions, pl.concat(ratios), pl.concat(products))


def predict_shard(
    panel: Panel,
    spec: Spec,
    serving: Sequence[FittedFleet],
    champions: pl.DataFrame,
    *,
    networks: Sequence[str],
    statistics: Mapping[str, Forecaster] | None = None,
    trees: Trees | None = None,
    kernel: KernelName = "auto",
    direct: Sequence[FittedFleet] = (),
    versions: pl.DataFrame | None = None,
    known: dict[ForecasterKey, Quantiles] | None = None,
) -> pl.DataFrame:
    """Forecast every series of a shard with every requested network, its statistical models and seasonal naives.

    Exactly one model of each series has `is_champion`. Where the champion has no forecast, the simplest model that has
    one is the fallback, and `reason` says why.

    Args:
        panel: The series of the shard, up to the run's cutoff.
        spec: What to forecast.
        serving: Fleets that may have read everything up to the cutoff.
        champions: Rows of the table `champions`; series may be missing.
        networks: Networks that were requested; one alone is the champion wherever it has a forecast.
        statistics: Statistical models, champions among them; those that the spec's series have where not given.
        trees: Trees of the fleet that may have read everything up to the cutoff.
        kernel: Implementation of the recurrence.
        direct: Networks of series that use a prior directly, because they have none of their own
            (`forecasting.fleet.prior.direct`). A champion among networks does not apply to such a series. Without a
            champion, its serving model is the combination, if every network has a forecast.
        versions: Versions of the registry (unique_id, model, version); computed from the weights where None.
        known: Forecasts that are known already. Those of statistical models and naives, which read neither covariates
            nor the calendar, are added to them; without effects of covariates, if these are added to them.

    Returns:
        Rows of the table `forecasts`, not calibrated, sorted by series, model and time.
    """
    fleets = [*serving, *direct]
    direct_ids = {name for fleet in direct for name in fleet.unique_ids}
    # That champion was chosen among networks that the series no longer has.
    is_outdated = pl.col("unique_id").is_in(direct_ids) & pl.col("model").is_in([*networks, COMBINATION])
    champions = champions.filter(~is_outdated)
    if statistics is None:
        champion_of = dict(champions.select("unique_id", "model").iter_rows())
        is_champion = {
            model: np.array([champion_of.get(name) == model for name in panel.unique_ids], dtype=bool)
            for model in STATISTICS
        }
        statistics = statistics_forecasters(spec, panel.length_S, also=is_champion, trees=trees)
    known = {} if known is None else known
    forecasters = _forecasters(spec, statistics, fleets, kernel)
    quantiles = {key: _forecast_once(key, make, panel, known) for key, make in forecasters.items()}
    forecasts = _assemble(spec, networks, quantiles, share_S=shares_of(champions, panel.unique_ids))
    del quantiles
    able: dict[str, npt.NDArray[np.bool_]] = {
        model: np.asarray(np.isfinite(quantiles_SFQ).all((1, 2))) for model, quantiles_SFQ in forecasts.items()
    }
    blocks = [
        Block(
            model, np.flatnonzero(is_able_S), forecasts[model][is_able_S] if not is_able_S.all() else forecasts[model]
        )
        for model, is_able_S in able.items()
    ]
    # A naive that is the serving model is a fallback, whose reason has the number of points of the series.
    able_but_naive = {model: is_able_S for model, is_able_S in able.items() if model != NAIVE}
    served, fallbacks = choose_serving_models(panel, spec, champions, able_but_naive, networks, direct_ids=direct_ids)
    fallbacks = [block for block in fallbacks if block.model != NAIVE]
    if versions is None:
        versions = pl.concat([versions_of(fleets, panel), versions_of_trees(trees, panel)])
    described = with_combination(versions).join(
        _describe_unseen(panel, fleets), on=["unique_id", "model"], how="full", coalesce=True
    )
    return forecast_frame(panel, spec, blocks + fallbacks, served, described)


def _forecast_once(
    key: ForecasterKey, forecaster: Forecaster, panel: Panel, known: dict[ForecasterKey, Quantiles]
) -> Quantiles:
    """Return a forecast from what is known, to which those that no covariate and no calendar changes are added."""
    if key not in known and (isinstance(key, MemberKey) or key in REGRESSIONS):
        return forecaster(panel)
    if not isinstance(forecaster, WithEffects):
        known[key] = known[key] if key in known else forecaster(panel)
        return known[key]
    remainder = forecaster.remainder_of(panel)
    if key not in known:
        known[key] = forecaster.blind(remainder.panel)
    return remainder.restore(known[key])


def _on_clock(backtests: pl.DataFrame, panel: Panel) -> pl.DataFrame:
    """Return origins on the clock of the tables."""
    if panel.zone is None:
        return backtests
    origins = to_instants(backtests["origin"].to_numpy(), panel.zone)
    return backtests.with_columns(origin=pl.Series(origins, dtype=panel.clock_dtype))


def _forecasters(
    spec: Spec, statistics: Mapping[str, Forecaster], fleets: Sequence[FittedFleet], kernel: KernelName
) -> dict[ForecasterKey, Forecaster]:
    baselines, members = _baselines(spec), _members(fleets, kernel)
    forecasters: dict[ForecasterKey, Forecaster] = {**baselines, **statistics, **members}  # type: ignore[dict-item]
    if spec.covariate_names:
        seasons = spec.season_lengths
        forecasters |= {key: WithEffects(forecaster, seasons) for key, forecaster in members.items()}
        forecasters |= {VoterKey(model): WithEffects(forecaster, seasons) for model, forecaster in baselines.items()}
    return forecasters


def _baselines(spec: Spec) -> dict[str, Forecaster]:
    seasonal: dict[str, Forecaster] = {
        seasonal_naive_name(length): partial(seasonal_naive, season_length=length, quantiles=spec.quantiles)
        for length in spec.season_lengths
    }
    young = partial(naive_of_young, season_length=spec.season_lengths[0], quantiles=spec.quantiles)
    return seasonal | {NAIVE: young}


def _assemble(
    spec: Spec,
    networks: Sequence[str],
    quantiles: Mapping[ForecasterKey, Quantiles],
    *,
    share_S: npt.NDArray[np.float64] | None = None,
) -> dict[str, Quantiles]:
    """Return the forecasts of models: a network is the median of its members, each quantile separately.

    The combination needs every network of the spec, and at least one model of the series that is not a naive. In a
    series that is shorter than its first season, models that need this season have no vote. Naives vote with their
    forecasts that include the effects of covariates. Where there are regressions without shares, the combination has a
    variant for each share (`forecasting.flow.blend`).
    """
    members: dict[str, list[Quantiles]] = {}
    for key, quantiles_SFQ in quantiles.items():
        if not isinstance(key, VoterKey):
            members.setdefault(key.model if isinstance(key, MemberKey) else key, []).append(quantiles_SFQ)
    models = {model: _median(each) for model, each in members.items()}
    baselines, voting = _baselines(spec), _votes(quantiles)
    regressions = [voting.pop(key) for key in REGRESSIONS if key in voting]
    not_naive = [quantiles_SFQ for key, quantiles_SFQ in voting.items() if key not in baselines]
    if not_naive and set(spec.models) <= set(networks):
        is_more_than_naive_S = np.any([np.isfinite(quantiles_SFQ[:, 0, 0]) for quantiles_SFQ in not_naive], axis=0)
        combined_SFQ = combine(
            networks=[each for key, each in voting.items() if isinstance(key, MemberKey)],
            others=[each for key, each in voting.items() if not isinstance(key, MemberKey)],
        )
        combined_SFQ = np.where(is_more_than_naive_S[:, None, None], combined_SFQ, np.nan)
        if not regressions:
            models[COMBINATION] = combined_SFQ
        elif share_S is None:
            models |= variants(combined_SFQ, _median(regressions))
        else:
            models[COMBINATION] = blend(combined_SFQ, _median(regressions), share_S)
    return {model: admissible(quantiles_SFQ, spec) for model, quantiles_SFQ in models.items()}


def _votes(quantiles: Mapping[ForecasterKey, Quantiles]) -> dict[str | MemberKey, Quantiles]:
    """Return what each forecaster adds to the combination, NaN where it has no vote."""
    is_young_S11 = ~np.isnan(quantiles[NAIVE][:, :1, :1])
    voting: dict[str | MemberKey, Quantiles] = {}
    for key, each in quantiles.items():
        if isinstance(key, VoterKey):  # comes after the naive that it votes for
            is_able_SFQ = np.isfinite(voting[key.naive]) & np.isfinite(each)
            voting[key.naive] = np.where(is_able_SFQ, each, voting[key.naive])
        else:
            has_no_vote = key in NEED_A_SEASON and is_young_S11.any()
            voting[key] = np.where(is_young_S11, np.nan, each) if has_no_vote else each
    return voting


def _unavailable(
    panel: Panel, spec: Spec, candidates: Sequence[FittedFleet], networks: Sequence[str]
) -> dict[tuple[str, str], str]:
    """Return the reason for each series and model that has no forecast."""
    reasons: dict[tuple[str, str], str] = {}
    trained = {(name, fleet.model) for fleet in candidates for name in fleet.unique_ids}
    refused = {(r.unique_id, fleet.model): r.reason for fleet in candidates for r in fleet.refused}
    for network in networks:
        for name in panel.unique_ids:
            if (name, network) not in trained:
                reasons[name, network] = refused.get((name, network), f"{network} was not trained for series '{name}'")
    needs = {seasonal_naive_name(length): length for length in spec.season_lengths} | {NAIVE: 0}
    for model, length in needs.items():
        for name, is_able in zip(panel.unique_ids, can_forecast(panel, season_length=length), strict=True):
            if not is_able:
                reasons[name, model] = f"series '{name}' has too few observed points for {model}"
    return reasons


def _describe_unseen(panel: Panel, serving: Sequence[FittedFleet]) -> pl.DataFrame:
    """Return the categories that a series' networks had not seen in training: unique_id, model, unseen."""
    found: dict[tuple[str, str], set[str]] = {}
    for fleet in serving:
        for name, values in find_unseen(fleet, panel).items():
            for model in (fleet.model, COMBINATION):
                found.setdefault((name, model), set()).update(f"{category} '{value}'" for category, value in values)
    rows = [(name, model, sorted(unseen)) for (name, model), unseen in found.items()]
    schema: dict[str, Any] = {"unique_id": pl.String, "model": pl.String, "unseen": pl.List(pl.String)}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _members(fleets: Sequence[FittedFleet], kernel: KernelName) -> dict[MemberKey, Forecaster]:
    """Return a forecaster for each member of each network; its series may lie in several fleets."""
    parts: dict[MemberKey, list[FittedFleet]] = {}
    for fleet in fleets:
        parts.setdefault(MemberKey(fleet.model, fleet.member), []).append(fleet)
    # Ordered as text (gru/10 before gru/2): the combination sums weights in this order, to the last bit.
    return {key: partial(_forecast_member, parts[key], kernel=kernel) for key in sorted(parts, key=str)}


def _forecast_member(fleets: Sequence[FittedFleet], panel: Panel, *, kernel: KernelName) -> Quantiles:
    result_SFQ = predict(fleets[0], panel, kernel=kernel)
    for fleet in fleets[1:]:
        quantiles_SFQ = predict(fleet, panel, kernel=kernel)
        result_SFQ = np.where(np.isfinite(quantiles_SFQ), quantiles_SFQ, result_SFQ)
    return without_residues(result_SFQ, panel.y_SN)


def _median(member_KSFQ: Sequence[Quantiles]) -> Quantiles:
    """Return the median over members of each quantile; members without a forecast of a series do not count there."""
    if len(member_KSFQ) == 1:
        return member_KSFQ[0]
    is_able_SK = np.stack([np.isfinite(each_SFQ[:, 0, 0]) for each_SFQ in member_KSFQ], axis=1)
    result_SFQ = np.full_like(member_KSFQ[0], np.nan)
    for able_K in np.unique(is_able_SK, axis=0):
        if able_K.any():
            rows = np.flatnonzero((is_able_SK == able_K).all(1))
            able_KRFQ = [each_SFQ[rows] for each_SFQ, is_able in zip(member_KSFQ, able_K, strict=True) if is_able]
            result_SFQ[rows] = np.median(able_KRFQ, axis=0)
    return result_SFQ
