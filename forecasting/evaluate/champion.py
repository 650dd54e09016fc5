"""Choose each series' champion, its serving model, from backtest scores."""

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl

from forecasting.classical.baselines import NAIVE, NONE, seasonal_naive_name
from forecasting.classical.combination import COMBINATION
from forecasting.schemas import table


def choose_champions(
    backtests: pl.DataFrame,
    *,
    unique_ids: Sequence[str],
    networks: Sequence[str],
    season_lengths: Sequence[int],
    margin: float,
    unavailable: Mapping[tuple[str, str], str],
    alone: str | None = None,
    regressions: Sequence[str] = (),
    statistics: Sequence[str] = (),
    combinable: Set[str] = frozenset(),
) -> pl.DataFrame:
    """Choose the champion of each series.

    A candidate's score is its mean MASE over the origins that all candidates of the series share, weighted by the
    points that were compared at each. Where MASE is undefined at all of them (its scale is zero or unknown), the score
    is the mean absolute error.

    The combination is the champion, wherever it was scored, if its score is below (1 - `margin`) times that of the best
    baseline. Baselines are the seasonal naives, or `naive` where no seasonal naive was scored. A negative `margin`
    limits how much a series' own few origins may count against the combination, and does not apply to a single origin:
    choosing by a series' own scores was worse than the combination for all on six sets of six (`docs/accuracy.md`).

    Without a combination, the best network or statistical model is the champion if its score is below (1 - `margin`)
    times that of the best baseline, and never if it is worse. Ties go to the earlier candidate: baselines in the order
    of `season_lengths`, then `statistics`, then `networks`.

    A statistical model is a candidate only where it was scored at every origin that the others share. If its fit failed
    at one origin, the others are still compared at all of theirs.

    Args:
        backtests: One row per (`unique_id`, `model`, `origin`) with `num_points, mae, mase`; rows of other models
            than the candidates are ignored.
        unique_ids: Series that need a champion.
        networks: Networks that compete.
        season_lengths: Grid points of each season, which name the seasonal naives.
        margin: Share by which the champion must be better than the best baseline; below 0, may be worse.
        unavailable: Why a model has no forecast of a series, by (unique_id, model); baselines may be named too.
        alone: The only network that was requested; it is the champion, compared or not, wherever it is available.
        regressions: Regressions that are combined with the networks. Where one was scored, the combination is a
            candidate, and no network is alone.
        statistics: Statistical models that compete.
        combinable: Series that the combination can forecast though none of its networks could be compared, because all
            of their data came after their first origin. The combination is their champion, as it is that of the
            fleet's other series, unless a `margin` of zero or more requires evidence.

    Returns:
        One row per series in the columns of the table `champions`, in the order of `unique_ids`. `is_fallback` marks a
        series none of whose networks could be compared. Its champion is the best of the other models, or where none of
        these could be compared either, the simplest model that is available: the seasonal naive of the first season
        length that is, else `naive`, else `none`.
    """
    seasonal = [seasonal_naive_name(length) for length in season_lengths]
    scores = _scores_by_series(backtests)
    rows = []
    for unique_id in dict.fromkeys(unique_ids):
        missing = {
            model: reason for model in (*seasonal, NAIVE, *networks) if (reason := unavailable.get((unique_id, model)))
        }
        scored = {model: origins for model, origins in scores.get(unique_id, {}).items() if model not in missing}
        only = None if any(model in scored for model in regressions) else alone
        baselines = [model for model in seasonal if model in scored] or [NAIVE]
        contest = _hold_contest(
            scored, order=(*baselines, *statistics, *networks, COMBINATION), guests=(*statistics, COMBINATION)
        )
        choice = _choose(contest, baselines, statistics, networks, margin=margin, missing=missing, alone=only)
        is_compared = COMBINATION in contest.scores or contest.best_of(networks) is not None
        if only is None and not is_compared and margin < 0 and unique_id in combinable:
            choice = _Choice(COMBINATION, False, "series is too short for a comparison; the combination is the default")
        if choice is None:
            simplest = next((model for model in (*seasonal, NAIVE) if model not in missing), NONE)
            choice = _Choice(simplest, True, "no model could be compared at any origin")
        baseline = contest.best_of(baselines)
        label = f"{choice.model} as fallback" if choice.is_fallback else choice.model
        rows.append(
            {
                "unique_id": unique_id,
                "model": choice.model,
                "mase": contest.mase(choice.model),
                "baseline": baseline,
                "baseline_mase": contest.mase(baseline),
                "num_origins": contest.num_origins,
                "is_fallback": choice.is_fallback,
                "reason": "; ".join([f"{label}: {choice.why}", *_name_missing(contest, networks, missing)]),
            }
        )
    return pl.DataFrame(rows, schema=table("champions").row_schema("timestamp"))


class _Choice(NamedTuple):
    model: str
    is_fallback: bool
    why: str


class _Score(NamedTuple):
    """One model's errors at one origin; `mase` is None where it is undefined."""

    num_points: int
    mae: float
    mase: float | None


