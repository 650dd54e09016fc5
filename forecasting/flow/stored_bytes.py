"""Predict the bytes that runs of a spec add to the store: weights, observations and features, forecasts, other tables.

Tables are compressed. Their bytes per row were measured on eight stores of synthetic series, whose measurements have
all their digits; whole numbers need less. Some columns of text hardly count, because they repeat.
"""

from typing import NamedTuple

from forecasting.flow.workload import Workload

BYTES_PER_POINT = 15.7
"""A grid point's rows of observations and features."""
BYTES_PER_QUANTILE = 8
BYTES_PER_SCORE = 62
"""A row of `scores` or `backtests`."""
BYTES_PER_NETWORK_ROW = 15
"""A row of `models` or `champions`."""
BYTES_PER_NETWORK = 104
"""What a file of weights has of a network besides its weights, such as its scaling."""
BYTES_PER_FILE = 11_000
"""The first rows of a table's file and its entry in the log: names and statistics of columns."""
BYTES_OF_RUNS = 55_000
"""The three jobs of a flow in `runs`."""
NUM_DAYS = 30


class Stored(NamedTuple):
    """Bytes by kind.

    Attributes:
        weights: Files of networks and priors.
        features: Observations and features, which each run writes again.
        forecasts: Forecasts and sample paths.
        others: All other tables.
    """

    weights: float = 0.0
    features: float = 0.0
    forecasts: float = 0.0
    others: float = 0.0

    @property
    def total(self) -> float:
        """Bytes of all kinds."""
        return sum(self)


def train_bytes(work: Workload) -> Stored:
    """Return what a training adds."""
    num_models, num_origins = work.num_models, work.spec.backtest.origins
    rows_of_networks = work.num_series * (2 * len(work.networks) + 1)
    others = BYTES_PER_NETWORK_ROW * rows_of_networks + BYTES_PER_SCORE * work.num_series * num_models * num_origins
    if work.spec.paths:
        others += 8 * num_models * work.spec.horizon**2
    return Stored(
        weights=_weights_bytes(work),
        features=_features_bytes(work),
        others=others + 6 * BYTES_PER_FILE + BYTES_OF_RUNS,
    )


def forecast_bytes(work: Workload) -> Stored:
    """Return what a forecast adds, with the scores of earlier ones."""
    spec = work.spec
    num_rows = work.num_series * work.num_models * spec.horizon
    paths = 8 * work.num_series * spec.horizon * spec.paths
    return Stored(
        features=_features_bytes(work),
        forecasts=BYTES_PER_QUANTILE * len(spec.quantiles) * num_rows + paths + BYTES_PER_FILE,
        others=BYTES_PER_SCORE * work.num_scored * work.num_series * work.num_models + BYTES_PER_FILE + BYTES_OF_RUNS,
    )


def month_bytes(work: Workload) -> Stored:
    """Return what is stored after a training and a forecast a day for `NUM_DAYS` days, without maintenance."""
    of_day = zip(train_bytes(work), forecast_bytes(work), strict=True)
    return Stored(*(NUM_DAYS * (of_train + of_forecast) for of_train, of_forecast in of_day))


def month_bytes_kept(work: Workload) -> Stored:
    """Return the same after maintenance has removed the observations and features that later runs have replaced."""
    return month_bytes(work)._replace(features=_features_bytes(work))


def _weights_bytes(work: Workload) -> float:
    if not work.has_networks:
        return 0.0
    of_priors = sum(sizes.num_weights for sizes in work.networks if sizes.config.start == "prior")
    of_series = 4 * work.num_weights + BYTES_PER_NETWORK * len(work.networks)
    return 2.0 * (work.num_series * of_series + 4 * of_priors)


def _features_bytes(work: Workload) -> float:
    return BYTES_PER_POINT * work.num_rows + 3 * BYTES_PER_FILE
