"""A fitted fleet: every series' own weights with what is needed to forecast and to trace them; to bytes and back.

Weights travel as safetensors, never as pickle; configuration, names and reasons travel in the file's metadata.
"""

# S series that have weights

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import load, save
from torch import Tensor

from forecasting.fleet.plan import Refusal
from forecasting.fleet.scaling import Scaling
from forecasting.fleet.task import ForecastTask
from forecasting.spec.training import MemberConfig, Role


@dataclass(frozen=True)
class Prior:
    """One member's network that all series share, each weight of shape (1, …); series' own begin from it.

    `role` is candidate (it ends before each series' first backtest origin) or serving; `config` is that of the member
    alone, `seed` too; `loss` is the mean pinball loss of its last steps, in units of each series' seasonal error.
    """

    role: Role
    model: str
    task: ForecastTask
    config: MemberConfig
    seed: int
    member: int
    kernel: str
    weights: dict[str, Tensor]
    num_series: int
    num_steps: int
    loss: float
    gains: tuple[float, ...] = (0.0,)
    """How the loss of validation windows changes, as the mean over series of the logarithm of its ratio, where series'
    own networks go so far from the prior as `forecasting.fleet.prior.tuning.STRENGTHS` says."""
    trained_until: Mapping[str, int] | None = None
    """The last grid point of each of its series that it may have read: a step, or microseconds since 1970."""
    started_from: str | None = None
    """Version of the prior that it went on from."""
    vocabulary: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of each category that it reads, the values that have a row of its table (`forecasting.fleet.categories`)."""

    @property
    def version(self) -> str:
        """A hash of the weights, the configuration, the task, the gains and the vocabulary."""
        described = json.dumps(
            [self.model, self.config.model_dump(), self.task.describe(), self.gains, self.vocabulary], sort_keys=True
        ).encode()
        weights = (np.ascontiguousarray(weight.numpy()).tobytes() for _, weight in sorted(self.weights.items()))
        return hashlib.sha256(described + b"".join(weights)).hexdigest()[:16]

    def to_bytes(self) -> bytes:
        """Write the prior as one safetensors file."""
        described = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "weights"} | {
            "task": self.task.describe(),
            "config": self.config.model_dump(),
        }
        return save(
            {name: weight.contiguous() for name, weight in self.weights.items()},
            metadata={"fleetcast": json.dumps(described)},
        )

    @classmethod
    def from_bytes(cls, content: bytes) -> "Prior":
        """Read what `to_bytes` wrote."""
        described = _read_description(content)
        described["task"] = ForecastTask.read(described["task"])
        described["config"] = MemberConfig(**described["config"])
        described["gains"] = tuple(described["gains"])
        described["vocabulary"] = _read_vocabulary(described)
        return cls(**described, weights=load(content))


@dataclass(frozen=True)
class FittedFleet:
    """One member of every series' ensemble; `role` is candidate (may be backtested) or serving.

    `config` is that of the member alone, `seed` too; `refused` are the series without a network, with reasons.
    """

    role: Role
    model: str
    task: ForecastTask
    config: MemberConfig
    seed: int
    kernel: str
    unique_ids: tuple[str, ...]
    weights: dict[str, Tensor]
    scaling: Scaling
    num_steps_S: npt.NDArray[np.int64]
    num_windows_S: npt.NDArray[np.int64]
    validation_loss_S: npt.NDArray[np.float64]
    refused: tuple[Refusal, ...]
    member: int = 0
    prior_version: str | None = None
    trained_until_S: npt.NDArray[np.int64] | None = None
    """The last grid point of each series that its network may have read: a step, or microseconds since 1970."""
    started_from: tuple[str, ...] | None = None
    """Versions of the weights that the networks went on from; None where they began anew or from a prior."""
    strength_S: npt.NDArray[np.float64] | None = None
    """How far each network went from its prior towards what it would be without one, 0 to 1; None without a prior."""
    vocabulary: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of each category that networks read, the values that have a row of its table (`forecasting.fleet.categories`)."""

    def versions(self) -> tuple[str, ...]:
        """Return each series' version: a hash of weights, scaling, configuration, task and vocabulary."""
        described = json.dumps(
            [self.model, self.config.model_dump(), self.task.describe(), self.vocabulary], sort_keys=True
        ).encode()
        weights = {name: np.ascontiguousarray(weight.numpy()) for name, weight in sorted(self.weights.items())}
        scales = self.scaling.stack()
        return tuple(
            hashlib.sha256(
                described + b"".join(weight[slot].tobytes() for weight in weights.values()) + scales[:, slot].tobytes()
            ).hexdigest()[:16]
            for slot in range(len(self.unique_ids))
        )

    def select(self, unique_ids: Sequence[str]) -> "FittedFleet":
        """Return the part that belongs to some series, in the order given; others are passed over.

        Weights are copied only where series are left out or change places.
        """
        asked = set(unique_ids)
        refused = tuple(refusal for refusal in self.refused if refusal.unique_id in asked)
        slot_of = {name: slot for slot, name in enumerate(self.unique_ids)}
        wanted = tuple(name for name in unique_ids if name in slot_of)
        if wanted == self.unique_ids:
            return replace(self, refused=refused)
        slots = np.array([slot_of[name] for name in wanted], dtype=np.int64)
        return replace(
            self,
            unique_ids=wanted,
            weights={name: weight[torch.from_numpy(slots)] for name, weight in self.weights.items()},
            scaling=self.scaling.select(slots),
            num_steps_S=self.num_steps_S[slots],
            num_windows_S=self.num_windows_S[slots],
            validation_loss_S=self.validation_loss_S[slots],
            strength_S=None if self.strength_S is None else self.strength_S[slots],
            trained_until_S=None if self.trained_until_S is None else self.trained_until_S[slots],
            started_from=None if self.started_from is None else tuple(self.started_from[slot] for slot in slots),
            refused=refused,
        )

    def to_bytes(self) -> bytes:
        """Write the fleet as one safetensors file."""
        described = {
            "role": self.role,
            "model": self.model,
            "task": self.task.describe(),
            "vocabulary": self.vocabulary,
            "config": self.config.model_dump(),
            "seed": self.seed,
            "member": self.member,
            "kernel": self.kernel,
            "prior_version": self.prior_version,
            "started_from": self.started_from,
            "unique_ids": self.unique_ids,
            "refused": [asdict(refusal) for refusal in self.refused],
        }
        tensors = {f"weights.{name}": weight.contiguous() for name, weight in self.weights.items()}
        tensors["scaling"] = torch.from_numpy(self.scaling.stack())
        for name in ("num_steps_S", "num_windows_S", "validation_loss_S", "strength_S", "trained_until_S"):
            if getattr(self, name) is None:
                continue
            tensors[name] = torch.from_numpy(np.ascontiguousarray(getattr(self, name)))
        return save(tensors, metadata={"fleetcast": json.dumps(described)})

    @classmethod
    def from_bytes(cls, content: bytes) -> "FittedFleet":
        """Read what `to_bytes` wrote."""
        return cls._from_parts(_read_description(content), load(content))

    @classmethod
    def from_file(cls, path: Path) -> "FittedFleet":
        """Read a file of what `to_bytes` wrote; its weights come from the disk as they are used, and are not copied."""
        with safe_open(path, framework="pt") as content:
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 - no dict
            return cls._from_parts(json.loads(content.metadata()["fleetcast"]), tensors)

    @classmethod
    def _from_parts(cls, described: dict[str, Any], tensors: dict[str, Tensor]) -> "FittedFleet":
        started_from = described["started_from"]
        return cls(
            role=described["role"],
            model=described["model"],
            task=ForecastTask.read(described["task"]),
            config=MemberConfig(**described["config"]),
            seed=described["seed"],
            kernel=described["kernel"],
            unique_ids=tuple(described["unique_ids"]),
            weights={n.removeprefix("weights."): t for n, t in tensors.items() if n.startswith("weights.")},
            scaling=Scaling(*tensors["scaling"].numpy()),
            num_steps_S=tensors["num_steps_S"].numpy(),
            num_windows_S=tensors["num_windows_S"].numpy(),
            validation_loss_S=tensors["validation_loss_S"].numpy(),
            refused=tuple(Refusal(**refusal) for refusal in described["refused"]),
            member=described["member"],
            prior_version=described["prior_version"],
            started_from=None if started_from is None else tuple(started_from),
            strength_S=tensors["strength_S"].numpy() if "strength_S" in tensors else None,
            trained_until_S=tensors["trained_until_S"].numpy() if "trained_until_S" in tensors else None,
            vocabulary=_read_vocabulary(described),
        )


def _read_description(content: bytes) -> dict[str, Any]:
    """Return what the header of a safetensors file says of it."""
    header_size = int.from_bytes(content[:8], "little")
    described: dict[str, Any] = json.loads(json.loads(content[8 : 8 + header_size])["__metadata__"]["fleetcast"])
    return described


def _read_vocabulary(described: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(values) for name, values in described["vocabulary"].items()}
