"""Read the newest forecasts of a spec from a store."""

from collections.abc import Sequence

import polars as pl

from forecasting.errors import NothingStored
from forecasting.schemas import table as declared_table
from forecasting.series.read import require_series
from forecasting.spec.frequency import CLOCKS
from forecasting.store.query import query
from forecasting.store.slices import quote
from forecasting.store.tables import Store


def latest_forecasts(store: Store, *, spec: str, series: str | Sequence[str] | None = None) -> pl.DataFrame:
    """Return the newest forecasts of the champions of a spec.

    Args:
        store: The store.
        spec: The name of the spec.
        series: The series to return; None for all.

    Returns:
        Rows of the view `latest_forecasts`, sorted by series and time.

    Raises:
        NothingStored: The spec has no forecasts.
        UserError: A series has no forecast.
    """
    names = [series] if isinstance(series, str) else series
    for clock in CLOCKS:
        view = f"latest_{declared_table('forecasts').stored_as(clock)}"
        rows = query(store, f"SELECT * FROM {view} WHERE spec = {quote(spec)} ORDER BY unique_id, ds")
        if rows.height:
            if names is None:
                return rows
            require_series(rows.lazy(), names)
            return rows.filter(pl.col("unique_id").is_in(list(names)))
    known = query(store, "SELECT DISTINCT spec FROM forecasts UNION SELECT DISTINCT spec FROM forecasts_by_step")
    named = ", ".join(sorted(known["spec"].to_list())) or "none"
    raise NothingStored(f"spec '{spec}' has no forecasts in {store.root}; specs with forecasts: {named}")
