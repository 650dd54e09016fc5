"""Choose a recipe's members: train many of them once, and score the medians of different choices.

    FLEETCAST_BENCHMARK_DATA=FOLDER python -m tests.benchmarks.choose_members tourism_monthly m4_hourly:3

Only the training part of a set is used, with its last horizon as the actuals; `:3` takes every third series. The first
score is of the networks' median, over series that all members can forecast. The second is of the combination with
statistical models, over all series.
"""

# S series · F horizon steps · Q quantiles

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.classical.baselines import seasonal_naive, seasonal_naive_name
from forecasting.classical.combination import combine
from forecasting.fleet.options import FitOptions
from forecasting.flow.learn import Priors, train_member, train_priors
from forecasting.flow.processes import Crew, call_on_crew
from forecasting.flow.statistics_choice import statistics_forecasters
from forecasting.series.ingest import ingest, panel_of
from forecasting.series.panel import Panel
from forecasting.spec.recipes import TRANSFORMS, configure
from forecasting.spec.spec import Spec
from tests.benchmarks.accuracy import DATA_SETS, describe, split
from tests.benchmarks.m4 import DATA_VARIABLE

Quantiles = npt.NDArray[np.float64]

NETWORK = "gru"
OPTIONS = FitOptions(show_progress=False)
CHOICES: Mapping[str, Mapping[str, int]] = {
    "two of each start": {"random": 2, "prior": 2},
    "four of each": {"random": 4, "prior": 4},
    "six of each": {"random": 6, "prior": 6},
    "eight of each": {"random": 8, "prior": 8},
    "eight random, four from a prior": {"random": 8, "prior": 4},
    "four random, eight from a prior": {"random": 4, "prior": 8},
    "two random, six from a prior": {"random": 2, "prior": 6},
    "eight random": {"random": 8},
    "eight from a prior": {"prior": 8},
    "four of each, two smoothed": {"random": 4, "prior": 4, "smoothed": 2},
    "six of each, two smoothed": {"random": 6, "prior": 6, "smoothed": 2},
    "six from a prior, two smoothed": {"prior": 6, "smoothed": 2},
}
"""Numbers of members by kind; the first ones of each kind are taken."""


class MemberForecast(NamedTuple):
    """The forecast of one member, and the seconds of its two fits."""

    quantiles_SFQ: Quantiles | None
    seconds: float


def main(arguments: Sequence[str]) -> int:
    """Print a row per set and choice of members."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="SET[:N]", help=", ".join(DATA_SETS))
    options = parser.parse_args(arguments)
    root = os.environ.get(DATA_VARIABLE)
    if not root:
        parser.error(f"{DATA_VARIABLE} must name the folder of the data sets")
    print("| set | members | networks: MASE | WQL | combination: MASE | WQL | seconds of fits |", flush=True)
    print("|---" * 7 + "|", flush=True)
    for chosen_set in options.sets:
        name, _, every = chosen_set.partition(":")
        with TemporaryDirectory() as folder:
            known, actual_SF = inner_part(Path(root), name, Path(folder), every=int(every or 1))
            for row in choose(name, known, actual_SF):
                print(row, flush=True)
    return 0


def inner_part(root: Path, name: str, folder: Path, *, every: int) -> tuple[Path, Quantiles]:
    """Return a file of a set's training part without its last horizon, and that horizon, (S, F)."""
    outer = folder / "outer"
    outer.mkdir()
    rows = pl.read_parquet(split(root, name, outer)[0]).sort("unique_id", "ds")
    kept = rows["unique_id"].unique().sort()[::every]
    left = pl.int_range(pl.len()).reverse().over("unique_id")
    rows = rows.filter(pl.col("unique_id").is_in(kept.implode())).with_columns(left=left)
    is_known = pl.col("left") >= DATA_SETS[name].horizon
    rows.filter(is_known).drop("left").write_parquet(folder / "known.parquet")
    followed = rows.filter(~is_known).group_by("unique_id", maintain_order=True).agg("y")
    return folder / "known.parquet", np.array(followed["y"].to_list())


