"""Build a spec from fields of which the data and custom decide some: the frequency and the season lengths."""

from collections.abc import Callable, Mapping
from typing import Any

from forecasting.errors import SpecError
from forecasting.spec.frequency import customary_seasons, open_frequency, opening_of, parse_frequency
from forecasting.spec.source import Source
from forecasting.spec.spec import Spec, make_spec

_MISSING = ("freq is missing", "season_lengths is missing")


def make_inferred_spec(
    fields: Mapping[str, Any],
    infer: Callable[[], tuple[str | int, float]],
    *,
    subject: str,
    has_season: bool = True,
) -> tuple[Spec, list[str]]:
    """Build a spec whose frequency and season lengths may be missing.

    Args:
        fields: The spec's fields by name.
        infer: Returns the frequency of the input, and the share of neighbouring rows that are so far apart. It is
            called only where the frequency is missing and all other fields are accepted, and may raise.
        subject: What the error's message begins with.
        has_season: Whether a frequency without customary seasons needs some; otherwise it has none.

    Returns:
        The spec, and a line for each of the two that was inferred, with the option that changes it.

    Raises:
        SpecError: Fields are refused, or no season lengths are customary at the frequency; the error lists all of them.
    """
    try:
        return make_spec(fields, subject=subject), []
    except SpecError as error:
        if others := [problem for problem in error.problems if problem not in _MISSING]:
            raise SpecError(subject, others) from error
    filled, notes = dict(fields), []
    if filled.get("freq") is None:
        filled["freq"], share = infer()
        opening = opening_of(filled["freq"])
        of_days = "" if opening is None else ", and other days have none; --open Mon-Sun (source.open) keeps all days"
        notes.append(
            f"frequency {filled['freq']}: {share:.0%} of neighbouring rows are so far apart{of_days}; --freq (freq)"
            " changes it"
        )
    freq = _opened(filled, subject)
    if filled.get("season_lengths") is None:
        filled["season_lengths"] = customary_seasons(freq)
        if not filled["season_lengths"]:
            if has_season:
                problem = f"season_lengths is missing: none is customary at frequency {freq}; 1 stands for no season"
                raise SpecError(subject, [problem])
            filled["season_lengths"] = (1,)
        lengths = " and ".join(map(str, filled["season_lengths"]))
        notes.append(
            f"season lengths {lengths}: customary at frequency {freq}; --season-length (season_lengths) changes them"
        )
    return make_spec(filled, subject=subject), notes


def _opened(fields: Mapping[str, Any], subject: str) -> str | int:
    """Return the frequency with the source's opening times."""
    source = fields.get("source") or {}
    given = source.reading if isinstance(source, Source) else source
    week, holidays = given.get("open"), given.get("closed_holidays")
    try:
        return open_frequency(parse_frequency(fields["freq"]), week=week, holidays=holidays)
    except ValueError as error:
        raise SpecError(subject, [f"freq = {fields['freq']!r}: {error}"]) from error
