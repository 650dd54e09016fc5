"""Train priors and every series' own networks, as pure functions."""

# S series of a shard

import atexit
import gc
import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from types import MappingProxyType
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from forecasting.classical.remainder import without_effects
from forecasting.fleet.fitted import FittedFleet, Prior
from forecasting.fleet.options import FitOptions
from forecasting.fleet.task import ForecastTask
from forecasting.flow.members import MemberKey, hidden_from_candidates
from forecasting.flow.outcome import PriorFiles
from forecasting.series.panel import Panel
from forecasting.spec.recipes import configure
from forecasting.spec.spec import Spec
from forecasting.spec.training import member_seed


class Priors(NamedTuple):
    """The priors that one member's networks begin from.

    Attributes:
        candidate: Has read nothing after the first origin of any series; candidates begin from it.
        serving: Has read everything; serving networks begin from it.
    """

    candidate: Prior
    serving: Prior

    @classmethod
    def from_files(cls, files: PriorFiles) -> Self:
        """Read both from their files."""
        return cls(Prior.from_bytes(files.candidate), Prior.from_bytes(files.serving))


class Starts(NamedTuple):
    """Earlier fleets of the same series that one member's networks continue from.

    Attributes:
        candidate: Weights that candidates continue from.
        serving: Weights that serving networks continue from.
    """

    candidate: Sequence[FittedFleet] = ()
    serving: Sequence[FittedFleet] = ()


PriorsByMember = Mapping[MemberKey, Priors]
"""Priors of the members that begin from one."""


def train_priors(
    panel: Panel,
    spec: Spec,
    network: str,
    member: int,
    *,
    start: Prior | None = None,
    options: FitOptions = FitOptions(),
) -> Priors | None:
    """Train the priors of one member on all series of a panel, without the effects of their covariates.

    The serving prior is the candidate prior, trained further on all data.

    Args:
        panel: Series to train on, up to the run's cutoff.
        spec: What to forecast.
        network: Design of the network.
        member: Number of the member.
        start: An earlier prior to continue from, with a share of the steps; it has read nothing later than the new
            candidate may.
        options: How to train; `checkpoint` names a folder.

    Returns:
        Both priors; None where no series can be trained on.
    """
    from forecasting.fleet.fit import measure_gains
    from forecasting.fleet.prior.prior import fit_prior

    _freeze_loaded_modules()
    task, config = ForecastTask.of(spec), configure(spec).of_member(member)
    seed, dropped_S = member_seed(spec.seed, member), hidden_from_candidates(panel, spec)
    share = config.warm_share if start else 1.0
    name = f"prior-{network}-{member}" + (f"-{start.version}" if start else "")
    seen, whole = _remainders(panel, spec, dropped_S)
    candidate = fit_prior(
        seen,
        network,
        task,
        config,
        seed=seed,
        dropped_S=dropped_S,
        role="candidate",
        member=member,
        start=start,
        share=share,
        options=_checkpoint_at(options, f"{name}-candidate.ckpt"),
    )
    _free_trainer()
    if candidate is None:
        return None
    gains = measure_gains(seen, candidate, dropped_S=dropped_S, options=replace(options, checkpoint=None))
    candidate = replace(candidate, gains=gains)
    _free_trainer()
    serving = fit_prior(
        whole,
        network,
        task,
        config,
        seed=seed,
        dropped_S=np.zeros_like(dropped_S),
        role="serving",
        member=member,
        start=candidate,
        share=share * config.warm_share,
        options=_checkpoint_at(options, f"{name}-serving.ckpt"),
    )
    _free_trainer()
    if serving is None:  # with the data after the first origins, no series can be trained on any more
        serving = replace(candidate, role="serving")
    return Priors(candidate, replace(serving, gains=gains))


def train_shard(
    panel: Panel,
    spec: Spec,
    *,
    networks: Sequence[str],
    priors: PriorsByMember = MappingProxyType({}),
    options: FitOptions = FitOptions(),
) -> list[FittedFleet]:
    """Fit several networks for every series of a shard, in the order of `train_network`."""
    return [
        fleet for network in networks for fleet in train_network(panel, spec, network, priors=priors, options=options)
    ]


def train_network(
    panel: Panel,
    spec: Spec,
    network: str,
    *,
    priors: PriorsByMember = MappingProxyType({}),
    options: FitOptions = FitOptions(),
) -> Iterator[FittedFleet]:
    """Fit one network for every series of a shard, member after member, in the order of `train_member`."""
    for number in range(len(configure(spec).members)):
        yield from train_member(
            panel, spec, network, number, priors=priors.get(MemberKey(network, number)), options=options
        )


