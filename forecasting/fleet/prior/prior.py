"""The prior: one network that all series share, from which each series' own network may begin.

It is trained on windows drawn over all series, with a cosine of step sizes, and its weights are averaged over the last
steps. It is a versioned input of every fleet that begins from it, as the data are.
"""

# S series · B windows, each of any series · F horizon steps · Q quantiles

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed, nn

from forecasting.fleet.architectures.noise import Noise
from forecasting.fleet.assembly import Assembly, assemble
from forecasting.fleet.categories import extend_vocabulary, learn_vocabulary, seen_by, seen_rows, tie_unseen
from forecasting.fleet.engine import runs_in_engine
from forecasting.fleet.fitted import Prior
from forecasting.fleet.losses import pinball_loss
from forecasting.fleet.network import FleetNetwork
from forecasting.fleet.options import FitOptions
from forecasting.fleet.plan import TrainingPlan, plan_training
from forecasting.fleet.random import draw_bits, series_keys
from forecasting.fleet.scaling import scaling_for
from forecasting.fleet.steps import prior as engine_steps
from forecasting.fleet.steps.adam import Adam
from forecasting.fleet.steps.graphs import GraphedSteps
from forecasting.fleet.steps.optimised import Optimised
from forecasting.fleet.task import ForecastTask
from forecasting.fleet.trainer import device_of, run_trainer
from forecasting.fleet.windows import WindowBatch, WindowSource
from forecasting.series.extremes import has_extreme
from forecasting.series.panel import Panel
from forecasting.spec.training import MemberConfig, Role

STEPS_OF_A_BLOCK = 50
"""Optimiser steps in one block, so that the overhead per block is small."""
WARM_UP_STEPS = 50
WEIGHT_DECAY = 1e-3
PASSES = 30
"""Largest number of times a window is read, so that few series are not overfitted."""


