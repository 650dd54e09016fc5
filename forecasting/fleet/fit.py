"""Fit a fleet: a panel in, a `FittedFleet` out; first as candidates that may be backtested, then as what serves.

A candidate never reads the points after its series' first backtest origin, early stopping included. The serving
network is fitted on everything, for as many steps as the candidate found best.
"""

# S series · N grid points

import logging
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytorch_lightning as lightning
import torch

from forecasting.fleet import kernels
from forecasting.fleet.cells import CELLS
from forecasting.fleet.checkpoints import SaveSometimes
from forecasting.fleet.fitted import Architecture, FittedFleet
from forecasting.fleet.module import FleetModule, Schedule
from forecasting.fleet.network import FleetNetwork
from forecasting.fleet.options import FitOptions
from forecasting.fleet.plan import Refusal, TrainingPlan, plan_training
from forecasting.fleet.random import series_keys
from forecasting.fleet.scaling import Scaling, measure_scaling
from forecasting.fleet.windows import window_source
from forecasting.series.panel import Panel
from forecasting.training import TrainingConfig, member_seed


def fit_candidates(
    panel: Panel,
    architecture: Architecture,
    config: TrainingConfig,
    *,
    seed: int,
    dropped_S: npt.NDArray[np.int64],
    member: int = 0,
    options: FitOptions = FitOptions(),
) -> FittedFleet:
    """Fit one member's network of every series with early stopping, blind to its last `dropped_S[s]` grid points.

    `config` and `seed` are those of the whole ensemble.
    """
    known, config, seed = _hide_end(panel, dropped_S), config.of_member(member), member_seed(seed, member)
    scaling = measure_scaling(known.y_SN, season_length=architecture.season_lengths[0], transform=config.transform)
    plan = plan_training(
        known, scaling, model=architecture.model, config=config, dropped_S=dropped_S, with_validation=True
    )
    fitted = _fit(known, "candidate", architecture, config, seed, scaling, plan, Schedule(config.max_steps), options)
    return replace(fitted, member=member)


def fit_serving(panel: Panel, candidates: FittedFleet, *, options: FitOptions = FitOptions()) -> FittedFleet:
    """Refit the candidates' series on the whole panel, each for the steps that its candidate found best."""
    row_of = {name: row for row, name in enumerate(panel.unique_ids)}
    rows = np.array([row_of[name] for name in candidates.unique_ids], dtype=np.int64)
    known, config = panel.select(rows), candidates.config
    scaling = measure_scaling(
        known.y_SN, season_length=candidates.architecture.season_lengths[0], transform=config.transform
    )
    plan = plan_training(
        known,
        scaling,
        model=candidates.model,
        config=config,
        dropped_S=np.zeros(len(rows), dtype=np.int64),
        with_validation=False,
    )
    num_steps_S = candidates.num_steps_S[plan.rows_S]
    schedule = Schedule(int(num_steps_S.max(initial=0)), torch.from_numpy(num_steps_S))
    fitted = _fit(known, "serving", candidates.architecture, config, candidates.seed, scaling, plan, schedule, options)
    return replace(fitted, refused=candidates.refused + fitted.refused, member=candidates.member)


def _hide_end(panel: Panel, dropped_S: npt.NDArray[np.int64]) -> Panel:
    columns_N = np.arange(panel.y_SN.shape[1])
    is_hidden_SN = columns_N[None, :] >= (panel.y_SN.shape[1] - dropped_S)[:, None]
    return replace(panel, y_SN=np.where(is_hidden_SN, np.nan, panel.y_SN))


