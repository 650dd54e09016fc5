"""The cutoff of a run: the requested one, or else the newest period that most live series have.

That of a scenario is the newest forecast's.
"""

from datetime import datetime, tzinfo

import polars as pl

from forecasting.connections import find_connection
from forecasting.errors import NothingStored
from forecasting.series.clock import format_clock, parse_clock
from forecasting.series.ends import up_to_cutoff
from forecasting.series.ignored import is_ignored
from forecasting.series.spans import SPAN
from forecasting.series.typed_cutoff import newest_point, refuse_unmeasured
from forecasting.series.unfinished import is_open_at
from forecasting.series.zone import clock_zone
from forecasting.settings import Settings
from forecasting.store.tables import Store
from workers.arguments import RunArguments


def stored_cutoff(arguments: RunArguments, store: Store) -> datetime | int:
    """Return what the requested cutoff means, else the newest stored period of most live series, not after `as_of`.

    Args:
        arguments: What the run is requested to do.
        store: The tables.

    Returns:
        The cutoff, on the clock of ds.

    Raises:
        NothingStored: The spec has no features yet, or no forecast that a scenario could be compared with.
        SpecError: The requested cutoff lies after the newest stored period that is measured.
    """
    given, spec = requested_cutoff(arguments), arguments.spec
    is_measured = pl.col("y").is_not_null() | is_ignored(spec.source, spec.clock)
    stored = store.scan("features", spec.clock).filter(pl.col("spec") == spec.name)
    measured = stored.filter(is_measured)
    if given is not None:
        return given if _is_done(arguments, store, given) else _settle(given, arguments, stored, measured)
    not_after = newest_allowed(arguments)
    if arguments.scenario is not None:
        return _newest_forecast(arguments, store, not_after=not_after)
    if not_after is not None:
        measured = measured.filter(pl.col("ds") <= not_after, ~is_open_at(not_after, spec.source, freq=spec.freq))
    spans = measured.select("unique_id", "ds", latest="ds").group_by("unique_id").agg(SPAN).collect(engine="streaming")
    if spans.is_empty():
        raise NothingStored(f"spec '{spec.name}' has no features yet; run the features job first")
    is_meant = up_to_cutoff(spans, freq=spec.freq, ended_after=spec.ended_after)
    found: datetime | int = measured.filter(is_meant).select(pl.col("ds").max()).collect(engine="streaming").item()
    return found


def _newest_forecast(arguments: RunArguments, store: Store, *, not_after: datetime | int | None) -> datetime | int:
    """Return the cutoff of the newest forecast of a spec, which its scenarios are compared with."""
    spec = arguments.spec
    made = store.scan("forecasts", spec.clock).filter(pl.col("spec") == spec.name)
    if not_after is not None:
        made = made.filter(pl.col("run_cutoff") <= not_after)
    newest: datetime | int | None = made.select(pl.col("run_cutoff").max()).collect(engine="streaming").item()
    if newest is None:
        raise NothingStored(
            f"spec '{spec.name}' has no forecast yet, which scenario '{arguments.scenario}' would be compared with; run"
            " the forecast first"
        )
    return newest


def _is_done(arguments: RunArguments, store: Store, cutoff: datetime | int) -> bool:
    """Return whether a features job of the spec has settled on a cutoff, as the one before this job in a DAG has."""
    done = store.scan("runs", "timestamp").filter(
        pl.col("spec") == arguments.spec.name,
        pl.col("job") == "features",
        pl.col("status") == "success",
        pl.col("run_cutoff") == format_clock(cutoff),
    )
    return not done.select("run_id").head(1).collect(engine="streaming").is_empty()


def _settle(
    given: datetime | int, arguments: RunArguments, stored: pl.LazyFrame, measured: pl.LazyFrame
) -> datetime | int:
    """Return the newest stored grid point at or before a requested cutoff, as `settle_cutoff` does of a source."""
    spec = arguments.spec
    newest = measured.select(pl.col("ds").max()).collect(engine="streaming").item()
    point = newest_point(stored.filter(pl.col("ds") <= given).select("unique_id", "ds"), spec, given)
    if newest is None or point is None:
        return given
    refuse_unmeasured(point, newest, spec, given=given)
    return point


def requested_cutoff(arguments: RunArguments) -> datetime | int | None:
    """Return the requested cutoff; one with an offset is converted to the zone of the source.

    Args:
        arguments: What the run is requested to do.

    Returns:
        The cutoff as it was requested, on the clock of ds; None where none is.

    Raises:
        SpecError: The text is not a time on that clock.
    """
    spec = arguments.spec
    return (
        None
        if arguments.cutoff is None
        else parse_clock(arguments.cutoff, spec.clock, zone=lambda: source_zone(arguments))
    )


def newest_allowed(arguments: RunArguments) -> datetime | int | None:
    """Return `as_of` on the clock of ds; None where it is unset, and for integer steps, which have no time of day."""
    spec = arguments.spec
    if arguments.as_of is None or spec.clock == "step":
        return None
    return parse_clock(arguments.as_of, spec.clock, zone=lambda: source_zone(arguments), subject="as_of")


def storage_options_of(arguments: RunArguments) -> dict[str, str]:
    """Return the options of the object store, with secrets that only the cluster's nodes have.

    Args:
        arguments: What the run is requested to do; it may name a connection.

    Returns:
        The options of that connection, or else those of the settings.

    Raises:
        SpecError: The connection is not known here, or not that of an object store.
    """
    if arguments.store_connection is None:
        return Settings.load().storage_options
    return find_connection(arguments.store_connection).storage_options()


def source_zone(arguments: RunArguments) -> tzinfo:
    """Return the zone of the clock of ds: the source's, or the schedule's where the source has none."""
    spec = arguments.spec
    zone = clock_zone(spec.source, spec.clock, spec.freq, storage_options=storage_options_of(arguments))
    return zone or spec.schedule.zone
