"""A panel: the series of one shard as right-aligned arrays, the input of networks, statistical models and baselines."""

# S series · N grid points, right-aligned: column N-1 is each series' own last grid point · C calendar features
# F horizon steps

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.schemas import STEP, TIMESTAMP
from forecasting.series.calendar import add_calendar, calendar_columns
from forecasting.series.categories import Coded, code_panel
from forecasting.series.clock import keeps_wall_clock, refuse_other_clock
from forecasting.series.columns import COVARIATE_COLUMNS, categories_of
from forecasting.series.grid import future_grid
from forecasting.series.local_grid import ZONE, stated_zone, to_instants, to_local_grid, to_wall_clock, zone_in
from forecasting.series.regularise import regularise
from forecasting.spec.categories import Categories
from forecasting.spec.frequency import fixed_width, learned_frequency, num_months

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Panel:
    """The series of one shard, each ending in the last column of `y_SN`.

    Attributes:
        unique_ids: The names of the S series.
        y_SN: Measurements, (S, N) float64; NaN in gaps and before a series begins.
        length_S: Grid points of each series, gaps included, (S,) int64.
        calendar_SNC: Calendar features of grid and horizon, (S, N + F, C) float32; C is 0 for integer steps.
        ds_SN: Times of grid and horizon, (S, N + F) datetime64[us] or int64; NaT or the smallest integer before a
            series begins.
        horizon: The number F of grid points after each series' end.
        coded: The categories of grid and horizon, (S, N + F, K); None without categories.
        zone: The zone on whose wall clock `ds_SN` is; None where it is on the clock of the tables.
        stated_zone: The zone of the source, also where it is UTC; None where it has none.
        end_S: Each series' end on the clock of the tables, (S,); None without a zone, or of an earlier end.
        covariate_SNK: Values of covariates that are known ahead, of grid and horizon, (S, N + F, K) float64; NaN where
            they are unknown and before a series begins. None without covariates.
        vintage_SNFV: Values of some covariates in the horizon of each grid point, as they were published there,
            (S, N, F, V) float64; None where no times of publication are known.
        vintages: The places of these covariates among the K.
    """

    unique_ids: tuple[str, ...]
    y_SN: npt.NDArray[np.float64]
    length_S: npt.NDArray[np.int64]
    calendar_SNC: npt.NDArray[np.float32]
    ds_SN: npt.NDArray[np.generic]
    horizon: int
    coded: Coded | None = None
    zone: str | None = None
    stated_zone: str | None = None
    end_S: npt.NDArray[np.generic] | None = None
    covariate_SNK: npt.NDArray[np.float64] | None = None
    vintage_SNFV: npt.NDArray[np.float64] | None = None
    vintages: tuple[int, ...] = ()

    @property
    def clock_dtype(self) -> pl.DataType:
        """The dtype of this panel's times in frames."""
        return STEP if np.issubdtype(self.ds_SN.dtype, np.integer) else TIMESTAMP

    @property
    def last_ds(self) -> npt.NDArray[np.generic]:
        """The last grid point of each series, which is its cutoff, (S,)."""
        return self.ds_SN[:, -self.horizon - 1]

    @property
    def cutoffs(self) -> npt.NDArray[np.generic]:
        """The last grid point of each series on the clock of the tables, (S,)."""
        if self.zone is None:
            return self.last_ds
        return to_instants(self.last_ds, self.zone) if self.end_S is None else self.end_S

    def until(self, num_dropped: int) -> "Panel":
        """Drop the last grid points of every series, and with them all that was not known then.

        Args:
            num_dropped: The number of grid points to drop.

        Returns:
            A panel of N - `num_dropped` columns.
        """
        if num_dropped == 0:
            return self
        return replace(
            self,
            y_SN=self.y_SN[:, :-num_dropped],
            length_S=np.maximum(self.length_S - num_dropped, 0),
            calendar_SNC=self.calendar_SNC[:, :-num_dropped],
            ds_SN=self.ds_SN[:, :-num_dropped],
            coded=self.coded and self.coded.columns(slice(None, -num_dropped)),
            end_S=None,
            covariate_SNK=self._covariates_until(num_dropped),
            vintage_SNFV=None if self.vintage_SNFV is None else self.vintage_SNFV[:, :-num_dropped],
        )

    def _covariates_until(self, num_dropped: int) -> npt.NDArray[np.float64] | None:
        """Return covariates whose last `horizon` values are those that were known before the dropped points."""
        if self.covariate_SNK is None:
            return None
        kept_SNK = self.covariate_SNK[:, :-num_dropped]
        origin = self.y_SN.shape[1] - num_dropped - 1
        if self.vintage_SNFV is not None and origin >= 0:
            kept_SNK = kept_SNK.copy()
            kept_SNK[:, origin + 1 :] = self.covariates_ahead(origin)
        return kept_SNK

    def covariates_ahead(self, origin: int) -> npt.NDArray[np.float64]:
        """Return the covariates of the horizon of an origin, as they were known there.

        A member that reads covariates at steps to come gets them here, for its training windows too: later forecasts
        of the weather, and the weather itself, are better than what a forecast can know.

        Args:
            origin: The column of the last known grid point.

        Returns:
            Values (S, F, K).
        """
        assert self.covariate_SNK is not None, "the panel has covariates"
        ahead_SFK = self.covariate_SNK[:, origin + 1 : origin + 1 + self.horizon]
        if self.vintage_SNFV is None or origin == self.y_SN.shape[1] - 1:  # the newest are complete, or of a plan
            return ahead_SFK
        ahead_SFK = ahead_SFK.copy()
        ahead_SFK[:, :, list(self.vintages)] = self.vintage_SNFV[:, origin]
        return ahead_SFK

    def covariates_ahead_of(self, row: int) -> npt.NDArray[np.float64]:
        """Return what `covariates_ahead` does, of one series and all origins.

        Args:
            row: The place of the series.

        Returns:
            Values (N, F, K).
        """
        assert self.covariate_SNK is not None, "the panel has covariates"
        following = np.lib.stride_tricks.sliding_window_view(self.covariate_SNK[row, 1:], self.horizon, axis=0)
        ahead_NFK: npt.NDArray[np.float64] = following.transpose(0, 2, 1).copy()
        if self.vintage_SNFV is not None:
            ahead_NFK[:-1, :, list(self.vintages)] = self.vintage_SNFV[row, :-1]
        return ahead_NFK

    def hide_end(self, num_hidden_S: npt.NDArray[np.int64]) -> "Panel":
        """Replace the last measurements of every series by gaps; the grid stays.

        Args:
            num_hidden_S: The number of grid points to hide, per series, (S,).

        Returns:
            A panel of the same shape.
        """
        columns_N = np.arange(self.y_SN.shape[1])
        is_hidden_SN = columns_N[None, :] >= (self.y_SN.shape[1] - num_hidden_S)[:, None]
        return replace(self, y_SN=np.where(is_hidden_SN, np.nan, self.y_SN))

    def select(self, rows_S: npt.NDArray[np.int64]) -> "Panel":
        """Return the panel of some of the series, in the order of their indices `rows_S`."""
        if np.array_equal(rows_S, np.arange(len(self.unique_ids))):
            return self
        return replace(
            self,
            unique_ids=tuple(self.unique_ids[row] for row in rows_S),
            y_SN=self.y_SN[rows_S],
            length_S=self.length_S[rows_S],
            calendar_SNC=self.calendar_SNC[rows_S],
            ds_SN=self.ds_SN[rows_S],
            coded=self.coded and self.coded.rows(rows_S),
            end_S=None if self.end_S is None else self.end_S[rows_S],
            covariate_SNK=None if self.covariate_SNK is None else self.covariate_SNK[rows_S],
            vintage_SNFV=None if self.vintage_SNFV is None else self.vintage_SNFV[rows_S],
        )


