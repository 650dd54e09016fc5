"""Covariates at the points of series: kept with the features, and laid out in panels.

The features have a covariate's values at their grid points. The last grid point of each series also has those of the
horizon. A value is null where neither the source nor a table has one.
"""

# S series · N grid points · F horizon steps · K covariates

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.errors import SourceError
from forecasting.schemas import COVARIATES, COVARIATES_AHEAD, ds_dtype
from forecasting.series.clock import format_clock
from forecasting.series.columns import AHEAD, COVARIATE_COLUMNS, KNOWN
from forecasting.series.covariate_tables import KNOWN_UNTIL, attach_tables, describe_joined, publishing_ends
from forecasting.series.covariates import Covariates
from forecasting.series.events import find_events
from forecasting.series.grid import future_grid
from forecasting.series.holiday_covariates import find_holidays
from forecasting.series.local_grid import wall_clock_of
from forecasting.series.panel import Panel
from forecasting.series.read import covariate_column
from forecasting.spec.holidays import NAME as HOLIDAY
from forecasting.spec.spec import Spec

_KEY = ["unique_id", "ds"]


@dataclass(frozen=True)
class JoinedCovariates:
    """Features with covariates.

    Attributes:
        features: The features with both columns of covariates.
        notes: What is to be said.
        tables: A line about the rows of each table.
    """

    features: pl.LazyFrame
    notes: tuple[str, ...]
    tables: tuple[str, ...]


def without_covariates(features: pl.LazyFrame) -> pl.LazyFrame:
    """Return features with null columns of covariates."""
    return features.with_columns(pl.lit(None, COVARIATES).alias(KNOWN), pl.lit(None, COVARIATES_AHEAD).alias(AHEAD))


def add_covariates(
    features: pl.LazyFrame,
    covariates: Covariates,
    spec: Spec,
    *,
    cutoff: datetime | int,
    unserved: Sequence[str],
    unique_ids: Sequence[str] | None = None,
    zone: str | None = None,
    events: pl.DataFrame | None = None,
) -> JoinedCovariates:
    """Add the columns of covariates to features.

    Args:
        features: The series on their grids, up to the cutoff; with `categories` where series have codes of holidays.
        covariates: The covariates of the source and of tables.
        spec: The spec.
        cutoff: The cutoff of the run, which messages name.
        unserved: Series that get no forecast, whose horizon does not matter.
        unique_ids: All series of the source; None where the run is filtered to some of them.
        zone: The zone on whose wall clock holidays and events are, where times are in UTC.
        events: Rows of `read_events`, where the spec has events.

    Returns:
        The features with both columns, and what is to be said.

    Raises:
        SourceError: A value is missing within the horizon, and `future_missing` is `error`; or a series has an unknown
            code of holidays, or too many events at a time.
    """
    column_of = {name: covariate_column(number) for number, name in enumerate(spec.covariate_names)}
    given = {name: column_of[name] for name in spec.covariates.names}
    columns = list(column_of.values())
    known_until = publishing_ends(pl.col("ds"), spec.freq, spec.source.label)
    joined = _attach(features.with_columns(known_until.alias(KNOWN_UNTIL)), covariates, given, freq=spec.freq)
    joined = joined.drop(KNOWN_UNTIL)
    holidays = find_holidays(features, spec, zone=zone) if spec.holidays.are_used else None
    if holidays is not None:
        joined = holidays.add_to(joined, column_of)
    points = future_grid(features.select(_KEY), freq=spec.freq, horizon=spec.horizon)
    of_events = None if events is None else find_events(events, features.select(_KEY), points, spec, zone=zone)
    if of_events is not None:
        joined = of_events.add_to(joined, column_of)
    past = _summarise(joined, columns)
    end = publishing_ends(pl.col("last"), spec.freq, spec.source.label)
    ends = past.lazy().select("unique_id", end.alias(KNOWN_UNTIL))
    points = points.join(ends, on="unique_id", how="left", maintain_order="left")
    ahead = _attach(points, covariates, given, freq=spec.freq).drop(KNOWN_UNTIL).collect(engine="streaming")
    of_days = list[str]()
    if holidays is not None:
        ahead = holidays.add_to(ahead.lazy(), column_of).collect()
        of_days += [*holidays.notes, *holidays.describe_first(joined, ahead, column_of)]
    if of_events is not None:
        ahead = of_events.add_to(ahead.lazy(), column_of).collect()
        ahead, new = of_events.leave_out_new(joined, ahead, column_of)
        of_days += [*of_events.notes, *new]
    lines, of_tables = [], list[str]()
    for table in covariates.tables:
        line, found = describe_joined(
            table,
            pl.concat([features.select(_KEY), ahead.lazy().select(_KEY)]),
            freq=spec.freq,
            unique_ids=unique_ids,
        )
        lines.append(line)
        of_tables += found
    known_ahead = {name: column_of[name] for name in spec.covariates.known_ahead}
    of_past = {name: column_of[name] for name in spec.covariates.of_past}
    static = {name: column_of[name] for name in spec.covariates.static}
    _refuse_varying(past, static, spec)
    # What lies after the cutoff of other covariates is never read.
    ahead = ahead.with_columns(pl.lit(None, pl.Float64).alias(column) for column in of_past.values())
    ahead = _with_constants(ahead.lazy(), past, static).collect()
    ahead, completed = _complete(ahead, past, known_ahead, spec, covariates, cutoff=cutoff, unserved=unserved)
    dropped = [column for column in known_ahead.values() if ahead[column].null_count() == ahead.height]
    last = (
        ahead.lazy()
        .sort("unique_id", "step")
        .with_columns(pl.concat_list(columns).alias(AHEAD))
        .group_by("unique_id", maintain_order=True)
        .agg(AHEAD)
        .join(past.lazy().select("unique_id", ds="last"), on="unique_id")
    )
    kept = [pl.lit(None, pl.Float64).alias(column) if column in dropped else pl.col(column) for column in columns]
    added = (
        _with_constants(joined, past, static)
        .with_columns(kept)
        .with_columns(pl.concat_list(columns).alias(KNOWN))
        .drop(columns)
        .join(last, on=_KEY, how="left", maintain_order="left")
        .with_columns(pl.col(KNOWN).cast(COVARIATES), pl.col(AHEAD).cast(COVARIATES_AHEAD))
    )
    if spec.covariates.vintages:
        added = _with_vintages(added, ahead, covariates, column_of, spec)
    used = {name: column for name, column in known_ahead.items() if column not in dropped}
    always = {name: column for name, column in column_of.items() if name == HOLIDAY}
    notes = (
        *covariates.notes,
        *of_tables,
        *of_days,
        *completed,
        *_count_missing(past, used | of_past),
        *_describe_unknown(past, static),
        *_describe_constant(past, ahead, used | of_past),
        *_describe_new(past, ahead, used | always),
    )
    return JoinedCovariates(added, notes, tuple(lines))


