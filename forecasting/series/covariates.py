"""Covariates that are known ahead: read beside the measurements, kept with the features, and laid out in panels.

The features have a covariate's values at their grid points. The last grid point of each series also has those of the
horizon. A value is null where the source has none.
"""

# S series · N grid points · F horizon steps · K covariates

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.errors import SourceError
from forecasting.schemas import COVARIATES, COVARIATES_AHEAD
from forecasting.series.clock import format_clock
from forecasting.series.columns import LARGEST_TIME
from forecasting.series.covariate_names import with_codes
from forecasting.series.grid import future_grid
from forecasting.series.local_grid import wall_clock_of
from forecasting.series.panel import Panel
from forecasting.series.read import scan_source
from forecasting.series.reasons import Reason
from forecasting.series.validate import validate
from forecasting.spec.frequency import Clock
from forecasting.spec.source import Source
from forecasting.spec.spec import Spec

KNOWN, AHEAD = "covariates", "covariates_ahead"
COLUMNS = (KNOWN, AHEAD)
"""Columns of the features that have covariates."""
CovariateRows = Mapping[str, pl.LazyFrame]
"""Rows in the columns of `scan_source` whose `y` is a covariate, by its name."""
_UNREAD = (Reason.NOT_A_NUMBER.value, Reason.NAN.value, Reason.INFINITE.value)


@dataclass(frozen=True)
class Covariates:
    """The covariates of a source.

    Attributes:
        rows: unique_id, ds and a column of Float64 per covariate, each null where the source has no value.
        notes: What is to be said about values that could not be read.
    """

    rows: pl.LazyFrame
    notes: tuple[str, ...] = ()


def scan_covariates(
    source: Source, clock: Clock, names: Sequence[str], *, storage_options: Mapping[str, str] | None = None
) -> dict[str, pl.LazyFrame]:
    """Scan the covariates of a source, each as if it was the measurement.

    Args:
        source: The source.
        clock: Whether times are timestamps or integer steps.
        names: The columns.
        storage_options: Options of the object store.

    Returns:
        Rows in the columns of `scan_source`, by covariate.

    Raises:
        SourceError: A column is missing, or its dtype is neither a number nor a boolean.
        ServiceError: A remote file cannot be reached.
    """
    return {name: scan_source(source.reading_covariate(name), clock, storage_options=storage_options) for name in names}


def read_covariates(scanned: CovariateRows, spec: Spec) -> Covariates:
    """Read covariates by the rules of measurements, save that they may lie in the future.

    Args:
        scanned: Rows of each covariate.
        spec: The spec.

    Returns:
        The values at the grid points of their series, before and after any cutoff.

    Raises:
        SourceError: More of a covariate's values cannot be read than the source allows to be refused.
    """
    parts, notes = [], []
    for name, rows in scanned.items():
        rows = with_codes(
            _with_truth_values(rows), name, source=spec.source, is_declared=name in spec.covariates.categories
        )
        validated = validate(rows, freq=spec.freq, now=LARGEST_TIME, source=spec.source)
        values = validated.accepted.select("unique_id", "ds", pl.col("y").alias(name)).drop_nulls(name)
        refused = validated.refused.filter(pl.col("reason").is_in(_UNREAD))
        accepted, unread = pl.collect_all([values, refused], engine="streaming")
        parts.append(accepted)
        if unread.height:
            notes.append(_describe_unread(name, unread, num_read=accepted.height, source=spec.source))
    key = ["unique_id", "ds"]
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.join(part, on=key, how="full", coalesce=True)
    return Covariates(whole.lazy(), tuple(notes))


