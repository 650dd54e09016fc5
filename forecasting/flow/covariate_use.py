"""What a run says about its covariates: which models read them, what backtests assume, and which series have no use."""

from collections.abc import Iterator, Mapping

from forecasting.classical.ridge import least_points
from forecasting.spec.spec import Spec


def describe_use(spec: Spec) -> str:
    """Return which models read the covariates of a spec, and what its backtests assume; empty without covariates."""
    covariates, names = spec.covariates, spec.covariate_names
    if not names:
        return ""
    parts = [f"covariates: {', '.join(names)}; read by {', '.join(spec.chosen_regressions) or 'no model'} alone"]
    if covariates.known_ahead:  # of holidays, nothing is assumed
        which = "they" if len(covariates.known_ahead) == len(names) else ", ".join(covariates.known_ahead)
        parts.append(f"backtests assume that {which} were known ahead as they are now")
    if covariates.of_past:
        parts.append(f"{', '.join(covariates.of_past)} are read at their values {spec.past_lag} steps before")
    return ", and ".join(parts)


def describe_short(spec: Spec, lengths: Mapping[str, int]) -> Iterator[str]:
    """Yield a sentence about series that are too short for regressions, if there are any and the spec has covariates.

    Args:
        spec: The spec.
        lengths: Grid points of each series, by its name.

    Yields:
        The sentence.
    """
    if not spec.chosen_regressions or not spec.covariate_names:
        return
    needed = least_points(horizon=spec.horizon, season_lengths=spec.season_lengths)
    short = [name for name, num_points in lengths.items() if num_points < needed]
    if short:
        have = "series has" if len(short) == 1 else "series have"
        yield (
            f"{len(short)} of {len(lengths)} {have} fewer than the {needed} grid points that a regression needs, such"
            f" as '{short[0]}'; such forecasts do not depend on covariates"
        )