def values_at(points: pl.LazyFrame, covariates: Covariates, spec: Spec, *, origin: datetime | int) -> pl.LazyFrame:
    """Return the values of covariates at points, as they are known at an origin.

    Args:
        points: unique_id and ds.
        covariates: The covariates.
        spec: The spec.
        origin: The last time that is known.

    Returns:
        unique_id, ds and a column per covariate, in the order of the points.
    """
    column_of = {name: covariate_column(number) for number, name in enumerate(spec.covariates.names)}
    known_until = publishing_ends(pl.lit(origin, ds_dtype(spec.clock)), spec.freq, spec.source.label)
    placed = points.select(_KEY).with_columns(known_until.alias(KNOWN_UNTIL))
    joined = _attach(placed, covariates, column_of, freq=spec.freq)
    return joined.select(*_KEY, *(pl.col(column).alias(name) for name, column in column_of.items()))


def _attach(
    points: pl.LazyFrame, covariates: Covariates, column_of: Mapping[str, str], *, freq: str | int
) -> pl.LazyFrame:
    """Join the values of covariates to points, which keep their order."""
    of_source = covariates.rows.select(*_KEY, *(pl.col(name).alias(column) for name, column in column_of.items()))
    joined = points.join(of_source, on=_KEY, how="left", maintain_order="left")
    return attach_tables(joined, covariates.tables, column_of, freq=freq)


