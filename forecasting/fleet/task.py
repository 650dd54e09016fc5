"""The forecasting task of a fleet: what is to be forecast, whichever network learns it; needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from forecasting.fleet.architectures import Dimensions
from forecasting.fleet.embedding_shapes import embedding_shapes
from forecasting.spec.categories import Categories
from forecasting.spec.spec import Spec
from forecasting.spec.training import MemberConfig


@dataclass(frozen=True)
class ForecastTask:
    """Frequency, horizon, quantiles, seasons, categories and covariates of a spec."""

    freq: str | int
    horizon: int
    quantiles: tuple[float, ...]
    season_lengths: tuple[int, ...]
    categories: Categories = field(default_factory=Categories)
    covariates: tuple[str, ...] = ()
    """Names of the covariates without whose effects the series are forecast."""

    @classmethod
    def of(cls, spec: Spec) -> Self:
        """Return the task of a spec."""
        covariates = tuple(name for name in spec.covariate_names if name not in spec.covariates.static)
        return cls(spec.freq, spec.horizon, spec.quantiles, spec.season_lengths, spec.categories, covariates)

    def describe(self) -> dict[str, Any]:
        """Return the task as plain values, which `read` turns back; without covariates it does not name them."""
        described = {**vars(self), "categories": self.categories.model_dump()}
        if not self.covariates:
            del described["covariates"]
        return described

    @classmethod
    def read(cls, described: Mapping[str, Any]) -> Self:
        """Return the task that `describe` described, also from JSON."""
        names = ("quantiles", "season_lengths", "covariates")
        lists = {name: tuple(described[name]) for name in names if name in described}
        return cls(**{**described, **lists, "categories": Categories.model_validate(described["categories"])})

    def embeddings(self, config: MemberConfig) -> dict[str, tuple[int, int]]:
        """Return the shapes of the tables of the categories that a member's networks read."""
        return embedding_shapes(self.categories, reads_static=config.start == "prior")

    def num_static(self, config: MemberConfig) -> int:
        """Return the number of static categories that a member's networks read; they come last."""
        return len(self.categories.static) if config.start == "prior" else 0

    def dimensions(self, config: MemberConfig, *, num_inputs: int) -> Dimensions:
        """Return the numbers that determine the shapes of a member's parameters."""
        return Dimensions(
            num_inputs,
            config.context_segments,
            config.hidden_size,
            self.horizon,
            len(self.quantiles),
            config.segment_length,
            self.quantiles.index(0.5) if 0.5 in self.quantiles else len(self.quantiles) // 2,
        )
