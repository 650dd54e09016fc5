"""Recipes: named functions of a spec that return a complete training configuration.

A recipe's members differ so that their errors do: one sees y, another its logarithm, they look back differently far,
and begin at random or from a prior. Their median is the forecast. A series too short to be learned from alone has the
members that begin from a prior.

`configure(spec)` is what jobs call: the named recipe, with the spec's overrides laid over it.
"""

from collections.abc import Callable

from forecasting.errors import SpecError
from forecasting.spec.spec import Spec
from forecasting.spec.training import Member, Start, TrainingConfig, Transform, apply_overrides

TRANSFORMS: tuple[Transform, ...] = ("none", "log")


def fast(spec: Spec) -> TrainingConfig:
    """For a first look: one member, few steps of few windows; seconds per hundred series."""
    segment, context = _windows(spec)
    return TrainingConfig(
        segment_length=segment, context_segments=context, max_steps=150, batch_windows=8, learning_rate=1e-2
    )


def standard(spec: Spec) -> TrainingConfig:
    """The default: two members from random weights, two from a prior that all series have taught."""
    segment, context = _windows(spec)
    half = max(2, context // 2)
    return TrainingConfig(
        segment_length=segment,
        context_segments=context,
        members=(
            Member(),
            Member(transform="log", context_segments=half),
            Member(transform="log", start="prior"),
            Member(context_segments=half, start="prior"),
        ),
    )


def accurate(spec: Spec) -> TrainingConfig:
    """For forecasts that are worth five times the time: six members of either start, and weights averaged over steps.

    As many from a prior as from random weights, because some sets are better off with the one and some with the other
    (docs/accuracy.md), and before the fact there is no telling which.
    """
    segment, context = _windows(spec)
    half = max(2, context // 2)
    starts: tuple[Start, ...] = ("random", "prior")
    return TrainingConfig(
        segment_length=segment,
        context_segments=context,
        weight_average=0.98,
        prior_hidden_size=64,
        prior_steps=4000,
        tuning_steps=200,
        members=tuple(
            Member(transform=transform, context_segments=length, start=start)
            for start in starts
            for length in (None, half, max(2, half // 2))
            for transform in TRANSFORMS
        ),
    )


RECIPES: dict[str, Callable[[Spec], TrainingConfig]] = {"fast": fast, "standard": standard, "accurate": accurate}


def configure(spec: Spec) -> TrainingConfig:
    """Return the spec's recipe with its overrides.

    Raises SpecError where there are static categories and no member that could learn them.
    """
    config = apply_overrides(RECIPES[spec.recipe](spec), spec.overrides)
    if spec.categories.static and all(member.start != "prior" for member in config.members):
        needs = f"is for members that begin from a prior, of which recipe {spec.recipe!r} with its overrides has none"
        raise SpecError(f"spec {spec.name}", [f"categories.static {needs}"])
    return config


LONGEST_SEGMENT, USUAL_SEGMENT = 24, 12


def _windows(spec: Spec) -> tuple[int, int]:
    """Choose the segment that a step reads and how many of them a window holds.

    A step reads one shortest season (SegRNN, Lin et al. 2023), so that a window of two longer seasons stays a
    sequence of a few steps. Of a season too long for that (a year of weeks) it reads an even part, such as a month,
    and a window holds one such season, because few series hold many.
    """
    seasons = [length for length in spec.season_lengths if length > 1]
    if not seasons:
        return 1, max(8, min(2 * spec.horizon, 48))
    segment, longest = min(seasons), max(seasons)
    if segment <= LONGEST_SEGMENT:
        return segment, max(4, min(2 * longest // segment, 28))
    parts = [part for part in range(4, USUAL_SEGMENT + 1) if segment % part == 0]
    part = max(parts, default=USUAL_SEGMENT)
    return part, max(4, min(-(-longest // part), 28))
