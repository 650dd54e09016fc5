"""Where jobs run: the Ray cluster, and the cores and GPUs of a worker. Light: the Airflow side reads it too."""

from pydantic import Field

from forecasting.settings import SettingsSection


class WorkerSettings(SettingsSection):
    """The `[workers]` section of the settings file."""

    section = "workers"

    ray_jobs_url: str = Field("http://127.0.0.1:8265", pattern=r"^https?://", description="the cluster's Jobs API")
    num_workers: int | None = Field(None, ge=1, description="actors; as many as the cluster's resources hold if unset")
    cpus_per_worker: float = Field(1, gt=0, description="cores of one actor")
    gpus_per_worker: float | None = Field(
        None,
        ge=0,
        description="GPUs of one actor, a share such as 0.25 allowed; 1 where the cluster has any if unset",
    )
    memory_per_worker_mb: int | None = Field(
        None,
        ge=512,
        description="MiB that one actor may hold; its share of what Ray counts on its node if unset, at least 2048",
    )
    shard_size: int | None = Field(
        None,
        ge=1,
        description="series that an actor takes at a time, at most; as many as suit work and memory if unset",
    )