def feature_columns(freq: str | int, categories: Categories, covariates: Sequence[str] = ()) -> list[str]:
    """Return the columns of the features that `to_panel` reads.

    Args:
        freq: The spec's frequency, which decides the calendar features.
        categories: The spec's categories.
        covariates: The spec's covariates.

    Returns:
        Column names.

    >>> feature_columns("1mo", Categories(static=("store",)))
    ['unique_id', 'ds', 'y', 'year_sin', 'year_cos', 'categories']
    """
    static = ["categories"] if categories.static else []
    zone = [] if isinstance(freq, int) or keeps_wall_clock(freq) else [ZONE]
    ahead = COVARIATE_COLUMNS if covariates else ()
    return ["unique_id", "ds", "y", *calendar_columns(freq), *static, *zone, *ahead]


def to_panel(
    features: pl.DataFrame,
    *,
    freq: str | int,
    horizon: int,
    unique_ids: Sequence[str] | None = None,
    run_cutoff: datetime | int | None = None,
    categories: Categories = Categories(),
) -> Panel:
    """Align series at their ends, and continue their grids and calendars over the horizon.

    Args:
        features: The columns of `feature_columns`, on the even grids of `regularise`, in any order.
        freq: The frequency of the grids.
        horizon: The number F of grid points to continue each grid by.
        unique_ids: The series of the panel, in its order; None takes all, sorted. A series without features has length
            0 and NaN throughout.
        run_cutoff: The time after which the horizon of a series without features begins; None leaves it without times.
        categories: The categories to encode.

    Returns:
        A panel with at least one column before the horizon. The calendar is 0 before a series begins. Features with a
        zone are put on the grid of its wall clock, whose hours seasons follow. Holidays that are closed are gaps, and
        points of the horizon, so that a season ago is the same day of the week.
    """
    if (zone := zone_in(features)) is not None:
        return _to_local_panel(
            features,
            zone,
            freq=freq,
            horizon=horizon,
            unique_ids=unique_ids,
            run_cutoff=run_cutoff,
            categories=categories,
        )
    if (learned := learned_frequency(freq)) != freq:
        panel = to_panel(
            _with_holidays(features, freq=learned),
            freq=learned,
            horizon=horizon,
            unique_ids=unique_ids,
            run_cutoff=run_cutoff,
            categories=categories,
        )
        return replace(panel, stated_zone=stated_zone(features))
    names = calendar_columns(freq)
    wanted = sorted(features["unique_id"].unique()) if unique_ids is None else list(unique_ids)
    order = pl.DataFrame(
        {"unique_id": wanted, "row": range(len(wanted))}, schema={"unique_id": pl.String, "row": pl.Int64}
    )
    known, runs = _find_runs(features, order, width=fixed_width(freq))
    length_S = np.bincount(runs.rows_R, weights=runs.length_R, minlength=len(wanted)).astype(np.int64)
    width = max(1, int(length_S.max(initial=0)))
    column_R = runs.offset_R + (width - length_S)[runs.rows_R]

    rows_R, ends_R = runs.rows_R, runs.begin_R + runs.length_R - 1
    if num_months(freq) is None:  # the last point anchors a grid of fixed width; a grid of months needs all points
        rows_R, ends_R = (each_R[column_R + runs.length_R == width] for each_R in (rows_R, ends_R))
    points = pl.DataFrame({"unique_id": order["unique_id"].gather(rows_R), "ds": known["ds"].gather(ends_R)})
    future = _future(points, order, length_S, freq=freq, horizon=horizon, run_cutoff=run_cutoff)
    is_step = isinstance(freq, int)
    nothing: np.generic = np.int64(np.iinfo(np.int64).min) if is_step else np.datetime64("NaT", "us")
    ds_SN = np.full((len(wanted), width + horizon), nothing)
    calendar_SNC = np.zeros((len(wanted), width + horizon, len(names)), dtype=np.float32)
    places = runs.places(column_R + runs.rows_R * (width + horizon))
    future_places = future["row"].to_numpy() * (width + horizon) + future["step"].to_numpy() + width - 1
    for part, at in ((known, places), (future, future_places)):
        ds_SN.reshape(-1)[at] = part["ds"].to_numpy()
        for feature, name in enumerate(names):
            calendar_SNC.reshape(-1, len(names))[at, feature] = part[name].to_numpy()
    y_SN = np.full((len(wanted), width), np.nan)
    y_SN.reshape(-1)[runs.places(column_R + runs.rows_R * width)] = known["y"].fill_null(np.nan).to_numpy()
    coded = code_panel(ds_SN, _static_values(features, wanted, categories), categories)
    return Panel(tuple(wanted), y_SN, length_S, calendar_SNC, ds_SN, horizon, coded, stated_zone=stated_zone(features))


