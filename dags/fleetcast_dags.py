"""Every spec in dags/specs becomes two Airflow DAGs, one that trains and one that forecasts; one more deletes runs."""

from pathlib import Path

from workers.airflow.delete_run import make_delete_dag
from workers.airflow.factory import make_dags

globals().update(make_dags(Path(__file__).parent / "specs"))
delete_run = make_delete_dag()
