"""Training configurations: the frozen fields of network and training that a recipe sets and a spec may override.

A recipe returns a `TrainingConfig` for the ensemble; each of its members is trained by a `MemberConfig`.
"""

import math
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

KernelName = Literal["auto", "reference", "cpu", "gpu"]
"""Implementations of the recurrence. They change how fast a fleet runs, not what it learns; no recipe names one."""


Transform = Literal["none", "log"]
"""What a network sees of y: y itself, or its logarithm where a series allows it (`forecasting.fleet.scaling`)."""


Start = Literal["random", "prior"]
"""Initial weights of a network: random, or those of the prior (`forecasting.fleet.prior.prior`)."""


Role = Literal["candidate", "serving"]
"""A candidate reads nothing after its series' first backtest origin; the serving network reads everything."""


Status = Literal["trained", "too_short", "constant", "empty", "broken"]
"""Outcome of a series' training; every status but `trained` is a reason why the series has no network."""


Smoothing = Literal["none", "level_season"]
"""Exponential smoothing of each series' level and season. Coefficients and initial seasonal indices are trained with
the network (ES-RNN, Smyl 2020; `forecasting.fleet.smoothing`)."""


CellName = Literal["elman", "lstm", "gru", "indrnn"]
"""Recurrent cells that make up a whole network (`forecasting.fleet.cells`)."""


class Design(BaseModel):
    """How a model's network is built, where the model's name does not determine it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    layers: int = Field(1, ge=1, le=32, description="layers, each reading the outputs of the one below")
    dropout: float = Field(
        0.0, ge=0, lt=1, description="share of a layer's units that training hides from the layer above, per window"
    )
    residual: bool = Field(False, description="whether layers above the first add their outputs to their inputs")
    layer_norm: bool = Field(False, description="whether a layer's outputs are normalised over its units")
    activation: Literal["tanh", "relu"] = Field("tanh", description="activation function of an Elman network's units")
    peepholes: bool = Field(False, description="whether an LSTM's gates read its cell state")
    forget_bias: float | None = Field(
        None, ge=-100, le=100, description="initial bias of an LSTM's forget gates; drawn like any other bias if unset"
    )
    candidate: Literal["after", "before"] = Field(
        "after",
        description="whether a GRU resets its state after the product with its weights (as torch) or before",
    )
    head: Literal["horizon", "next", "every_step"] = Field(
        "horizon",
        description="output of a state: the whole horizon, the next segment and so on, or the whole horizon at every"
        " step of a training window",
    )
    stream: bool = Field(
        False,
        description="whether each series is read as one long stream that carries its state on; gradients are cut"
        " every `context_segments` steps (truncated backpropagation through time)",
    )
    cell: CellName = Field("lstm", description="cell of a model whose name does not name one, such as bidirectional")
    decoder: Literal["free", "scheduled", "forced"] = Field(
        "free",
        description="inputs of a decoder in training: its own outputs (free), the actual values (forced), or a share of"
        " each that shifts to its own outputs (scheduled)",
    )
    attention: Literal["additive", "dot"] = Field(
        "additive", description="how a decoder weighs the encoder's states: by a layer of its own, or by dot products"
    )

    def problem_with(self, model: str) -> str | None:
        """Return why a model cannot be built with this design, or None where it can.

        Args:
            model: Name of a network, such as `lstm`.

        Returns:
            A message for the user, without the name of the spec.

        Example:
            >>> Design(head="next").problem_with("bidirectional")
            "head 'next' is for elman, lstm, gru and indrnn, not for 'bidirectional'"
        """
        *most, last = get_args(CellName)
        if self.head != "horizon" and model not in get_args(CellName):
            return f"head {self.head!r} is for {', '.join(most)} and {last}, not for {model!r}"
        if self.stream and model not in get_args(CellName):
            return f"stream is for {', '.join(most)} and {last}, not for {model!r}"
        if self.stream and self.head == "next":
            return "a stream forecasts the horizon at every step: head must be 'horizon' or 'every_step', not 'next'"
        return None


class MemberTraits(BaseModel):
    """What distinguishes one network of a series from the others of its ensemble, besides its seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    transform: Transform = Field("none", description="transform of y that the network reads")
    last_value: bool = Field(
        True, description="whether the mixture of references, to which a forecast is added, includes the last value"
    )
    start: Start = Field("random", description="initial weights of each series' network")
    smoothing: Smoothing = Field(
        "none",
        description="whether level and season are smoothed by the series' own weights and removed from the inputs",
    )

    @model_validator(mode="after")
    def _has_weights_of_its_own(self) -> Self:
        if self.smoothing != "none" and self.start == "prior":
            raise ValueError(
                f"smoothing {self.smoothing!r} needs weights of each series' own, which a prior does not have;"
                " start must be 'random'"
            )
        return self