def _with_truth_values(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Return rows in which the texts true and false are 1 and 0."""
    schema = rows.collect_schema()
    if schema["y"] != pl.String:
        return rows
    word = pl.col("y").str.strip_chars().str.to_lowercase()
    is_true, is_false = word == "true", word == "false"
    of_words = pl.when(is_true).then(1.0).when(is_false).then(0.0)
    rows = rows.with_columns(number=pl.coalesce("number", of_words)) if "number" in schema else rows
    return rows.with_columns(
        pl.when(is_true).then(pl.lit("1")).when(is_false).then(pl.lit("0")).otherwise("y").alias("y")
    )


def _describe_unread(name: str, unread: pl.DataFrame, *, num_read: int, source: Source) -> str:
    """Return a note about values that cannot be read; raise SourceError where they are too many."""
    share = unread.height / (unread.height + num_read)
    row = unread.row(0, named=True)
    example = f"'{row['y']}' of series '{row['unique_id']}' at {row['ds']}"
    found = f"{unread.height:,} values of covariate '{name}' are not numbers, such as {example}"
    if unread.height > 10 and share > max(0.01, source.allow_rejects):
        raise SourceError(
            f"source {source}: {found}; --covariate-categories {name} (covariates.categories) reads the values as"
            f" names, and --allow-rejects {min(1.0, share + 0.0005):.3f} (source.allow_rejects) takes these as missing"
        )
    return f"{found}; they are taken as missing"


def merge_covariates(known: pl.DataFrame, newer: Covariates) -> pl.DataFrame:
    """Join newer values to those that are known; a newer value replaces an older one of its series and time.

    Args:
        known: unique_id, ds and a column per covariate.
        newer: The newer values.

    Returns:
        All values, in the same columns.
    """
    names = known.columns[2:]
    joined = known.lazy().join(newer.rows, on=["unique_id", "ds"], how="full", coalesce=True, suffix="_newer")
    merged = joined.with_columns(pl.coalesce(f"{name}_newer", name).alias(name) for name in names)
    return merged.select(known.columns).sort("unique_id", "ds").collect(engine="streaming")


def add_covariates(
    features: pl.LazyFrame, covariates: Covariates, spec: Spec, *, cutoff: datetime | int, unserved: Sequence[str]
) -> tuple[pl.LazyFrame, tuple[str, ...]]:
    """Add the columns of covariates to features.

    Args:
        features: The series on their grids, up to the cutoff.
        covariates: The covariates.
        spec: The spec.
        cutoff: The cutoff of the run, which messages name.
        unserved: Series that get no forecast, whose horizon does not matter.

    Returns:
        The features with both columns, and what is to be said.

    Raises:
        SourceError: A value is missing within the horizon, and `future_missing` is `error`.
    """
    names, key = list(spec.covariates.future), ["unique_id", "ds"]
    values = pl.concat_list(names).alias(KNOWN)
    points = features.select(key)
    ahead = (
        future_grid(points, freq=spec.freq, horizon=spec.horizon)
        .join(covariates.rows, on=key, how="left", maintain_order="left")
        .collect(engine="streaming")
    )
    ahead, notes = _complete(ahead, covariates, spec, cutoff=cutoff, unserved=unserved)
    dropped = [name for name in names if ahead[name].null_count() == ahead.height]
    known = covariates.rows.with_columns(pl.lit(None, pl.Float64).alias(name) for name in dropped)
    last = (
        ahead.lazy()
        .sort("unique_id", "step")
        .with_columns(values)
        .group_by("unique_id", maintain_order=True)
        .agg(pl.col(KNOWN).alias(AHEAD))
        .join(points.group_by("unique_id").agg(pl.col("ds").max()), on="unique_id")
    )
    added = (
        features.join(known.with_columns(values).select(*key, KNOWN), on=key, how="left", maintain_order="left")
        .join(last, on=key, how="left", maintain_order="left")
        .with_columns(pl.col(KNOWN).cast(COVARIATES), pl.col(AHEAD).cast(COVARIATES_AHEAD))
    )
    kept = [name for name in names if name not in dropped]
    missing = _count_missing(points, known, kept)
    new = _describe_new(points, known, ahead, kept)
    return added, (*covariates.notes, *notes, *missing, *new)


def _complete(
    ahead: pl.DataFrame, covariates: Covariates, spec: Spec, *, cutoff: datetime | int, unserved: Sequence[str]
) -> tuple[pl.DataFrame, list[str]]:
    """Deal with values that are missing within the horizon, as the spec says."""
    notes = []
    matters = ~pl.col("unique_id").is_in(list(unserved))
    for name in spec.covariates.future:
        missing = ahead.filter(matters, pl.col(name).is_null()).sort("ds", "unique_id")
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
            raise SourceError(
                f"source {spec.source}: {what}; rows after the cutoff with a null '{spec.source.target}' have these"
                " values; --future-missing hold (covariates.future_missing) takes the last known value, drop_column"
                " leaves the covariate out"
            )
        if how == "drop_column":
            ahead = ahead.with_columns(pl.lit(None, pl.Float64).alias(name))
            notes.append(f"{what}; the covariate is left out (covariates.future_missing = drop_column)")
            continue
        newest = covariates.rows.drop_nulls(name).join(
            ahead.lazy().group_by("unique_id").agg(begin=pl.col("ds").min()), on="unique_id"
        )
        before = newest.filter(pl.col("ds") < pl.col("begin")).group_by("unique_id")
        held = before.agg(held=pl.col(name).get(pl.col("ds").arg_max())).collect(engine="streaming")
        filled = pl.coalesce(pl.col(name).forward_fill().over("unique_id", order_by="step"), "held")
        ahead = ahead.join(held, on="unique_id", how="left", maintain_order="left").with_columns(filled.alias(name))
        ahead = ahead.drop("held")
        notes.append(f"{what}; the last known value is held (covariates.future_missing = hold)")
    return ahead, notes


def _count_missing(points: pl.LazyFrame, known: pl.LazyFrame, names: Sequence[str]) -> list[str]:
    """Describe the covariates that have no value at grid points up to the cutoff."""
    joined = points.join(known, on=["unique_id", "ds"], how="left")
    found = joined.select(pl.len().alias("covariates"), *(pl.col(name).null_count() for name in names))
    counts = found.collect(engine="streaming").row(0, named=True)
    total = counts.pop("covariates")
    lacking = [f"'{name}' at {number:,}" for name, number in counts.items() if number]
    if not lacking:
        return []
    return [
        f"covariates have no value at some of the {total:,} grid points up to the cutoff: {', '.join(lacking)}; each"
        " takes the value of one season before, else the last one"
    ]


def _describe_new(points: pl.LazyFrame, known: pl.LazyFrame, ahead: pl.DataFrame, names: Sequence[str]) -> list[str]:
    """Describe covariates that are constant up to the cutoff and change within the horizon, as at a first promotion."""
    lows = [pl.col(name).min().alias(f"{name} lowest") for name in names]
    highs = [pl.col(name).max().alias(f"{name} highest") for name in names]
    past = points.join(known, on=["unique_id", "ds"]).group_by("unique_id").agg(*lows, *highs)
    joined = ahead.lazy().join(past, on="unique_id").collect(engine="streaming")
    notes = []
    for name in names:
        lowest, highest = pl.col(f"{name} lowest"), pl.col(f"{name} highest")
        changed = joined.filter(lowest == highest, pl.col(name) != lowest)["unique_id"].unique().sort()
        if len(changed):
            notes.append(
                f"covariate '{name}' changes within the horizon for the first time in {len(changed)} series, such as"
                f" '{changed[0]}'; what that does to them is not known, so their forecasts do not depend on it"
            )
    return notes


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
    points = features.lazy().select("unique_id", "ds", *COLUMNS)
    horizon = pl.col(AHEAD).list.len()
    last = points.filter(pl.col(AHEAD).is_not_null()).with_columns(step=pl.int_ranges(1, horizon + 1, dtype=pl.Int32))
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
