"""The version of the running code, as the registry and `runs` record it."""

import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("forecasting", "workers")
"""Packages whose source decides what a run computes."""
SUFFIXES = (".py", ".c", ".h")


@cache
def code_version() -> str:
    """Return the package's version and a hash of its source, which differs between two states of a checkout."""
    root = Path(__file__).parents[1]
    return f"{version('fleetcast')}+{hash_source(root / name for name in PACKAGES)}"


def hash_source(folders: Iterable[Path]) -> str:
    """Hash the names and contents of the source files in some folders.

    Args:
        folders: The folders, searched recursively for files with `SUFFIXES`.

    Returns:
        Eight hexadecimal digits.
    """
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES):
            digest.update(path.relative_to(folder.parent).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:8]
