"""Backtest scores go in; the model that serves each series, and why, comes out in the columns of `champions`."""

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl

from forecasting.classical.baselines import NAIVE, NONE, seasonal_naive_name
from forecasting.classical.combination import COMBINATION
from forecasting.schemas import table

TOO_SHORT = "the series is too short for a comparison, and it serves where there is one"


def choose_champions(
    backtests: pl.DataFrame,
    *,
    unique_ids: Sequence[str],
    networks: Sequence[str],
    season_lengths: Sequence[int],
    margin: float,
    unavailable: Mapping[tuple[str, str], str],
    alone: str | None = None,
    statistics: Sequence[str] = (),
    combinable: Set[str] = frozenset(),
) -> pl.DataFrame:
    """Choose the model that serves each series; one row per name in `unique_ids`, in their order.

    A candidate's score is its mean MASE over the origins that all candidates of the series share, weighted by the
    points that were compared at each; where MASE is undefined at all of them (its scale is zero or unknown), its mean
    absolute error. The combination serves, wherever it was scored, if its score is below (1 - `margin`) times that of
    the best baseline: of the seasonal naives (or of `naive`, where that was scored and no seasonal naive was). A
    `margin` below 0 says by how much a series' own few origins may speak against it, and is not asked where there is a
    single origin: choosing by a series' own scores was worse than the combination for all on six sets of six
    (`docs/accuracy.md`). Without a combination, the best network or statistical model serves if it beats the best
    baseline by `margin`, and never if it is worse. Ties go to the earlier candidate: baselines in the order of
    `season_lengths`, then `statistics`, then `networks` in theirs.

    A statistical model takes part only where it was scored at every origin that the others share: one whose fit failed
    at an early origin must not leave them fewer to be compared at.

    Args:
        backtests: one row per (`unique_id`, `model`, `origin`) with `num_points, mae, mase`; models that are no
            candidates are not looked at.
        unavailable: why a model cannot serve a series, by (unique_id, model); baselines may be named too.
        alone: the one network that was asked for; it serves, compared or not, wherever it is available.
        combinable: series that the combination can serve though none of its networks could be compared, because all
            that is known of them came after their first origin. It serves them as it does the fleet's other series,
            unless the `margin` asks for evidence.

    `is_fallback` marks a row whose networks could not be served or compared, so that the best of the other models
    stands in, or where none of these could be compared either, the simplest one that is available: the seasonal naive
    of the first season length that is, else `naive`, else `none`.
    """
    seasonal = [seasonal_naive_name(length) for length in season_lengths]
    scores = _scores_by_series(backtests)
    rows = []
    for unique_id in dict.fromkeys(unique_ids):
        missing = {
            model: reason for model in (*seasonal, NAIVE, *networks) if (reason := unavailable.get((unique_id, model)))
        }
        scored = {model: origins for model, origins in scores.get(unique_id, {}).items() if model not in missing}
        baselines = [model for model in seasonal if model in scored] or [NAIVE]
        contest = _hold_contest(
            scored, order=(*baselines, *statistics, *networks, COMBINATION), guests=(*statistics, COMBINATION)
        )
        choice = _choose(contest, baselines, statistics, networks, margin=margin, missing=missing, alone=alone)
        is_compared = COMBINATION in contest.scores or contest.best_of(networks) is not None
        if alone is None and not is_compared and margin < 0 and unique_id in combinable:
            choice = _Choice(COMBINATION, False, f"{COMBINATION} serves: {TOO_SHORT}")
        if choice is None:
            stand_in = next((model for model in (*seasonal, NAIVE) if model not in missing), NONE)
            choice = _Choice(stand_in, True, f"{stand_in} stands in: no model could be compared at any origin")
        baseline = contest.best_of(baselines)
        rows.append(
            {
                "unique_id": unique_id,
                "model": choice.model,
                "mase": contest.mase(choice.model),
                "baseline": baseline,
                "baseline_mase": contest.mase(baseline),
                "num_origins": contest.num_origins,
                "is_fallback": choice.is_fallback,
                "reason": "; ".join([choice.reason, *_name_missing(contest, networks, missing)]),
            }
        )
    return pl.DataFrame(rows, schema=table("champions").row_schema("timestamp"))


class _Choice(NamedTuple):
    model: str
    is_fallback: bool
    reason: str


class _Score(NamedTuple):
    """One model's errors at one origin; `mase` is None where it is undefined."""

    num_points: int
    mae: float
    mase: float | None


@dataclass(frozen=True)
class _Contest:
    """What the candidates of one series scored over the origins that they share, best candidates first among equals."""

    scores: Mapping[str, float]
    metric: str
    num_origins: int

    def best_of(self, models: Iterable[str]) -> str | None:
        return min((model for model in models if model in self.scores), key=self.scores.__getitem__, default=None)

    def mase(self, model: str | None) -> float | None:
        return self.scores.get(model) if model is not None and self.metric == "MASE" else None

    def over_origins(self) -> str:
        origins = "1 origin" if self.num_origins == 1 else f"{self.num_origins} origins"
        return f"over {origins}" + ("" if self.metric == "MASE" else f" (by {self.metric}: MASE is undefined)")


