"""Choose the serving model of each series from all forecasts of a shard, and lay them out as rows of `forecasts`."""

# S series of a shard · R rows of the panel · P pairs of series and model · F horizon steps · Q quantiles

from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.classical.baselines import NONE, forecast_simplest
from forecasting.classical.combination import COMBINATION, Quantiles
from forecasting.classical.trees import NAME, Trees
from forecasting.fleet.fitted import FittedFleet
from forecasting.fleet.plan import required_length
from forecasting.flow.admissible import admissible
from forecasting.flow.points_ahead import points_ahead
from forecasting.schemas import TIMESTAMP
from forecasting.series.panel import Panel
from forecasting.spec.recipes import configure
from forecasting.spec.spec import Spec

Marks = npt.NDArray[np.bool_]

_NEW = "the series has no champion yet; the combination is its serving model until a training compares models"
_DIRECT = "the series has no network of its own yet; it uses the shared prior directly until it is trained"
_VERSIONS = {"unique_id": pl.String, "model": pl.String, "version": pl.String}


class Block(NamedTuple):
    """One model's forecasts of some series.

    Attributes:
        model: Name of the model.
        rows_R: Rows of the series in the panel.
        quantiles_RFQ: Their forecasts.
    """

    model: str
    rows_R: npt.NDArray[np.int64]
    quantiles_RFQ: Quantiles


def choose_serving_models(
    panel: Panel,
    spec: Spec,
    champions: pl.DataFrame,
    able: Mapping[str, Marks],
    networks: Sequence[str],
    *,
    direct_ids: Set[str] = frozenset(),
) -> tuple[pl.DataFrame, list[Block]]:
    """Choose the serving model of each series.

    That is the only network that was requested, where it has a forecast and no regression has; else the champion; else,
    for a series without one, the combination. Where the chosen model has no forecast, the fallback is the simplest
    model that has one.

    Args:
        panel: The series.
        spec: Has season lengths, quantiles and margin.
        champions: Rows of the table `champions`; series may be missing.
        able: By model, which series it has a forecast of, (S,).
        networks: Networks that were requested.
        direct_ids: Series that use a prior directly.

    Returns:
        A row per series with `model` and `reason`, in the panel's order, and the fallbacks' forecasts that `able` does
        not count.
    """
    chosen = pl.DataFrame({"unique_id": panel.unique_ids}, schema={"unique_id": pl.String}).join(
        champions.select("unique_id", "model", "baseline", "is_fallback", "reason"),
        on="unique_id",
        how="left",
        maintain_order="left",
    )
    alone = only_network(spec, networks)
    nobody_S = np.zeros(chosen.height, dtype=bool)
    is_combined_S = nobody_S.copy()
    for model in combined_regressions(spec, networks):
        is_combined_S |= able.get(model, nobody_S)
    is_alone_S = able.get(alone or "", nobody_S) & ~is_combined_S
    is_usable_S = nobody_S.copy()
    for model, is_able_S in able.items():
        is_usable_S |= is_able_S & (chosen["model"] == model).fill_null(value=False).to_numpy()
    is_new_S = ~is_alone_S & _takes_combination(panel, spec, chosen, able, networks)
    # A champion has a reason where it is a fallback, or is not the only network that was requested.
    is_explained_S = chosen["is_fallback"].fill_null(value=False).to_numpy() | (bool(alone) & ~is_combined_S)
    served = chosen.select(
        model=pl.when(pl.lit(pl.Series(is_alone_S)))
        .then(pl.lit(alone, pl.String))
        .when(pl.lit(pl.Series(is_new_S)))
        .then(pl.lit(COMBINATION))
        .otherwise("model"),
        reason=pl.when(pl.lit(pl.Series(is_usable_S & ~is_alone_S & is_explained_S)))
        .then("reason")
        .when(pl.lit(pl.Series(is_new_S)))
        .then(pl.lit(_NEW))
        .when(pl.lit(pl.Series(is_alone_S & _is_among(panel, direct_ids))))
        .then(pl.lit(_DIRECT)),
    )
    rows_R = np.flatnonzero(~(is_usable_S | is_alone_S | is_new_S))
    return _fall_back(panel, spec, chosen, able, served, rows_R) if len(rows_R) else (served, [])