def _with_holidays(features: pl.DataFrame, *, freq: str | int) -> pl.DataFrame:
    """Add empty grid points at holidays, on the grid of a frequency that has them."""
    points = features.lazy().select("unique_id", "ds", "y", *categories_of(features.lazy()))
    return add_calendar(regularise(points, freq=freq), freq=freq).collect()


def _to_local_panel(
    features: pl.DataFrame,
    zone: str,
    *,
    freq: str | int,
    unique_ids: Sequence[str] | None,
    run_cutoff: datetime | int | None,
    **options: Any,
) -> Panel:
    """Return the panel on the wall clock of the features' zone."""
    if unique_ids is not None:
        features = features.filter(pl.col("unique_id").is_in(list(unique_ids)))
    local = add_calendar(to_local_grid(features, zone=zone, freq=freq).lazy(), freq=freq).collect()
    ids, until = unique_ids, to_wall_clock(run_cutoff, zone)
    panel = to_panel(local, freq=freq, unique_ids=ids, run_cutoff=until, **options)
    last = dict(features.group_by("unique_id").agg(pl.col("ds").max()).iter_rows())
    ends = pl.Series([last.get(name, run_cutoff) for name in panel.unique_ids], dtype=TIMESTAMP)
    return replace(panel, zone=zone, stated_zone=zone, end_S=ends.to_numpy())


