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
_YEARS = (1900, 2100)
"""Years of times that a proposed format may read."""
_SHAPES = {
    "iso_week": ("year and week", r"^(19|20)\d\d(-?W|[-/. ]?)\d\d$"),
    "yyyymm": ("year and month", r"^(19|20)\d\d[-/. ]?M?\d\d$"),
    "yyyymmdd": ("year, month and day", r"^(19|20)\d{6}$"),
    "quarter": ("year and quarter", r"(?i)^((19|20)\d\d[-/. ]?Q?[1-4]|Q[1-4][-/. ]?\d{4}|[1-4]Q[-/. ]?\d{4})$"),
    "epoch_s": ("seconds since 1970", r"^\d{9,10}(\.\d+)?$"),
    "epoch_ms": ("milliseconds since 1970", r"^\d{12,13}$"),
    "excel": ("Excel's days", r"^[2-6]\d{4}(\.\d+)?$"),
}
"""Texts of each kind: in words, and as a regular expression."""
_DAYS = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%d %b %Y", "%d-%b-%Y")
_PATTERNS = (
    "%Y",
    *("%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%b %Y", "%B %Y", "%b-%y", "%m/%Y", "%m.%Y", "%d %B %Y", "%B %d, %Y"),
    *(f"{day}{time}" for day in _DAYS for time in ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")),
    *("%Y%m%d%H%M", "%Y%m%d%H%M%S", "%Y%m%d %H:%M", "%Y%m%d %H:%M:%S", "%Y%m%dT%H%M%S", "%Y-%m-%d %H"),
)
_CODES = ((100, 1, 53), (10_000, 101, 1231))
"""What codes of periods multiply a year by, and the range of the rest: months and weeks, and days."""
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
    for scale, least, most in _CODES:
        if (steps // scale).is_between(*_CODE_YEARS).all() and (steps % scale).is_between(least, most).all():
            return True
    is_epoch = any(steps.is_between(10**digits, 2 * 10**digits).all() for digits in (9, 12))
    return is_epoch and freq in (None, 1)


def _reads(rows: pl.DataFrame, form: str) -> bool:
    times = rows.select(read_formatted("text", pl.String(), form).alias("time"))["time"]
    return not times.has_nulls() and bool(times.dt.year().is_between(*_YEARS).all())


def _of_frequency(kinds: list[str], freq: str | int | None) -> list[str]:
    """Leave out months and quarters where the frequency is finer, and weeks and days where it is of months."""
    if freq is None or isinstance(freq, int):
        return kinds
    others = ("iso_week", "excel") if num_months(freq) is not None else ("yyyymm", "quarter")
    return [kind for kind in kinds if kind not in others] or kinds
