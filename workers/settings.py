"""Settings of the Ray cluster and its workers. It imports nothing heavy, because the Airflow side reads it too."""

from pydantic import Field

from forecasting.settings import DRIVER_SECONDS, SettingsSection
from workers.log_lines import LogFormat


class WorkerSettings(SettingsSection):
    """The `[workers]` section of the settings file."""

    section = "workers"

    ray_jobs_url: str = Field("http://127.0.0.1:8265", pattern=r"^https?://", description="the cluster's Jobs API")
    last_good: str | None = Field(
        None,
        min_length=1,
        description="folder that keeps the last good version of each spec, of which Airflow makes the DAGs of a file"
        " that is broken; shared by all of its machines that read the DAGs",
    )
    num_workers: int | None = Field(None, ge=1, description="number of actors; what the cluster can hold if unset")
    cpus_per_worker: float = Field(1, gt=0, description="cores of one actor")
    gpus_per_worker: float | None = Field(
        None,
        ge=0,
        description="GPUs of one actor; a share such as 0.25 is allowed; 1 if unset and the cluster has any",
    )
    memory_per_worker_mb: int | None = Field(
        None,
        ge=512,
        description="MiB that one actor may hold; its share of the node's memory if unset, at least 2048",
    )
    shard_size: int | None = Field(
        None,
        ge=1,
        description="series in a shard, at most; decided by their work and memory if unset",
    )
    log_format: LogFormat = Field(
        "text",
        description="how a job prints its log: `text`, or `json` for one object a line with spec, job and run_id",
    )
    driver_seconds: float = Field(
        DRIVER_SECONDS,
        ge=0,
        description="work of fewer predicted seconds is done in the process of a job, without actors; 0 for none",
    )
