"""Ray Train's processes: each has its share of every step's windows, and the first one's status comes back."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from forecasting.errors import ClusterError, SourceError
from forecasting.fleet.fitted import Prior
from forecasting.fleet.options import FitOptions
from forecasting.fleet.prior.prior import fit_prior
from forecasting.fleet.task import ForecastTask
from forecasting.series.panel import Panel
from forecasting.spec.training import MemberConfig
from forecasting.store.files import Files
from workers.cluster.shards import Shard
from workers.cluster.worker import Resources
from workers.jobs.priors import count_together

# Ray Data, which Ray Train loads, warns of what it sets itself.
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

SHARD = Shard(0, ("a", "b", "c"), 300)
HALF = Resources(2, 0.5, 0)


def train_prior(unit: Shard) -> Prior:
    y_SN = np.sin(np.arange(100) / 3)[None] * np.arange(1, 4)[:, None] + np.random.default_rng(0).normal(
        0, 0.1, (3, 100)
    )
    ds_SN = np.tile(np.arange(104), (3, 1))
    panel = Panel(unit.unique_ids, y_SN, np.full(3, 100), np.zeros((3, 104, 0), np.float32), ds_SN, 4)
    config = MemberConfig(start="prior", prior_steps=30, prior_windows=64, hidden_size=8)
    prior = fit_prior(
        panel,
        "gru",
        ForecastTask(1, 4, (0.1, 0.5, 0.9), (7,)),
        config,
        seed=3,
        dropped_S=np.zeros(3, dtype=np.int64),
        role="candidate",
        options=FitOptions(accelerator="cpu", show_progress=False),
    )
    assert prior is not None
    return prior


@pytest.mark.ray
def test_a_prior_that_is_trained_together_is_the_one_that_is_trained_alone(ray_cluster, tmp_path: Path) -> None:
    def keep(unit: Shard, prior: Prior) -> dict:
        return {"prior": prior.to_bytes(), "num_processes": torch_world()}

    def torch_world() -> int:
        from torch import distributed

        return distributed.get_world_size()

    from workers.cluster.together import Together, run_together  # loads Ray Train, which takes seconds

    before = signal.getsignal(signal.SIGINT)
    files = Files(str(tmp_path), {})
    work = Together(train_prior, keep)
    status = run_together(work, SHARD, num_processes=2, resources=HALF, files=files, folder="notes/of")
    assert files.find("notes/of"), "Ray Train's notes lie in the folder"
    alone, found = train_prior(SHARD), Prior.from_bytes(status["prior"])
    assert status["num_processes"] == 2
    assert signal.getsignal(signal.SIGINT) is before
    for name, weight in alone.weights.items():
        np.testing.assert_allclose(found.weights[name], weight, atol=2e-4, err_msg=name)
    assert any((found.weights[name] != weight).any() for name, weight in alone.weights.items()), "sums differ in order"


def run_failing(compute: Callable[[Shard], None], folder: Path) -> None:
    from workers.cluster.together import Together, run_together

    run_together(
        Together(compute, lambda unit, _: {}),
        SHARD,
        num_processes=1,
        resources=HALF,
        files=Files(str(folder), {}),
        folder="notes",
    )


@pytest.mark.ray
def test_an_error_of_fleetcast_is_raised_as_it_is(ray_cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compute(unit: Shard) -> None:
        raise SourceError("x.csv", ["no rows"])

    monkeypatch.setattr("workers.cluster.together.MAX_RETRIES", 0)
    with pytest.raises(SourceError, match="no rows"):
        run_failing(compute, tmp_path)


@pytest.mark.parametrize("origin", ["worker", "Ray Train"])
def test_any_other_failure_is_raised_with_the_description_of_its_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    from ray.train.v2._internal.exceptions import UserExceptionWithTraceback
    from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

    def fit(trainer: Any) -> None:
        lost = KeyError("lost")
        if origin == "worker":
            raise WorkerGroupError("it failed", {1: UserExceptionWithTraceback(lost, traceback_str="")})
        raise ControllerError(lost)

    monkeypatch.setattr("workers.cluster.together.TorchTrainer.fit", fit)
    with pytest.raises(ClusterError, match=r"(?s)shard 0 .* failed: .*lost"):
        run_failing(lambda unit: None, tmp_path)


@pytest.mark.parametrize(
    ("num_workers", "num_gpus", "num_priors", "expected"),
    [(8, 0, 1, 1), (1, 1, 1, 1), (2, 1, 1, 2), (8, 1, 4, 8), (7, 1, 4, 1), (6, 1, 2, 4), (5, 0.5, 1, 4)],
)
def test_priors_are_trained_together_where_gpus_are_twice_as_many(
    num_workers: int, num_gpus: float, num_priors: int, expected: int
) -> None:
    resources = Resources(num_workers, 1, num_gpus)
    assert count_together(resources, num_priors=num_priors, num_windows=128) == expected
