"""Propose the format of times that cannot be read, and refuse whole numbers that are codes of periods as steps."""

from collections.abc import Sequence

import polars as pl

from forecasting.errors import SourceError
from forecasting.series.time_format import read_formatted
from forecasting.spec.frequency import num_months
from forecasting.spec.time_format import KINDS, STEPS

NUM_SNIFFED = 100
"""Times that a proposal must read."""
MOST_PROPOSED = 3
LEAST_BY_ONE = 0.5
"""Share of the distances of codes that are one."""
_YEARS = (1900, 2100)
"""Years of times that a proposed format may read."""
_SHAPES = {
    "iso_week": ("year and week", r"^(19|20)\d\d(-?W|[-/. ]?)\d\d$"),
    "yyyymm": ("year and month", r"^(19|20)\d\d[-/. ]?M?\d\d$"),
    "yyyymmdd": ("year, month and day", r"^(19|20)\d{6}$"),
    "quarter": ("year and quarter", r"(?i)^((19|20)\d\d[-/. ]?Q?[1-4]|Q[1-4][-/. ]?\d{4}|[1-4]Q[-/. ]?\d{4})$"),
    "epoch_s": ("seconds since 1970", r"^1?\d{9}(\.\d+)?$"),
    "epoch_ms": ("milliseconds since 1970", r"^1?\d{12}(\.\d+)?$"),
    "epoch_us": ("microseconds since 1970", r"^1?\d{15}$"),
    "epoch_ns": ("nanoseconds since 1970", r"^1?\d{18}$"),
    "excel": ("Excel's days", r"^[2-6]\d{4}(\.\d+)?$"),
}
"""Texts of each kind: in words, and as a regular expression."""
_DAYS = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%d %b %Y", "%d-%b-%Y")
_SHORT_DAYS = ("%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%b-%y", "%d %b %y", "%y-%m-%d", "%d-%m-%y", "%m-%d-%y")
_HALF_DAYS = (" %I:%M %p", " %I:%M:%S %p")
_PATTERNS = (
    "%Y",
    *("%Y-%m", "%Y/%m", "%y%m", "%y%m%d", "%Y%j", "%Y%m%d%H"),
    *("%b %Y", "%B %Y", "%b-%y", "%b-%Y", "%m/%Y", "%m.%Y", "%d %B %Y", "%B %d, %Y", "%b %d, %Y"),
    *(f"{day}{time}" for day in _DAYS for time in ("", " %H:%M", " %H:%M:%S", *_HALF_DAYS)),
    *(f"{day}{time}" for day in _SHORT_DAYS for time in ("", " %H:%M", " %H:%M:%S", *_HALF_DAYS)),
    *(f"%Y-%m-%d{time}" for time in ("T%I:%M:%S %p", *_HALF_DAYS, " %H")),
    *(f"%Y-%d-%m{time}" for time in ("", " %H:%M", " %H:%M:%S")),
    *("%Y%m%d%H%M", "%Y%m%d%H%M%S", "%Y%m%d %H:%M", "%Y%m%d %H:%M:%S", "%Y%m%dT%H%M%S", "%Y%m%dT%H%M%S%z"),
)
_CODES = ((100, 1, 53), (10_000, 101, 1231))
"""What codes of periods multiply a year by, and the range of the rest: months and weeks, and days."""
_LONG_CODES = ((10, 1, 4), (1_000, 1, 366))
"""The same of quarters and days of the year. They are codes only if the rest begins again."""
_HOURS = (100, 23)
"""What codes of hours multiply a day by, such as 2023123107, and the largest rest."""
_SHORT_CODES = ((100, 1, 53), (10_000, 101, 1231))
"""The same of years of two digits."""
_CODE_YEARS = (1900, 2099)


