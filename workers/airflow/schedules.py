"""Schedules: from a spec's `[schedule]` to Airflow's timetables, and from a DAG run to the time that it stands for."""

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import (
    AssetAny,
    AssetOrTimeSchedule,
    Context,
    CronPartitionTimetable,
    CronTriggerTimetable,
    PartitionedAssetTimetable,
)
from airflow.sdk.definitions.asset import BaseAsset
from airflow.sdk.exceptions import AirflowTimetableInvalid
from croniter import CroniterBadDateError, croniter

from forecasting.errors import SpecError, UserError
from forecasting.spec.spec import Spec
from workers.airflow.assets import starting_assets
from workers.arguments import Flow

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def schedule_of(spec: Spec, flow: Flow) -> Any:
    """Return the schedule of a flow's DAG.

    Args:
        spec: The spec.
        flow: The flow.

    Returns:
        A timetable, a condition of assets, or None for a DAG that runs only when it is triggered.

    Raises:
        SpecError: Airflow cannot use the cron expression.
    """
    assets, cron = _any_of(starting_assets(spec, flow)), spec.schedule.cron(flow)
    if cron is None:
        return PartitionedAssetTimetable(assets=assets) if assets and spec.schedule.partitioned else assets
    # Contrary to Airflow's documentation, False would start a run that was due within the last tenth of an interval.
    kind = CronPartitionTimetable if spec.schedule.partitioned else CronTriggerTimetable
    timetable = kind(cron, timezone=spec.schedule.timezone, run_immediately=timedelta())
    try:
        timetable.validate()
        croniter(timetable.expression).get_next()  # only this finds a date that never comes, such as 30 February
    except (AirflowTimetableInvalid, CroniterBadDateError) as error:
        raise SpecError(f"spec '{spec.name}'", [f"schedule.{flow} = '{cron}' cannot be scheduled: {error}"]) from error
    return timetable if assets is None else AssetOrTimeSchedule(timetable=timetable, assets=assets)


def describe_schedule(spec: Spec, flow: Flow) -> str:
    """Return when the DAG of a flow runs, in Markdown."""
    cron, assets = spec.schedule.cron(flow), spec.schedule.assets(flow)
    starts = [f"`{cron}` ({spec.schedule.timezone})"] if cron else []
    if assets:
        starts.append(f"an update of {' or '.join(f'`{asset}`' for asset in assets)}")
    return " or ".join(starts) or "only when triggered"


def moment_of(context: Context, zone: ZoneInfo) -> datetime:
    """Return the time as of which a DAG run knows the source.

    That is the end of its data interval, its partition, or its trigger time. A partition whose key is a day is all of
    that day, so that the time is the midnight after it.

    Args:
        context: Airflow's context of a task.
        zone: The zone of times in keys of partitions.

    Returns:
        The time, with an offset.

    Raises:
        UserError: The key of the partition is not a time.
    """
    dag_run = context["dag_run"]
    dated: datetime | None = dag_run.data_interval_end or dag_run.logical_date
    if dated or not dag_run.partition_key:
        return dated or dag_run.run_after
    return _end_of_partition(dag_run.partition_key, dag_run.partition_date, zone)


def _end_of_partition(key: str, begin: datetime | None, zone: ZoneInfo) -> datetime:
    try:
        if _DAY.fullmatch(key):
            after = date.fromisoformat(key) + timedelta(days=1)
            return datetime(after.year, after.month, after.day, tzinfo=zone)
        time = begin or datetime.fromisoformat(key)
    except ValueError:
        raise UserError(
            f"partition key '{key}' is not a time such as 2024-12-29 or 2024-12-29T23:00:00, which a run needs;"
            " without schedule.partitioned, runs have no partitions"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=zone)


def _any_of(assets: Sequence[BaseAsset]) -> BaseAsset | None:
    if len(assets) > 1:
        return AssetAny(*assets)
    return assets[0] if assets else None
