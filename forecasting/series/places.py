"""Whether a URI is a path of this machine or a place elsewhere."""

from pathlib import Path
from urllib.parse import urlsplit


def is_remote(uri: str) -> bool:
    """Return whether a URI has a scheme, such as that of an object store."""
    return "://" in uri


def local_path(uri: str) -> Path | None:
    """Return the path of a local URI; None of a remote one."""
    parts = urlsplit(uri)
    if len(parts.scheme) > 1 and parts.scheme != "file":
        return None
    return Path(parts.path if parts.scheme == "file" else uri)