def _with_vintages(
    added: pl.LazyFrame, ahead: pl.DataFrame, covariates: Covariates, column_of: Mapping[str, str], spec: Spec
) -> pl.LazyFrame:
    """Add to each grid point but the last the vintages of its horizon, as they were published at that origin."""
    tables = [table for table in covariates.tables if table.has_vintages]
    known = added.select(_KEY).with_columns(is_known=True).collect(engine="streaming")
    whole = pl.concat([known, ahead.select(_KEY).with_columns(is_known=False)]).sort(_KEY)
    end = publishing_ends(pl.col("ds"), spec.freq, spec.source.label).alias(KNOWN_UNTIL)
    empty = [pl.lit(None, pl.Float64).alias(column) for column in column_of.values()]
    steps = []
    for step in range(1, spec.horizon + 1):
        target = pl.col("ds").shift(-step).over("unique_id")
        points = whole.lazy().with_columns(end, target.alias("ds"), *empty).filter("is_known")
        values = attach_tables(points, tables, column_of, freq=spec.freq).select(column_of.values())
        steps.append(values.collect(engine="streaming").fill_null(np.nan).to_numpy())
    lists = pl.Series("at origin", np.stack(steps, axis=1).reshape(-1)).fill_nan(None)
    lists = lists.reshape((known.height, spec.horizon, len(column_of))).cast(COVARIATES_AHEAD)
    at_origins = whole.filter("is_known").select(_KEY).with_columns(lists)
    joined = added.join(at_origins.lazy(), on=_KEY, how="left", maintain_order="left")
    return joined.with_columns(pl.coalesce(AHEAD, "at origin").alias(AHEAD)).drop("at origin")


