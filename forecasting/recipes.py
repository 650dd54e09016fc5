"""Recipes: named functions of a spec that return a complete training configuration.

`configure(spec)` is what jobs call: the named recipe, with the spec's overrides laid over it.
"""

from collections.abc import Callable

from forecasting.spec import Spec
from forecasting.training import TrainingConfig, apply_overrides


def fast(spec: Spec) -> TrainingConfig:
    """For a first look: few steps of few windows; seconds per hundred series."""
    return TrainingConfig(**_windows(spec), max_steps=150, batch_windows=8, learning_rate=1e-2)


def standard(spec: Spec) -> TrainingConfig:
    """The default: steps enough for most series to stop by themselves."""
    return TrainingConfig(**_windows(spec))


RECIPES: dict[str, Callable[[Spec], TrainingConfig]] = {"fast": fast, "standard": standard}


def configure(spec: Spec) -> TrainingConfig:
    """Return the spec's recipe with its overrides."""
    return apply_overrides(RECIPES[spec.recipe](spec), spec.overrides)


def _windows(spec: Spec) -> dict[str, int]:
    """Choose the segment that a step reads and how many of them a window holds.

    A step reads one shortest season (SegRNN, Lin et al. 2023), so that a window of two longer seasons stays a
    sequence of a few steps.
    """
    seasons = [length for length in spec.season_lengths if length > 1]
    if not seasons:
        return {"segment_length": 1, "context_segments": max(8, min(2 * spec.horizon, 48))}
    segment, longest = min(seasons), max(seasons)
    return {"segment_length": segment, "context_segments": max(4, min(2 * longest // segment, 28))}