class Member(MemberTraits):
    """One network of an ensemble, as a recipe or a spec lists it."""

    context_segments: int | None = Field(
        None, ge=1, le=10_000, description="recurrent steps in one window; those of the whole configuration if unset"
    )


class Hyperparameters(BaseModel):
    """The fields that an ensemble's and a single member's configuration have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    hidden_size: int = Field(16, ge=1, le=1024, description="units of the recurrent state")
    segment_length: int = Field(1, ge=1, le=100_000, description="grid points that one recurrent step reads")
    context_segments: int = Field(14, ge=1, le=10_000, description="recurrent steps in one window")
    batch_windows: int = Field(16, ge=1, le=4096, description="windows of a series in one optimiser step")
    max_steps: int = Field(400, ge=1, le=1_000_000, description="largest number of optimiser steps")
    evaluate_every: int = Field(25, ge=1, le=100_000, description="optimiser steps between two validation passes")
    patience: int = Field(4, ge=1, le=10_000, description="validation passes without improvement until a series stops")
    validation_windows: int = Field(32, ge=1, le=4096, description="largest number of validation windows of a series")
    learning_rate: float = Field(5e-3, gt=0, le=1, description="Adam's step size, before its cosine decay")
    gradient_clip: float = Field(1.0, gt=0, description="largest norm of one series' gradient")
    weight_average: float = Field(
        0.0, ge=0, lt=1, description="decay per step of the weight average that is validated and kept; 0 for none"
    )
    prior_hidden_size: int = Field(48, ge=1, le=1024, description="units of a network that begins from a prior")
    prior_steps: int = Field(2000, ge=1, le=1_000_000, description="optimiser steps of a prior")
    prior_windows: int = Field(
        128, ge=1, le=65536, description="windows of all series in one optimiser step of a prior"
    )
    prior_rate: float = Field(3e-3, gt=0, le=1, description="a prior's step size, before its cosine decay")
    prior_average: float = Field(0.995, ge=0, lt=1, description="decay per step of a prior's weight average")
    tuning_steps: int = Field(100, ge=0, le=1_000_000, description="optimiser steps of a network that has a prior")
    tuning_rate: float = Field(1e-3, gt=0, le=1, description="step size of a network that has a prior")
    design: Design = Field(Design(), description="layers and variants of a model's network")
    warm_share: float = Field(0.25, gt=0, le=1, description="share of the steps that a fit from earlier weights takes")


class MemberConfig(Hyperparameters, MemberTraits):
    """A complete configuration of one network; registry rows store it as JSON."""

    @property
    def as_run(self) -> Self:
        """The configuration of a fit: a network that begins from a prior takes fewer and smaller steps."""
        if self.start == "random":
            return self
        tuning = {"learning_rate": self.tuning_rate, "max_steps": self.tuning_steps, "weight_average": 0.0}
        return self.model_copy(update=tuning)

    @property
    def as_warm(self) -> Self:
        """The configuration of a fit from earlier weights: fewer steps, whose size decays sooner.

        >>> MemberConfig(max_steps=150).as_warm.max_steps
        38
        """
        return self.model_copy(update={"max_steps": math.ceil(self.max_steps * self.warm_share)})

    def references(self, season_lengths: tuple[int, ...]) -> tuple[int, ...]:
        """Return how many grid points back each reference of the mixture lies.

        Args:
            season_lengths: Grid points in each season of the spec.

        Returns:
            The season lengths, and 1 for the last value where the member uses it.

        Example:
            >>> MemberConfig().references((24, 168))
            (24, 168, 1)
        """
        return (*season_lengths, 1) if self.last_value and 1 not in season_lengths else season_lengths

    @property
    def is_smoothed(self) -> bool:
        """Whether level and season of the series are smoothed."""
        return self.smoothing != "none"

    def smoothed(self, season_lengths: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the seasons that series are smoothed by, or None where they are not smoothed.

        Args:
            season_lengths: Grid points in each season of the spec.

        Returns:
            The season lengths above 1; empty where only the level is smoothed.

        Example:
            >>> MemberConfig(smoothing="level_season").smoothed((1, 12))
            (12,)
        """
        return tuple(length for length in season_lengths if length > 1) if self.is_smoothed else None

    def num_references(self, season_lengths: tuple[int, ...]) -> int:
        """Return the number of references in the mixture; a smoothed series has its level as one more.

        Args:
            season_lengths: Grid points in each season of the spec.

        Returns:
            M, the size of the mixture.

        Example:
            >>> MemberConfig(smoothing="level_season").num_references((12,))
            3
        """
        return len(self.references(season_lengths)) + self.is_smoothed


