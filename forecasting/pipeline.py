"""The whole flow as pure functions: a shard's panel in; fitted fleets, backtests, champions, forecasts, scores out.

The jobs on a cluster and the one-shot command both run these, shard by shard, so that they cannot differ. Frames carry
the columns of the store's tables without the bookkeeping (spec, run cutoff, run), which the store stamps on.
"""

# S series of a shard · F horizon steps · Q quantiles

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.evaluate import backtest as rolling
from forecasting.evaluate.baselines import NONE, can_serve, seasonal_naive, seasonal_naive_name, serve_simplest
from forecasting.evaluate.champion import choose_champions
from forecasting.evaluate.metrics import score_forecasts, seasonal_scale
from forecasting.fleet.fitted import Architecture, FittedFleet
from forecasting.fleet.options import FitOptions
from forecasting.fleet.plan import required_length
from forecasting.fleet.predict import predict
from forecasting.recipes import configure
from forecasting.series.panel import Panel
from forecasting.spec import Spec
from forecasting.training import KernelName
from forecasting.version import code_version

Quantiles = npt.NDArray[np.float64]
"""Shape (S, F, Q), in units of y, rising along Q; NaN where a model has nothing to say about a series."""


def train_shard(
    panel: Panel, spec: Spec, *, networks: Sequence[str], options: FitOptions = FitOptions()
) -> list[FittedFleet]:
    """Fit every requested network for every series of a shard: its candidates and what serves.

    A candidate ends before its series' first backtest origin. `options.checkpoint` names a folder here.
    """
    from forecasting.fleet import fit as fleet_fit  # brings Lightning, which takes seconds that only training needs

    config = configure(spec)
    dropped_S = rolling.held_back(count_origins(panel, spec), step=spec.origin_step, horizon=spec.horizon)
    fleets = []
    for network in networks:
        architecture = Architecture(network, spec.freq, spec.horizon, spec.quantiles, spec.season_lengths)
        candidates = fleet_fit.fit_candidates(
            panel,
            architecture,
            config,
            seed=spec.seed,
            dropped_S=dropped_S,
            options=_checkpoint_at(options, f"{network}-candidate.ckpt"),
        )
        serving = fleet_fit.fit_serving(panel, candidates, options=_checkpoint_at(options, f"{network}-serving.ckpt"))
        fleets += [candidates, serving]
    return fleets


def count_origins(panel: Panel, spec: Spec) -> npt.NDArray[np.int64]:
    """Return how many backtest origins each series has room for after what a network needs to learn, (S,)."""
    return rolling.num_origins(
        panel.length_S,
        wanted=spec.backtest.origins,
        step=spec.origin_step,
        horizon=spec.horizon,
        minimum_length=required_length(configure(spec), horizon=spec.horizon),
    )


def registry_rows(fleet: FittedFleet, panel: Panel) -> pl.DataFrame:
    """Return the registry's rows of a fleet: one per series, trained or refused."""
    cutoff_of = dict(zip(panel.unique_ids, last_ds(panel).tolist(), strict=True))
    versions = fleet.versions()
    shared = {
        "model": fleet.model,
        "role": fleet.role,
        "config": fleet.config.model_dump_json(),
        "seed": fleet.seed,
        "kernel": fleet.kernel,
        "code_version": code_version(),
    }
    trained = [
        shared
        | {
            "unique_id": unique_id,
            "version": versions[slot],
            "cutoff": cutoff_of[unique_id],
            "status": "trained",
            "num_steps": int(fleet.num_steps_S[slot]),
            "num_windows": int(fleet.num_windows_S[slot]),
            "validation_loss": float(fleet.validation_loss_S[slot]) if fleet.role == "candidate" else None,
            "weights_slot": slot,
        }
        for slot, unique_id in enumerate(fleet.unique_ids)
    ]
    refused = [
        shared
        | {
            "unique_id": refusal.unique_id,
            "cutoff": cutoff_of[refusal.unique_id],
            "status": refusal.status,
            "reason": refusal.reason,
        }
        for refusal in fleet.refused
    ]
    return pl.DataFrame(trained + refused, schema=_REGISTRY | {"cutoff": panel.clock_dtype}).sort("unique_id")


