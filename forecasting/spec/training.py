"""What a recipe decides: one frozen configuration of network and training, and the overrides that a spec may set."""

import math
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

KernelName = Literal["auto", "reference", "cpu", "gpu"]
"""Implementations of the recurrence; it is how a fleet runs, not what it learns, so no recipe names one."""


Transform = Literal["none", "log"]
"""What a network sees of y: y itself, or its logarithm where a series allows it (`forecasting.fleet.scaling`)."""


Start = Literal["random", "prior"]
"""What a network begins from: weights drawn at random, or those of the prior (`forecasting.fleet.prior.prior`)."""


Role = Literal["candidate", "serving"]
"""A candidate ends before its series' first backtest origin; the serving network may know everything."""


Status = Literal["trained", "too_short", "constant", "empty", "broken"]
"""What became of a series' network; all but `trained` are reasons why it has none."""


Smoothing = Literal["none", "level_season"]
"""Whether level and season of each series are smoothed exponentially, by coefficients and first seasonal indices that
are trained with its network (ES-RNN, Smyl 2020; `forecasting.fleet.smoothing`)."""


CellName = Literal["elman", "lstm", "gru", "indrnn"]
"""Recurrent cells that a whole network is made of (`forecasting.fleet.cells`)."""


class Design(BaseModel):
    """How a model's network is built, as far as its name leaves that open."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    layers: int = Field(1, ge=1, le=32, description="layers, each reading the outputs of the one below")
    dropout: float = Field(
        0.0, ge=0, lt=1, description="share of a layer's units that a training window hides from the layer above"
    )
    residual: bool = Field(False, description="whether a layer above the first adds its outputs to what it reads")
    layer_norm: bool = Field(False, description="whether a layer's outputs are normalised over its units")
    activation: Literal["tanh", "relu"] = Field("tanh", description="what an Elman network's units apply")
    peepholes: bool = Field(False, description="whether an LSTM's gates see its cell state")
    forget_bias: float | None = Field(
        None, ge=-100, le=100, description="where an LSTM's forget gates begin; drawn like any other bias if unset"
    )
    candidate: Literal["after", "before"] = Field(
        "after", description="whether a GRU resets its state after the product with its weights, as torch, or before"
    )
    head: Literal["horizon", "next", "every_step"] = Field(
        "horizon",
        description="what a state is asked for: the whole horizon, the next segment and so on, or the whole horizon at"
        " every step of a training window",
    )
    stream: bool = Field(
        False,
        description="whether each series is read as one long stream, its state handed on; gradients are cut every"
        " `context_segments` steps (truncated backpropagation through time)",
    )
    cell: CellName = Field("lstm", description="cell of a model whose name does not say it, such as bidirectional")
    decoder: Literal["free", "scheduled", "forced"] = Field(
        "free",
        description="what a training decoder is fed: what it said, what was, or first the one and ever more the other",
    )
    attention: Literal["additive", "dot"] = Field(
        "additive", description="how a decoder weighs the encoder's states: by a layer of its own, or by their products"
    )

    def problem_with(self, model: str) -> str | None:
        """Say why a model cannot be built so; None where it can.

        >>> Design(head="next").problem_with("bidirectional")
        "head 'next' is for elman, lstm, gru and indrnn, not for 'bidirectional'"
        """
        *most, last = get_args(CellName)
        if self.head != "horizon" and model not in get_args(CellName):
            return f"head {self.head!r} is for {', '.join(most)} and {last}, not for {model!r}"
        if self.stream and model not in get_args(CellName):
            return f"stream is for {', '.join(most)} and {last}, not for {model!r}"
        if self.stream and self.head == "next":
            return "a stream tells the whole horizon at every step: head must be 'horizon' or 'every_step', not 'next'"
        return None


class MemberTraits(BaseModel):
    """How one network of a series differs from the others of its ensemble; each also has its own seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    transform: Transform = Field("none", description="what the network sees of y")
    last_value: bool = Field(
        True, description="whether the mixture that a forecast is the difference from holds the last value too"
    )
    start: Start = Field("random", description="what each series' network begins from")
    smoothing: Smoothing = Field(
        "none",
        description="whether level and season are smoothed by weights of the series, and taken from what it sees",
    )

    @model_validator(mode="after")
    def _has_weights_of_its_own(self) -> Self:
        if self.smoothing != "none" and self.start == "prior":
            raise ValueError(
                f"smoothing {self.smoothing!r} has weights of each series alone, which no prior has;"
                " start must be 'random'"
            )
        return self


class Member(MemberTraits):
    """One network of an ensemble, as a recipe or a spec names it."""

    context_segments: int | None = Field(
        None, ge=1, le=10_000, description="recurrent steps in one window; the configuration's where not given"
    )


