"""A PostgreSQL server of the tests: in a folder of its own, on a free port of loopback, with a password."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from infra.local.postgres import Postgres, find_programs
from workers.cluster.ray_head import free_port

USER, PASSWORD = "ada", "hunter2"
ZONE = "Asia/Tokyo"
"""Zone of the server's sessions, on which no result may depend."""


class Server(NamedTuple):
    """A running server: its port, and the folder of its socket."""

    port: int
    folder: Path

    @property
    def uri(self) -> str:
        """The URI of the database, without the password."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    @property
    def secret_uri(self) -> str:
        """The URI with the password, as of a connection."""
        return self.uri.replace("@", f":{PASSWORD}@")

    def execute(self, *statements: str) -> None:
        """Run statements, and commit them."""
        from adbc_driver_postgresql import dbapi

        with dbapi.connect(self.secret_uri) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            connection.commit()

    def write(self, table: str, rows: Any) -> None:
        """Replace a table by the rows of a Polars frame."""
        from adbc_driver_postgresql import dbapi

        with dbapi.connect(self.secret_uri) as connection, connection.cursor() as cursor:
            cursor.adbc_ingest(table, rows.to_arrow(), mode="replace")
            connection.commit()

    def fetch(self, query: str) -> Any:
        """Return the rows of a query as a Polars frame."""
        import polars as pl
        from adbc_driver_postgresql import dbapi

        with dbapi.connect(self.secret_uri) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return pl.DataFrame(cursor.fetch_arrow_table())


@contextmanager
def serve_postgres(programs: Path) -> Iterator[Server]:
    """Start a server in a temporary folder, and stop it at the end; as root, it runs as another user."""
    folder = Path(tempfile.mkdtemp(prefix="fleetcast-pg-"))
    folder.chmod(0o711)  # another user's server has its files in there
    postgres = Postgres(programs, folder / "server")
    port = free_port()
    options = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": postgres.folder}
    started = " ".join(f"-c {name}={value}" for name, value in {**options, "timezone": ZONE, "fsync": "off"}.items())
    try:
        postgres.make(user=USER, password=PASSWORD)
        postgres.run("pg_ctl", *postgres.place, "-w", "-l", str(postgres.folder / "log"), "-o", started, "start")
        try:
            yield Server(port, postgres.folder)
        finally:
            postgres.run("pg_ctl", *postgres.place, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":  # continuous integration checks that its tests of PostgreSQL do not skip themselves
    sys.exit(None if find_programs() else "PostgreSQL is not installed; its tests would skip themselves")