def _fit(
    panel: Panel,
    role: str,
    architecture: Architecture,
    config: TrainingConfig,
    seed: int,
    scaling: Scaling,
    plan: TrainingPlan,
    schedule: Schedule,
    options: FitOptions,
) -> FittedFleet:
    panel = panel.select(plan.rows_S)
    scaling = scaling.select(plan.rows_S)
    references = config.references(architecture.season_lengths)
    windows = window_source(panel, scaling, config=config, season_lengths=references)
    keys_S = series_keys(panel.unique_ids, seed=seed)
    cell = CELLS[architecture.model]
    device = _device(options)
    network = FleetNetwork(
        cell,
        kernel=kernels.choose(cell, device, torch.float32, config.hidden_size, wanted=options.kernel),
        num_series=len(panel.unique_ids),
        num_inputs=windows.num_inputs,
        hidden_size=config.hidden_size,
        horizon=architecture.horizon,
        num_quantiles=len(architecture.quantiles),
        num_seasons=len(references),
    )
    network.initialise(keys_S)
    module = FleetModule(
        network,
        windows,
        config=config,
        quantiles=architecture.quantiles,
        keys_S=keys_S,
        first_S=torch.from_numpy(plan.first_S),
        num_windows_S=torch.from_numpy(plan.num_windows_S),
        validation_SV=torch.from_numpy(plan.validation_SV),
        schedule=schedule,
    )
    if panel.unique_ids:
        run_trainer(module, max_epochs=-(-schedule.max_steps // config.evaluate_every), options=options)
    module.cpu()
    return _drop_broken(
        FittedFleet(
            role=role,
            architecture=architecture,
            config=config,
            seed=seed,
            kernel=network.kernel.NAME,
            unique_ids=panel.unique_ids,
            weights={name: weight.detach().clone() for name, weight in module.kept.items()},
            scaling=scaling,
            num_steps_S=module.best_step_S.numpy().copy(),
            num_windows_S=plan.num_windows_S,
            validation_loss_S=module.best_loss_S.double().numpy().copy(),
            refused=plan.refused,
        ),
        broken_step_S=module.broken_step_S.numpy(),
    )


def run_trainer(module: FleetModule, *, max_epochs: int, options: FitOptions) -> None:
    """Let Lightning run the module's looks, from a checkpoint where there is one; Ctrl-C raises KeyboardInterrupt."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    callbacks: list[lightning.Callback] = [_Looks(options.on_look)] if options.on_look else []
    if options.checkpoint:
        callbacks.append(SaveSometimes(options.checkpoint, seconds=options.seconds_between_checkpoints))
    with warnings.catch_warnings():
        # One block an epoch is by design: advice about data loaders and log intervals does not apply.
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        trainer = lightning.Trainer(
            accelerator=options.accelerator,
            devices=1,
            max_epochs=max_epochs,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=_is_watched(options) if options.show_progress is None else options.show_progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        resumed = options.checkpoint if options.checkpoint and options.checkpoint.exists() else None
        try:
            trainer.fit(module, ckpt_path=resumed, weights_only=True)
        except SystemExit:
            # Lightning turns Ctrl-C into an exit and ignores the signal from then on; callers decide about exits here.
            if not trainer.interrupted:
                raise
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from None
    if options.checkpoint:
        options.checkpoint.unlink(missing_ok=True)


def _device(options: FitOptions) -> torch.device:
    """Return the kind of device that Lightning will take."""
    on_gpu = options.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return torch.device("cuda" if on_gpu else "cpu")


def _is_watched(options: FitOptions) -> bool:
    return sys.stderr.isatty() and options.on_look is None


def _drop_broken(fitted: FittedFleet, *, broken_step_S: npt.NDArray[np.int64]) -> FittedFleet:
    """Set aside the series whose loss or gradient was not finite at some step, or whose kept weights are not."""
    is_finite_S = np.ones(len(fitted.unique_ids), dtype=bool)
    for weight in fitted.weights.values():
        is_finite_S &= torch.isfinite(weight).flatten(1).all(1).numpy()
    is_sound_S = is_finite_S & (broken_step_S < 0) & (fitted.num_steps_S > 0)
    broken = tuple(
        Refusal(name, "broken", f"series '{name}': {fitted.model} broke, {_say_how(int(step))}")
        for name, step, is_sound in zip(fitted.unique_ids, broken_step_S, is_sound_S, strict=True)
        if not is_sound
    )
    if not broken:
        return fitted
    sound = [name for name, is_sound in zip(fitted.unique_ids, is_sound_S, strict=True) if is_sound]
    kept = fitted.select(sound)
    return replace(kept, refused=fitted.refused + broken)


def _say_how(broken_step: int) -> str:
    if broken_step < 0:
        return "no look at validation found finite weights that improved"
    return f"its loss or gradient was not finite at step {broken_step}"


class _Looks(lightning.Callback):
    def __init__(self, on_look: Callable[[int], None]) -> None:
        self.on_look = on_look

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, FleetModule)
        self.on_look(pl_module.num_steps)