class Hyperparameters(BaseModel):
    """What the configurations of an ensemble and of a single member have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    hidden_size: int = Field(16, ge=1, le=1024, description="units of the recurrent state")
    segment_length: int = Field(1, ge=1, le=100_000, description="grid points that one recurrent step reads")
    context_segments: int = Field(14, ge=1, le=10_000, description="recurrent steps in one window")
    batch_windows: int = Field(16, ge=1, le=4096, description="windows of a series in one optimiser step")
    max_steps: int = Field(400, ge=1, le=1_000_000, description="optimiser steps at most")
    evaluate_every: int = Field(25, ge=1, le=100_000, description="optimiser steps between two looks at validation")
    patience: int = Field(4, ge=1, le=10_000, description="looks without improvement after which a series stops")
    validation_windows: int = Field(32, ge=1, le=4096, description="validation windows of a series at most")
    learning_rate: float = Field(5e-3, gt=0, le=1, description="Adam's step size, before its cosine decay")
    gradient_clip: float = Field(1.0, gt=0, description="largest norm of one series' own gradient")
    weight_average: float = Field(
        0.0, ge=0, lt=1, description="decay per step of the average that is evaluated and served; 0 for none"
    )
    prior_hidden_size: int = Field(48, ge=1, le=1024, description="units of a network that begins from a prior")
    prior_steps: int = Field(2000, ge=1, le=1_000_000, description="optimiser steps of a prior")
    prior_windows: int = Field(128, ge=1, le=65536, description="windows, over all series, in one of a prior's steps")
    prior_rate: float = Field(3e-3, gt=0, le=1, description="a prior's step size, before its cosine decay")
    prior_average: float = Field(0.995, ge=0, lt=1, description="decay per step of the average that a prior serves")
    tuning_steps: int = Field(100, ge=0, le=1_000_000, description="optimiser steps of a network that has a prior")
    tuning_rate: float = Field(1e-3, gt=0, le=1, description="step size of a network that has a prior")
    design: Design = Field(Design(), description="layers and variants of a model's network")
    warm_share: float = Field(
        0.25, gt=0, le=1, description="share of the steps of what goes on from weights that were trained before"
    )


class MemberConfig(Hyperparameters, MemberTraits):
    """A complete configuration of one network; its registry row keeps it whole, as JSON."""

    @property
    def as_run(self) -> Self:
        """What a fit goes by: a network that begins from a prior takes few small steps."""
        if self.start == "random":
            return self
        tuning = {"learning_rate": self.tuning_rate, "max_steps": self.tuning_steps, "weight_average": 0.0}
        return self.model_copy(update=tuning)

    @property
    def as_warm(self) -> Self:
        """What a fit goes by that continues from earlier weights: fewer steps, whose sizes decay sooner.

        >>> MemberConfig(max_steps=150).as_warm.max_steps
        38
        """
        return self.model_copy(update={"max_steps": math.ceil(self.max_steps * self.warm_share)})

    def references(self, season_lengths: tuple[int, ...]) -> tuple[int, ...]:
        """Return the distances, in grid points, of the values that the mixture of references repeats.

        >>> MemberConfig().references((24, 168))
        (24, 168, 1)
        """
        return (*season_lengths, 1) if self.last_value and 1 not in season_lengths else season_lengths

    @property
    def is_smoothed(self) -> bool:
        """Whether level and season of the series are smoothed."""
        return self.smoothing != "none"

    def smoothed(self, season_lengths: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the seasons that series are smoothed by; None where they are not smoothed.

        >>> MemberConfig(smoothing="level_season").smoothed((1, 12))
        (12,)
        """
        return tuple(length for length in season_lengths if length > 1) if self.is_smoothed else None

    def num_references(self, season_lengths: tuple[int, ...]) -> int:
        """Return the number of references in the mixture: a smoothed series has its level as well.

        >>> MemberConfig(smoothing="level_season").num_references((12,))
        3
        """
        return len(self.references(season_lengths)) + self.is_smoothed


class TrainingConfig(Hyperparameters):
    """A complete training configuration of an ensemble, which recipes return."""

    members: tuple[Member, ...] = Field(
        (Member(),),
        min_length=1,
        max_length=32,
        strict=False,  # TOML and JSON have lists alone
        description="networks of a series, whose median is the forecast",
    )

    @property
    def member_configs(self) -> tuple[MemberConfig, ...]:
        """The configurations of all members."""
        return tuple(self.of_member(number) for number in range(len(self.members)))

    def of_member(self, number: int) -> MemberConfig:
        """Return the configuration of one member.

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
    """Return the seed of one member; the first one has the ensemble's own.

    >>> [member_seed(7, number) for number in range(3)]
    [7, 1000010, 2000013]
    """
    return (seed + 1_000_003 * number) % 2**31


def _partial(config: type[BaseModel]) -> type[BaseModel]:
    """Return the same fields with the same bounds, each optional and unset by default."""
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
