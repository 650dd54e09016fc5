"""How long Airflow's processes wait for each other's writes where their database is SQLite.

SQLite lets one process write at a time. By default, another process gives up after 5 s with "database is locked", which
is status 500 of the API or a failed task. On a busy machine, the DAG processor's first write of all DAGs lasts longer.
"""

SECONDS = 120

CONNECT_ARGS = {"timeout": SECONDS}
"""Arguments of `sqlite3.connect`; Airflow imports them by name and adds its own."""
CONNECT_ARGS_ASYNC = {"timeout": SECONDS}
"""Arguments of `aiosqlite.connect`."""
