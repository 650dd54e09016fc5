"""A running Airflow, as tests drive it."""

import time
from datetime import UTC, datetime
from typing import Any

import httpx

PATIENCE = 400.0


class Airflow:
    """A running Airflow, driven through its REST API as its UI does."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def run_to_the_end(self, dag_id: str, **conf: Any) -> dict[str, str]:
        """Trigger a DAG with what its form holds, wait for its success, and return each task's state."""
        return self.wait_for_success(dag_id, self.trigger(dag_id, **conf))

    def trigger(self, dag_id: str, **conf: Any) -> str:
        """Trigger a DAG with what its form holds, and return the path of the run."""
        form = {"cutoff": None, "models": ["lstm", "gru"], "series": []} | conf
        self.http.patch(f"/dags/{dag_id}", json={"is_paused": False}).raise_for_status()
        run = self.http.post(
            f"/dags/{dag_id}/dagRuns", json={"logical_date": datetime.now(UTC).isoformat(), "conf": form}
        )
        return f"/dags/{dag_id}/dagRuns/{run.raise_for_status().json()['dag_run_id']}"

    def wait_for_success(self, dag_id: str, path: str) -> dict[str, str]:
        """Wait until a run has succeeded, and return each task's state."""
        deadline = time.monotonic() + PATIENCE
        while True:
            state = self.http.get(path).raise_for_status().json()["state"]
            tasks = self.http.get(f"{path}/taskInstances").raise_for_status().json()["task_instances"]
            for task in tasks:
                if task["state"] in ("failed", "up_for_retry"):
                    said = self.log(f"{path}/taskInstances/{task['task_id']}/logs/{task['try_number']}")
                    # A second try must not hide a failure of the first one; Airflow's own slips it may mend.
                    is_slip = task["state"] == "up_for_retry" and "Task failed with exception" not in said
                    assert is_slip, f"{dag_id}.{task['task_id']} is {task['state']}:\n{said[-4000:]}"
            if state == "success":
                return {task["task_id"]: task["state"] for task in tasks}
            assert time.monotonic() < deadline, f"{dag_id} is still {state} after {PATIENCE:.0f} s"
            time.sleep(0.5)

    def wait_for_end(self, path: str) -> dict[str, str]:
        """Wait until a run has ended, in success or failure, and return each task's state."""
        deadline = time.monotonic() + PATIENCE
        while self.http.get(path).raise_for_status().json()["state"] not in ("success", "failed"):
            assert time.monotonic() < deadline, f"{path} has not ended after {PATIENCE:.0f} s"
            time.sleep(0.5)
        tasks = self.http.get(f"{path}/taskInstances").raise_for_status().json()["task_instances"]
        return {task["task_id"]: task["state"] for task in tasks}

    def wait_for_dags(self, *dag_ids: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while any(self.http.get(f"/dags/{dag_id}").is_error for dag_id in dag_ids):
            assert time.monotonic() < deadline, f"no {dag_ids} after {PATIENCE:.0f} s"
            time.sleep(0.5)

    def log(self, path: str) -> str:
        content = self.http.get(path).raise_for_status().json()["content"]
        return "\n".join(line["event"] if isinstance(line, dict) else str(line) for line in content)
