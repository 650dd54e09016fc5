"""The link from a task to its Ray job."""

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class RayJobLink(BaseOperatorLink):
    """The dashboard's page of the job that a task has submitted last."""

    name = "Ray job"

    @property
    def xcom_key(self) -> str:
        """The XCom that has the link from the submission of the job on."""
        return "ray_job_link"

    def get_link(self, operator: "BaseOperator", *, ti_key: "TaskInstanceKey") -> str:
        """Return the link; Airflow asks for it at the end of each process of a task.

        Args:
            operator: The task's operator.
            ti_key: The task instance.

        Returns:
            The URL; empty where no job was submitted.
        """
        from airflow.sdk.execution_time.xcom import XCom  # which loads the XCom backend, as no DAG file should

        known: Any = getattr(operator, "job_link", None)
        if known is None and getattr(operator, "is_resumed", False):
            known = XCom.get_value(key=self.xcom_key, ti_key=ti_key)
        return str(known or "")
