"""What all models say of a shard goes in; which of them serves each series, why, and rows of `forecasts`, come out."""

# S series of a shard · F horizon steps · Q quantiles

from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.classical.baselines import NONE, serve_simplest
from forecasting.classical.combination import COMBINATION
from forecasting.fleet.fitted import FittedFleet
from forecasting.fleet.plan import required_length
from forecasting.series.panel import Panel
from forecasting.spec.recipes import configure
from forecasting.spec.spec import Spec

Quantiles = npt.NDArray[np.float64]
"""Shape (S, F, Q), in units of y, rising along Q; NaN where a model has nothing to say about a series."""

_NEW = "no model has been chosen for the series yet; until a training compares them, the combination of all serves"
_LENT = "the series has no network of its own yet; the prior, which all series taught, serves until it is trained"
_VERSIONS = {"unique_id": pl.String, "model": pl.String, "version": pl.String}


class Block(NamedTuple):
    """One model's forecasts of some series, rows of the panel; R counts them."""

    model: str
    rows_R: npt.NDArray[np.int64]
    quantiles_RFQ: Quantiles


def serve(
    panel: Panel,
    spec: Spec,
    champions: pl.DataFrame,
    able: Mapping[str, npt.NDArray[np.bool_]],
    networks: Sequence[str],
    *,
    borrowers: Set[str] = frozenset(),
) -> tuple[pl.DataFrame, list[Block]]:
    """Return model and reason of what serves each series, and the forecasts that stand in where `able` has none.

    `borrowers` are series that a prior lends networks to.
    """
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
    suited = combinable(panel, spec, networks) if spec.backtest.margin < 0 else frozenset()
    is_new_S = chosen["model"].is_null().to_numpy() & _is_among(panel, suited)
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
        .then(pl.lit(_NEW))
        .when(pl.lit(pl.Series(serves_alone_S & _is_among(panel, borrowers))))
        .then(pl.lit(_LENT)),
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
        blocks.append(Block(model, rows[is_due_R], simplest_RFQ[is_due_R]))
    return served, blocks


def forecast_frame(
    panel: Panel, spec: Spec, blocks: Sequence[Block], served: pl.DataFrame, described: pl.DataFrame
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


def admissible(values: Quantiles, spec: Spec) -> Quantiles:
    """Return what the spec's y can be, of any shape: counts are whole numbers, and nothing is below the bound."""
    if spec.integer_valued:
        values = np.rint(values)
    if spec.lower_bound is None:
        return values
    return np.maximum(values, np.ceil(spec.lower_bound) if spec.integer_valued else spec.lower_bound)


def combinable(panel: Panel, spec: Spec, networks: Sequence[str]) -> Set[str]:
    """Return the series that are long enough for the combination at their end; their values must differ, too."""
    if not set(spec.models) <= set(networks):
        return frozenset()
    is_long_S = panel.length_S >= required_length(configure(spec), horizon=spec.horizon)
    least_S, most_S = (
        pick.reduce(np.where(np.isfinite(panel.y_SN), panel.y_SN, empty), axis=1)
        for pick, empty in ((np.minimum, np.inf), (np.maximum, -np.inf))
    )
    return frozenset(panel.unique_ids[row] for row in np.flatnonzero(is_long_S & (least_S < most_S)))


def join_versions(versions: pl.DataFrame) -> pl.DataFrame:
    """Return one version for each series and model (unique_id, model, version): its members' in order, joined by +."""
    return (
        versions.drop_nulls("version")
        .unique(["unique_id", "model", "member"], keep="last")
        .sort("unique_id", "model", "member")
        .group_by("unique_id", "model", maintain_order=True)
        .agg(pl.col("version").str.join("+"))
    )


def versions_of(serving: Sequence[FittedFleet], panel: Panel) -> pl.DataFrame:
    """Work out the version of each series and model from weights, as `join_versions` tells them from the registry."""
    parts = [fleet.select(panel.unique_ids) for fleet in serving]
    frames = [
        pl.DataFrame({"unique_id": part.unique_ids, "version": part.versions()}, schema_overrides=_VERSIONS).select(
            "unique_id", "version", model=pl.lit(part.model), member=pl.lit(part.member)
        )
        for part in parts
        if part.unique_ids
    ]
    return join_versions(pl.concat(frames)) if frames else pl.DataFrame(schema=_VERSIONS)


def with_combination(versions: pl.DataFrame) -> pl.DataFrame:
    """Add the combination's version of each series: those of its networks, joined by +."""
    joined = versions.sort("unique_id", "model").group_by("unique_id", maintain_order=True)
    combined = joined.agg(pl.col("version").str.join("+")).with_columns(model=pl.lit(COMBINATION))
    return pl.concat([versions, combined.select(versions.columns)])


def _is_among(panel: Panel, names: Set[str]) -> npt.NDArray[np.bool_]:
    return np.array([name in names for name in panel.unique_ids], dtype=bool)


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
