"""The spec's `[airflow]`: the cluster that runs its jobs, and how Airflow runs its tasks."""

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, StrictInt

from forecasting.spec.connection import ConnectionName
from forecasting.spec.frequency import fixed_width, parse_frequency

LONGEST_TIMEOUT = timedelta(days=365)


def check_duration(text: str) -> str:
    """Return a duration that no calendar changes.

    Args:
        text: A duration such as `90m`, `6h` or `1d12h`.

    Returns:
        The same text.

    Raises:
        ValueError: It has another form, or is below a second or above a year.

    >>> check_duration("1h30m")
    '1h30m'
    """
    try:
        width = fixed_width(text) if parse_frequency(text) == text and " " not in text else None
    except ValueError:
        width = None
    if width is None or not 1_000_000 <= width <= LONGEST_TIMEOUT // timedelta(microseconds=1):
        raise ValueError("must be a duration such as '90m', '6h' or '1d12h', from a second to a year")
    return text


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
    execution_timeout: Annotated[str, AfterValidator(check_duration)] | None = Field(
        None, description="longest time of one try, such as `6h`, after which its job is stopped"
    )
    priority_weight: StrictInt = Field(1, ge=1, le=10_000, description="priority of the tasks in the queue of Airflow")

    @property
    def timeout(self) -> timedelta | None:
        """The longest time of one try."""
        if self.execution_timeout is None:
            return None
        return timedelta(microseconds=fixed_width(self.execution_timeout) or 0)