class TrainingConfig(Hyperparameters):
    """A complete training configuration of an ensemble."""

    members: tuple[Member, ...] = Field(
        (Member(),),
        min_length=1,
        max_length=32,
        strict=False,  # TOML and JSON have no tuples
        description="networks of a series, whose median is the forecast",
    )

    @property
    def member_configs(self) -> tuple[MemberConfig, ...]:
        """The configuration of each member, in order."""
        return tuple(self.of_member(number) for number in range(len(self.members)))

    def of_member(self, number: int) -> MemberConfig:
        """Return the configuration of one member.

        Args:
            number: Place of the member in `members`, from 0.

        Returns:
            The shared fields, with the member's own traits and context.

        Example:
            >>> TrainingConfig(members=(Member(), Member(context_segments=5))).of_member(1).context_segments
            5
        """
        member = self.members[number]
        shared = {name: getattr(self, name) for name in Hyperparameters.model_fields}
        own = {name: getattr(member, name) for name in MemberTraits.model_fields}
        if member.context_segments is not None:
            own["context_segments"] = member.context_segments
        if member.start == "prior":
            own["hidden_size"] = self.prior_hidden_size
        return MemberConfig(**shared | own)


def member_seed(seed: int, number: int) -> int:
    """Return the seed of one member; the first member has the ensemble's seed.

    >>> [member_seed(7, number) for number in range(3)]
    [7, 1000010, 2000013]
    """
    return (seed + 1_000_003 * number) % 2**31


def _partial(config: type[BaseModel]) -> type[BaseModel]:
    """Return a model with the same fields and bounds, each optional and unset by default."""
    fields: dict[str, Any] = {
        name: (field.annotation | None, Field(None, description=field.description))  # type: ignore[operator]
        for name, field in config.model_fields.items()
    }
    for name, field in config.model_fields.items():
        fields[name][1].metadata.extend(field.metadata)
    return create_model("RecipeOverrides", __config__=config.model_config, **fields)


RecipeOverrides = _partial(TrainingConfig)


def apply_overrides(config: TrainingConfig, overrides: BaseModel) -> TrainingConfig:
    """Return the configuration with the fields that the overrides set."""
    given = {name: getattr(overrides, name) for name in type(overrides).model_fields}
    return config.model_copy(update={name: value for name, value in given.items() if value is not None})