@dataclass(frozen=True)
class _Contest:
    """The scores of one series' candidates over the origins that they share, in the order that decides ties."""

    scores: Mapping[str, float]
    metric: str
    num_origins: int

    def best_of(self, models: Iterable[str]) -> str | None:
        return min((model for model in models if model in self.scores), key=self.scores.__getitem__, default=None)

    def mase(self, model: str | None) -> float | None:
        return self.scores.get(model) if model is not None and self.metric == "MASE" else None

    def compare(self, model: str, other: str, *, margin: float | None = None) -> str:
        """Describe how a model scored beside another, and the margin that the difference did not reach."""
        score, rival = self.scores[model], self.scores[other]
        share = _percent(1 - min(score, rival) / max(score, rival)) if score != rival else ""
        if score == rival:
            text = f"same {self.metric} as {other}"
        elif score < rival:
            text = f"{self.metric} {share} below {other}"
        else:
            text = f"{other} has a {share} lower {self.metric}"
        return text + (f", less than the margin of {_percent(margin)}," if margin else "") + f" {self.over_origins()}"

    def over_origins(self) -> str:
        origins = "1 origin" if self.num_origins == 1 else f"{self.num_origins} origins"
        return f"over {origins}" + ("" if self.metric == "MASE" else " (MASE is undefined)")


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
    """Return the champion of a series; None where there is nothing to choose from."""
    if alone is not None and alone not in missing:
        return _Choice(alone, False, "the only network requested")
    baseline, challenger = contest.best_of(baselines), contest.best_of((*statistics, *networks))
    is_fallback = contest.best_of(networks) is None
    if COMBINATION in contest.scores:
        return _choose_combination(contest, baseline, is_fallback, margin=margin)
    if challenger is None:
        return _Choice(baseline, True, "no network could be compared") if baseline else None
    if baseline is None:
        kind = "network" if challenger in networks else "candidate"
        return _Choice(challenger, is_fallback, f"best {kind} {contest.over_origins()}; no baseline was scored")
    return _choose_by_margin(contest, challenger, baseline, is_fallback, margin=max(margin, 0.0))


def _choose_combination(contest: _Contest, baseline: str | None, is_fallback: bool, *, margin: float) -> _Choice:
    if baseline is None:
        return _Choice(COMBINATION, is_fallback, f"scored {contest.over_origins()}; no baseline was scored")
    if margin >= 0:
        return _choose_by_margin(contest, COMBINATION, baseline, is_fallback, margin=margin)
    score, rival = contest.scores[COMBINATION], contest.scores[baseline]
    if score < (1 - margin) * rival or contest.num_origins == 1 or score == rival:
        doubt = "" if score <= rival else ", too little evidence against the combination"
        return _Choice(COMBINATION, is_fallback, contest.compare(COMBINATION, baseline) + doubt)
    return _Choice(baseline, is_fallback, contest.compare(baseline, COMBINATION))


def _choose_by_margin(
    contest: _Contest, challenger: str, baseline: str, is_fallback: bool, *, margin: float
) -> _Choice:
    score, rival = contest.scores[challenger], contest.scores[baseline]
    if score < (1 - margin) * rival:
        return _Choice(challenger, is_fallback, contest.compare(challenger, baseline))
    missed = margin if score < rival else None
    return _Choice(baseline, is_fallback, contest.compare(baseline, challenger, margin=missed))


def _name_missing(contest: _Contest, networks: Sequence[str], missing: Mapping[str, str]) -> list[str]:
    """Return the reason for each network that was not compared."""
    return [
        f"{model} is unavailable: {missing[model]}" if model in missing else f"{model} has no score at a shared origin"
        for model in networks
        if model not in contest.scores
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.2f}".rstrip("0").rstrip(".") + " %"


def _scores_by_series(backtests: pl.DataFrame) -> dict[str, dict[str, dict[Any, _Score]]]:
    """Return scores by series, model and origin; origins without a compared point are left out."""
    scores: dict[str, dict[str, dict[Any, _Score]]] = {}
    # At an early origin a series may be too short for its season; errors in units of one step have another scale.
    is_of_step = pl.col("scaled_by_step").fill_null(False) if "scaled_by_step" in backtests.columns else pl.lit(False)
    seasonal = pl.when(~is_of_step).then("mase").alias("mase")
    wanted = backtests.select("unique_id", "model", "origin", "num_points", "mae", seasonal)
    for unique_id, model, origin, num_points, mae, mase in wanted.iter_rows():
        if num_points and mae is not None and math.isfinite(mae):
            mase = mase if mase is not None and math.isfinite(mase) else None
            scores.setdefault(unique_id, {}).setdefault(model, {})[origin] = _Score(num_points, mae, mase)
    return scores


def _hold_contest(
    scored: Mapping[str, Mapping[Any, _Score]], *, order: Sequence[str], guests: Sequence[str] = ()
) -> _Contest:
    """Compare candidates over shared origins; one that shares none with those of more origins is left out.

    A guest is also left out where it lacks any origin that the others share.
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
