"""The version of Fleetcast that is running, as registry rows and runs record it."""

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path


@cache
def code_version() -> str:
    """Return the package's version and a hash of its source, which tells two states of a checkout apart."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(path for suffix in ("py", "c", "h") for path in root.rglob(f"*.{suffix}")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return f"{version('fleetcast')}+{digest.hexdigest()[:8]}"
