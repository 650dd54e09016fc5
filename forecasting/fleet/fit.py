"""Fits of a fleet: candidates, which may be backtested, and then serving networks.

A candidate never reads points after its series' first backtest origin, not even for early stopping. The serving
network is fitted on everything, for the number of steps that the candidate found best.
"""

# S series · N grid points

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from forecasting.fleet.assembly import Assembly, assemble
from forecasting.fleet.categories import Vocabulary, learn_vocabulary, seen_by, seen_rows, tie_unseen
from forecasting.fleet.fitted import FittedFleet, Prior
from forecasting.fleet.module import FleetModule, StepBudget
from forecasting.fleet.options import FitOptions
from forecasting.fleet.plan import GAINS_SERIES, Refusal, TrainingPlan, plan_training
from forecasting.fleet.prior.direct import use_prior_directly
from forecasting.fleet.prior.tuning import STRENGTHS, choose_strengths, log_ratios
from forecasting.fleet.random import series_keys
from forecasting.fleet.scaling import Scaling, scaling_for
from forecasting.fleet.task import ForecastTask
from forecasting.fleet.trainer import device_of, run_trainer
from forecasting.series.panel import Panel
from forecasting.spec.training import MemberConfig, Role

HALF_LIFE = 3
"""Horizons, or first seasons, after which a past demand counts half for the weights that a network begins with."""


def fit_candidates(
    panel: Panel,
    model: str,
    task: ForecastTask,
    config: MemberConfig,
    *,
    seed: int,
    dropped_S: npt.NDArray[np.int64],
    member: int = 0,
    prior: Prior | None = None,
    start: Sequence[FittedFleet] = (),
    options: FitOptions = FitOptions(),
) -> FittedFleet:
    """Fit one member's network of every series without its last `dropped_S[s]` grid points.

    A network that begins at random stops early by its own validation windows. A network that begins from the prior
    takes a few small steps, and is then moved back towards the prior as far as validation requires
    (`forecasting.fleet.prior.tuning`). A series too short to be tuned uses the prior directly.

    Args:
        panel: The series.
        model: Name of the network.
        task: What is to be forecast.
        config: Configuration of the member.
        seed: Seed of the member.
        dropped_S: Grid points at the end of each series that are hidden.
        member: Number of the member in its ensemble.
        prior: The candidate prior, where the member begins from one.
        start: Fleets with earlier weights of the same shape, which together hold every series and have not read hidden
            points. Networks start from them and take a share of the steps.
        options: Where and how the fit runs.

    Returns:
        Networks of the series that could be trained, and reasons for the others.
    """
    known = panel.hide_end(dropped_S)
    request = _Request(
        "candidate",
        known,
        model,
        task,
        config,
        seed,
        scaling_for(config, known, task.season_lengths),
        prior if config.start == "prior" else None,
        start,
    )
    training = request.plan(dropped_S, with_validation=True)
    if request.prior is None:
        fitted = _fit(request, training, StepBudget(request.run_config.max_steps), options)
    else:
        fitted = _tune(request, training, options)
    return replace(fitted, member=member, trained_until_S=_last_read(panel, dropped_S, fitted))


def fit_serving(
    panel: Panel,
    candidates: FittedFleet,
    *,
    prior: Prior | None = None,
    start: Sequence[FittedFleet] = (),
    options: FitOptions = FitOptions(),
) -> FittedFleet:
    """Refit the candidates' series on the whole panel, each for the steps that its candidate found best.

    Networks with a prior begin from the serving prior and go as far from it as their candidates did.

    Args:
        panel: Series, at least those of the candidates.
        candidates: Fitted candidates.
        prior: The serving prior, where the member begins from one.
        start: Earlier serving weights, where the candidates started from earlier weights.
        options: Where and how the fit runs.

    Returns:
        The serving networks; refused series include those of the candidates.
    """
    rows = _rows_of(candidates.unique_ids, panel.unique_ids)
    known, config = panel.select(rows), candidates.config
    request = _Request(
        "serving",
        known,
        candidates.model,
        candidates.task,
        config,
        candidates.seed,
        scaling_for(config, known, candidates.task.season_lengths),
        prior if config.start == "prior" else None,
        start,
    )
    nothing_S = np.zeros(len(rows), dtype=np.int64)
    training = request.plan(nothing_S, with_validation=False)
    if request.prior is None:
        num_steps_S = candidates.num_steps_S[training.rows_S]
        budget = StepBudget(int(num_steps_S.max(initial=0)), torch.from_numpy(num_steps_S))
        fitted = _fit(request, training, budget, options)
    else:
        fitted = _tune(request, training, options, strength_S=candidates.strength_S)
    return replace(
        fitted,
        refused=candidates.refused + fitted.refused,
        member=candidates.member,
        trained_until_S=_last_read(known, nothing_S, fitted),
    )


