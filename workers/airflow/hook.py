"""The hook of the connection type `fleetcast_ray`: a client of the cluster that a connection describes."""

from typing import Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from forecasting.errors import FleetcastError, UserError
from workers.airflow.client import RayJobsClient, ask_version, find_job
from workers.airflow.cluster import CONNECTION_TYPE, Cluster, cluster_of

_UNKNOWN_JOB = "fleetcast-connection-test"


class FleetcastRayHook(BaseHook):
    """Reads a connection of type `fleetcast_ray`, from Airflow's database or a secrets backend.

    Args:
        fleetcast_ray_conn_id: Name of the connection.
        **kwargs: Arguments of BaseHook.
    """

    conn_name_attr = "fleetcast_ray_conn_id"
    default_conn_name = "fleetcast_ray_default"
    conn_type = CONNECTION_TYPE
    hook_name = "Fleetcast (Ray)"

    def __init__(self, fleetcast_ray_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fleetcast_ray_conn_id = fleetcast_ray_conn_id

    def cluster(self) -> Cluster:
        """Return the cluster that the connection describes.

        Returns:
            The cluster.

        Raises:
            UserError: Airflow does not know the connection, or its fields are refused.
        """
        try:
            return cluster_of(self.get_connection(self.fleetcast_ray_conn_id))
        except AirflowNotFoundException as error:
            raise self._unknown() from error

    async def acluster(self) -> Cluster:
        """Return the same from within an event loop, as a trigger needs it.

        Returns:
            The cluster.

        Raises:
            UserError: Airflow does not know the connection, or its fields are refused.
        """
        try:
            return cluster_of(await self.aget_connection(self.fleetcast_ray_conn_id))
        except AirflowNotFoundException as error:
            raise self._unknown() from error

    def get_conn(self) -> RayJobsClient:
        """Return a client of the cluster's Jobs API."""
        return self.cluster().client()

    def test_connection(self) -> tuple[bool, str]:
        """Ask the cluster for its version, and for a job, which needs the token.

        Returns:
            Whether it has answered, and a message for the person who asked.
        """
        try:
            client = self.get_conn()
            version = client.run(ask_version())
            client.run(find_job(_UNKNOWN_JOB))
        except FleetcastError as error:
            return False, str(error)
        return True, f"Ray {version} answers at {client.url} and accepts the token"

    def _unknown(self) -> UserError:
        name = self.fleetcast_ray_conn_id
        return UserError(
            f"connection '{name}' is not known to Airflow; add one of type {CONNECTION_TYPE} under Admin, Connections,"
            f" in AIRFLOW_CONN_{name.upper()} or in a secrets backend"
        )
