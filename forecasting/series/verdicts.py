"""Verdicts of checks as rows of the table `checks`, and what follows from them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from forecasting.errors import CheckFailed
from forecasting.schemas import table as declared_table

VERDICTS = declared_table("checks").row_schema("timestamp", without=["job"])
"""Columns of a verdict, the same on both clocks."""
FINDINGS = pl.Schema({"unique_id": pl.String(), "found": pl.Float64(), "bound": pl.Float64(), "message": pl.String()})
"""Columns of a finding: a series that fails a check, the value that was found, the bound, and both in a sentence."""


def no_verdicts() -> pl.DataFrame:
    """Return a frame of verdicts without rows."""
    return pl.DataFrame(schema=VERDICTS)


def of_series(check: Any, findings: pl.DataFrame, *, num_checked: int, more: str = "") -> pl.DataFrame:
    """Return the verdicts of a check of every series by itself.

    Args:
        check: The check.
        findings: The series that fail, in the columns of `FINDINGS`.
        num_checked: The number of series that were checked.
        more: What else is to be said, such as which series were not checked.

    Returns:
        One row for the check as a whole, then one per series that fails.
    """
    findings = findings.sort("unique_id")
    if findings.is_empty():
        message = f"all {num_checked:,} series that were checked pass"
    else:
        name, why = findings.select("unique_id", "message").row(0)
        message = f"{findings.height:,} of {num_checked:,} series fail, such as '{name}': {why}"
    whole = of_whole(check, message + more, has_failed=not findings.is_empty(), found=findings.height, bound=0)
    failed = findings.with_columns(
        check_name=pl.lit(check.name),
        check_kind=pl.lit(check.kind),
        verdict=pl.lit("fail"),
        on_failure=pl.lit(check.on_failure),
    )
    return pl.concat([whole, failed.select(VERDICTS.names()).cast(VERDICTS)])


def of_whole(
    check: Any, message: str, *, has_failed: bool, found: float | None = None, bound: float | None = None
) -> pl.DataFrame:
    """Return the verdict of a check of all series at once, or of a check as a whole.

    Args:
        check: The check.
        message: What was found.
        has_failed: Whether it fails.
        found: The value that was found.
        bound: What it is compared with.

    Returns:
        One row.
    """
    return _row(check, "fail" if has_failed else "pass", message, found=found, bound=bound)


def skipped(check: Any, reason: str) -> pl.DataFrame:
    """Return the verdict of a check that could not be made, in one row."""
    return _row(check, "skipped", f"not checked: {reason}")


def verdict_of_each(verdicts: pl.DataFrame) -> dict[str, str]:
    """Return the verdict of each check as a whole, by its name."""
    whole = verdicts.filter(pl.col("unique_id").is_null())
    return dict(whole.select("check_name", "verdict").iter_rows())


def find_set_aside(verdicts: pl.DataFrame) -> dict[str, str]:
    """Return why checks set series aside, by name.

    Args:
        verdicts: Rows of verdicts.

    Returns:
        Reasons; of a series that fails several checks, all of them.
    """
    return {name: f"set aside: {reason}" for name, reason in _why(verdicts, "set_aside").items()}


def find_held(verdicts: pl.DataFrame) -> dict[str, str]:
    """Return why checks hold the forecasts of series, by name; all reasons of a series."""
    return {name: f"held: {reason}" for name, reason in _why(verdicts, "hold").items()}


def _why(verdicts: pl.DataFrame, on_failure: str) -> dict[str, str]:
    failed = verdicts.filter(pl.col("unique_id").is_not_null(), pl.col("on_failure") == on_failure)
    why = pl.format("check '{}' fails: {}", "check_name", "message").str.join("; ")
    reasons = failed.group_by("unique_id", maintain_order=True).agg(why.alias("why")).sort("unique_id")
    return dict(reasons.select("unique_id", "why").iter_rows())


def describe_warnings(verdicts: pl.DataFrame, *, has_store: bool = False) -> Iterator[str]:
    """Yield a sentence about each check that fails with `on_failure` other than fail, or that could not be made.

    Args:
        verdicts: Rows of verdicts.
        has_store: Whether earlier forecasts are kept.

    Yields:
        Sentences.
    """
    for row in _wholes(verdicts).iter_rows(named=True):
        if row["verdict"] == "skipped":
            yield f"check '{row['check_name']}' is {row['message']}"
        elif row["verdict"] == "fail" and row["on_failure"] != "fail":
            is_of_series = row["check_name"] in verdicts.drop_nulls("unique_id")["check_name"]
            held = "hold" if has_store else "mark"
            consequence = _CONSEQUENCES[held if row["on_failure"] == "hold" else row["on_failure"]] * is_of_series
            yield f"check '{row['check_name']}' fails: {row['message']}{consequence}"


def refuse_failed(verdicts: pl.DataFrame) -> None:
    """Raise CheckFailed where a check fails whose `on_failure` is fail.

    Args:
        verdicts: Rows of verdicts.

    Raises:
        CheckFailed: A check fails; the error names all of them.
    """
    failed = _wholes(verdicts).filter(pl.col("verdict") == "fail", pl.col("on_failure") == "fail")
    if failed.is_empty():
        return
    lines = [f"check '{name}' fails: {message}" for name, message in failed.select("check_name", "message").iter_rows()]
    option = 'on_failure = "fail" of [[checks]] stops the run'
    if len(lines) == 1:
        raise CheckFailed(f"{lines[0]}; {option}", verdicts)
    parts = "\n".join(f"  - {line}" for line in lines)
    raise CheckFailed(f"{len(lines)} checks fail; {option}:\n{parts}", verdicts)


def count_verdicts(verdicts: pl.DataFrame) -> str:
    """Return how many checks pass, fail and were skipped, by what a failure does.

    Args:
        verdicts: Rows of verdicts.

    Returns:
        Such as `3 pass · 1 fails (warn) · 1 skipped`.
    """
    wholes = _wholes(verdicts)
    counts = [f"{wholes.filter(verdict='pass').height} pass"]
    failed = wholes.filter(verdict="fail").group_by("on_failure").len().sort("on_failure")
    counts += [f"{count} fail ({consequence})" for consequence, count in failed.iter_rows()]
    num_skipped = wholes.filter(verdict="skipped").height
    return " · ".join(counts + ([f"{num_skipped} skipped"] if num_skipped else []))


_CONSEQUENCES: Mapping[str, str] = {
    "warn": "",
    "set_aside": "; these series get no forecast",
    "hold": "; their last good forecasts stay in place",
    "mark": "; their forecasts have that reason",
}


def _wholes(verdicts: pl.DataFrame) -> pl.DataFrame:
    return verdicts.filter(pl.col("unique_id").is_null())


def _row(
    check: Any, verdict: str, message: str, *, found: float | None = None, bound: float | None = None
) -> pl.DataFrame:
    fields = {
        "check_name": check.name,
        "check_kind": check.kind,
        "unique_id": None,
        "verdict": verdict,
        "on_failure": check.on_failure,
        "found": None if found is None else float(found),
        "bound": None if bound is None else float(bound),
        "message": message,
    }
    return pl.DataFrame([fields], schema=VERDICTS)


def join_verdicts(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return the verdicts of all checks, in their order."""
    return pl.concat([no_verdicts(), *parts])
