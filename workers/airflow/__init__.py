"""Airflow's side: Ray Jobs client, deferrable operator, trigger, DAG factory; imports neither ray, torch nor polars."""
