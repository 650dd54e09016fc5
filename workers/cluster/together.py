"""Training of one unit of work on several GPUs at once, by Ray Train.

The processes of a unit form a group of torch.distributed, over which training averages its gradients
(`forecasting.fleet.prior.prior`).
"""

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic

import torch
from ray import train
from ray.train.torch import TorchConfig, TorchTrainer, get_device

from forecasting.errors import ClusterError, FleetcastError
from forecasting.store.files import Files
from workers.cluster.pool import MAX_RETRIES
from workers.cluster.worker import Resources, Result, Unit, environment_of


@dataclass(frozen=True)
class Together(Generic[Unit, Result]):
    """What the processes of a unit do.

    Attributes:
        compute: Called in every process with the unit.
        keep: Called in the first process with the unit and what `compute` returned there; returns the unit's result.
    """

    compute: Callable[[Unit], Any]
    keep: Callable[[Unit, Any], Result]


def run_together(
    work: Together[Unit, Result],
    unit: Unit,
    *,
    num_processes: int,
    resources: Resources,
    files: Files,
    folder: str,
) -> Result:
    """Run one unit of work on several processes at once; what fails is tried again.

    Args:
        work: What the processes do.
        unit: What they compute.
        num_processes: Number of processes.
        resources: What each process gets; its number of workers is not used.
        files: Files that all nodes can reach.
        folder: Folder of `files` for Ray Train's own notes; the caller discards it.

    Returns:
        What `work.keep` returned in the first process.

    Raises:
        FleetcastError: The work raised it.
        ClusterError: The work failed otherwise; the message has the unit's description.
    """
    on_gpus = resources.num_gpus > 0
    trainer = TorchTrainer(
        _run,
        train_loop_config={"work": work, "unit": unit},
        torch_config=TorchConfig(backend="nccl" if on_gpus else "gloo"),
        scaling_config=train.ScalingConfig(
            num_workers=num_processes,
            use_gpu=on_gpus,
            resources_per_worker={"CPU": resources.num_cpus} | ({"GPU": resources.num_gpus} if on_gpus else {}),
        ),
        run_config=train.RunConfig(
            name=f"unit-{unit.number}",
            storage_path=folder,
            storage_filesystem=files.filesystem,
            failure_config=train.FailureConfig(max_failures=MAX_RETRIES),
            worker_runtime_env={"env_vars": environment_of(resources)},
        ),
    )
    handler = signal.getsignal(signal.SIGINT)
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # the store's path may be relative
    try:
        result: Result = trainer.fit().return_value
    except train.TrainingFailedError as error:
        failures = getattr(error, "worker_failures", {}).values()  # Ray wraps what a worker raised
        for cause in (getattr(failure, "_base_exc", failure) for failure in failures):
            if isinstance(cause, FleetcastError):
                raise cause from error
            raise ClusterError(f"{unit.description} failed: {cause!r}") from error
        raise ClusterError(f"{unit.description} failed: {error}") from error
    finally:
        signal.signal(signal.SIGINT, handler)  # Ray Train leaves its own handler behind
    return result


def _run(config: Mapping[str, Any]) -> Any:
    work, unit = config["work"], config["unit"]
    device = get_device()
    if device.type == "cuda":  # a process sees all GPUs of its node
        torch.cuda.set_device(device)
    computed = work.compute(unit)
    return work.keep(unit, computed) if train.get_context().get_world_rank() == 0 else None