def propose_time_format(texts: Sequence[str | None], freq: str | int | None = None) -> str:
    """Propose formats that read all of some texts.

    Args:
        texts: Times that cannot be read, or are not of the right clock.
        freq: The frequency, which distinguishes months from weeks; None if it is not known.

    Returns:
        The proposal, such as `looks like year and week: --time-format iso_week`; empty without one.

    >>> propose_time_format(["2023-W51", "2023-W52"])
    'looks like year and week: --time-format iso_week'
    >>> propose_time_format(["31.12.2023"]), propose_time_format(["soon"])
    ("looks like '%d.%m.%Y': --time-format '%d.%m.%Y'", '')
    """
    known = pl.Series("text", texts, pl.String).str.strip_chars()
    known = known.filter((known != "").fill_null(False)).unique()
    if known.is_empty():
        return ""
    rows = pl.DataFrame(known)
    kinds = [kind for kind, (_, shape) in _SHAPES.items() if known.str.contains(shape).all() and _reads(rows, kind)]
    kinds = _of_frequency(kinds, freq)
    found = kinds or [pattern for pattern in _PATTERNS if _reads(rows, pattern)]
    found = [each for each in found if "%B" not in each or each.replace("%B", "%b") not in found]
    if not found:
        return ""
    found = found[:MOST_PROPOSED]
    words = " or ".join(_SHAPES[each][0] if each in KINDS else f"'{each}'" for each in found)
    options = " or ".join(f"--time-format {each}" if each in KINDS else f"--time-format '{each}'" for each in found)
    return f"looks like {words}: {options}"


def describe_unread(times: pl.Series, freq: str | int | None = None) -> str:
    """Return a clause with a time that cannot be read and the format that it seems to have; empty without one."""
    texts = times.drop_nulls().head(NUM_SNIFFED)
    proposal = propose_time_format(texts.to_list(), freq)
    return f"'{texts[0]}' {proposal} (source.time_format)" if proposal else ""


def refuse_codes(steps: pl.Series, form: str | None, *, subject: str, freq: str | int | None = None) -> None:
    """Raise SourceError where integer steps are all codes of periods or epochs, such as 202312 for December 2023.

    Args:
        steps: Integer steps.
        form: The source's `time_format`; `step` says that they are steps.
        subject: The source, for the message.
        freq: The frequency, if it was given; epochs may count steps of several seconds.

    Raises:
        SourceError: They are; the message names the options.
    """
    known = steps.drop_nulls()
    if form == STEPS or known.is_empty() or not _are_codes(known, freq):
        return
    proposal = propose_time_format(known.unique().sort().cast(pl.String).to_list())
    if proposal:
        raise SourceError(
            f"{subject}: time {known[0]} {proposal} reads it (source.time_format), with a frequency such as 1mo, 1w, 1d"
            f" or 1h; --time-format {STEPS} takes such times as integer steps"
        )


def _are_codes(steps: pl.Series, freq: str | int | None) -> bool:
    if _are_years_and(steps, _CODES, _CODE_YEARS) or (freq in (None, 1) and _begin_again(steps)):
        return True
    is_epoch = any(steps.is_between(10**digits, 2 * 10**digits).all() for digits in (9, 12, 15, 18))
    return is_epoch and freq in (None, 1)


def _are_years_and(steps: pl.Series, codes: Sequence[tuple[int, int, int]], years: tuple[int, int]) -> bool:
    """Return whether numbers are a year and a rest, for one of some codes."""
    return any(
        bool((steps // scale).is_between(*years).all()) and bool((steps % scale).is_between(least, most).all())
        for scale, least, most in codes
    )


def _begin_again(steps: pl.Series) -> bool:
    """Return whether the rest of codes begins again with each year or day, after mostly counting up by one."""
    ordered = steps.unique().sort()
    if (ordered.diff().drop_nulls() == 1).sum() < LEAST_BY_ONE * (len(ordered) - 1):
        return False
    scale, most = _HOURS
    days = ordered // scale
    if days.n_unique() > 1 and bool((ordered % scale <= most).all()) and _are_years_and(days, _CODES[1:], _CODE_YEARS):
        return True
    return any(
        (ordered // code[0]).n_unique() > 1 and _are_years_and(ordered, [code], years)
        for years, codes in ((_CODE_YEARS, _LONG_CODES), ((0, 99), _SHORT_CODES))
        for code in codes
    )


def _reads(rows: pl.DataFrame, form: str) -> bool:
    times = rows.select(read_formatted("text", pl.String(), form).alias("time"))["time"]
    return not times.has_nulls() and bool(times.dt.year().is_between(*_YEARS).all())


def _of_frequency(kinds: list[str], freq: str | int | None) -> list[str]:
    """Leave out months and quarters where the frequency is finer, and weeks and days where it is of months."""
    if freq is None or isinstance(freq, int):
        return kinds
    others = ("iso_week", "excel") if num_months(freq) is not None else ("yyyymm", "quarter")
    return [kind for kind in kinds if kind not in others] or kinds