def only_network(spec: Spec, networks: Sequence[str]) -> str | None:
    """Return the network that serves wherever it has a forecast, because nothing else was requested.

    Args:
        spec: What to forecast.
        networks: Networks that were requested.

    Returns:
        Its name; None where there are several.
    """
    return networks[0] if len(networks) == 1 else None


def combined_regressions(spec: Spec, networks: Sequence[str]) -> tuple[str, ...]:
    """Return the regressions that are combined with the networks, a single one included.

    Args:
        spec: What to forecast.
        networks: Networks that were requested; the combination needs all of the spec's.

    Returns:
        Their names.
    """
    return spec.chosen_regressions if set(spec.models) <= set(networks) else ()


def _takes_combination(
    panel: Panel, spec: Spec, chosen: pl.DataFrame, able: Mapping[str, Marks], networks: Sequence[str]
) -> Marks:
    """Mark series without a champion whose serving model is the combination: all networks have a forecast of them."""
    ids = combinable(panel, spec, networks) if spec.backtest.margin < 0 else frozenset()
    is_new_S = chosen["model"].is_null().to_numpy() & _is_among(panel, ids)
    for model in (*networks, COMBINATION):
        is_new_S &= able.get(model, np.zeros(chosen.height, dtype=bool))
    return is_new_S


def _fall_back(
    panel: Panel,
    spec: Spec,
    chosen: pl.DataFrame,
    able: Mapping[str, Marks],
    served: pl.DataFrame,
    rows_R: npt.NDArray[np.int64],
) -> tuple[pl.DataFrame, list[Block]]:
    """Replace model and reason of some series by those of their fallback, and forecast where it has not yet."""
    simplest_RFQ, simplest_R, why_R = forecast_simplest(
        panel.select(rows_R), season_lengths=spec.season_lengths, quantiles=spec.quantiles
    )
    decided = [
        _choose_fallback(champion, {model for model, is_able_S in able.items() if is_able_S[row]}, simplest, why)
        for row, champion, simplest, why in zip(
            rows_R, chosen[rows_R].iter_rows(named=True), simplest_R, why_R, strict=True
        )
    ]
    models_R, reasons_R = (pl.Series(values, dtype=pl.String) for values in zip(*decided, strict=True))
    served = served.with_columns(
        model=served["model"].scatter(rows_R, models_R), reason=served["reason"].scatter(rows_R, reasons_R)
    )
    simplest_RFQ = admissible(simplest_RFQ, spec)
    nobody_S = np.zeros(chosen.height, dtype=bool)
    blocks = []
    for model in models_R.unique().sort():
        is_due_R = (models_R == model).to_numpy() & ~able.get(model, nobody_S)[rows_R]
        blocks.append(Block(model, rows_R[is_due_R], simplest_RFQ[is_due_R]))
    return served, blocks


def _choose_fallback(
    champion: Mapping[str, Any], available: Set[str], simplest: str, why_simplest: str | None
) -> tuple[str, str | None]:
    """Return the model and the reason of a series whose champion has no forecast."""
    if champion["model"] is None:
        return simplest, f"{simplest} as fallback: the series has no champion yet; train first"
    if simplest == NONE:
        return simplest, why_simplest
    if champion["baseline"] in available:
        simplest = champion["baseline"]
    if champion["model"] == simplest:
        return simplest, "; ".join(reason for reason in (why_simplest, champion["reason"]) if reason)
    why = f"champion {champion['model']} has no usable forecast ({champion['reason']})"
    return simplest, f"{simplest} as fallback: {why}"


