"""How times are written where they are not in ISO 8601: a kind by name, or a strptime pattern."""

import re

KINDS = {
    "epoch_s": "seconds since 1970 in UTC",
    "epoch_ms": "milliseconds since 1970 in UTC",
    "epoch_us": "microseconds since 1970 in UTC",
    "epoch_ns": "nanoseconds since 1970 in UTC",
    "yyyymm": "months such as 202312",
    "yyyymmdd": "days such as 20231231",
    "iso_week": "ISO weeks such as 2023-W05, 2023-05 or 202305",
    "quarter": "quarters such as 2023Q4",
    "excel": "days since 1899-12-30, as Excel counts them",
}
"""Kinds by name, with what they read."""
STEPS = "step"
"""The name that says that whole numbers are integer steps, also where they look like one of these kinds."""

_INSTANTS = ("epoch_s", "epoch_ms", "excel")
_YEARS, _MONTHS, _DAYS, _WEEKS = "YyG", "mbBh", "dej", "VuAaUW"
_COMPOSITES = {"F": "%Y-%m-%d", "T": "%H:%M:%S", "R": "%H:%M", "D": "%m/%d/%y"}
_HOURS = "HIkl"
_DIRECTIVES = frozenset(_YEARS + _MONTHS + _DAYS + _WEEKS + _HOURS + "MSpPfz%")
_DIRECTIVE = re.compile(r"%([-_0]?)(\.?)([A-Za-z%]?)")


def check_time_format(form: str) -> str:
    """Check that a format is a kind, `step`, or a pattern with a year and known directives.

    Args:
        form: The format.

    Returns:
        The same format.

    Raises:
        ValueError: It is none of these; the message follows the field's name.
    """
    if form in KINDS or form == STEPS:
        return form
    if "%" not in form:
        raise ValueError(f"must be {', '.join(KINDS)}, {STEPS}, or a pattern such as '%d.%m.%Y'")
    unknown = [match.group() for match in _DIRECTIVE.finditer(expand(form)) if match[3] not in _DIRECTIVES]
    unknown += [match.group() for match in _DIRECTIVE.finditer(expand(form)) if match[3] == ""]
    if unknown:
        hint = "; offsets such as +01:00 are %z" if "%Z" in unknown else ""
        raise ValueError(f"has {unknown[0]}, which is not a known directive{hint}")
    named = directives(form)
    if not named & set(_YEARS):
        raise ValueError("needs a year: %Y, or %G for that of an ISO week")
    if "f" in named and "%.f" not in expand(form):
        raise ValueError("must have the fraction of a second after its point, as in %S.%f")
    if "G" in named and "V" not in named:
        raise ValueError("needs the ISO week, %V, beside its year %G")
    return form


def has_time_of_day(form: str) -> bool:
    """Return whether a format that `check_time_format` accepts, other than `step`, reads times of day.

    >>> [has_time_of_day(form) for form in ("yyyymmdd", "%d.%m.%Y", "%d.%m.%Y %H", "excel")]
    [False, False, True, True]
    """
    return form in _INSTANTS if form in KINDS else bool(directives(form) & set(_HOURS))


def directives(pattern: str) -> set[str]:
    """Return the letters of the directives in a pattern.

    >>> sorted(directives("%d.%m.%Y 100%%"))
    ['%', 'Y', 'd', 'm']
    """
    return {match[3] for match in _DIRECTIVE.finditer(expand(pattern))}


def expand(pattern: str) -> str:
    """Return a pattern with abbreviations of several directives written out, and fractions as Polars has them.

    >>> expand("%F %T.%f")
    '%Y-%m-%d %H:%M:%S%.f'
    """
    for letter, longer in _COMPOSITES.items():
        pattern = pattern.replace(f"%{letter}", longer)
    return pattern.replace(".%f", "%.f")


def complete(pattern: str) -> tuple[str, str]:
    """Complete a pattern with the first day of its month, year or week, and the first minute of its hour.

    Args:
        pattern: A pattern that `check_time_format` accepts.

    Returns:
        The complete pattern, and the text that completes the texts.

    >>> complete("%b %Y"), complete("%d.%m.%Y %H"), complete("%d.%m.%Y")
    (('%b %Y %d', ' 1'), ('%d.%m.%Y %H %M', ' 0'), ('%d.%m.%Y', ''))
    """
    pattern, text = expand(pattern), ""
    named = directives(pattern)
    if "G" in named:
        if not named & set("uAa"):
            pattern, text = pattern + " %u", text + " 1"
    elif not named & set(_DAYS):
        if not named & set(_MONTHS):
            pattern, text = pattern + " %m", text + " 1"
        pattern, text = pattern + " %d", text + " 1"
    if named & set(_HOURS) and "M" not in named:
        pattern, text = pattern + " %M", text + " 0"
    return pattern, text
