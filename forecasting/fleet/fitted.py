"""Fitted fleets and priors: every network's weights, and the facts needed to forecast with them and trace them.

Both are stored as safetensors, never as pickle; configuration, names and reasons are metadata of the file.
"""

# S series that have weights

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from forecasting.errors import NothingStored, first_line
from forecasting.fleet.plan import Refusal
from forecasting.fleet.scaling import Scaling
from forecasting.fleet.task import ForecastTask
from forecasting.spec.training import MemberConfig, Role


@dataclass(frozen=True)
class Prior:
    """One member's network that all series share, each weight of shape (1, …); series' own networks begin from it.

    A candidate prior ends before each series' first backtest origin. `config` and `seed` are the member's. `loss` is
    the mean pinball loss of the last steps, in units of each series' seasonal error.
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
    """Mean over series of the logarithm of the validation loss relative to the prior's, at each distance of
    `forecasting.fleet.prior.tuning.STRENGTHS`."""
    trained_until: Mapping[str, int] | None = None
    """Last grid point of each of its series that it may have read: a step, or microseconds since 1970."""
    started_from: str | None = None
    """Version of the prior that it was trained from."""
    vocabulary: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Values of each category that have a row in its table (`forecasting.fleet.categories`)."""

    @property
    def version(self) -> str:
        """A hash of weights, network, configuration, task, gains and vocabulary."""
        described = json.dumps(
            [self.model, self.config.model_dump(), self.task.describe(), self.gains, self.vocabulary], sort_keys=True
        ).encode()
        weights = (np.ascontiguousarray(weight.numpy()).tobytes() for _, weight in sorted(self.weights.items()))
        return hashlib.sha256(described + b"".join(weights)).hexdigest()[:16]

    def to_bytes(self) -> bytes:
        """Return the prior as a safetensors file."""
        described = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "weights"} | {
            "task": self.task.describe(),
            "config": self.config.model_dump(),
        }
        return save(
            {name: weight.contiguous() for name, weight in self.weights.items()},
            metadata={"fleetcast": json.dumps(described)},
        )

    @classmethod
    def from_bytes(cls, content: bytes, *, name: str = "a file of weights") -> "Prior":
        """Read the file that `to_bytes` returned.

        Args:
            content: Content of the file.
            name: Name of the file in errors.

        Returns:
            The prior.

        Raises:
            NothingStored: The content is damaged or has another format.
        """
        with _refuse_other_formats(name):
            described = _read_description(content)
            described["task"] = ForecastTask.read(described["task"])
            described["config"] = MemberConfig(**described["config"])
            described["gains"] = tuple(described["gains"])
            described["vocabulary"] = _read_vocabulary(described)
            return cls(**described, weights=load(content))


@dataclass(frozen=True)
class FittedFleet:
    """One member of every series' ensemble, as candidates or as serving networks.

    `config` and `seed` are the member's. `refused` lists series without a network, with reasons.
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
    """Last grid point of each series that its network may have read: a step, or microseconds since 1970."""
    started_from: tuple[str, ...] | None = None
    """Versions of the weights that the networks started from; None where they began at random or from a prior."""
    strength_S: npt.NDArray[np.float64] | None = None
    """Share of the way from the prior to the tuned network, 0 to 1; None without a prior."""
    vocabulary: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Values of each category that have a row in its table (`forecasting.fleet.categories`)."""

    def versions(self) -> tuple[str, ...]:
        """Return each series' version: a hash of weights, scaling, network, configuration, task and vocabulary."""
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
        """Return the part of the fleet that belongs to some series.

        Weights are copied only where series are left out or reordered.

        Args:
            unique_ids: Names of series; unknown names are ignored.

        Returns:
            A fleet in the order given.
        """
        wanted_ids = set(unique_ids)
        refused = tuple(refusal for refusal in self.refused if refusal.unique_id in wanted_ids)
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
        """Return the fleet as a safetensors file."""
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
    def from_bytes(cls, content: bytes, *, name: str = "a file of weights") -> "FittedFleet":
        """Read the file that `to_bytes` returned.

        Args:
            content: Content of the file.
            name: Name of the file in errors.

        Returns:
            The fleet.

        Raises:
            NothingStored: The content is damaged or has another format.
        """
        with _refuse_other_formats(name):
            return cls._from_parts(_read_description(content), load(content))

    @classmethod
    def from_file(cls, path: Path) -> "FittedFleet":
        """Read a file of `to_bytes` from disk; weights are mapped into memory and not copied.

        Args:
            path: The file.

        Returns:
            The fleet.

        Raises:
            NothingStored: The file is damaged or has another format.
        """
        with _refuse_other_formats(str(path)), safe_open(path, framework="pt") as content:
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
            scaling=Scaling.unstack(tensors["scaling"].numpy()),
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


@contextmanager
def _refuse_other_formats(name: str) -> Iterator[None]:
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError, SafetensorError) as error:
        cause = f"{type(error).__name__}: {first_line(error)}"
        raise NothingStored(
            f"{name} is damaged, or its format is not the one that this version of Fleetcast reads ({cause});"
            " train again"
        ) from error


def _read_description(content: bytes) -> dict[str, Any]:
    """Return the metadata in the header of a safetensors file."""
    header_size = int.from_bytes(content[:8], "little")
    described: dict[str, Any] = json.loads(json.loads(content[8 : 8 + header_size])["__metadata__"]["fleetcast"])
    return described


def _read_vocabulary(described: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(values) for name, values in described["vocabulary"].items()}