def forecast_frame(
    panel: Panel, spec: Spec, blocks: Sequence[Block], served: pl.DataFrame, described: pl.DataFrame
) -> pl.DataFrame:
    """Lay blocks of forecasts out as rows of the table `forecasts`.

    Args:
        panel: The series.
        spec: Has horizon and quantiles.
        blocks: Forecasts; a series and model are in one block.
        served: The serving `model` of each series and its `reason`, in the panel's order.
        described: `version` and `unseen` categories by `unique_id` and `model`.

    Returns:
        One row per series, model and step, sorted by series, model and time.
    """
    horizon, ahead = spec.horizon, points_ahead(panel, spec)
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
        quantiles_QPF[:, place_P[begin:end]] = ahead.lay_out(block.quantiles_RFQ, block.rows_R).transpose(2, 0, 1)
    rows_P = rows_P[order_P]
    champion = pl.col("model") == served["model"].gather(rows_P)
    parts = (
        parts[order_P]
        .with_columns(
            cutoff=pl.Series(panel.cutoffs[rows_P], dtype=panel.clock_dtype),
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
    if panel.clock_dtype == TIMESTAMP:
        repeated = repeated.with_columns(zone=pl.lit(panel.stated_zone, pl.String))
    return repeated.with_columns(
        ds=pl.Series(ahead.ds_SF[rows_P].reshape(-1), dtype=panel.clock_dtype),
        step=pl.Series(np.tile(np.arange(1, horizon + 1), parts.height), dtype=pl.Int32),
        forecast=columns["q50"],
        **columns,
    )


def combinable(panel: Panel, spec: Spec, networks: Sequence[str]) -> Set[str]:
    """Return the series that the combination can forecast: long enough for a network, and not constant.

    Args:
        panel: The series, up to the run's cutoff.
        spec: What to forecast.
        networks: Networks that were requested; the combination needs all of the spec's.

    Returns:
        Names of series.
    """
    if not set(spec.models) <= set(networks):
        return frozenset()
    is_long_S = panel.length_S >= required_length(configure(spec), horizon=spec.horizon)
    least_S, most_S = (
        pick.reduce(np.where(np.isfinite(panel.y_SN), panel.y_SN, empty), axis=1)
        for pick, empty in ((np.minimum, np.inf), (np.maximum, -np.inf))
    )
    return frozenset(panel.unique_ids[row] for row in np.flatnonzero(is_long_S & (least_S < most_S)))


def join_versions(versions: pl.DataFrame) -> pl.DataFrame:
    """Join the versions of a model's members by +, in their order.

    Args:
        versions: Rows of unique_id, model, member and version; null versions do not count, and the last of equal
            members does.

    Returns:
        One row per series and model: unique_id, model, version.
    """
    return (
        versions.drop_nulls("version")
        .unique(["unique_id", "model", "member"], keep="last")
        .sort("unique_id", "model", "member")
        .group_by("unique_id", "model", maintain_order=True)
        .agg(pl.col("version").str.join("+"))
    )


def versions_of(serving: Sequence[FittedFleet], panel: Panel) -> pl.DataFrame:
    """Compute the version of each series and model from the weights, in the form of `join_versions`."""
    parts = [fleet.select(panel.unique_ids) for fleet in serving]
    frames = [
        pl.DataFrame({"unique_id": part.unique_ids, "version": part.versions()}, schema_overrides=_VERSIONS).select(
            "unique_id", "version", model=pl.lit(part.model), member=pl.lit(part.member)
        )
        for part in parts
        if part.unique_ids
    ]
    return join_versions(pl.concat(frames)) if frames else pl.DataFrame(schema=_VERSIONS)


def versions_of_trees(trees: Trees | None, panel: Panel) -> pl.DataFrame:
    """Return the version of trees for each series that they can forecast, in the form of `join_versions`."""
    able = [] if trees is None else np.flatnonzero(trees.can_forecast(panel)).tolist()
    names = [panel.unique_ids[row] for row in able]
    version = None if trees is None else trees.version
    rows = {"unique_id": names, "model": [NAME] * len(names), "version": [version] * len(names)}
    return pl.DataFrame(rows, schema=_VERSIONS)


def with_combination(versions: pl.DataFrame) -> pl.DataFrame:
    """Add the combination's version of each series: those of its networks, joined by +."""
    joined = versions.sort("unique_id", "model").group_by("unique_id", maintain_order=True)
    combined = joined.agg(pl.col("version").str.join("+")).with_columns(model=pl.lit(COMBINATION))
    return pl.concat([versions, combined.select(versions.columns)])


def _is_among(panel: Panel, names: Set[str]) -> Marks:
    return np.array([name in names for name in panel.unique_ids], dtype=bool)
