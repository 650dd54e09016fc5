"""The attention of series' networks over their context, from networks and features in the store."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from forecasting.cli.fans import find_spec
from forecasting.errors import NothingStored
from forecasting.fleet.fitted import FittedFleet
from forecasting.fleet.predict import attend
from forecasting.plots import Attention
from forecasting.series.clock import format_clock, parse_clock
from forecasting.series.panel import feature_columns, to_panel
from forecasting.spec.frequency import clock_of
from forecasting.store.tables import Store

MODEL = "attention"


def attention_of_store(
    store: Store, series: Sequence[str], *, spec: str | None = None, cutoff: str | None = None
) -> list[Attention]:
    """Compute the attention of each series' newest serving network, the first member of its ensemble.

    Args:
        store: The store.
        series: The series.
        spec: The spec of the networks; None takes the only one that has such series.
        cutoff: The run cutoff as text, after which the forecast begins; None takes the last stored point.

    Returns:
        One entry per series, in their order.

    Raises:
        NothingStored: A series has no network with attention, or its weights cannot be read.
        UserError: A series has no forecast, or several specs have such series.
    """
    clock, spec = find_spec(store, series, spec)
    until = None if cutoff is None else parse_clock(cutoff, clock, subject="--cutoff")
    found = store.scan("models", clock).filter(
        pl.col("spec") == spec,
        pl.col("unique_id").is_in(list(series)),
        pl.col("model") == MODEL,
        pl.col("role") == "serving",
        pl.col("weights_uri").is_not_null(),
    )
    if until is not None:
        found = found.filter(pl.col("run_cutoff") <= until)
    rows = found.sort("run_cutoff", pl.col("member"), descending=[True, False]).collect()
    rows = rows.unique("unique_id", keep="first", maintain_order=True)
    if missing := sorted(set(series) - set(rows["unique_id"])):
        at_cutoff = "" if until is None else f" at or before {format_clock(until)}"
        raise NothingStored(
            f"spec '{spec}' has no network '{MODEL}' of {', '.join(map(repr, missing))}{at_cutoff}:"
            f" train with '{MODEL}' among its models"
        )
    uri_of = dict(rows.select("unique_id", "weights_uri").iter_rows())
    fleets = {uri: FittedFleet.from_bytes(store.read_bytes(uri), name=uri) for uri in sorted(set(uri_of.values()))}
    return [_attention(store, spec, name, fleets[uri_of[name]], until) for name in series]


def _attention(store: Store, spec: str, name: str, fleet: FittedFleet, until: Any) -> Attention:
    task, config = fleet.task, fleet.config
    clock = clock_of(task.freq)
    rows = store.scan("features", clock).filter(pl.col("spec") == spec, pl.col("unique_id") == name)
    if until is not None:
        rows = rows.filter(pl.col("ds") <= until)
    features = rows.select(*feature_columns(task.freq, task.categories)).collect()
    panel = to_panel(
        features,
        freq=task.freq,
        horizon=task.horizon,
        unique_ids=[name],
        categories=task.categories,
    )
    (share_KT,) = attend(fleet, panel)
    last, length = panel.y_SN.shape[1] - 1, config.segment_length
    ends_T = last - length * np.arange(config.context_segments - 1, -1, -1)
    begins_K = last + 1 + length * np.arange(len(share_KT))
    known_T = ends_T >= 0  # a context may begin before its series
    return Attention(name, panel.ds_SN[0, ends_T[known_T]], panel.ds_SN[0, begins_K], share_KT[:, known_T])
