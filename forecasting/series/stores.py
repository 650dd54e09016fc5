"""The options by which the object store of a source is opened."""

from collections.abc import Mapping

from forecasting.connections import find_connection
from forecasting.spec.source import Source


def storage_options_of(source: Source, given: Mapping[str, str] | None) -> dict[str, str]:
    """Return the options of the object store that has a source's files.

    Args:
        source: The source; the options of its connection take the place of all others.
        given: Options as Polars takes them.

    Returns:
        The options, with secrets.

    Raises:
        SpecError: The source's connection is not known, or not that of an object store.
    """
    if source.is_database:  # whose connection is not that of a store
        return {}
    if source.connection is None:
        return dict(given or {})
    return find_connection(source.connection).storage_options()
