"""A PostgreSQL server of the tests: in a folder of its own, on a free port of loopback, with a password."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

USER, PASSWORD = "ada", "hunter2"
ZONE = "Asia/Tokyo"
"""Zone of the server's sessions, on which no result may depend."""
DEBIAN = Path("/usr/lib/postgresql")


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


def find_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs; None where they are not installed."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return folders[-1].parent if folders else None


@contextmanager
def serve_postgres(programs: Path) -> Iterator[Server]:
    """Start a server in a temporary folder, and stop it at the end; as root, it runs as another user."""
    folder = Path(tempfile.mkdtemp(prefix="fleetcast-pg-"))
    owner = None
    if os.geteuid() == 0:  # which initdb refuses
        owner = next(name for name in ("postgres", "nobody") if _exists(name))
        shutil.chown(folder, owner)
    (folder / "password").write_text(PASSWORD)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": folder, "timezone": ZONE}
    started = " ".join(f"-c {name}={value}" for name, value in {**options, "fsync": "off"}.items())
    data, login = (
        ("-D", str(folder / "data")),
        ("-A", "scram-sha-256", "-U", USER, "--pwfile", str(folder / "password")),
    )
    try:
        _run(owner, programs / "initdb", *data, *login, "-E", "UTF8", "--locale", "C", "--no-sync")
        _run(owner, programs / "pg_ctl", *data, "-w", "-l", str(folder / "log"), "-o", started, "start")
        try:
            yield Server(port, folder)
        finally:
            _run(owner, programs / "pg_ctl", *data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(owner: str | None, *words: str | Path) -> None:
    user: dict[str, Any] = {}
    if owner is not None:
        user = {"user": owner, "group": pwd.getpwnam(owner).pw_gid, "extra_groups": []}
    ended = subprocess.run(
        [str(word) for word in words],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
        **user,
    )
    assert ended.returncode == 0, ended.stdout


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


if __name__ == "__main__":  # continuous integration checks that its tests of PostgreSQL do not skip themselves
    sys.exit(None if find_programs() else "PostgreSQL is not installed; its tests would skip themselves")