def choose(name: str, known: Path, actual_SF: Quantiles) -> list[str]:
    """Train every member of every kind once, and score each choice of them."""
    kinds, spec = _superset(name, known)
    ingested = ingest(spec)
    panel = panel_of(ingested.features, spec, ingested.unique_ids, run_cutoff=ingested.cutoff)
    begun = [number for number, kind in enumerate(kinds) if kind == "prior"]
    numbers = sorted(range(len(kinds)), key=lambda number: kinds[number] != "smoothed")  # the longest first
    with Crew(os.cpu_count() or 1) as crew:
        trainings = [partial(train_priors, panel, spec, NETWORK, number, options=OPTIONS) for number in begun]
        priors = dict(zip(begun, call_on_crew(trainings, crew=crew), strict=True))
        fits = [partial(_train, panel, spec, number, priors.get(number)) for number in numbers]
        trained = dict(zip(numbers, call_on_crew(fits, crew=crew), strict=True))
        (others,) = call_on_crew([partial(_others, panel, spec)], crew=crew)
    rows = []
    for label, wanted in CHOICES.items():
        chosen = [
            number
            for kind, num in wanted.items()
            for number in [n for n, each in enumerate(kinds) if each == kind][:num]
            if trained[number].quantiles_SFQ is not None
        ]
        members = {f"{NETWORK}/{number}": _quantiles_of(trained[number]) for number in chosen}
        networks = _score(np.median(list(members.values()), axis=0), actual_SF, panel, spec)
        both_SFQ = combine(networks=list(members.values()), others=list(others.values()))
        combined = _score(both_SFQ, actual_SF, panel, spec)
        scores = " | ".join(f"{mase:.3f} | {wql:.4f}" for mase, wql in (networks, combined))
        rows.append(f"| {name} | {label} | {scores} | {sum(trained[n].seconds for n in chosen):.0f} |")
    return rows


def _superset(name: str, known: Path) -> tuple[list[str], Spec]:
    """Return the kind of each member, and a spec of them: the contexts of `accurate`, and the longest once more."""
    plain = describe(name, known, recipe="accurate", seed=0, overrides={})
    longest = configure(plain).context_segments
    half = max(2, longest // 2)
    lengths = (None, half, max(2, half // 2), None)
    members: list[dict[str, Any]] = [
        {"transform": transform, "context_segments": length, "start": start}
        for start in ("random", "prior")
        for length in lengths
        for transform in TRANSFORMS
    ]
    members += [{"transform": transform, "smoothing": "level_season"} for transform in TRANSFORMS]
    kinds = ["smoothed" if "smoothing" in member else str(member["start"]) for member in members]
    return kinds, describe(name, known, recipe="accurate", seed=0, overrides={"members": members})


def _train(panel: Panel, spec: Spec, number: int, priors: Priors | None) -> MemberForecast:
    from forecasting.fleet.predict import predict

    began = time.monotonic()
    fleets = list(train_member(panel, spec, NETWORK, number, priors=priors, options=OPTIONS))
    return MemberForecast(predict(fleets[-1], panel) if fleets else None, time.monotonic() - began)


def _others(panel: Panel, spec: Spec) -> dict[str, Quantiles]:
    """Return the forecasts of seasonal naives and of the recipe's statistical models."""
    forecasters: dict[str, Callable[[Panel], Quantiles]] = {
        seasonal_naive_name(length): partial(seasonal_naive, season_length=length, quantiles=spec.quantiles)
        for length in spec.season_lengths
    }
    forecasters |= statistics_forecasters(spec, panel.length_S)
    return {name: forecaster(panel) for name, forecaster in forecasters.items()}


def _quantiles_of(member: MemberForecast) -> Quantiles:
    assert member.quantiles_SFQ is not None, "only members that have forecasts are chosen"
    return member.quantiles_SFQ


def _score(quantiles_SFQ: Quantiles, actual_SF: Quantiles, panel: Panel, spec: Spec) -> tuple[float, float]:
    """Return MASE and the WQL of nine deciles, over the series that have a forecast."""
    season = spec.season_lengths[0]
    has_any_S = np.isfinite(quantiles_SFQ).all((1, 2))
    scale_S = np.nanmean(np.abs(panel.y_SN[:, season:] - panel.y_SN[:, :-season]), axis=1)
    off_SF = np.abs(quantiles_SFQ[:, :, spec.quantiles.index(0.5)] - actual_SF)
    mase_S = off_SF.mean(1)[has_any_S & (scale_S > 0)] / scale_S[has_any_S & (scale_S > 0)]
    deciles = [spec.quantiles.index(round(decile / 10, 1)) for decile in range(1, 10)]
    over_SFD = actual_SF[has_any_S, :, None] - quantiles_SFQ[has_any_S][:, :, deciles]
    level_D = np.array(spec.quantiles)[deciles]
    loss = 2 * np.maximum(level_D * over_SFD, (level_D - 1) * over_SFD).mean(-1).sum()
    return float(mase_S.mean()), float(loss / np.abs(actual_SF[has_any_S]).sum())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
