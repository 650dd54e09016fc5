"""Temporary folders that later processes remove where their owner was killed.

An owner holds a lock on its folder, which the kernel releases when the owner ends in any way. Names have the host, so
that hosts that share a folder of temporary files leave each other's alone.
"""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "fleetcast-"
"""What the names of temporary folders begin with."""


@contextmanager
def temporary_folder(prefix: str = PREFIX, *, parent: str | None = None) -> Iterator[Path]:
    """Make a folder for the duration of a `with` block.

    Args:
        prefix: What its name begins with.
        parent: The folder that it is made in; the one for temporary files by default.

    Yields:
        The folder, which is empty.
    """
    folder, lock = _make_locked(f"{prefix}{_host()}-", parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def remove_leftovers(
    prefix: str = PREFIX, *, parent: str | None = None, is_used: Callable[[Path], bool] = lambda folder: False
) -> None:
    """Remove the folders of this user and host whose owners were killed.

    Args:
        prefix: What their names begin with.
        parent: The folder that they are in; the one for temporary files by default.
        is_used: Whether something else than the owner still uses a folder.
    """
    name = re.compile(f"{re.escape(prefix)}{_host()}-[a-z0-9_]{{8}}")
    with suppress(OSError), os.scandir(parent or tempfile.gettempdir()) as entries:
        for folder in [Path(entry.path) for entry in entries if name.fullmatch(entry.name)]:
            with suppress(OSError):
                _remove_unless_used(folder, is_used)


def _make_locked(prefix: str, parent: str | None) -> tuple[Path, int]:
    """Make a folder and lock it; again where another process took it for a leftover before it was locked."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        with suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            with suppress(OSError):  # a file system without locks, where no leftovers are removed either
                fcntl.flock(lock, fcntl.LOCK_SH)
            if folder.exists():
                return folder, lock
            os.close(lock)


def _remove_unless_used(folder: Path, is_used: Callable[[Path], bool]) -> None:
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(lock).st_uid != os.getuid():
            return
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not is_used(folder):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _host() -> str:
    """Return a short name of this host, because the paths of Ray's sockets are limited."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:6]
