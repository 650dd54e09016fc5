"""Airflow's files go to a temporary folder."""

import atexit
import os
import shutil
import tempfile

if "AIRFLOW_HOME" not in os.environ:  # before anything imports Airflow, which writes its configuration there
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="fleetcast-airflow-")
    atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)
