"""PostgreSQL's programs on this machine: where they are, as which user they run, and how a database is made."""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEBIAN = Path("/usr/lib/postgresql")


def find_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs; None where they are not installed."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return folders[-1].parent if folders else None


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL of its own, in a folder.

    Attributes:
        programs: The folder of its programs.
        folder: Its files; the owner can enter it.
    """

    programs: Path
    folder: Path

    @property
    def owner(self) -> str | None:
        """The user that it runs as; None for this one. PostgreSQL refuses to run as root."""
        if os.geteuid() != 0:
            return None
        return next(name for name in ("postgres", "nobody") if _exists(name))

    @property
    def place(self) -> tuple[str, str]:
        """The option that names its files, as all of its programs have it."""
        return "-D", str(self.folder / "data")

    def make(self, *, user: str, password: str, database: str | None = None) -> None:
        """Make the server's files, with a user who logs in with a password.

        Args:
            user: Name of the user.
            password: Their password.
            database: A database to create.
        """
        self.folder.mkdir(mode=0o700, exist_ok=True)
        secret = self.folder / "password"
        secret.touch(mode=0o600)
        secret.write_text(password)
        if self.owner is not None:
            shutil.chown(self.folder, self.owner)
            shutil.chown(secret, self.owner)
        login = ("-A", "scram-sha-256", "-U", user, "--pwfile", str(secret))
        self.run("initdb", *self.place, *login, "-E", "UTF8", "--locale", "C", "--no-sync")
        secret.unlink()
        if database is not None:
            self.run("postgres", "--single", *self.place, "postgres", stdin=f"CREATE DATABASE {database};\n")

    def run(self, program: str, *words: str, stdin: str = "") -> None:
        """Run one of its programs as its owner.

        Args:
            program: Name of the program.
            words: Its arguments.
            stdin: What it reads.

        Raises:
            OSError: The program failed; the message has what it printed.
        """
        user: dict[str, Any] = {}
        if self.owner is not None:
            user = {"user": self.owner, "group": pwd.getpwnam(self.owner).pw_gid, "extra_groups": []}
        ended = subprocess.run(
            [str(self.programs / program), *words],
            cwd="/",
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
            **user,
        )
        if ended.returncode != 0:
            raise OSError(f"{program} failed: {ended.stdout}")

    def command(self, port: int) -> tuple[str, ...]:
        """Return the command of a server in the foreground, on a port of loopback."""
        options = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self.folder}
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return (str(self.programs / "postgres"), *self.place, *settings)


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
