"""Describe files that a person names, relative to the working directory, as a source."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from forecasting.errors import SpecError
from forecasting.spec.problems import describe_problems
from forecasting.spec.source import Source, absolute_uri


def make_source(paths: Sequence[str], id: str, time: str, target: str, *, subject: str) -> Source:
    """Describe files as a source.

    Args:
        paths: Paths, relative to the working directory, or URIs.
        id: The column that names the series.
        time: The column of times.
        target: The column of measurements.
        subject: What an error names.

    Returns:
        The source, with absolute paths.

    Raises:
        SpecError: A path or a column is refused; the error lists all of them.
    """
    uris = [as_uri(path) for path in paths]
    try:
        return Source(uri=uris[0] if len(uris) == 1 else tuple(uris), id=id, time=time, target=target)
    except ValidationError as error:
        raise SpecError(subject, describe_problems(error)) from error


def as_uri(path: str) -> str:
    """Return a path as an absolute one, a folder with a slash at its end; a URI stays as it is."""
    if not path.strip():
        return path  # refused as a source; as a path it would be the working directory
    uri = absolute_uri(path, relative_to=Path.cwd())
    return uri + "/" if not uri.endswith("/") and Path(uri).is_dir() else uri
