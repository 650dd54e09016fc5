"""Recipes: named functions of a spec that return a complete training configuration.

A recipe's members differ so that their errors differ: some read y, some its logarithm; their contexts differ; they
begin at random or from a prior. Their median is the forecast. A series too short for its own network uses the members
that begin from a prior.
"""

from collections.abc import Callable

from forecasting.errors import SpecError
from forecasting.spec.spec import Spec
from forecasting.spec.training import Member, Start, TrainingConfig, Transform, apply_overrides

TRANSFORMS: tuple[Transform, ...] = ("none", "log")


def fast(spec: Spec) -> TrainingConfig:
    """A first try: one member, few steps of few windows; seconds per hundred series."""
    segment, context = _windows(spec)
    return TrainingConfig(
        segment_length=segment, context_segments=context, max_steps=150, batch_windows=8, learning_rate=1e-2
    )


def standard(spec: Spec) -> TrainingConfig:
    """The default: two members from random weights and two from a prior."""
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
    """For forecasts that justify five times the training time: six members of each start, and averaged weights.

    Half of the members begin from a prior, because which start is better depends on the data set (docs/accuracy.md) and
    is not known in advance.

    Args:
        spec: The spec, of which horizon and season lengths matter.

    Returns:
        The configuration of twelve members.
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

    Args:
        spec: The spec.

    Returns:
        The configuration of the ensemble.

    Raises:
        SpecError: The spec has static categories, but no member begins from a prior, which alone can learn them.
    """
    config = apply_overrides(RECIPES[spec.recipe](spec), spec.overrides)
    if spec.categories.static and all(member.start != "prior" for member in config.members):
        needs = f"needs a member that begins from a prior; recipe {spec.recipe!r} with its overrides has none"
        raise SpecError(f"spec {spec.name}", [f"categories.static {needs}"])
    return config


LONGEST_SEGMENT, USUAL_SEGMENT = 24, 12


def _windows(spec: Spec) -> tuple[int, int]:
    """Return the points of a segment and the segments of a window.

    A segment is one shortest season (SegRNN, Lin et al. 2023), so that a window of two of the longest seasons has few
    steps. A season too long for that (a year of weeks) is divided evenly, such as into months, and a window holds only
    one such season, because few series hold many.
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