def _choose(
    contest: _Contest,
    baselines: Sequence[str],
    statistics: Sequence[str],
    networks: Sequence[str],
    *,
    margin: float,
    missing: Mapping[str, str],
    alone: str | None,
) -> _Choice | None:
    """Return what serves a series; None where there is nothing to choose from."""
    if alone is not None and alone not in missing:
        return _Choice(alone, False, f"{alone} was asked for alone")
    baseline, challenger = contest.best_of(baselines), contest.best_of((*statistics, *networks))
    is_fallback = contest.best_of(networks) is None
    if COMBINATION in contest.scores:
        return _choose_combination(contest, baseline, is_fallback, margin=margin)
    margin = max(margin, 0.0)
    if challenger is None:
        return _Choice(baseline, True, f"{baseline} stands in: no network could be compared") if baseline else None
    if baseline is None:
        kind = "network" if challenger in networks else "candidate"
        told = f"{challenger} is the best {kind} {contest.over_origins()}; no baseline was scored"
        return _Choice(challenger, is_fallback, told)
    score, rival = contest.scores[challenger], contest.scores[baseline]
    if score < (1 - margin) * rival:
        told = f"{challenger} beats {baseline} by {_percent(1 - score / rival)} {contest.over_origins()}"
        return _Choice(challenger, is_fallback, told)
    if score < rival:
        gain = f"better by {_percent(1 - score / rival)}, less than the margin of {_percent(margin)},"
    elif score == rival or rival == 0:
        gain = "no better" if score == rival else "worse than a perfect forecast"
    else:
        gain = f"worse by {_percent(score / rival - 1)}"
    return _Choice(baseline, is_fallback, f"{baseline} serves: {challenger} is {gain} {contest.over_origins()}")


def _choose_combination(contest: _Contest, baseline: str | None, is_fallback: bool, *, margin: float) -> _Choice:
    if baseline is None:
        told = f"{COMBINATION} serves {contest.over_origins()}; no baseline was scored"
        return _Choice(COMBINATION, is_fallback, told)
    score, rival = contest.scores[COMBINATION], contest.scores[baseline]
    if score < (1 - margin) * rival or (margin < 0 and (contest.num_origins == 1 or score == rival)):
        told = _compare(COMBINATION, score, baseline, rival)
        doubt = "" if score <= rival else ", which is too little to go by"
        return _Choice(COMBINATION, is_fallback, f"{told} {contest.over_origins()}{doubt}")
    return _Choice(baseline, is_fallback, f"{_compare(baseline, rival, COMBINATION, score)} {contest.over_origins()}")


def _compare(served: str, score: float, other: str, rival: float) -> str:
    """Say what serves, and how it did beside another."""
    if score == rival:
        return f"{served} serves: it is as good as {other}"
    share = _percent(1 - min(score, rival) / max(score, rival))
    return f"{served} serves: " + (f"it beats {other} by {share}" if score < rival else f"{other} beats it by {share}")


def _name_missing(contest: _Contest, networks: Sequence[str], missing: Mapping[str, str]) -> list[str]:
    """Say of each network that was not compared why not."""
    return [
        f"{model} is unavailable: {missing[model]}" if model in missing else f"{model} was scored at no shared origin"
        for model in networks
        if model not in contest.scores
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.2f}".rstrip("0").rstrip(".") + " %"


def _scores_by_series(backtests: pl.DataFrame) -> dict[str, dict[str, dict[Any, _Score]]]:
    """Look scores up by series, model and origin; origins without a compared point are left out."""
    scores: dict[str, dict[str, dict[Any, _Score]]] = {}
    wanted = backtests.select("unique_id", "model", "origin", "num_points", "mae", "mase")
    for unique_id, model, origin, num_points, mae, mase in wanted.iter_rows():
        if num_points and mae is not None and math.isfinite(mae):
            mase = mase if mase is not None and math.isfinite(mase) else None
            scores.setdefault(unique_id, {}).setdefault(model, {})[origin] = _Score(num_points, mae, mase)
    return scores


def _hold_contest(
    scored: Mapping[str, Mapping[Any, _Score]], *, order: Sequence[str], guests: Sequence[str] = ()
) -> _Contest:
    """Compare candidates over shared origins; one that shares none with those of more origins is left out.

    So is a guest that lacks any of the origins that the others share.
    """
    candidates = sorted(
        (model for model in order if model in scored), key=lambda model: (model in guests, -len(scored[model]))
    )
    shared: set[Any] = set()
    compared: list[str] = []
    for model in candidates:
        common = shared & scored[model].keys() if compared else set(scored[model])
        if common and not (compared and model in guests and common < shared):
            shared = common
            compared.append(model)
    defined = {origin for origin in shared if all(scored[model][origin].mase is not None for model in compared)}
    metric, origins = ("MASE", defined) if defined else ("MAE", shared)
    return _Contest(
        {
            model: _mean([scored[model][origin] for origin in sorted(origins)], metric)
            for model in order
            if model in compared
        },
        metric,
        len(origins),
    )


def _mean(scores: Sequence[_Score], metric: str) -> float:
    values = [(score.mase if metric == "MASE" else score.mae) or 0.0 for score in scores]
    weights = [score.num_points for score in scores]
    total = sum(weights)
    if math.isinf(max(values) * total):  # of values near the largest float; shares of them stay below it
        return math.fsum(value * (weight / total) for value, weight in zip(values, weights, strict=True))
    return math.fsum(value * weight for value, weight in zip(values, weights, strict=True)) / total
