"""Airflow's engines wait for a writer of the SQLite database for longer than SQLite's own 5 s."""

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workers.airflow.standalone import airflow_environment

pytestmark = pytest.mark.airflow

WRITE = """
import asyncio
from sqlalchemy import text
from airflow import settings

async def write_too():
    async with settings.async_engine.begin() as connection:
        await connection.execute(text("INSERT INTO notes VALUES ('async')"))

settings.configure_vars()
settings.configure_orm()
print("begun", flush=True)
with settings.engine.begin() as connection:
    connection.execute(text("INSERT INTO notes VALUES ('sync')"))
print("written", flush=True)
asyncio.run(write_too())
"""


def test_writer_waits_for_another_one_that_takes_more_than_five_seconds(tmp_path: Path) -> None:
    environment = {**os.environ, **airflow_environment(tmp_path)}
    home = Path(environment["AIRFLOW_HOME"])
    home.mkdir(parents=True)
    lock = sqlite3.connect(home / "airflow.db", isolation_level=None)
    lock.execute("PRAGMA journal_mode = WAL")  # as Airflow sets it
    lock.execute("CREATE TABLE notes (text)")
    command, pipe = [sys.executable, "-c", WRITE], subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as writer:
        assert writer.stdout is not None
        lock.execute("BEGIN IMMEDIATE")
        assert writer.stdout.readline() == "begun\n"
        time.sleep(6)
        assert writer.poll() is None, "it gave up"
        lock.execute("COMMIT")
        assert writer.stdout.readline() == "written\n"
        lock.execute("BEGIN IMMEDIATE")
        time.sleep(6)
        lock.execute("COMMIT")
        assert writer.wait(30) == 0, writer.stderr and writer.stderr.read()[-2000:]
    assert lock.execute("SELECT text FROM notes").fetchall() == [("sync",), ("async",)]
    lock.close()