def fit_prior(
    panel: Panel,
    model: str,
    task: ForecastTask,
    config: MemberConfig,
    *,
    seed: int,
    dropped_S: npt.NDArray[np.int64],
    role: Role,
    member: int = 0,
    start: Prior | None = None,
    share: float = 1.0,
    options: FitOptions = FitOptions(),
) -> Prior | None:
    """Fit one member's prior without the last `dropped_S[s]` grid points of each series.

    A series with values that are not finite in scaled units, or that is too short, constant or empty, takes no part.
    Neither does one with a measurement of another magnitude than its others (`has_extreme`).

    Args:
        panel: All series of the spec, or those of `prior_series`.
        model: Name of the network.
        task: What is to be forecast.
        config: Configuration of the member.
        seed: Seed of the member.
        dropped_S: Grid points at the end of each series that are hidden.
        role: Role of the networks that begin from the prior.
        member: Number of the member in its ensemble.
        start: An earlier prior of the same shape, which is trained further.
        share: Share of the steps to take.
        options: Where and how the fit runs.

    Returns:
        The prior, or None where no series can take part.
    """
    known = panel.hide_end(dropped_S)
    scaling = scaling_for(config, known, task.season_lengths)
    plan = plan_training(
        known,
        scaling,
        model=model,
        config=config,
        dropped_S=dropped_S,
        with_validation=False,
        least_windows=1,
    )
    known, scaling = known.select(plan.rows_S), scaling.select(plan.rows_S)
    vocabulary = learn_vocabulary(known.coded, task.categories, reads_static=True)
    if start is not None:
        vocabulary = extend_vocabulary(start.vocabulary, vocabulary, task.categories)
    ready = assemble(known, scaling, model=model, task=task, config=config, vocabulary=vocabulary)
    is_sound_S = (torch.isfinite(ready.windows.y_SN).all(1) & torch.isfinite(ready.windows.error_unit_S)).numpy()
    is_sound_S &= ~has_extreme(known.y_SN)
    if not is_sound_S.any():
        return None
    network = ready.make_network(num_series=1, device=device_of(options), kernel=options.kernel)
    key_1 = series_keys(("prior",), seed=seed)
    network.initialise(key_1)
    if start is not None:
        network.load_weights(start.weights)
    rows_S = torch.from_numpy(np.flatnonzero(is_sound_S))
    seen = _seen(ready, plan, rows_S, start)
    ready = ready.hide_unseen(seen)
    most_steps = -(-PASSES * int(plan.num_windows_S[is_sound_S].sum()) // config.prior_windows)
    num_steps = min(config.prior_steps, most_steps)
    module = PriorModule(
        network,
        ready.windows,
        config=config,
        quantiles=task.quantiles,
        key_1=key_1,
        rows_S=rows_S,
        first_S=torch.from_numpy(plan.first_S),
        num_windows_S=torch.from_numpy(plan.num_windows_S),
        max_steps=math.ceil(num_steps * share),
    )
    run_trainer(module, max_blocks=-(-module.max_steps // STEPS_OF_A_BLOCK), options=options)
    module.cpu()
    tie_unseen(dict(module.average.items()), seen)
    return Prior(
        role=role,
        model=model,
        task=task,
        config=config,
        seed=seed,
        member=member,
        kernel=network.kernel.NAME,
        weights={name: weight.detach().clone() for name, weight in module.average.items()},
        num_series=len(rows_S),
        num_steps=module.num_steps,
        loss=float(module.loss),
        trained_until=_last_read(known, dropped_S[plan.rows_S], is_sound_S),
        started_from=start.version if start else None,
        vocabulary=vocabulary,
    )


def _seen(ready: Assembly, plan: TrainingPlan, rows_S: Tensor, start: Prior | None) -> list[Tensor]:
    """Return the categories that the prior has seen by the end of training: those of its series, and of its start."""
    num_ahead = ready.wiring.count_read_ahead(ready.dimensions)
    last_S = torch.from_numpy(plan.first_S + plan.num_windows_S - 1 + num_ahead)
    of_series = seen_rows(ready.windows, last_S, ready.task.embeddings(ready.config))
    seen = [is_seen_SV[rows_S].any(0, keepdim=True) for is_seen_SV in of_series]
    if start is not None:
        seen = [now | then for now, then in zip(seen, seen_by(start.weights, len(seen)), strict=True)]
    return seen


def _last_read(panel: Panel, dropped_S: npt.NDArray[np.int64], is_sound_S: npt.NDArray[np.bool_]) -> dict[str, int]:
    """Return the last visible grid point of each series that takes part, as an integer."""
    last_S = panel.ds_SN[np.arange(len(dropped_S)), panel.y_SN.shape[1] - 1 - dropped_S].astype(np.int64)
    return {panel.unique_ids[row]: int(last_S[row]) for row in np.flatnonzero(is_sound_S)}


def is_together() -> bool:
    """Return whether this process trains a prior with others, as a group of torch.distributed."""
    return distributed.is_available() and distributed.is_initialized()


class PriorModule(Optimised):
    """Trains one network on windows of all series, in units of each series' seasonal error.

    Processes of a torch.distributed group divide the windows of every step and average their gradients.

    Args:
        network: The network, with initial weights.
        windows: Windows of all series.
        config: Configuration of the member.
        quantiles: Levels of the quantiles.
        key_1: Key of random numbers, (1,).
        rows_S: Rows of the series that take part.
        first_S: Column of each series' first training origin.
        num_windows_S: Number of each series' training origins, which are consecutive columns.
        max_steps: Optimiser steps to take.
    """

    rows_S: Tensor
    first_S: Tensor
    num_windows_S: Tensor
    key_1: Tensor
    quantiles_Q: Tensor
    loss: Tensor
    has_validation = False

    def __init__(
        self,
        network: FleetNetwork,
        windows: WindowSource,
        *,
        config: MemberConfig,
        quantiles: tuple[float, ...],
        key_1: Tensor,
        rows_S: Tensor,
        first_S: Tensor,
        num_windows_S: Tensor,
        max_steps: int,
    ) -> None:
        num_together = distributed.get_world_size() if is_together() else 1
        # The engine exchanges no gradients with other processes.
        in_engine = num_together == 1 and runs_in_engine(
            network.kernel.NAME, network.wiring, is_smoothed=windows.smoothing is not None
        )
        adam = Adam(config.prior_rate, decay=WEIGHT_DECAY)
        super().__init__(network, windows, adam=adam, in_engine=in_engine)
        self.config, self.max_steps, self.num_together = config, max_steps, num_together
        for name, constant in {
            "rows_S": rows_S,
            "first_S": first_S,
            "num_windows_S": num_windows_S,
            "key_1": key_1,
            "quantiles_Q": torch.tensor(quantiles, dtype=torch.float32),
        }.items():
            self.register_buffer(name, constant, persistent=False)
        self.register_buffer("loss", torch.tensor(0.0))
        self._graphed: GraphedSteps | None = None
        self.average = nn.ParameterDict(
            {n: nn.Parameter(w.detach().clone(), requires_grad=False) for n, w in network.weights.items()}
        )

    def run_block(self) -> None:
        """Run the optimiser steps of one block."""
        self.advance(min(STEPS_OF_A_BLOCK, self.max_steps - self.num_steps))

    def advance(self, num_steps: int) -> None:
        """Run optimiser steps, in the CPU engine where it has the network."""
        steps = range(self.num_steps, self.num_steps + num_steps)
        optimizer = self.optimizer
        if optimizer is None:
            engine_steps.advance(self, steps)
        elif self.device.type == "cuda":
            self._steps_on_gpu(optimizer, steps)
        else:
            for step in steps:
                for group in optimizer.param_groups:
                    group["lr"] = self.step_size(step)
                self._one_step(optimizer, step, self.averaging(step))
        self.num_steps = steps.stop

    def validate(self) -> None:
        """Do nothing: a prior takes all its steps."""

    def progress(self) -> dict[str, Any]:
        """Return the number of steps."""
        return {"num_steps": self.num_steps}

    def resume(self, progress: dict[str, Any]) -> None:
        """Restore what `progress` returned."""
        self.num_steps = progress["num_steps"]

    def _steps_on_gpu(self, optimizer: torch.optim.Optimizer, steps: range) -> None:
        """Run steps that read their number, step size and averaging from tensors, so that they can be captured."""
        if self._graphed is None:
            # Processes of a group exchange gradients within a step, which a graph cannot record.
            self._graphed = GraphedSteps(self.device, may_capture=self.num_together == 1)
            every = range(self.max_steps)
            self._step = torch.tensor(steps.start, device=self.device)
            self._rates = torch.tensor([self.step_size(step) for step in every], device=self.device)
            self._fresh = torch.tensor([self.averaging(step) for step in every], device=self.device)
            for group in optimizer.param_groups:
                group["lr"] = self._rates[0].clone()

        def one_step() -> None:
            place_1 = self._step.view(1)
            for group in optimizer.param_groups:
                group["lr"].copy_(self._rates.index_select(0, place_1)[0])
            self._one_step(optimizer, self._step, self._fresh.index_select(0, place_1)[0])
            self._step.add_(1)

        self._graphed.run(one_step, len(steps))

    def _one_step(self, optimizer: torch.optim.Optimizer, step: int | Tensor, fresh: float | Tensor) -> None:
        first, _ = self._share_of_windows()
        noise = Noise(self.key_1, step, self.config.prior_windows, first, self.max_steps)
        loss = self.loss_of(self.draw(step), noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.num_together > 1:
            self._share_gradients()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.gradient_clip)
        optimizer.step()
        self.network.bound()
        with torch.no_grad():
            for name, weight in self.network.weights.items():
                self.average[name].lerp_(weight, fresh)
            self.loss.lerp_(loss.detach(), fresh)

    def _share_gradients(self) -> None:
        """Give every process the mean of all gradients, in one exchange."""
        gradients = [weight.grad for weight in self.network.parameters() if weight.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        parts = (flat / self.num_together).split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def averaging(self, step: int) -> float:
        """Return the share of a step's new weights in their average; early steps weigh more, and are soon forgotten."""
        return 1 - min(self.config.prior_average, (1 + step) / (10 + step))

    def step_size(self, step: int) -> float:
        """Return the step size at a step: it rises for a few steps, then falls along a cosine to a fiftieth."""
        decay = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / self.max_steps))
        return self.config.prior_rate * min(1.0, (1 + step) / WARM_UP_STEPS) * decay

    def draw(self, step: int | Tensor) -> WindowBatch:
        """Draw the windows of a step over all series, each series equally often.

        Each process of a group draws its share, so that together they have the windows that one process would draw.

        Args:
            step: Number of the step, on the GPU as a tensor.

        Returns:
            Windows of shape (1, B, …).
        """
        first, last = self._share_of_windows()
        counters_B = step * self.config.prior_windows + torch.arange(first, last, device=self.device)
        series_B = draw_bits(self.key_1, purpose="series", counters_D=counters_B)[0] % len(self.rows_S)
        rows_B = self.rows_S[series_B]
        bits_B = draw_bits(self.key_1, purpose="windows", counters_D=counters_B)[0]
        origins_B = self.first_S[rows_B] + bits_B % self.num_windows_S[rows_B]
        drawn = self.windows.gather(origins_B[:, None], rows_B, every_step=self.network.wiring.is_dense)
        whole = {name: getattr(drawn, name) for name in WindowBatch.__dataclass_fields__}
        by_network = {name: part.flatten(0, 1).unsqueeze(0) for name, part in whole.items() if part is not None}
        return replace(drawn, **by_network)

    def _share_of_windows(self) -> tuple[int, int]:
        """Return the first of this process's windows of a step, and the end of them."""
        rank, num_windows = distributed.get_rank() if self.num_together > 1 else 0, self.config.prior_windows
        first, last = (num_windows * place // self.num_together for place in (rank, rank + 1))
        return first, last

    def loss_of(self, windows: WindowBatch, noise: Noise | None = None) -> Tensor:
        """Return the mean pinball loss of windows."""
        predicted_SBFQ = self.network(windows, noise)
        return pinball_loss(predicted_SBFQ, windows.target_SBF, windows.is_observed_SBF, self.quantiles_Q).sum()
