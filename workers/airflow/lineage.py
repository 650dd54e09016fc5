"""Lineage for OpenLineage: the datasets that a task reads and writes, with versions, counts of rows and checks.

Only its functions import OpenLineage, which its provider calls where it is installed.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk import Asset

from workers.arguments import JobName, RunResult

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

MAIN_TABLES: Mapping[JobName, str] = {
    "features": "features",
    "train": "models",
    "backtest": "backtests",
    "predict": "forecasts",
    "score": "scores",
}
"""The table whose rows a job counts."""
CHECKED: Mapping[JobName, str] = {"features": "observations", "predict": "forecasts"}
"""The table that the checks of a job are about."""


def describe_lineage(
    inlets: Iterable[Any],
    outlets: Iterable[Any],
    result: RunResult | None = None,
    read: Mapping[str, int] | None = None,
) -> "OperatorLineage":
    """Return the lineage of a task.

    Args:
        inlets: Assets that the task reads.
        outlets: Assets that it writes.
        result: The result of its job; None before the job has ended.
        read: Versions of tables that the jobs before it in the run have written, by their stored names.

    Returns:
        Its inputs and outputs. Tables have the facet `version`. The main table has the number of its rows, and the
        table that checks are about has their verdicts.
    """
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.facet_v2 import data_quality_assertions_dataset, output_statistics_output_dataset

    inputs = []
    for asset in inlets:
        uri = getattr(asset, "uri", None)
        if uri is not None:
            namespace, name = dataset_of(uri)
            inputs.append(InputDataset(namespace, name, facets=_version_of(asset, read or {})))
    outputs = []
    for asset in outlets:
        namespace, name = dataset_of(asset.uri)
        table = _table_of(asset)
        facets = _version_of(asset, result.versions if result else {})
        output = OutputDataset(namespace, name, facets=facets)
        if result and (count := _num_rows(table, result)) is not None:
            statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rowCount=count)
            output.outputFacets = {"outputStatistics": statistics}
        if result and result.checks and table == CHECKED.get(result.job):
            assertions = [
                data_quality_assertions_dataset.Assertion(assertion=name, success=verdict == "pass")
                for name, verdict in result.checks.items()
                if verdict != "skipped"
            ]
            quality = data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(assertions=assertions)
            output.facets = facets | {"dataQualityAssertions": quality}
        outputs.append(output)
    return OperatorLineage(inputs=inputs, outputs=outputs)


def dataset_of(uri: str) -> tuple[str, str]:
    """Return the namespace and the name of a dataset, as OpenLineage names those of files, stores and databases.

    Args:
        uri: The URI of an asset.

    Returns:
        Both.

    >>> dataset_of("s3://lake/forecasts/spec=sales"), dataset_of("file:///data/sales.csv")
    (('s3://lake', 'forecasts/spec=sales'), ('file', '/data/sales.csv'))
    >>> dataset_of("postgresql://db:5433/shop/public.sales"), dataset_of("x-fleetcast:sales/forecasts")
    (('postgres://db:5433', 'shop.public.sales'), ('fleetcast', 'sales/forecasts'))
    """
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return "file", parts.path
    if parts.scheme in ("postgresql", "postgres"):
        host = parts.netloc if parts.port else f"{parts.netloc}:5432"
        return f"postgres://{host}", parts.path.strip("/").replace("/", ".")
    if parts.netloc:
        return f"{parts.scheme}://{parts.netloc}", parts.path.lstrip("/") or "/"
    return parts.scheme.removeprefix("x-"), parts.path


def _version_of(asset: Any, versions: Mapping[str, int]) -> dict[str, Any]:
    from openlineage.client.facet_v2 import dataset_version_dataset

    table = _table_of(asset)
    version = versions.get(table, versions.get(f"{table}_by_step"))
    if version is None:
        return {}
    return {"version": dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=str(version))}


def _num_rows(table: str, result: RunResult) -> int | None:
    if table == MAIN_TABLES.get(result.job):
        return result.num_rows
    return result.num_rejects if table == "rejects" else None


def _table_of(asset: Any) -> str:
    return asset.name.rpartition("/")[2] if isinstance(asset, Asset) else ""