def train_member(
    panel: Panel,
    spec: Spec,
    network: str,
    number: int,
    *,
    priors: Priors | None = None,
    starts: Starts = Starts(),
    options: FitOptions = FitOptions(),
) -> Iterator[FittedFleet]:
    """Fit one member of a network for every series of a shard, without the effects of their covariates.

    A candidate reads nothing after its series' first backtest origin, nor do the effects that it is fitted without.

    Args:
        panel: The series of the shard, up to the run's cutoff.
        spec: What to forecast.
        network: Design of the network.
        number: Number of the member.
        priors: What the networks begin from, if the member begins from a prior; without any, nothing is fitted.
        starts: Earlier weights. Series that have some continue from them, as fleets of their own.
        options: How to train; `checkpoint` names a folder.

    Yields:
        Candidates, then serving networks, of each group of series.
    """
    from forecasting.fleet import fit as fleet_fit  # loads Lightning, which takes seconds that only training needs

    _freeze_loaded_modules()
    task, config = ForecastTask.of(spec), configure(spec).of_member(number)
    dropped_S = hidden_from_candidates(panel, spec)
    has_prior = config.start == "prior"
    if has_prior and priors is None:
        return
    seen, whole = _remainders(panel, spec, dropped_S)
    for rows, earlier in _split(panel, starts):
        name = _name_checkpoint(f"{network}-{number}", panel, rows, earlier)
        candidates = fleet_fit.fit_candidates(
            seen.select(rows),
            network,
            task,
            config,
            seed=member_seed(spec.seed, number),
            dropped_S=dropped_S[rows],
            member=number,
            prior=priors.candidate if priors and has_prior else None,
            start=earlier.candidate,
            options=_checkpoint_at(options, f"{name}-candidate.ckpt"),
        )
        _free_trainer()
        yield candidates
        serving = fleet_fit.fit_serving(
            whole.select(rows),
            candidates,
            prior=priors.serving if priors and has_prior else None,
            start=earlier.serving,
            options=_checkpoint_at(options, f"{name}-serving.ckpt"),
        )
        _free_trainer()
        yield serving


def candidates_until(panel: Panel, spec: Spec) -> dict[str, int]:
    """Return the last grid point that each series' candidate may read.

    Args:
        panel: The series, up to the run's cutoff.
        spec: What to forecast.

    Returns:
        Steps, or microseconds since 1970, by name; series without any point are left out.
    """
    columns = panel.y_SN.shape[1] - 1 - hidden_from_candidates(panel, spec)
    last_S = panel.ds_SN[np.arange(len(columns)), columns].astype(np.int64)
    return {
        name: int(last)
        for name, last, length in zip(panel.unique_ids, last_S, panel.length_S, strict=True)
        if length > 0
    }


def _split(panel: Panel, starts: Starts) -> list[tuple[npt.NDArray[np.int64], Starts]]:
    """Split the panel's rows into series that continue from earlier weights, and the others."""
    warm = {name for fleet in starts.candidate for name in fleet.unique_ids}
    is_warm_S = np.array([name in warm for name in panel.unique_ids], dtype=bool)
    parts = [(np.flatnonzero(is_warm_S), starts), (np.flatnonzero(~is_warm_S), Starts())]
    return [(rows, part_starts) for rows, part_starts in parts if len(rows)] or parts[-1:]


def _name_checkpoint(name: str, panel: Panel, rows: npt.NDArray[np.int64], starts: Starts) -> str:
    """Name the fit of a group such that a retry with other groups does not resume another group's checkpoint."""
    if len(rows) == len(panel.unique_ids) and not starts.candidate:
        return name
    versions = [version for fleets in starts for fleet in fleets for version in fleet.versions()]
    described = "\n".join([*(panel.unique_ids[row] for row in rows), *versions])
    return f"{name}-{hashlib.sha256(described.encode()).hexdigest()[:16]}"


def _checkpoint_at(options: FitOptions, name: str) -> FitOptions:
    return replace(options, checkpoint=options.checkpoint / name) if options.checkpoint else options


def _freeze_loaded_modules() -> None:
    """Exclude loaded modules from later garbage collections, which then take milliseconds.

    Modules that come later, as Lightning does with the first fit that needs it, are excluded by the next call.
    """
    _freeze(len(sys.modules) // 100)


@cache
def _freeze(hundreds_of_modules: int) -> None:
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # the interpreter's last collection must find them: DuckDB reports the rest as leaks


def _free_trainer() -> None:
    """Free weights and moments: Lightning's trainer and module reference each other and keep them alive."""
    gc.collect()
    _freeze_loaded_modules()


def _remainders(panel: Panel, spec: Spec, dropped_S: npt.NDArray[np.int64]) -> tuple[Panel, Panel]:
    """Return the panels of candidates and of serving networks, without the effects of covariates in each."""
    if panel.covariate_SNK is None:
        return panel, panel
    seen = without_effects(panel.hide_end(dropped_S), season_lengths=spec.season_lengths)
    return seen.panel, without_effects(panel, season_lengths=spec.season_lengths).panel