def _summarise(joined: pl.LazyFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Return for each series its last time and number of points, and of each covariate what is known of its past."""
    time = pl.col("ds")
    return (
        joined.group_by("unique_id")
        .agg(
            time.max().alias("last"),
            pl.len().alias("num_points"),
            *(pl.col(column).null_count().alias(f"missing {column}") for column in columns),
            *(pl.col(column).min().alias(f"lowest {column}") for column in columns),
            *(pl.col(column).max().alias(f"highest {column}") for column in columns),
            *(
                pl.col(column).get(pl.when(pl.col(column).is_not_null()).then(time).arg_max()).alias(f"held {column}")
                for column in columns
            ),
        )
        .collect(engine="streaming")
    )


def _refuse_varying(past: pl.DataFrame, static: Mapping[str, str], spec: Spec) -> None:
    """Raise SourceError where a static covariate varies within a series."""
    for name, column in static.items():
        varying = past.filter(pl.col(f"lowest {column}") < pl.col(f"highest {column}")).sort("unique_id")
        if varying.height:
            unique_id, lowest, highest = varying.select("unique_id", f"lowest {column}", f"highest {column}").row(0)
            raise SourceError(
                f"source {spec.source}: covariate '{name}' varies from {lowest:g} to {highest:g} within series"
                f" '{unique_id}'{f' and {varying.height - 1:,} others' if varying.height > 1 else ''}, but"
                " covariates.static needs one number for each series; covariates.future or past has others"
            )


def _with_constants(points: pl.LazyFrame, past: pl.DataFrame, static: Mapping[str, str]) -> pl.LazyFrame:
    """Return points that have the static covariates of their series."""
    if not static:
        return points
    constants = past.lazy().select(
        "unique_id", *(pl.col(f"highest {column}").alias(column) for column in static.values())
    )
    names = points.collect_schema().names()
    joined = points.drop(static.values()).join(constants, on="unique_id", how="left", maintain_order="left")
    return joined.select(names)


def _describe_unknown(past: pl.DataFrame, static: Mapping[str, str]) -> list[str]:
    """Describe static covariates that are not known of some series."""
    notes = []
    for name, column in static.items():
        unknown = past.filter(pl.col(f"highest {column}").is_null())["unique_id"].sort()
        if len(unknown):
            notes.append(f"covariate '{name}' is not known of {len(unknown):,} series, such as '{unknown[0]}'")
    return notes


def _complete(
    ahead: pl.DataFrame,
    past: pl.DataFrame,
    column_of: Mapping[str, str],
    spec: Spec,
    covariates: Covariates,
    *,
    cutoff: datetime | int,
    unserved: Sequence[str],
) -> tuple[pl.DataFrame, list[str]]:
    """Deal with values that are missing within the horizon, as the spec says."""
    notes = []
    matters = ~pl.col("unique_id").is_in(list(unserved))
    table_of = {name: table.name for table in covariates.tables for name in table.names}
    for name, column in column_of.items():
        missing = ahead.filter(matters, pl.col(column).is_null()).sort("ds", "unique_id")
        if missing.is_empty():
            continue
        first = missing.row(0, named=True)
        num_series = missing["unique_id"].n_unique()
        what = (
            f"covariate '{name}' has no value at {missing.height:,} of the {ahead.filter(matters).height:,} steps after"
            f" the cutoff {format_clock(cutoff)}, in {num_series} series; the first is {format_clock(first['ds'])} of"
            f" series '{first['unique_id']}'"
        )
        how = spec.covariates.future_missing
        if how == "error":
            where = (
                f"rows of {table_of[name]} at these times"
                if name in table_of
                else f"rows after the cutoff with a null '{spec.source.target}'"
            )
            raise SourceError(
                f"source {spec.source}: {what}; {where} have these values; --future-missing hold"
                " (covariates.future_missing) takes the last known value, drop_column leaves the covariate out"
            )
        if how == "drop_column":
            ahead = ahead.with_columns(pl.lit(None, pl.Float64).alias(column))
            notes.append(f"{what}; the covariate is left out (covariates.future_missing = drop_column)")
            continue
        held = past.select("unique_id", held=f"held {column}")
        filled = pl.coalesce(pl.col(column).forward_fill().over("unique_id", order_by="step"), "held")
        ahead = ahead.join(held, on="unique_id", how="left", maintain_order="left").with_columns(filled.alias(column))
        ahead = ahead.drop("held")
        notes.append(f"{what}; the last known value is held (covariates.future_missing = hold)")
    return ahead, notes


def _count_missing(past: pl.DataFrame, column_of: Mapping[str, str]) -> list[str]:
    """Describe the covariates that have no value at grid points up to the cutoff."""
    counts = {name: int(past[f"missing {column}"].sum()) for name, column in column_of.items()}
    lacking = [f"'{name}' at {number:,}" for name, number in counts.items() if number]
    if not lacking:
        return []
    total = int(past["num_points"].sum())
    return [
        f"covariates have no value at some of the {total:,} grid points up to the cutoff: {', '.join(lacking)}; each"
        " takes the value of one season before, else the last one"
    ]


def _describe_constant(past: pl.DataFrame, ahead: pl.DataFrame, column_of: Mapping[str, str]) -> list[str]:
    """Describe covariates that are constant over history and horizon."""
    joined = ahead.join(past, on="unique_id")
    notes = []
    for name, column in column_of.items():
        lowest, highest = pl.col(f"lowest {column}"), pl.col(f"highest {column}")
        is_constant = ((lowest == highest) & (pl.col(column).fill_null(lowest) == lowest)).all()
        constant = joined.group_by("unique_id").agg(is_constant.alias("is_constant")).filter("is_constant")
        if constant.height:
            notes.append(
                f"covariate '{name}' is constant in {constant.height} of {past.height} series, such as"
                f" '{constant['unique_id'].sort()[0]}'; it is left out of these"
            )
    return notes


def _describe_new(past: pl.DataFrame, ahead: pl.DataFrame, column_of: Mapping[str, str]) -> list[str]:
    """Describe covariates that are constant up to the cutoff and change within the horizon, as at a first promotion."""
    joined = ahead.join(past, on="unique_id")
    notes = []
    for name, column in column_of.items():
        lowest, highest = pl.col(f"lowest {column}"), pl.col(f"highest {column}")
        changed = joined.filter(lowest == highest, pl.col(column) != lowest)["unique_id"].unique().sort()
        if len(changed):
            notes.append(
                f"covariate '{name}' changes within the horizon for the first time in {len(changed)} series, such as"
                f" '{changed[0]}'; what that does to them is not known, so their forecasts do not depend on it"
            )
    return notes


def lag_past(values_SNK: npt.NDArray[np.float64], lag: int) -> npt.NDArray[np.float64]:
    """Move values to later points, at which they are read.

    Args:
        values_SNK: Values of covariates that are known up to the cutoff alone, over grid and horizon.
        lag: Number of points, at least the horizon.

    Returns:
        Values of the same shape: at each point the value of `lag` points before, NaN where that is unknown.
    """
    lagged_SNK = np.full_like(values_SNK, np.nan)
    lagged_SNK[:, lag:] = values_SNK[:, : max(values_SNK.shape[1] - lag, 0)]
    return lagged_SNK


def place_covariates(
    features: pl.DataFrame, panel: Panel, *, names: Sequence[str], freq: str | int
) -> npt.NDArray[np.float64]:
    """Lay out the covariates of a panel's series on its grid and horizon.

    Args:
        features: Rows of the features table, with the columns of covariates.
        panel: The panel of these features.
        names: The covariates.
        freq: The frequency of the features.

    Returns:
        Values (S, N + F, K), NaN where they are unknown.
    """
    points = features.lazy().select("unique_id", "ds", *COVARIATE_COLUMNS)
    horizon = pl.col(AHEAD).list.len()
    is_last = pl.col(AHEAD).is_not_null() & (pl.col("ds") == pl.col("ds").max().over("unique_id"))
    last = points.filter(is_last).with_columns(step=pl.int_ranges(1, horizon + 1, dtype=pl.Int32))
    values = last.explode(AHEAD, "step").select("unique_id", "step", pl.col(AHEAD).alias(KNOWN))
    most = features.select(horizon.max()).item() or 0
    future = future_grid(points.select("unique_id", "ds"), freq=freq, horizon=most)
    ahead = future.join(values, on=["unique_id", "step"]).select("unique_id", "ds", KNOWN)
    known = pl.concat([points.select("unique_id", "ds", KNOWN), ahead]).drop_nulls(KNOWN)
    if panel.zone is not None:
        known = known.with_columns(ds=wall_clock_of(pl.col("ds"), panel.zone))
    num_columns = panel.ds_SN.shape[1]
    grid = pl.LazyFrame(
        {
            "unique_id": pl.Series(panel.unique_ids, dtype=pl.String).gather(
                np.repeat(np.arange(len(panel.unique_ids)), num_columns)
            ),
            "ds": pl.Series(panel.ds_SN.reshape(-1), dtype=panel.clock_dtype),
        }
    ).with_row_index("place")
    found = (
        grid.filter(pl.col("ds").is_not_null())
        .join(known.unique(["unique_id", "ds"], keep="last"), on=["unique_id", "ds"])
        .select("place", *(pl.col(KNOWN).list.get(number).alias(str(number)) for number in range(len(names))))
        .collect()
    )
    placed = np.full((panel.ds_SN.size, len(names)), np.nan)
    placed[found["place"].to_numpy()] = found.drop("place").fill_null(np.nan).to_numpy()
    return placed.reshape(*panel.ds_SN.shape, len(names))


def place_vintages(
    features: pl.DataFrame, panel: Panel, *, columns: Sequence[int], freq: str | int
) -> npt.NDArray[np.float64]:
    """Lay out covariates whose times of publication are known, as each grid point knew those of its horizon.

    Args:
        features: Rows of the features table, with the columns of covariates.
        panel: The panel of these features.
        columns: The places of these covariates among all.
        freq: The frequency of the features.

    Returns:
        Values (S, N, F, V), NaN where they are unknown.
    """
    num_points, horizon = panel.y_SN.shape[1], panel.horizon
    placed_SNFV = np.full((len(panel.unique_ids), num_points, horizon, len(columns)), np.nan)
    rows = features.select(*_KEY, AHEAD).filter(pl.col(AHEAD).is_not_null()).sort(_KEY)
    if rows.is_empty():
        return placed_SNFV
    future = future_grid(rows.lazy().select(_KEY), freq=freq, horizon=horizon).select(_KEY).collect()
    known = rows.select(_KEY).with_row_index("row")
    whole = pl.concat([known, future], how="diagonal").sort(_KEY)
    wall = wall_clock_of(pl.col("ds"), panel.zone) if panel.zone is not None else pl.col("ds")
    grid = pl.DataFrame(
        {
            "unique_id": pl.Series(panel.unique_ids, dtype=pl.String).gather(
                np.repeat(np.arange(len(panel.unique_ids)), panel.ds_SN.shape[1])
            ),
            "wall": pl.Series(panel.ds_SN.reshape(-1), dtype=panel.clock_dtype),
            "series": np.repeat(np.arange(len(panel.unique_ids)), panel.ds_SN.shape[1]),
            "column": np.tile(np.arange(panel.ds_SN.shape[1]), len(panel.unique_ids)),
        }
    ).drop_nulls("wall")
    whole = whole.with_columns(wall=wall).join(grid, on=["unique_id", "wall"], how="left", maintain_order="left")
    values_RFK = rows[AHEAD].explode().explode().fill_null(np.nan).to_numpy().reshape(rows.height, horizon, -1)
    for step in range(1, horizon + 1):
        targets = whole.with_columns(target=pl.col("column").shift(-step).over("unique_id")).drop_nulls()
        ahead_R = (targets["target"] - targets["column"]).to_numpy() - 1
        is_placed_R = (ahead_R >= 0) & (ahead_R < horizon) & (targets["column"].to_numpy() < num_points)
        row_R, series_R, column_R = (targets[name].to_numpy()[is_placed_R] for name in ("row", "series", "column"))
        placed_SNFV[series_R, column_R, ahead_R[is_placed_R]] = values_RFK[row_R, step - 1][:, list(columns)]
    return placed_SNFV
