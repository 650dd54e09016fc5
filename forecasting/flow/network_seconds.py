"""Predict the CPU seconds in which the networks of a workload are trained, on the reference core.

The reference is one core of an AMD EPYC of 2022 (Zen 4, 2.6 GHz) while its other core is busy. Its
matrix products take longer, and everything else less long, than the cost model of shards states
(`forecasting.fleet.cost.pace`), which was measured on a later one.
"""

from forecasting.fleet.cost.cost import TrainingCost
from forecasting.fleet.cost.pace import count_steps, fit_seconds, prior_seconds, product_seconds
from forecasting.fleet.cost.sizes import FleetSizes
from forecasting.fleet.plan import GAINS_SERIES
from forecasting.flow.workload import Workload

PRODUCTS_FACTOR, ENGINE_FACTOR = 2.9, 0.7
"""CPU seconds on the reference core over those of the cost model: of matrix products, and of all else in the engine.
Least squares over 31 fits and priors of LSTM and GRU with 16 and 48 units, all within 17 %."""
USUAL_STEPS = 0.8
"""Share of the steps that networks from random weights take before they stop early: 0.78 of the steps of `standard`
and 0.88 of `fast` for 20 series of the demo; 0.25 to 0.6 for series that are mostly noise."""


def training_seconds(work: Workload, *, num_shards: int) -> float:
    """Return the seconds of all fits: a candidate and a serving network of each series and member.

    Args:
        work: The spec and its series.
        num_shards: Shards into which the series are divided.

    Returns:
        CPU seconds of all workers.
    """
    fixed = TrainingCost(work.networks, work.required_length).fixed_seconds
    of_series = sum(2 * _fit_seconds(sizes, work) for sizes in work.networks) if work.has_networks else 0.0
    return num_shards * fixed + work.num_series * of_series


def priors_seconds(work: Workload) -> list[float]:
    """Return the seconds of the priors of each member that begins from one.

    Args:
        work: The spec and its series.

    Returns:
        CPU seconds by network and member.
    """
    num_series = work.num_prior_series
    seconds = []
    for sizes in work.networks:
        if sizes.config.start == "prior":
            total = prior_seconds(sizes, num_series=num_series, num_points=num_series * work.num_points)
            num_steps = sizes.config.prior_steps * (1 + sizes.config.warm_share)
            products = num_steps * product_seconds(sizes, sizes.config.prior_windows)
            products += min(num_series, GAINS_SERIES) * _products_of_fit(sizes, work)
            seconds.append(_on_reference(sizes, total, products))
    return seconds


def _fit_seconds(sizes: FleetSizes, work: Workload) -> float:
    share = USUAL_STEPS if sizes.config.start == "random" else 1.0
    seconds = fit_seconds(sizes, num_points=work.num_points)
    return share * _on_reference(sizes, seconds, _products_of_fit(sizes, work))


def _products_of_fit(sizes: FleetSizes, work: Workload) -> float:
    num_steps = count_steps(sizes, num_points=work.num_points)
    return num_steps * product_seconds(sizes, sizes.config.batch_windows)


def _on_reference(sizes: FleetSizes, seconds: float, products: float) -> float:
    """Convert seconds of the cost model, of which some are matrix products; those of torch operations are kept."""
    if not sizes.in_engine:
        return seconds
    return PRODUCTS_FACTOR * products + ENGINE_FACTOR * (seconds - products)
