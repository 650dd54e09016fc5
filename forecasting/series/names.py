"""Names of series with blanks around them, and names so similar that they may mean the same series."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

import polars as pl

NUM_SHOWN = 3
_NUMBER = re.compile(r"(?:(?<=^)|(?<=/))([+-]?)0*(\d+)(?:\.0+)?(?=/|$)", re.ASCII)
"""Whole numbers, alone or among the parts of a name: leading and decimal zeros are not written in each file."""
_BLANKS = r"[\s\x1c-\x1f]+"
"""White space as `str.split` has it."""


def describe_similar(unique_ids: Iterable[str]) -> str | None:
    """Return a sentence about names that differ only in case, blanks, zeros, invisible characters or Unicode form.

    Args:
        unique_ids: The names of all series.

    Returns:
        The sentence; None if there are no such names.

    >>> describe_similar(["Berlin", "berlin", "7", "007"]) is None, describe_similar(["a", "b", "101"]) is None
    (False, True)
    """
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(_may_be_alike(list(set(unique_ids)))):
        alike[_fold(name)].append(name)
    groups = [names for names in alike.values() if len(names) > 1]
    if not groups:
        return None
    shown = "; ".join(" and ".join(_show(names)) for names in groups[:NUM_SHOWN])
    more = f"; and {len(groups) - NUM_SHOWN} more" if len(groups) > NUM_SHOWN else ""
    return (
        "names that differ only in case, blanks, leading or decimal zeros, invisible characters or their Unicode form"
        " are series of their own:"
        f" {shown}{more}; if they mean one series, the source must spell them alike"
    )


def describe_stripped(written: pl.Series, rows: pl.LazyFrame) -> str | None:
    """Return a sentence about names with blanks around them, and about those that become one name without them.

    Args:
        written: The different names with blanks around them.
        rows: Rows with `unique_id` and `written_id`, of which one column is read if there are such names.

    Returns:
        The sentence; None if there are no such names.
    """
    if written.is_empty():
        return None
    names = pl.DataFrame({"written": written, "name": written.str.strip_chars()})
    plain = rows.filter(pl.col("written_id").is_null() & pl.col("unique_id").is_in(names["name"].unique().to_list()))
    known = plain.select(pl.col("unique_id").unique()).collect(engine="streaming")["unique_id"]
    spellings = pl.concat([names, pl.DataFrame({"written": known, "name": known})]).sort("written")
    merged = spellings.group_by("name").agg("written").filter(pl.col("written").list.len() > 1).sort("name")
    one = len(written) == 1
    sentence = (
        f"{len(written)} name{'' if one else 's'} of series {'has' if one else 'have'} blanks around"
        f" {'it' if one else 'them'}, which are left out, such as {written[0]!r}"
    )
    if merged.is_empty():
        return sentence
    shown = "; ".join(" and ".join(map(repr, each)) for each in merged["written"].head(NUM_SHOWN))
    more = f"; and {merged.height - NUM_SHOWN} more" if merged.height > NUM_SHOWN else ""
    return f"{sentence}; without them, these names are one series each: {shown}{more}"


def _may_be_alike(names: list[str]) -> list[str]:
    """Return the names that share a coarser form than that of `_fold` with another name; most names share none."""
    printed = [name if name.isascii() else _print(name).casefold() for name in names]
    form = pl.Series(printed, dtype=pl.String).str.to_lowercase().str.replace_all(_BLANKS, "")
    form = form.str.replace_all(r"(^|/)([+-]?)0+", "$1$2").str.replace_all(r"\.0*(/|$)", "$1")
    return pl.Series(names, dtype=pl.String).filter(form.is_duplicated()).to_list()


def _fold(name: str) -> str:
    return _NUMBER.sub(r"\1\2", " ".join(_print(name).casefold().split()))


def _print(name: str) -> str:
    """Return a name as it looks: in one Unicode form, without characters of no width."""
    if name.isascii():
        return name
    return "".join(one for one in unicodedata.normalize("NFKC", name) if unicodedata.category(one) != "Cf")


def _show(names: list[str]) -> list[str]:
    """Quote names, with escapes where two of them look the same."""
    looks_alike = len(set(map(_print, names))) < len(names)
    return [ascii(name) if looks_alike else repr(name) for name in names]
