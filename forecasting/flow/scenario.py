"""Scenarios: a plan has other values of covariates within the horizon, and the same models forecast with them."""

import difflib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import narwhals as nw
import polars as pl

from forecasting.errors import DataWarning, SourceError, SpecError
from forecasting.flow.actuals import require_same_clock
from forecasting.series.clock import format_clock
from forecasting.series.columns import LARGEST_TIME
from forecasting.series.covariate_names import is_coded
from forecasting.series.covariates import Covariates, read_covariates
from forecasting.series.inputs import as_paths, read_input
from forecasting.series.reasons import REPEATS
from forecasting.series.unread_columns import columns_of
from forecasting.series.validate import validate
from forecasting.spec.source import make_source
from forecasting.spec.spec import Spec

KEY = ("unique_id", "ds")
NUM_NAMED = 3
"""Columns that a message names."""


@dataclass(frozen=True)
class Scenario:
    """The values of a plan within the horizon.

    Attributes:
        covariates: unique_id, ds and a column per covariate; a null keeps the known value.
        num_changed: Values that differ from the known ones, by covariate.
        num_series: Series in which any does.
        notes: What is to be said about rows and columns that are not used.
    """

    covariates: Covariates
    num_changed: Mapping[str, int]
    num_series: int
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """Say which values the plan changes."""
        changed = [f"{name} at {number:,} points" for name, number in self.num_changed.items() if number]
        return f"{', '.join(changed)}, in {self.num_series:,} series" if changed else "no value"


def read_plan(
    given: Any,
    spec: Spec,
    fields: Mapping[str, Any],
    *,
    has_zone: bool,
    only: str | None = None,
    storage_options: Mapping[str, str] | None = None,
    subject: str = "future",
) -> Covariates:
    """Read a plan by the rules of the covariates of a source.

    Args:
        given: A frame, or paths of files, with the columns of series and time and at least one covariate.
        spec: The spec.
        fields: Fields of a `Source` besides its URI, by which the plan is read.
        has_zone: Whether times of the forecast's own input have a time zone or an offset.
        only: Name of the only series, where the plan has no column of series.
        storage_options: Options of an object store that holds the files.
        subject: What messages call the plan.

    Returns:
        The values, in the columns of all covariates; those of covariates that the plan lacks are null.

    Raises:
        SpecError: The spec has no covariates.
        SourceError: The plan cannot be read, has no covariate or an unknown one, or two values of one series and time.
    """
    names = spec.covariates.known_ahead
    if not names:
        raise SpecError(subject, ["needs covariates that are known ahead (known_ahead, covariates.future); none are"])
    columns = _columns_of(given, {**fields, "target": names[0]}, storage_options, subject)
    present = [name for name in names if columns is None or name in columns]
    notes = list(_check_columns(columns or (), spec, fields, subject=subject))
    reading = {**fields, "target": present[0]}
    read, frames = read_input(
        given, reading, covariates=present[1:], storage_options=storage_options or {}, subject=subject
    )
    require_same_clock(replace(read, source=read.source.reading_covariates(present)), spec, has_zone=has_zone)
    scanned = read.scan_covariates(spec.clock, present)
    assert scanned.rows is not None, "a plan has a covariate"
    found = read_covariates(scanned, spec, needs_one_value=subject)
    validated = validate(scanned.rows, freq=spec.freq, now=LARGEST_TIME, source=spec.source)
    notes += _describe_refused(validated.refused.collect(engine="streaming"), subject)
    values = found.rows
    if frames.is_single and only is not None:
        values = values.with_columns(unique_id=pl.lit(only, pl.String))
    return Covariates(values, (*dict.fromkeys(notes), *found.notes))


def place_plan(
    plan: Covariates,
    horizon: pl.LazyFrame,
    known: pl.LazyFrame,
    *,
    cutoff: datetime | int,
    subject: str = "future",
) -> Scenario:
    """Return the values of a plan at the points of the horizon.

    Args:
        plan: What `read_plan` returns.
        horizon: unique_id and ds of the points that are forecast.
        known: The known values: unique_id, ds and a column per covariate.
        cutoff: The cutoff of the forecast.
        subject: What messages call the plan.

    Returns:
        The scenario, with notes about rows that lie elsewhere.

    Raises:
        SourceError: The plan has no value within the horizon of a series that is forecast, or has names for a covariate
            of numbers.
    """
    names = plan.rows.collect_schema().names()[len(KEY) :]
    rows = plan.rows.filter(pl.any_horizontal(pl.col(name).is_not_null() for name in names)).sort(KEY).collect()
    points, values = pl.collect_all([horizon.select(KEY), known.select(*KEY, *names)], engine="streaming")
    notes = [*plan.notes, *_check_places(rows, points, cutoff=cutoff, subject=subject)]
    inside = rows.join(points, on=KEY, how="semi", maintain_order="left")
    for name in names:
        _check_kind(name, inside[name], values[name], subject)
    both = inside.join(values, on=KEY, how="left", maintain_order="left", suffix="_known")
    differs = [pl.col(name).is_not_null() & pl.col(name).ne_missing(pl.col(f"{name}_known")) for name in names]
    changed = both.select("unique_id", *(is_other.alias(name) for is_other, name in zip(differs, names, strict=True)))
    num_series = changed.filter(pl.any_horizontal(names))["unique_id"].n_unique()
    if not num_series:
        notes.append(f"{subject} changes no value within the horizon: the scenario is the forecast")
    return Scenario(
        Covariates(inside.lazy()), {name: int(changed[name].sum()) for name in names}, num_series, tuple(notes)
    )


