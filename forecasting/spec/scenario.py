"""Names of scenarios: forecasts with other values of covariates than those that are known."""

import re

FORECAST = "forecast"
"""The name of the forecast itself where scenarios are compared with it, which no scenario can have."""
SCENARIO_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_\-]{0,59}"
"""Regular expression of other names."""


def find_problem(name: str) -> str | None:
    """Return what is wrong with the name of a scenario; None where nothing is.

    >>> find_problem("no_promotion"), find_problem("a b")
    (None, 'must be at most 60 letters, digits, _ and -, and begin with a letter or digit')
    """
    if name == FORECAST:
        return f"cannot be '{FORECAST}', which is what scenarios are compared with"
    if not re.fullmatch(SCENARIO_PATTERN, name):
        return "must be at most 60 letters, digits, _ and -, and begin with a letter or digit"
    return None


def name_after(path: str) -> str:
    """Return the name of a scenario whose plan is a file, where it has no other name.

    >>> name_after("plans/no promotion.csv"), name_after("s3://bucket/plan.parquet")
    ('no_promotion', 'plan')
    """
    stem = path.rstrip("/").rpartition("/")[2].partition(".")[0]
    name = re.sub(r"[^A-Za-z0-9_\-]+", "_", stem).strip("_-")[:60]
    return name if name and name != FORECAST else "scenario"