def backtest_shard(
    panel: Panel,
    spec: Spec,
    candidates: Sequence[FittedFleet],
    *,
    networks: Sequence[str],
    kernel: KernelName = "auto",
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Score candidates and seasonal naives at rolling origins and choose each series' champion.

    Returns the frames (backtests, champions).
    """
    forecasters = {
        model: partial(_admissible, forecaster, spec)
        for model, forecaster in (
            _baselines(spec) | {fleet.model: partial(predict, fleet, kernel=kernel) for fleet in candidates}
        ).items()
    }
    backtests = rolling.backtest(
        panel,
        forecasters=forecasters,
        origins_S=count_origins(panel, spec),
        step=spec.origin_step,
        quantiles=spec.quantiles,
        season_length=spec.season_lengths[0],
    )
    champions = choose_champions(
        backtests,
        unique_ids=panel.unique_ids,
        networks=networks,
        season_lengths=spec.season_lengths,
        margin=spec.backtest.margin,
        unavailable=_unavailable(panel, spec, candidates, networks),
        alone=networks[0] if len(networks) == 1 else None,
    )
    return backtests, champions


def predict_shard(
    panel: Panel,
    spec: Spec,
    serving: Sequence[FittedFleet],
    champions: pl.DataFrame,
    *,
    networks: Sequence[str],
    kernel: KernelName = "auto",
) -> pl.DataFrame:
    """Forecast every series of a shard with every requested network and every seasonal naive.

    Each series has exactly one model with `is_champion`; where the chosen one has no forecast, the simplest model that
    can serve stands in and `reason` says why.
    """
    chosen_of = {row["unique_id"]: row for row in champions.iter_rows(named=True)}
    forecasts: dict[str, Quantiles] = {
        model: _admissible(forecaster, spec, panel) for model, forecaster in _baselines(spec).items()
    }
    versions: dict[tuple[str, str], str] = {}
    for fleet in serving:
        fleet = fleet.select(panel.unique_ids)
        quantiles_SFQ = _admissible(partial(predict, fleet, kernel=kernel), spec, panel)
        earlier_SFQ = forecasts.get(fleet.model)
        forecasts[fleet.model] = (
            quantiles_SFQ if earlier_SFQ is None else np.where(np.isfinite(quantiles_SFQ), quantiles_SFQ, earlier_SFQ)
        )
        versions |= {
            (fleet.model, name): version for name, version in zip(fleet.unique_ids, fleet.versions(), strict=True)
        }
    simplest_SFQ, simplest_S, why_S = serve_simplest(
        panel, season_lengths=spec.season_lengths, quantiles=spec.quantiles
    )
    simplest_SFQ = _admissible(lambda _: simplest_SFQ, spec, panel)

    parts = []
    for row, unique_id in enumerate(panel.unique_ids):
        available = {model: values[row] for model, values in forecasts.items() if np.isfinite(values[row]).all()}
        served, reason = _decide(chosen_of.get(unique_id), available, simplest_S[row], why_S[row], networks)
        available.setdefault(served, simplest_SFQ[row])
        for model, values_FQ in available.items():
            parts.append((row, model, values_FQ, model == served, reason, versions.get((model, unique_id))))
    return _forecast_frame(panel, spec, parts)


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
    points that stayed gaps count for nothing. MASE is scaled by what was known at the forecast's own cutoff.

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
    points = arrived.join(measured, on=["unique_id", "ds"], how="left")
    scale = _scale_at(panel, totals.select("unique_id", "cutoff").unique(), spec)
    scored = score_forecasts(points, quantiles=spec.quantiles, scale=scale)
    return scored.join(totals, on=["unique_id", "model"]).sort("unique_id", "model")


def last_ds(panel: Panel) -> npt.NDArray[np.generic]:
    """Return each series' own last grid point, its cutoff, (S,)."""
    return panel.ds_SN[:, -panel.horizon - 1]


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


_REGISTRY: dict[str, Any] = {
    "unique_id": pl.String,
    "model": pl.String,
    "role": pl.String,
    "version": pl.String,
    "cutoff": pl.Int64,
    "status": pl.String,
    "reason": pl.String,
    "num_steps": pl.Int32,
    "num_windows": pl.Int32,
    "validation_loss": pl.Float64,
    "weights_slot": pl.Int32,
    "config": pl.String,
    "seed": pl.Int64,
    "kernel": pl.String,
    "code_version": pl.String,
}


def _checkpoint_at(options: FitOptions, name: str) -> FitOptions:
    return replace(options, checkpoint=options.checkpoint / name) if options.checkpoint else options


def _baselines(spec: Spec) -> dict[str, Callable[[Panel], Quantiles]]:
    return {
        seasonal_naive_name(length): partial(seasonal_naive, season_length=length, quantiles=spec.quantiles)
        for length in spec.season_lengths
    }


def _admissible(forecaster: Callable[[Panel], Quantiles], spec: Spec, panel: Panel) -> Quantiles:
    """Return what the spec's y can be: quantiles of counts are whole numbers, and none is below the bound."""
    quantiles_SFQ = forecaster(panel)
    if spec.integer_valued:
        quantiles_SFQ = np.rint(quantiles_SFQ)
    if spec.lower_bound is None:
        return quantiles_SFQ
    return np.maximum(quantiles_SFQ, np.ceil(spec.lower_bound) if spec.integer_valued else spec.lower_bound)


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
    for length in spec.season_lengths:
        for name, is_able in zip(panel.unique_ids, can_serve(panel, season_length=length), strict=True):
            if not is_able:
                model = seasonal_naive_name(length)
                reasons[name, model] = f"series '{name}' has too few observed points for {model}"
    return reasons


def _decide(
    chosen: Mapping[str, Any] | None,
    available: Mapping[str, Quantiles],
    simplest: str,
    why_simplest: str | None,
    networks: Sequence[str],
) -> tuple[str, str | None]:
    """Return the model that serves a series, and the reason where it is not the one that was wanted."""
    alone = networks[0] if len(networks) == 1 else None
    if alone is not None and alone in available:
        return alone, None
    if chosen is None:
        return simplest, f"{simplest} stands in: the series has no champion yet; train first"
    if chosen["model"] in available:
        is_wanted = not chosen["is_fallback"] and alone is None
        return chosen["model"], None if is_wanted else chosen["reason"]
    if simplest == NONE:
        return simplest, why_simplest
    if chosen["baseline"] in available:
        simplest = chosen["baseline"]
    if chosen["model"] == simplest:
        return simplest, "; ".join(reason for reason in (why_simplest, chosen["reason"]) if reason)
    return simplest, f"{simplest} stands in: champion {chosen['model']} has no usable forecast ({chosen['reason']})"


def _forecast_frame(
    panel: Panel, spec: Spec, parts: Sequence[tuple[int, str, Quantiles, bool, str | None, str | None]]
) -> pl.DataFrame:
    horizon = spec.horizon
    rows = np.array([row for row, *_ in parts], dtype=np.int64)
    values = (
        np.concatenate([values_FQ for _, _, values_FQ, *_ in parts]) if parts else np.empty((0, len(spec.quantiles)))
    )
    repeated = {
        "unique_id": pl.Series([panel.unique_ids[row] for row in rows], dtype=pl.String),
        "model": pl.Series([model for _, model, *_ in parts], dtype=pl.String),
        "cutoff": pl.Series(last_ds(panel)[rows], dtype=panel.clock_dtype),
        "is_champion": pl.Series([is_champion for *_, is_champion, _, _ in parts], dtype=pl.Boolean),
        "reason": pl.Series([reason if champion else None for *_, champion, reason, _ in parts], dtype=pl.String),
        "model_version": pl.Series([version for *_, version in parts], dtype=pl.String),
    }
    indices = np.repeat(np.arange(len(parts)), horizon)
    quantiles = {name: pl.Series(values[:, q]).fill_nan(None) for q, name in enumerate(spec.quantile_columns)}
    return pl.DataFrame(
        {name: column.gather(indices) for name, column in repeated.items()}
        | {
            "ds": pl.Series(panel.ds_SN[rows, -horizon:].reshape(-1), dtype=panel.clock_dtype),
            "step": pl.Series(np.tile(np.arange(1, horizon + 1), len(parts)), dtype=pl.Int32),
            "forecast": quantiles["q50"],
        }
        | quantiles
    ).sort("unique_id", "model", "ds")


def _scale_at(panel: Panel, cutoffs: pl.DataFrame, spec: Spec) -> pl.DataFrame:
    """Return MASE's scale of each series as it was at its cutoff."""
    cutoff_of = dict(cutoffs.iter_rows())
    rows = np.array([row for row, name in enumerate(panel.unique_ids) if name in cutoff_of], dtype=np.int64)
    known = panel.select(rows)
    cutoff_S1 = pl.Series([cutoff_of[name] for name in known.unique_ids], dtype=panel.clock_dtype).to_numpy()[:, None]
    is_later_SN = known.ds_SN[:, : known.y_SN.shape[1]] > cutoff_S1
    hidden = replace(known, y_SN=np.where(is_later_SN, np.nan, known.y_SN))
    scale_S = seasonal_scale(hidden, season_length=spec.season_lengths[0])
    return pl.DataFrame(
        {"unique_id": known.unique_ids, "scale": scale_S}, schema={"unique_id": pl.String, "scale": pl.Float64}
    )
