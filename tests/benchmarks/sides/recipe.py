"""A recipe's side: all members of an ensemble on synthetic hours, with its priors, candidates and serving fits."""

# S series · N grid points · F horizon steps

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from forecasting.fleet.fit import fit_candidates, fit_serving, measure_gains
from forecasting.fleet.fitted import Prior
from forecasting.fleet.options import FitOptions
from forecasting.fleet.prior.prior import fit_prior
from forecasting.fleet.task import ForecastTask
from forecasting.series.panel import Panel
from forecasting.spec.recipes import configure
from forecasting.spec.spec import Spec
from forecasting.spec.training import member_seed

NUM_POINTS = 1000


def prepare(*, spec: Spec, cell: str, num_series: int, threads: int, accelerator: str) -> Callable[[], dict[str, Any]]:
    """Make the panel; return a function that fits all members and returns the candidates' mean loss of each."""
    panel, config = make_hours(num_series, spec.horizon), configure(spec)
    task = ForecastTask(spec.freq, spec.horizon, spec.quantiles, spec.season_lengths)
    options = FitOptions(show_progress=False, accelerator=accelerator)
    dropped_S, nothing_S = np.full(num_series, spec.horizon), np.zeros(num_series, dtype=np.int64)

    def fit_priors(member: int) -> tuple[Prior | None, Prior | None]:
        torch.set_num_threads(1)  # one network gains nothing from more
        common: dict[str, Any] = {"seed": member_seed(0, member), "member": member, "options": options}
        own = config.of_member(member)
        prior = fit_prior(panel, cell, task, own, dropped_S=dropped_S, role="candidate", **common)
        assert prior is not None
        prior = replace(prior, gains=measure_gains(panel, prior, dropped_S=dropped_S, options=options))
        further = fit_prior(panel, cell, task, own, dropped_S=nothing_S, role="serving", start=prior, **common)
        assert further is not None
        return prior, replace(further, gains=prior.gains)

    def run() -> dict[str, Any]:
        losses = []
        for member, own in enumerate(config.member_configs):
            prior, further = fit_priors(member) if own.start == "prior" else (None, None)
            torch.set_num_threads(threads)
            candidates = fit_candidates(
                panel,
                cell,
                task,
                own,
                seed=member_seed(0, member),
                dropped_S=dropped_S,
                member=member,
                prior=prior,
                options=options,
            )
            fit_serving(panel, candidates, prior=further, options=options)
            losses.append(float(np.nanmean(candidates.validation_loss_S)))
        return {"losses": losses, "kernel": candidates.kernel}

    return run


def make_hours(num_series: int, horizon: int) -> Panel:
    """Return positive series with a daily and a weekly season, a random walk, and noise."""
    rng, points_N = np.random.default_rng(0), np.arange(NUM_POINTS)
    shape = (num_series, NUM_POINTS)
    day_SN = 20 * np.sin(2 * np.pi * (points_N + rng.integers(0, 24, (num_series, 1))) / 24)
    week_N = 8 * np.sin(2 * np.pi * points_N / 168)
    y_SN = 100 + day_SN + week_N + 0.2 * rng.normal(0, 4, shape).cumsum(1) + rng.normal(0, 3, shape)
    phases = [2 * np.pi * np.arange(NUM_POINTS + horizon) / length for length in (24, 168)]
    calendar_NC = np.stack([wave(phase) for phase in phases for wave in (np.sin, np.cos)], -1).astype(np.float32)
    return Panel(
        tuple(f"s{row}" for row in range(num_series)),
        np.abs(y_SN) + 1,
        np.full(num_series, NUM_POINTS),
        np.repeat(calendar_NC[None], num_series, axis=0),
        np.repeat(np.arange(NUM_POINTS + horizon)[None], num_series, axis=0),
        horizon,
    )
