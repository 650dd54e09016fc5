"""Every spec in dags/specs becomes two Airflow DAGs, one that trains and one that forecasts."""

from pathlib import Path

from workers.airflow.factory import make_dags

globals().update(make_dags(Path(__file__).parent / "specs"))
