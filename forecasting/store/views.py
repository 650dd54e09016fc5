"""The views that `query` offers, as the SQL text that DuckDB runs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class View:
    name: str
    meaning: str
    reads: str
    """The stored table whose columns the view has."""
    sql: str


# The newest forecast is chosen for each series and timestamp, not for each spec: a later run of two series then
# hides nothing of the others, and timestamps that only an earlier run reached keep its forecast. What a spec's newest
# run forecasts therefore stands here whole. Of two runs at the same cutoff, of which the later one was asked for
# other models, the one that began later serves.
_LATEST = """
SELECT {forecasts}.*
FROM {forecasts}
LEFT JOIN (SELECT run_id, max(started_at) AS started_at FROM runs GROUP BY run_id) AS begun USING (run_id)
WHERE is_champion
QUALIFY row_number() OVER (
    PARTITION BY {forecasts}.spec, unique_id, ds
    ORDER BY {forecasts}.run_cutoff DESC, begun.started_at DESC NULLS LAST, model
) = 1
"""

# Paths are chosen whole: those of two runs are not drawn together.
_LATEST_PATHS = """
SELECT {paths}.*
FROM {paths}
SEMI JOIN (SELECT spec, unique_id, max(run_cutoff) AS run_cutoff FROM {paths} GROUP BY ALL) AS newest
USING (spec, unique_id, run_cutoff)
"""

VIEWS: tuple[View, ...] = tuple(
    View(
        f"latest_{forecasts}",
        "the champion's newest forecast of each series and " + ("timestamp" if forecasts == "forecasts" else "step"),
        forecasts,
        _LATEST.format(forecasts=forecasts),
    )
    for forecasts in ("forecasts", "forecasts_by_step")
) + tuple(
    View(
        f"latest_{paths}", "the sample paths of each series' newest forecast", paths, _LATEST_PATHS.format(paths=paths)
    )
    for paths in ("sample_paths", "sample_paths_by_step")
)
