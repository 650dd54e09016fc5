"""The views of `query`, as the SQL that DuckDB runs."""

from dataclasses import dataclass

import polars as pl

from forecasting.schemas import TABLES, Column
from forecasting.spec.frequency import CLOCKS, Clock


@dataclass(frozen=True)
class View:
    """One view.

    Attributes:
        name: The view's name in SQL.
        meaning: What `fleetcast tables` shows.
        reads: The stored table whose columns the view has, unless it has its own.
        sql: The view's SELECT.
        adds_local: Whether the view adds `DS_LOCAL` to these columns.
        columns: Its own columns, in place of those of the table.
    """

    name: str
    meaning: str
    reads: str
    sql: str
    adds_local: bool = False
    columns: tuple[Column, ...] = ()


DS_LOCAL = "ds_local"
DS_LOCAL_MEANING = "ds on the wall clock of zone; ds itself where zone is null"


# A forecast that is held is not chosen, but marks the earlier one that is chosen in its place.
# The newest forecast is chosen per series and timestamp, not per spec. A later run of two series then hides no other
# series, and timestamps that only an earlier run reached keep its forecast. The newest run of a spec is always visible
# completely. Of two runs at the same cutoff, for instance with different models, the one that began later is chosen.
_LATEST = """
SELECT {forecasts}.* REPLACE (first_value({forecasts}.held) OVER newest AS held){local}
FROM {forecasts}
LEFT JOIN (SELECT run_id, max(started_at) AS started_at FROM runs GROUP BY run_id) AS begun USING (run_id)
WHERE is_champion OR held IS NOT NULL
WINDOW newest AS (
    PARTITION BY {forecasts}.spec, unique_id, ds
    ORDER BY {forecasts}.run_cutoff DESC, begun.started_at DESC NULLS LAST, {forecasts}.held NULLS LAST, model
)
QUALIFY {forecasts}.held IS NULL AND row_number() OVER (
    PARTITION BY {forecasts}.spec, unique_id, ds
    ORDER BY {forecasts}.held IS NOT NULL, {forecasts}.run_cutoff DESC, begun.started_at DESC NULLS LAST, model
) = 1
"""

# Paths are chosen per run, because the paths of two runs are not joint draws.
_LATEST_PATHS = """
SELECT {paths}.*{local}
FROM {paths}
SEMI JOIN (SELECT spec, unique_id, max(run_cutoff) AS run_cutoff FROM {paths} GROUP BY ALL) AS newest
USING (spec, unique_id, run_cutoff)
"""

# A later run scores a forecast again when its actuals have arrived, or when measurements were restated.
_LATEST_SCORES = """
SELECT *
FROM {scores}
QUALIFY row_number() OVER (
    PARTITION BY spec, forecast_run_cutoff, unique_id, model ORDER BY run_cutoff DESC
) = 1
"""

# A forecast that is held is compared as well. Another model's row is then the champion, without values.
_COMPARISON = """
WITH made AS (
    SELECT spec, run_cutoff, scenario, unique_id, ds, step, model, forecast FROM {scenarios}
    UNION ALL
    SELECT spec, run_cutoff, 'forecast' AS scenario, unique_id, ds, step, model, forecast FROM {forecasts}
    WHERE held IS NOT NULL OR (is_champion AND forecast IS NOT NULL)
)
SELECT one.spec, one.run_cutoff, one.scenario, other.scenario AS compared_with, one.unique_id, one.ds, one.step,
    one.model, other.model AS compared_model, one.forecast, other.forecast AS compared_forecast,
    one.forecast - other.forecast AS difference,
    sum(one.forecast - other.forecast) OVER (
        PARTITION BY one.spec, one.run_cutoff, one.scenario, other.scenario, one.unique_id
    ) AS series_difference,
    sum(one.forecast - other.forecast) OVER (
        PARTITION BY one.spec, one.run_cutoff, one.scenario, other.scenario
    ) AS total_difference
FROM {scenarios} AS one
JOIN made AS other
    ON one.spec = other.spec AND one.run_cutoff = other.run_cutoff AND one.unique_id = other.unique_id
    AND one.ds = other.ds AND one.scenario <> other.scenario
"""

_LOCAL = f", coalesce(ds AT TIME ZONE 'UTC' AT TIME ZONE zone, ds) AS {DS_LOCAL}"


def _comparison_columns(clock: Clock) -> tuple[Column, ...]:
    schema = TABLES["scenarios"].schema(clock)
    meanings = {column.name: column.meaning for column in TABLES["scenarios"].columns}
    own: dict[str, tuple[pl.DataType, str]] = {
        "compared_with": (pl.String(), "name of the other scenario, or forecast for the forecast of the same cutoff"),
        "compared_model": (pl.String(), "the other's model"),
        "compared_forecast": (pl.Float64(), "the other's median"),
        "difference": (pl.Float64(), "forecast minus compared_forecast"),
        "series_difference": (pl.Float64(), "sum of the differences of the series over its horizon"),
        "total_difference": (pl.Float64(), "sum of the differences of all series over their horizons"),
    }
    order = (
        *("spec", "run_cutoff", "scenario", "compared_with", "unique_id", "ds", "step", "model", "compared_model"),
        *("forecast", "compared_forecast", "difference", "series_difference", "total_difference"),
    )
    return tuple(
        Column(name, *own[name]) if name in own else Column(name, schema[name], meanings[name]) for name in order
    )


VIEWS: tuple[View, ...] = (
    tuple(
        View(
            f"latest_{forecasts}",
            "the champion's newest forecast of each series and "
            + ("timestamp" if forecasts == "forecasts" else "step"),
            forecasts,
            _LATEST.format(forecasts=forecasts, local=_LOCAL if forecasts == "forecasts" else ""),
            adds_local=forecasts == "forecasts",
        )
        for forecasts in ("forecasts", "forecasts_by_step")
    )
    + tuple(
        View(
            f"latest_{paths}",
            "the sample paths of each series' newest forecast",
            paths,
            _LATEST_PATHS.format(paths=paths, local=_LOCAL if paths == "sample_paths" else ""),
            adds_local=paths == "sample_paths",
        )
        for paths in ("sample_paths", "sample_paths_by_step")
    )
    + tuple(
        View(
            f"latest_{scores}",
            "the newest score of each forecast",
            scores,
            _LATEST_SCORES.format(scores=scores),
        )
        for scores in ("scores", "scores_by_step")
    )
    + tuple(
        View(
            TABLES["scenarios"].stored_as(clock).replace("scenarios", "scenario_comparison"),
            "each scenario compared with the forecast and with other scenarios of the same cutoff, by series and step",
            TABLES["scenarios"].stored_as(clock),
            _COMPARISON.format(**{name: TABLES[name].stored_as(clock) for name in ("scenarios", "forecasts")}),
            columns=_comparison_columns(clock),
        )
        for clock in CLOCKS
    )
)
