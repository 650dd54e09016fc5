"""Copy the newest forecasts of a spec to each place that it publishes to."""

from collections.abc import Mapping

import polars as pl

from forecasting.connections import find_connection
from forecasting.sinks.files import replace_delta, replace_file
from forecasting.sinks.postgres import replace_rows
from forecasting.spec.publish import Sink
from forecasting.store.query import query
from forecasting.store.slices import quote
from forecasting.store.tables import Store


def read_served(store: Store, spec: str, *, clock_table: str) -> pl.DataFrame:
    """Return the newest forecast of each series of a spec, as `latest_forecasts` has it.

    Args:
        store: The store.
        spec: Name of the spec.
        clock_table: The stored name of the table of forecasts, which depends on the clock.

    Returns:
        Rows of the view, sorted by series and time, without the older forecasts that it keeps of past times.
    """
    rows = query(store, f"SELECT * FROM latest_{clock_table} WHERE spec = {quote(spec)} ORDER BY unique_id, ds")
    return rows.filter(pl.col("run_cutoff") == pl.col("run_cutoff").max().over("unique_id"))


def copy_to(sink: Sink, rows: pl.DataFrame, *, spec: str, storage_options: Mapping[str, str]) -> None:
    """Replace a spec's rows at one place.

    Args:
        sink: The place.
        rows: Rows of `latest_forecasts`.
        spec: Name of the spec.
        storage_options: Options of the object store where the sink names no connection.

    Raises:
        SpecError: The connection is not known, or of another type than the place.
        SinkError: The place cannot be reached, or fails.
        UserError: The place refuses.
    """
    if sink.kind == "postgres":
        table = sink.table or "forecasts"
        replace_rows(rows, uri=_postgres_uri(sink), spec=spec, table=table, place=str(sink))
        return
    assert sink.uri is not None
    options = storage_options if sink.connection is None else find_connection(sink.connection).storage_options()
    if sink.kind == "delta":
        replace_delta(rows, uri=sink.uri, spec=spec, storage_options=options)
    else:
        replace_file(rows, uri=sink.uri, storage_options=options)


def _postgres_uri(sink: Sink) -> str:
    if sink.connection is not None:
        return find_connection(sink.connection).postgres_uri().get_secret_value()
    assert sink.uri is not None
    return sink.uri
