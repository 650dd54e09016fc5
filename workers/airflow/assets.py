"""Assets: the tables that tasks read and write, as Airflow's UI, schedules and lineage name them.

An asset is one spec's rows of one table. Its URI is their place in the store, which the settings of this process name.
A store that they name by a relative path lies elsewhere for each process, so the URI then is `x-fleetcast:`, the spec
and the table. No URI has a user, a password or a query.
"""

import os
from collections.abc import Mapping
from functools import cache
from urllib.parse import quote, urlsplit, urlunsplit

from airflow.sdk import Asset
from airflow.sdk.definitions.asset import AssetRef

from forecasting.settings import SETTINGS_FILE_VARIABLE, Settings
from forecasting.spec.place import SQLITE
from forecasting.spec.source import Source
from forecasting.spec.spec import Spec
from workers.arguments import Flow, JobName

PREFIX = "fleetcast"
TABLES_OF_JOB: Mapping[JobName, tuple[str, ...]] = {
    "features": ("observations", "rejects", "features", "checks"),
    "train": ("models", "priors"),
    "backtest": ("backtests", "champions", "calibrations", "correlations"),
    "predict": ("forecasts", "sample_paths", "attributions", "checks"),
    "score": ("scores",),
    "publish": (),
}
"""The tables that each job writes; a scenario writes `scenarios`, which updates no asset."""
INPUTS_OF_JOB: Mapping[JobName, tuple[str, ...]] = {
    "features": (),
    "train": ("features", "models", "priors"),
    "backtest": ("features", "models", "priors"),
    "predict": ("features", "models", "priors", "champions", "calibrations", "correlations"),
    "score": ("features", "forecasts", "scores"),
    "publish": ("forecasts",),
}
"""The tables that each job reads, besides the source, which only the first one reads."""
TABLES_OF_PATHS = ("correlations", "sample_paths")
"""Written only where a spec asks for sample paths."""
TABLE_OF_ATTRIBUTIONS = "attributions"
"""Written only where a spec asks for it."""
TABLE_OF_CHECKS = "checks"
"""Written only where a spec has checks."""


def outlets_of(job: JobName, spec: Spec) -> list[Asset]:
    """Return the assets that a job of a spec updates."""
    return [table_asset(spec, table) for table in _written(TABLES_OF_JOB[job], spec)]


def inlets_of(job: JobName, flow: Flow, spec: Spec) -> list[Asset]:
    """Return the assets that a job of a spec reads.

    Args:
        job: The job.
        flow: The flow that it belongs to.
        spec: The spec.

    Returns:
        The assets that start the flow by their URIs, for the first job; tables for the others. An asset that a schedule
        names is not among them: Airflow fails a task with a reference to an asset that no DAG has defined yet.
    """
    if job != "features":
        return [table_asset(spec, table) for table in _written(INPUTS_OF_JOB[job], spec)]
    return [asset for asset in starting_assets(spec, flow) if isinstance(asset, Asset)]


def inputs_of(job: JobName, flow: Flow, spec: Spec) -> list[Asset | AssetRef]:
    """Return what a job of a spec reads, for lineage: its inlets, and for the first job the source and its covariates.

    The source is not an inlet: Airflow fails a task with a reference to an asset that no DAG defines, and one with an
    asset whose URI another DAG gives another name.

    Args:
        job: The job.
        flow: The flow that it belongs to.
        spec: The spec.

    Returns:
        Assets, and references by the URI of a source.
    """
    inlets: list[Asset | AssetRef] = [*inlets_of(job, flow, spec)]
    if job != "features":
        return inlets
    uris = {asset.uri for asset in inlets_of(job, flow, spec)}
    sources = [spec.source, *(table.read_as(spec.source) for table in spec.covariates.tables)]
    read = dict.fromkeys(uri for source in sources for uri in source_uris(source) if uri not in uris)
    return [*inlets, *(Asset.ref(uri=uri) for uri in read)]


def table_asset(spec: Spec, table: str) -> Asset:
    """Return the asset of one spec's rows of one table; other DAGs may be scheduled on it.

    Args:
        spec: The spec.
        table: Name of the table.

    Returns:
        The asset, in a group of its spec.
    """
    stored_as = f"{table}_by_step" if spec.clock == "step" else table
    store = _read_store(os.environ.get("FLEETCAST_STORE"), os.environ.get(SETTINGS_FILE_VARIABLE))
    if store.startswith("/") or "://" in store:
        uri = f"{_plain(store)}/{stored_as}/spec={spec.name}"
    else:
        uri = f"x-{PREFIX}:{spec.name}/{stored_as}"
    return Asset(f"{PREFIX}/{spec.name}/{table}", uri, group=f"{PREFIX}/{spec.name}")


def starting_assets(spec: Spec, flow: Flow) -> list[Asset | AssetRef]:
    """Return the assets whose updates start a flow.

    A URI defines an asset, so that its updates can be reported through Airflow's API where no DAG makes them. A name
    refers to an asset that another DAG defines.

    Args:
        spec: The spec.
        flow: The flow.

    Returns:
        The assets.
    """
    given = spec.schedule.assets(flow)
    return [Asset(uri=_plain(one), group=PREFIX) if "://" in one else Asset.ref(name=one) for one in given]


def source_uris(source: Source) -> list[str]:
    """Return the URIs of a source, in the form in which Airflow keeps those of assets.

    Args:
        source: The source.

    Returns:
        A URI per file, folder, store or table; that of a connection is `x-connection:` and its name.
    """
    part = f"/{source.table}" if source.table else ""
    if not source.uris:
        return [f"x-connection:{source.connection}{part}"]
    return [Asset(uri=_plain(uri) + part).uri for uri in source.uris]


@cache
def _read_store(_value: str | None, _settings_file: str | None) -> str:
    """Return the store of the settings, which are read once: a DAG file has hundreds of assets."""
    return Settings.load().store


def _plain(place: str) -> str:
    """Return a place as a URI without user, password and query; a path has the scheme `file`, as SQLite's have."""
    place = place.removeprefix(SQLITE)
    if "://" not in place:
        return "file://" + quote(os.path.normpath(place), safe="/*=")
    parts = urlsplit(place)
    host = parts.netloc if parts.scheme.startswith(("ab", "wasb")) else parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


def _written(tables: tuple[str, ...], spec: Spec) -> list[str]:
    left_out = {
        *(() if spec.paths else TABLES_OF_PATHS),
        *(() if spec.checks else [TABLE_OF_CHECKS]),
        *(() if spec.attributions else [TABLE_OF_ATTRIBUTIONS]),
    }
    return [table for table in tables if table not in left_out]