def warn_of(scenario: Scenario, *, stacklevel: int) -> None:
    """Warn of what a scenario does not use."""
    for note in scenario.notes:
        warnings.warn(note, DataWarning, stacklevel=stacklevel + 1)


def _columns_of(
    given: Any, fields: Mapping[str, Any], storage_options: Mapping[str, str] | None, subject: str
) -> Sequence[str] | None:
    """Return the columns of a plan; None where only reading it shows them."""
    if (paths := as_paths(given)) is not None:
        return columns_of(make_source(paths, fields, subject=subject), storage_options) or None
    try:
        return list(nw.from_native(given).collect_schema().names())
    except TypeError:  # which `read_input` refuses
        return None


def _check_columns(columns: Sequence[str], spec: Spec, fields: Mapping[str, Any], *, subject: str) -> Iterator[str]:
    """Yield what is to be said about the columns of a plan; raise SourceError where they are not those of a plan."""
    if not columns:
        return
    names, source = spec.covariates.known_ahead, spec.source
    id = fields.get("id", source.id)
    ids = (id,) if isinstance(id, str) else tuple(id)
    known = {
        *spec.covariates.names,
        *ids,
        fields.get("time", source.time),
        source.target,
        fields.get("target"),
        *spec.static_columns,
    }
    others, absent = [name for name in columns if name not in known], [name for name in names if name not in columns]
    for name in others:
        if meant := difflib.get_close_matches(name, absent, n=1):
            raise SourceError(f"{subject} has a column '{name}', which is not a covariate; is '{meant[0]}' meant?")
    if len(absent) == len(names):
        raise SourceError(
            f"{subject} lacks its covariates: it has {_listed(columns)} but needs at least one of {_listed(names)}"
        )
    if others:
        yield f"{subject} has columns that are not covariates and are not read: {_listed(others)}"
    if absent:
        yield f"{subject} has no column {_listed(absent)}, whose known values are kept"


def _describe_refused(refused: pl.DataFrame, subject: str) -> Iterator[str]:
    """Yield what is to be said about rows that are not read."""
    others = refused.filter(~pl.col("reason").is_in(REPEATS))
    for (reason,), rows in others.group_by("reason", maintain_order=True):
        unique_id, ds = rows.select(KEY).row(0)
        yield (
            f"{rows.height:,} rows of {subject} are not used, such as that of series '{unique_id}' at '{ds}': {reason}"
        )


def _check_places(rows: pl.DataFrame, points: pl.DataFrame, *, cutoff: datetime | int, subject: str) -> Iterator[str]:
    """Yield what is to be said about rows outside the horizon; raise SourceError where no row lies within."""
    if rows.is_empty():
        raise SourceError(f"{subject} has no values; it needs values after the cutoff {format_clock(cutoff)}")
    is_forecast = pl.col("unique_id").is_in(points["unique_id"].unique().implode())
    ours, others = rows.filter(is_forecast), rows.filter(~is_forecast)
    if ours.is_empty():
        forecast: Any = points["unique_id"].first()
        raise SourceError(
            f"{subject} has no series that is forecast: it has '{rows['unique_id'][0]}'"
            + (f", but needs series such as '{forecast}'" if forecast is not None else ", and none is")
        )
    ahead = ours.filter(pl.col("ds") > cutoff)
    if ahead.is_empty():
        raise SourceError(
            f"{subject} ends at {format_clock(ours['ds'].max())}; it needs values after the cutoff"  # type: ignore[arg-type]
            f" {format_clock(cutoff)}"
        )
    outside = ahead.join(points, on=KEY, how="anti", maintain_order="left")
    if outside.height == ahead.height:
        first, last = (format_clock(points["ds"].min()), format_clock(points["ds"].max()))  # type: ignore[arg-type]
        raise SourceError(
            f"{subject} has no value at a time of the horizon, which is {first} to {last}; its first after the cutoff"
            f" is {format_clock(ahead['ds'].min())}"  # type: ignore[arg-type]
        )
    if others.height:
        num = others["unique_id"].n_unique()
        yield (
            f"{others.height:,} rows of {subject} are not used, because their {num:,} series are not forecast, such as"
            f" '{others['unique_id'][0]}'"
        )
    if past := ours.height - ahead.height:
        yield f"{past:,} rows of {subject} are not used, because they are not after the cutoff {format_clock(cutoff)}"
    if outside.height:
        unique_id, ds = outside.select(KEY).row(0)
        yield (
            f"{outside.height:,} rows of {subject} are not used, because they lie at no time of the horizon, such as"
            f" {format_clock(ds)} of series '{unique_id}'"
        )


def _check_kind(name: str, planned: pl.Series, known: pl.Series, subject: str) -> None:
    """Raise SourceError where a plan has names for a covariate of numbers, or numbers for one of names."""
    if planned.null_count() == len(planned) or known.null_count() == len(known):
        return
    has_names, needs_names = (is_coded(each.drop_nulls().to_numpy()) for each in (planned, known))
    if has_names != needs_names:
        has, needs = ("names" if each else "numbers" for each in (has_names, needs_names))
        raise SourceError(
            f"{subject} has {has} for covariate '{name}' but needs {needs}; names that look like numbers must be"
            " declared (covariates.categories, covariate_categories)"
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NUM_NAMED} more" if len(names) > NUM_NAMED else ""
    return ", ".join(f"'{name}'" for name in names[:NUM_NAMED]) + more
