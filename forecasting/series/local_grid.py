"""The grid of a series on the wall clock of its zone, on which seasons and the calendar are learned.

Tables hold instants, which are evenly spaced. A season is one of local time: on the instants' grid, the hour of a day
moves when clocks change. So models see the wall clock's grid: the hour that spring skips is a gap there, and the two
measurements of an hour that autumn repeats are one, their mean. Forecasts are laid out on the instants again.
"""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.schemas import TIMESTAMP
from forecasting.series.columns import categories_of
from forecasting.spec.frequency import fixed_width

ZONE = "zone"
"""Column of features with the zone of their times, which are then in UTC; null where times are on a wall clock."""


def stated_zone(features: pl.DataFrame) -> str | None:
    """Return the zone of features whose times are in UTC; None where these are on a wall clock."""
    if ZONE not in features.columns or features.is_empty():
        return None
    zone: str | None = features[ZONE][0]
    return zone


def zone_in(features: pl.DataFrame) -> str | None:
    """Return the zone on whose wall clock features are to be learned; None where it is that of their times."""
    zone = stated_zone(features)
    return None if zone == "UTC" else zone


def wall_clock_of(ds: pl.Expr, zone: str) -> pl.Expr:
    """Return naive times in UTC as naive times on a zone's wall clock."""
    return ds.dt.replace_time_zone("UTC").dt.convert_time_zone(zone).dt.replace_time_zone(None)


def to_wall_clock(time: Any, zone: str | None) -> Any:
    """Return a naive time in UTC on a zone's wall clock; steps, and times without a zone, unchanged."""
    if zone is None or not isinstance(time, datetime):
        return time
    return time.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def to_instants(times: npt.NDArray[np.generic], zone: str) -> npt.NDArray[np.generic]:
    """Return times of a wall clock in UTC: the later ones of a repeated hour, and those of a skipped one an hour on.

    Args:
        times: Naive times, of any shape.
        zone: The zone of the wall clock.

    Returns:
        Naive times of the same shape.
    """
    local = pl.Series(times.reshape(-1), dtype=TIMESTAMP).to_frame("ds")

    def read(ds: pl.Expr) -> pl.Expr:
        return ds.dt.replace_time_zone(zone, ambiguous="latest", non_existent="null").dt.convert_time_zone("UTC")

    hour = pl.duration(hours=1)
    instants = local.select(pl.coalesce(read(pl.col("ds")), read(pl.col("ds") - hour) + hour).cast(TIMESTAMP))
    result: npt.NDArray[np.generic] = instants["ds"].to_numpy().reshape(times.shape)
    return result


def number_points(
    instants: npt.NDArray[np.generic], end: npt.NDArray[np.generic], *, zone: str, freq: str | int
) -> npt.NDArray[np.int64]:
    """Return the grid point of instants on the wall clock's grid, counted from its last known point.

    Args:
        instants: Naive times in UTC, (S, F).
        end: The last known point of each series' grid on the wall clock, (S,).
        zone: The zone of the wall clock.
        freq: The frequency of the grid.

    Returns:
        Numbers (S, F): 1 is the point after the last known one. A point that clocks skip has none, and two instants of
        a repeated hour have the same.
    """
    width = fixed_width(freq)
    assert width is not None
    unique, places = np.unique(instants.reshape(-1), return_inverse=True)
    local = pl.DataFrame({"ds": pl.Series(unique, dtype=TIMESTAMP)}).select(wall_clock_of(pl.col("ds"), zone))
    local_SF = local["ds"].to_physical().to_numpy()[places].reshape(instants.shape)
    result: npt.NDArray[np.int64] = (local_SF - end.astype(np.int64)[:, None] + width // 2) // width
    return result


def to_local_grid(features: pl.DataFrame, *, zone: str, freq: str | int) -> pl.DataFrame:
    """Put features on the even grids of a zone's wall clock.

    Args:
        features: Rows with unique_id, ds in UTC, y and maybe categories.
        zone: The zone.
        freq: The frequency of the grids, below a day.

    Returns:
        unique_id, ds on the wall clock, y and maybe categories; sorted where clocks change within the times.
    """
    width = fixed_width(freq)
    assert width is not None
    columns = ["unique_id", "ds", "y", *categories_of(features.lazy())]
    local = wall_clock_of(pl.col("ds"), zone)
    rows = features.select(columns).with_columns(local=local)
    ahead = (rows["local"] - rows["ds"]).to_physical()
    if ahead.min() == ahead.max():
        return rows.with_columns(ds="local").select(columns)
    ends = rows.group_by("unique_id").agg(end=pl.col("local").get(pl.col("ds").arg_max()))
    number = (pl.col("local").cast(pl.Int64) - pl.col("end").cast(pl.Int64) + width // 2) // width
    numbered = rows.join(ends, on="unique_id", maintain_order="left").with_columns(number=number)
    points = numbered.group_by("unique_id", "number").agg(
        pl.col("end").first(), pl.col("y").mean(), *(pl.col(name).last() for name in columns[3:])
    )
    points = points.sort("unique_id", "number")
    follows = pl.col("number").shift(-1).over("unique_id")
    skipped = (
        points.with_columns(follows=follows)
        .filter(pl.col("follows") - pl.col("number") > 1)
        .with_columns(number=pl.int_ranges(pl.col("number") + 1, "follows"), y=pl.lit(None, pl.Float64))
        .explode("number")
        .drop("follows")
    )
    ds = (pl.col("end").cast(pl.Int64) + pl.col("number") * width).cast(TIMESTAMP)
    return pl.concat([points, skipped]).sort("unique_id", "number").with_columns(ds=ds).select(columns)
