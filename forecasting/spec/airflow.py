"""The spec's `[airflow]`: the cluster that runs its jobs, and how Airflow runs its tasks."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Self

from pydantic import BaseModel, Field, StrictInt, field_validator, model_validator

from forecasting.spec.connection import ConnectionName
from forecasting.spec.notify import Deadline, Duration, Notice, duration_of


class AirflowOptions(BaseModel, frozen=True, extra="forbid"):
    """Options of both DAGs of a spec; no forecast depends on them."""

    connection: ConnectionName | None = Field(
        None,
        description="name of Airflow's connection of type `fleetcast_ray`, whose cluster runs the jobs; the settings"
        " name the cluster where not given",
    )
    owner: str = Field("fleetcast", min_length=1, max_length=100, description="owner of the tasks")
    pool: str | None = Field(None, min_length=1, description="pool of Airflow whose slots the tasks take")
    retries: StrictInt = Field(3, ge=0, le=100, description="further tries of a task that the system has failed")
    execution_timeout: Duration | None = Field(
        None, description="longest time of one try, such as `6h`, after which its job is stopped"
    )
    priority_weight: StrictInt = Field(1, ge=1, le=10_000, description="priority of the tasks in the queue of Airflow")
    deadline: Deadline = Field(
        default_factory=Deadline, description="longest time of a DAG run, such as `6h`, after which it is late"
    )
    notify: tuple[Notice, ...] = Field((), description="notifiers that report failed and late runs")

    @field_validator("notify", mode="before")
    @classmethod
    def _is_list(cls, blocks: Any) -> Any:
        return [blocks] if isinstance(blocks, Mapping) else blocks

    @model_validator(mode="after")
    def _can_be_late(self) -> Self:
        has_deadline = self.deadline.train or self.deadline.forecast
        if not has_deadline and any(notice.on == ("late",) for notice in self.notify):
            raise ValueError('notify: on = "late" needs airflow.deadline, after which a run is late')
        return self

    shared_job_rows: StrictInt = Field(
        5_000_000,
        ge=0,
        description="grid points times networks up to which the steps of a run share one Ray job; 0 for a job for each",
    )

    @property
    def timeout(self) -> timedelta | None:
        """The longest time of one try."""
        return duration_of(self.execution_timeout)