def measure_gains(
    panel: Panel,
    prior: Prior,
    *,
    dropped_S: npt.NDArray[np.int64],
    num_series: int = GAINS_SERIES,
    options: FitOptions = FitOptions(),
) -> tuple[float, ...]:
    """Return the mean gain of tuning away from a prior, for each of `STRENGTHS` (see `Prior.gains`).

    Args:
        panel: The series that the prior was trained on.
        prior: The candidate prior.
        dropped_S: Grid points at the end of each series that are hidden.
        num_series: Largest number of series to tune; those with the smallest keys are chosen.
        options: Where and how the fit runs.

    Returns:
        Mean logarithm of the loss relative to the prior's, one number per strength; zeros where no series can be tuned.
    """
    keys_S = series_keys(panel.unique_ids, seed=prior.seed).numpy()
    rows = np.sort(np.argsort(keys_S, kind="stable")[:num_series])
    known, dropped_S = panel.hide_end(dropped_S).select(rows), dropped_S[rows]
    scaling = scaling_for(prior.config, known, prior.task.season_lengths)
    request = _Request("candidate", known, prior.model, prior.task, prior.config, prior.seed, scaling, prior)
    training = request.plan(dropped_S, with_validation=True)
    if not len(training.rows_S):
        return (0.0,) * len(STRENGTHS)
    loss_SA = _losses(_run(request, training, _tuning_budget(prior.config, training), options), prior, options)
    return tuple(float(gain) for gain in log_ratios(loss_SA).mean(0))


@dataclass(frozen=True)
class _Request:
    """What is fitted, and to which series; `scaling` is that of the whole panel.

    With a `prior` networks begin from it. With a `start` each network begins from its own weights there.
    """

    role: Role
    panel: Panel
    model: str
    task: ForecastTask
    config: MemberConfig
    seed: int
    scaling: Scaling
    prior: Prior | None
    start: Sequence[FittedFleet] = ()

    @property
    def vocabulary(self) -> Vocabulary:
        """The values that have vectors: those of the prior, or the calendar's."""
        if self.prior is not None:
            return self.prior.vocabulary
        return learn_vocabulary(self.panel.coded, self.task.categories, reads_static=False)

    @property
    def run_config(self) -> MemberConfig:
        return self.config.as_warm if self.start else self.config.as_run

    def plan(self, dropped_S: npt.NDArray[np.int64], *, with_validation: bool) -> TrainingPlan:
        return plan_training(
            self.panel,
            self.scaling,
            model=self.model,
            config=self.config,
            dropped_S=dropped_S,
            with_validation=with_validation,
        )


def _fit(request: _Request, training: TrainingPlan, budget: StepBudget, options: FitOptions) -> FittedFleet:
    return _read_fleet(request, training, _run(request, training, budget, options))


