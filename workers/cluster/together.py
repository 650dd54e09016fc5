"""Training on several GPUs at once, by Ray Train: a shard goes in, each process computes it, one's status comes out.

The processes of a shard form a group of torch.distributed, whose gradients what they train averages
(`forecasting.fleet.prior.prior`).
"""

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from ray import train
from ray.train.torch import TorchConfig, TorchTrainer, get_device

from forecasting.errors import ClusterError, FleetcastError
from forecasting.store.files import Files
from workers.cluster.pool import MAX_RETRIES, Resources, Status, environment_of
from workers.cluster.shards import Shard


@dataclass(frozen=True)
class Together:
    """What processes do with a shard: all of them `compute`, the first one `keep`s what came of it."""

    compute: Callable[[Shard], Any]
    keep: Callable[[Shard, Any], Status]


def run_together(
    work: Together, shard: Shard, *, num_processes: int, resources: Resources, files: Files, folder: str
) -> Status:
    """Run a shard on so many processes of a pool's resources each and return its status.

    `folder` is one of `files`, which all nodes reach, for what Ray Train notes; whoever calls discards it. What fails
    is tried again. Raises the error that Fleetcast made, else ClusterError, each with the shard's name.
    """
    on_gpus = resources.num_gpus > 0
    trainer = TorchTrainer(
        _run,
        train_loop_config={"work": work, "shard": shard},
        torch_config=TorchConfig(backend="nccl" if on_gpus else "gloo"),
        scaling_config=train.ScalingConfig(
            num_workers=num_processes,
            use_gpu=on_gpus,
            resources_per_worker={"CPU": resources.num_cpus} | ({"GPU": resources.num_gpus} if on_gpus else {}),
        ),
        run_config=train.RunConfig(
            name=f"shard-{shard.number}",
            storage_path=folder,
            storage_filesystem=files.filesystem,
            failure_config=train.FailureConfig(max_failures=MAX_RETRIES),
            worker_runtime_env={"env_vars": environment_of(resources)},
        ),
    )
    handler = signal.getsignal(signal.SIGINT)
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # a store may be named by a relative path
    try:
        status: Status = trainer.fit().return_value
    except train.TrainingFailedError as error:
        failures = getattr(error, "worker_failures", {}).values()  # Ray wraps what a worker raised
        for cause in (getattr(failure, "_base_exc", failure) for failure in failures):
            if isinstance(cause, FleetcastError):
                raise cause from error
            raise ClusterError(f"{shard} failed: {cause!r}") from error
        raise ClusterError(f"{shard} failed: {error}") from error
    finally:
        signal.signal(signal.SIGINT, handler)  # Ray Train leaves its own behind
    return status


def _run(config: Mapping[str, Any]) -> Status | None:
    work, shard = config["work"], config["shard"]
    device = get_device()
    if device.type == "cuda":  # a process sees all GPUs of its node
        torch.cuda.set_device(device)
    result = work.compute(shard)
    return work.keep(shard, result) if train.get_context().get_world_rank() == 0 else None
