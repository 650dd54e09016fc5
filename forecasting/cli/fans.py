"""History and forecasts for fan charts, from the store or from files of one-shot forecasts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from forecasting.errors import NothingStored, SourceError, UserError, first_line
from forecasting.schemas import ds_dtype
from forecasting.schemas import table as declared_table
from forecasting.series.clock import format_clock, parse_clock
from forecasting.series.columns import read_number, read_times, well_formed
from forecasting.series.files import is_csv
from forecasting.series.read import require_series, scan_source
from forecasting.series.zone import own_zone
from forecasting.spec.frequency import CLOCKS, Clock
from forecasting.spec.quantiles import is_quantile_column
from forecasting.spec.source import Source
from forecasting.store.slices import quote

if TYPE_CHECKING:
    from forecasting.store.tables import Store


@dataclass(frozen=True)
class Fans:
    """History and forecasts of some series.

    Attributes:
        history: unique_id, ds and y, sorted.
        forecasts: unique_id, ds, cutoff, model and quantiles; series in the requested order.
    """

    history: pl.DataFrame
    forecasts: pl.DataFrame

    def shorten(self, num_points: int) -> "Fans":
        """Shorten the history of each series.

        Args:
            num_points: The number of grid points to keep up to the cutoff.

        Returns:
            The same forecasts, with these grid points and those between the cutoff and the end of the horizon.
        """
        spans = self.forecasts.group_by("unique_id").agg(pl.col("cutoff").first(), end=pl.col("ds").max())
        known = self.history.join(spans, on="unique_id").filter(pl.col("ds") <= pl.col("end")).sort("unique_id", "ds")
        is_past = pl.col("ds") <= pl.col("cutoff")
        kept = pl.concat([known.filter(is_past).group_by("unique_id").tail(num_points), known.filter(~is_past)])
        return Fans(kept.select("unique_id", "ds", "y").sort("unique_id", "ds"), self.forecasts)


def fans_of_store(store: "Store", series: Sequence[str], *, spec: str | None = None, cutoff: str | None = None) -> Fans:
    """Read the history of some series, and forecasts of their champions, from the store.

    Args:
        store: The store.
        series: The series.
        spec: The spec of the forecasts; None takes the only one that has such series.
        cutoff: The run cutoff of the forecasts as text; None takes the newest forecasts.

    Returns:
        History and forecasts; their times are naive, on the wall clock of the source.

    Raises:
        NothingStored: The store has no such forecasts.
        UserError: A series has no forecast, or several specs have such series.
    """
    from forecasting.store.query import query  # files can be drawn without DuckDB

    clock, spec = find_spec(store, series, spec)
    table = declared_table("forecasts").stored_as(clock)
    wanted = f"spec = {quote(spec)} AND unique_id IN ({', '.join(quote(name) for name in series)})"
    if cutoff is None:
        rows = query(store, f"SELECT * FROM latest_{table} WHERE {wanted}")
    else:
        at = format_clock(parse_clock(cutoff, clock, subject="--cutoff"))
        rows = query(store, f"SELECT * FROM {table} WHERE {wanted} AND is_champion AND run_cutoff = {quote(at)}")
        if rows.is_empty():
            raise NothingStored(f"spec '{spec}' has no forecasts of these series with the run cutoff {at}")
    newest = rows.filter(pl.col("run_cutoff") == pl.col("run_cutoff").max().over("unique_id"))
    newest = newest.filter(pl.col("run_id") == pl.col("run_id").max().over("unique_id"))
    history = (
        store.scan("features", clock)
        .filter(pl.col("spec") == spec, pl.col("unique_id").is_in(list(series)))
        .select("unique_id", "ds", "y")
        .sort("unique_id", "ds")
        .collect()
    )
    zones: list[str] = newest["zone"].drop_nulls().to_list() if "zone" in newest.columns else []
    zone = zones[0] if zones else None
    return Fans(on_wall_clock(history, zone), _in_order(on_wall_clock(newest, zone), series))


def fans_of_files(
    forecasts_file: Path,
    actuals: Source | None,
    series: Sequence[str],
    *,
    storage_options: Mapping[str, str] | None = None,
) -> Fans:
    """Read forecasts from a file that `fleetcast forecast` wrote, and history from a source.

    Args:
        forecasts_file: The file, .parquet or .csv.
        actuals: The source of measurements before and after the cutoff; None for no history.
        series: The series.
        storage_options: Options of the object store, as Polars takes them.

    Returns:
        History and forecasts; their times are naive, on the wall clock of the file.

    Raises:
        SourceError: The file cannot be read or lacks columns.
        UserError: The file does not have a series.
    """
    rows = _read_forecasts(forecasts_file)
    require_series(rows.lazy(), series)
    rows = rows.filter(pl.col("unique_id").is_in(list(series)))
    if "is_champion" in rows.columns:
        rows = rows.filter(pl.col("is_champion").cast(pl.String) == "true")
    clock = _clock_of(rows)
    zone = own_zone([rows.select("unique_id", "ds", y="forecast").lazy()], str(forecasts_file), clock, "1h")
    times = read_times(read_times(rows.lazy(), "ds", clock=clock), "cutoff", clock=clock).collect()
    history = pl.DataFrame(schema={"unique_id": pl.String(), "ds": ds_dtype(clock), "y": pl.Float64()})
    if actuals is not None:
        measured = scan_source(actuals, clock, series=series, storage_options=storage_options)
        schema = measured.collect_schema()
        y = pl.col("number").alias("y") if "number" in schema else read_number("y", schema["y"], subject="y")
        measured = well_formed(measured)
        known = read_times(measured.with_columns(y), "ds", clock=clock).filter(pl.col("ds").is_not_null())
        history = known.select("unique_id", "ds", "y").sort("unique_id", "ds").collect()
    return Fans(on_wall_clock(history, zone), _in_order(on_wall_clock(times, zone), series))


def find_spec(store: "Store", series: Sequence[str], spec: str | None) -> tuple[Clock, str]:
    """Find the spec that has forecasts of some series.

    Args:
        store: The store.
        series: The series.
        spec: The spec to use; None takes the only one that has such series.

    Returns:
        The spec's clock and name.

    Raises:
        NothingStored: The store, or the spec, has no forecasts.
        UserError: A series has no forecast, or several specs have such series.
    """
    found: dict[str, tuple[Clock, pl.DataFrame]] = {}
    for clock in CLOCKS:
        rows = store.scan("forecasts", clock).filter("is_champion").select("spec", "unique_id").unique().collect()
        found |= {name: (clock, own) for (name,), own in rows.partition_by("spec", as_dict=True).items()}
    if not found:
        raise NothingStored("the store has no forecasts yet; the forecast DAG of a spec writes them")
    if spec is None:
        holders = [name for name, (_, own) in found.items() if own["unique_id"].is_in(list(series)).any()]
        if len(holders) > 1:
            raise UserError(f"specs {', '.join(sorted(holders))} have series of these names; select one with --spec")
        spec = holders[0] if holders else next(iter(sorted(found)))
    if spec not in found:
        raise NothingStored(f"spec '{spec}' has no forecasts; these specs have some: {', '.join(sorted(found))}")
    clock, own = found[spec]
    require_series(own.lazy(), series)
    return clock, spec


def _read_forecasts(path: Path) -> pl.DataFrame:
    if path.suffix.lower() not in (".parquet", ".csv"):
        raise SourceError(f"{path} must end in .parquet or .csv, as `fleetcast forecast` writes it")
    try:
        rows = pl.read_csv(path, infer_schema=False) if is_csv(path.name) else pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SourceError(f"{path} cannot be read: {first_line(error)}") from error
    missing = [name for name in ("unique_id", "ds", "cutoff", "model", "forecast") if name not in rows.columns]
    if missing:
        raise SourceError(f"{path} lacks {', '.join(missing)}; it needs the columns that `fleetcast forecast` writes")
    quantiles = filter(is_quantile_column, rows.columns)
    return rows.with_columns(pl.col("unique_id").cast(pl.String), pl.col(*quantiles, "forecast").cast(pl.Float64))


def _clock_of(rows: pl.DataFrame) -> Clock:
    ds = rows["ds"]
    is_step = ds.dtype.is_integer() or (ds.dtype == pl.String and bool(ds.str.contains(r"^[+-]?\d+$").all()))
    return "step" if is_step else "timestamp"


def on_wall_clock(rows: pl.DataFrame, zone: str | None) -> pl.DataFrame:
    """Return rows whose times, naive in UTC, are on the wall clock of a zone; unchanged without one."""
    if zone is None:
        return rows
    times = [pl.col(name) for name in ("ds", "cutoff") if name in rows.columns]
    return rows.with_columns(
        time.dt.replace_time_zone("UTC").dt.convert_time_zone(zone).dt.replace_time_zone(None) for time in times
    )


def _in_order(rows: pl.DataFrame, series: Sequence[str]) -> pl.DataFrame:
    order = pl.DataFrame({"unique_id": list(dict.fromkeys(series))}, schema={"unique_id": pl.String()})
    return order.join(rows.sort("ds"), on="unique_id", how="inner", maintain_order="left_right")
