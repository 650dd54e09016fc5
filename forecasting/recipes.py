"""Recipes: named functions of a spec that return a complete training configuration.

A recipe's members differ so that their errors do: one sees y, another its logarithm, and they look back differently
far. Their median is the forecast.

`configure(spec)` is what jobs call: the named recipe, with the spec's overrides laid over it.
"""

from collections.abc import Callable

from forecasting.spec import Spec
from forecasting.training import Member, TrainingConfig, apply_overrides


def fast(spec: Spec) -> TrainingConfig:
    """For a first look: one member, few steps of few windows; seconds per hundred series."""
    segment, context = _windows(spec)
    return TrainingConfig(
        segment_length=segment, context_segments=context, max_steps=150, batch_windows=8, learning_rate=1e-2
    )


def standard(spec: Spec) -> TrainingConfig:
    """The default: steps enough for most series to stop by themselves, and two members."""
    segment, context = _windows(spec)
    half = max(2, context // 2)
    return TrainingConfig(
        segment_length=segment,
        context_segments=context,
        members=(Member(), Member(transform="log", context_segments=half)),
    )


def accurate(spec: Spec) -> TrainingConfig:
    """For forecasts that are worth four times the time: eight members, and weights averaged over steps."""
    segment, context = _windows(spec)
    half = max(2, context // 2)
    looks_back = (None, half, max(2, half // 2), None)
    return TrainingConfig(
        segment_length=segment,
        context_segments=context,
        weight_average=0.98,
        members=tuple(
            Member(transform=transform, context_segments=length)
            for length in looks_back
            for transform in ("none", "log")
        ),
    )


RECIPES: dict[str, Callable[[Spec], TrainingConfig]] = {"fast": fast, "standard": standard, "accurate": accurate}


def configure(spec: Spec) -> TrainingConfig:
    """Return the spec's recipe with its overrides."""
    return apply_overrides(RECIPES[spec.recipe](spec), spec.overrides)


def _windows(spec: Spec) -> tuple[int, int]:
    """Choose the segment that a step reads and how many of them a window holds.

    A step reads one shortest season (SegRNN, Lin et al. 2023), so that a window of two longer seasons stays a
    sequence of a few steps.
    """
    seasons = [length for length in spec.season_lengths if length > 1]
    if not seasons:
        return 1, max(8, min(2 * spec.horizon, 48))
    segment, longest = min(seasons), max(seasons)
    return segment, max(4, min(2 * longest // segment, 28))