def _static_values(
    features: pl.DataFrame, unique_ids: Sequence[str], categories: Categories
) -> list[Sequence[str | None]]:
    """Return each series' values of the static categories; None for a missing value."""
    nothing: tuple[str | None, ...] = (None,) * len(categories.static)
    if not categories.static:
        return [nothing] * len(unique_ids)
    newest = features.group_by("unique_id").agg(pl.col("categories").get(pl.col("ds").arg_max()))
    given = {
        unique_id: {each["name"]: each["value"] for each in classes}
        for unique_id, classes in newest.iter_rows()
        if classes is not None
    }
    return [[given.get(unique_id, {}).get(name) for name in categories.static] for unique_id in unique_ids]


@dataclass(frozen=True)
class _Runs:
    """R runs of rows that are neighbours in one series: the series, first row, length and offset into the series."""

    rows_R: npt.NDArray[np.int64]
    begin_R: npt.NDArray[np.int64]
    length_R: npt.NDArray[np.int64]
    offset_R: npt.NDArray[np.int64]

    def places(self, first_R: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the destination of every row, given those of the first rows of the runs."""
        places = np.repeat(first_R - self.begin_R, self.length_R)
        places += np.arange(len(places))
        return places


def _find_runs(features: pl.DataFrame, order: pl.DataFrame, *, width: int | None) -> tuple[pl.DataFrame, _Runs]:
    """Return the rows of the series in `order`, and their runs of neighbouring grid points.

    Tables return long runs, so that rows need not be sorted one by one. If the frequency has no fixed width, every row
    is a run of its own.
    """
    ids = features["unique_id"].rle().struct.unnest()
    number = ids.join(order, left_on="value", right_on="unique_id", how="left", maintain_order="left")["row"]
    if number.null_count():
        is_known = pl.Series(np.repeat(number.is_not_null().to_numpy(), ids["len"].to_numpy()))
        return _find_runs(features.filter(is_known), order, width=width)
    ds = features["ds"].to_physical().to_numpy()
    length = ids["len"].to_numpy().astype(np.int64)
    first = np.cumsum(length) - length
    breaks = np.arange(1, len(ds)) if width is None else np.flatnonzero(np.diff(ds) != width) + 1
    begin_R = np.union1d(first, breaks).astype(np.int64)
    rows_R = number.to_numpy()[np.searchsorted(first, begin_R, side="right") - 1]
    length_R = np.diff(begin_R, append=len(ds))
    sequence = np.lexsort((ds[begin_R], rows_R))
    before = np.cumsum(length_R[sequence]) - length_R[sequence]
    rows = rows_R[sequence]
    offset_R = np.empty_like(before)
    offset_R[sequence] = before - before[np.searchsorted(rows, rows)]
    return features, _Runs(rows_R, begin_R, length_R, offset_R)


def _future(
    points: pl.DataFrame,
    order: pl.DataFrame,
    length_S: npt.NDArray[np.int64],
    *,
    freq: str | int,
    horizon: int,
    run_cutoff: datetime | int | None,
) -> pl.DataFrame:
    """Return row, step, ds and calendar of the horizon of every series whose last grid point is known."""
    begins = points.lazy()
    if run_cutoff is not None:
        refuse_other_clock(run_cutoff, freq=freq, subject="run_cutoff")
        empty = order.filter(pl.Series(length_S == 0)).select("unique_id", ds=pl.lit(run_cutoff, points.schema["ds"]))
        begins = pl.concat([begins, empty.lazy()])
    future = add_calendar(future_grid(begins, freq=freq, horizon=horizon), freq=freq)
    return future.join(order.lazy(), on="unique_id").collect()
