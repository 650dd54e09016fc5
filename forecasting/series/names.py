"""Names of series that are so similar that they may mean the same series."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

NUM_SHOWN = 3
_DECIMAL_ZERO = re.compile(r"^([+-]?\d+)\.0+$", re.ASCII)


def describe_similar(unique_ids: Iterable[str]) -> str | None:
    """Return a sentence about names that differ only in case, blanks, a decimal zero or their Unicode form.

    Args:
        unique_ids: The names of all series.

    Returns:
        The sentence; None if there are no such names.

    >>> describe_similar(["Berlin", "berlin", "101", "101.0"]) is None, describe_similar(["a", "b", "101"]) is None
    (False, True)
    """
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(set(unique_ids)):
        alike[_fold(name)].append(name)
    groups = [names for names in alike.values() if len(names) > 1]
    if not groups:
        return None
    shown = "; ".join(" and ".join(map(repr, names)) for names in groups[:NUM_SHOWN])
    more = f"; and {len(groups) - NUM_SHOWN} more" if len(groups) > NUM_SHOWN else ""
    return (
        "names that differ only in case, blanks, a decimal zero or their Unicode form are series of their own:"
        f" {shown}{more}; if they mean one series, the source must spell them alike"
    )


def _fold(name: str) -> str:
    folded = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    return _DECIMAL_ZERO.sub(r"\1", folded)
