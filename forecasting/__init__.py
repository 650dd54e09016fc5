"""Fleetcast's library: forecasts fleets of time series; imports neither ray nor airflow."""