def _run(request: _Request, training: TrainingPlan, budget: StepBudget, options: FitOptions) -> FleetModule:
    panel, config = request.panel.select(training.rows_S), request.run_config
    scaling = request.scaling.select(training.rows_S)
    ready = assemble(
        panel,
        scaling,
        model=request.model,
        task=request.task,
        config=config,
        vocabulary=request.vocabulary,
    )
    seen = _seen(request, training, ready)
    ready = ready.hide_unseen(seen)
    network = ready.make_network(num_series=len(panel.unique_ids), device=device_of(options), kernel=options.kernel)
    keys_S = series_keys(panel.unique_ids, seed=request.seed)
    if request.prior is not None:
        network.load_weights(request.prior.weights)
    elif request.start:
        for part in _parts_of(request.start, panel.unique_ids):
            network.load_weights(part.weights, rows_S=_rows_of(part.unique_ids, panel.unique_ids))
    else:
        network.initialise(keys_S)
        half_life = HALF_LIFE * max(request.task.horizon, request.task.season_lengths[0])
        network.begin_at(scaling.past_differences(panel.y_SN, request.task.quantiles, half_life=half_life))
        if ready.windows.smoothing is not None:
            ready.windows.smoothing.initialise(dict(network.weights.items()), ready.windows.y_SN)
    module = FleetModule(
        network,
        ready.windows,
        config=config,
        quantiles=request.task.quantiles,
        keys_S=keys_S,
        first_S=torch.from_numpy(training.first_S),
        num_windows_S=torch.from_numpy(training.num_windows_S),
        validation_SV=torch.from_numpy(training.validation_SV),
        budget=budget,
    )
    if panel.unique_ids and budget.max_steps:
        run_trainer(module, max_blocks=-(-budget.max_steps // config.evaluate_every), options=options)
    module.cpu()
    tie_unseen(dict(module.kept.items()), seen)
    return module


def _seen(request: _Request, training: TrainingPlan, ready: Assembly) -> list[Tensor]:
    """Return the categories that each network has seen by the end of training: its prior's, or its own series'."""
    embeddings = request.task.embeddings(request.config)
    if request.prior is not None:
        return seen_by(request.prior.weights, len(embeddings))
    num_ahead = ready.wiring.count_read_ahead(ready.dimensions)
    last_S = torch.from_numpy(training.first_S + training.num_windows_S - 1 + num_ahead)
    seen = seen_rows(ready.windows, last_S, embeddings)
    unique_ids = [request.panel.unique_ids[row] for row in training.rows_S]
    for part in _parts_of(request.start, unique_ids):
        rows_S = torch.from_numpy(_rows_of(part.unique_ids, unique_ids))
        for now, then in zip(seen, seen_by(part.weights, len(seen)), strict=True):
            now[rows_S] |= then
    return seen


def _read_fleet(request: _Request, training: TrainingPlan, module: FleetModule) -> FittedFleet:
    unique_ids = tuple(request.panel.unique_ids[row] for row in training.rows_S)
    return _drop_broken(
        FittedFleet(
            role=request.role,
            model=request.model,
            task=request.task,
            config=request.config,
            seed=request.seed,
            kernel=module.network.kernel.NAME,
            unique_ids=unique_ids,
            weights={name: weight.detach().clone() for name, weight in module.kept.items()},
            scaling=request.scaling.select(training.rows_S),
            num_steps_S=module.best_step_S.numpy().copy(),
            num_windows_S=training.num_windows_S,
            validation_loss_S=module.best_loss_S.double().numpy().copy(),
            refused=training.refused,
            started_from=_versions_of(request.start, unique_ids),
            vocabulary=request.vocabulary,
        ),
        broken_step_S=module.broken_step_S.numpy(),
    )


def _parts_of(start: Sequence[FittedFleet], unique_ids: Sequence[str]) -> Iterator[FittedFleet]:
    """Yield the part of each fleet that belongs to the series."""
    return (fleet.select(unique_ids) for fleet in start)


def _versions_of(start: Sequence[FittedFleet], unique_ids: Sequence[str]) -> tuple[str, ...] | None:
    """Return the version of each series' starting weights, or None without a start."""
    if not start:
        return None
    version_of: dict[str, str] = {}
    for part in _parts_of(start, unique_ids):
        version_of |= zip(part.unique_ids, part.versions(), strict=True)
    return tuple(version_of[name] for name in unique_ids)


def _rows_of(some: Sequence[str], unique_ids: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the rows of some of the series."""
    row_of = {name: row for row, name in enumerate(unique_ids)}
    return np.array([row_of[name] for name in some], dtype=np.int64)


def _last_read(panel: Panel, dropped_S: npt.NDArray[np.int64], fitted: FittedFleet) -> npt.NDArray[np.int64]:
    """Return the last visible grid point of each fitted series as an integer."""
    rows = _rows_of(fitted.unique_ids, panel.unique_ids)
    columns = panel.y_SN.shape[1] - 1 - dropped_S[rows]
    last_S: npt.NDArray[np.int64] = panel.ds_SN[rows, columns].astype(np.int64)
    return last_S


def _tune(
    request: _Request, training: TrainingPlan, options: FitOptions, strength_S: npt.NDArray[np.float64] | None = None
) -> FittedFleet:
    """Tune networks from their prior and move them back towards it; `strength_S` has known shares of a panel's series.

    A series that cannot be tuned, or whose network breaks, uses the prior directly if it can be scaled.
    """
    assert request.prior is not None
    module = _run(request, training, _tuning_budget(request.config, training), options)
    if strength_S is None:
        loss_SA = _losses(module, request.prior, options)
        chosen_S = choose_strengths(loss_SA, request.prior.gains)
        best_loss_S = loss_SA[np.arange(len(loss_SA)), np.searchsorted(STRENGTHS, chosen_S)]
    else:
        chosen_S = strength_S[training.rows_S]
        best_loss_S = np.full(len(chosen_S), np.nan)
    weights = _between(request.prior, module, torch.from_numpy(chosen_S).float())
    is_sound_S = (module.broken_step_S < 0).numpy()
    for weight in weights.values():
        is_sound_S &= torch.isfinite(weight).flatten(1).all(1).numpy()
    direct = use_prior_directly(request.prior, request.panel, request.scaling, role=request.role)
    assert direct.strength_S is not None, "a fleet that uses its prior directly has strengths of 0"
    slot_of = {name: slot for slot, name in enumerate(direct.unique_ids)}
    slot_R = np.array([slot_of.get(request.panel.unique_ids[row], -1) for row in training.rows_S], dtype=np.int64)
    tuned = np.flatnonzero(is_sound_S & (slot_R >= 0))
    slots = slot_R[tuned]
    for name, weight in weights.items():
        direct.weights[name][torch.from_numpy(slots)] = weight[torch.from_numpy(tuned)]
    direct.strength_S[slots], direct.validation_loss_S[slots] = chosen_S[tuned], best_loss_S[tuned]
    direct.num_steps_S[slots], direct.num_windows_S[slots] = request.config.tuning_steps, training.num_windows_S[tuned]
    planned = {request.panel.unique_ids[row] for row in training.rows_S}
    return replace(
        direct,
        model=request.model,
        task=request.task,
        config=request.config,
        seed=request.seed,
        kernel=module.network.kernel.NAME,
        refused=(
            *(refusal for refusal in training.refused if refusal.unique_id not in slot_of),
            *(refusal for refusal in direct.refused if refusal.unique_id in planned),
        ),
    )


def _tuning_budget(config: MemberConfig, training: TrainingPlan) -> StepBudget:
    """Return a budget in which every series takes all tuning steps."""
    return StepBudget(config.tuning_steps, torch.full((len(training.rows_S),), config.tuning_steps))


def _between(prior: Prior, module: FleetModule, share_S: Tensor) -> dict[str, Tensor]:
    return {
        name: torch.lerp(
            prior.weights[name].to(weight.device).expand_as(weight),
            weight.detach(),
            share_S.to(weight.device).view(-1, *(1,) * (weight.dim() - 1)),
        )
        for name, weight in module.kept.items()
    }


@torch.no_grad()
def _losses(module: FleetModule, prior: Prior, options: FitOptions) -> npt.NDArray[np.float64]:
    """Return the loss on each series' validation windows at every strength, (S, A)."""
    num_series = len(module.keys_S)
    device = device_of(options)  # of the kernel that was chosen
    module.to(device)
    module.windows = module.windows.to(device)
    losses = [
        module.steps.validation_loss(module, _between(prior, module, torch.full((num_series,), strength)))
        for strength in STRENGTHS
    ]
    module.cpu()
    return torch.stack(losses, dim=1).cpu().double().numpy()


def _drop_broken(fitted: FittedFleet, *, broken_step_S: npt.NDArray[np.int64]) -> FittedFleet:
    """Set aside series whose loss or gradient was not finite at some step, or whose best weights are not."""
    is_finite_S = np.ones(len(fitted.unique_ids), dtype=bool)
    for weight in fitted.weights.values():
        is_finite_S &= torch.isfinite(weight).flatten(1).all(1).numpy()
    is_sound_S = is_finite_S & (broken_step_S < 0) & (fitted.num_steps_S > 0)
    broken = tuple(
        Refusal(name, "broken", f"series '{name}': {fitted.model} broke, {_explain_break(int(step))}")
        for name, step, is_sound in zip(fitted.unique_ids, broken_step_S, is_sound_S, strict=True)
        if not is_sound
    )
    if not broken:
        return fitted
    sound = [name for name, is_sound in zip(fitted.unique_ids, is_sound_S, strict=True) if is_sound]
    kept = fitted.select(sound)
    return replace(kept, refused=fitted.refused + broken)


def _explain_break(broken_step: int) -> str:
    if broken_step < 0:
        return "no validation pass found finite weights that improved"
    return f"its loss or gradient was not finite at step {broken_step}"
