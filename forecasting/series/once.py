"""What a run finds once, so that all of its steps read the same rows of tables that others write to."""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")
_found: ContextVar[dict[Hashable, Any] | None] = ContextVar("found", default=None)


@contextmanager
def reading_once() -> Iterator[None]:
    """Make everything within read the same version of each table; outside of it, every scan reads the newest rows.

    Yields:
        Nothing. Within another such context, that one lasts.
    """
    if _found.get() is not None:
        yield
        return
    token = _found.set({})
    try:
        yield
    finally:
        _found.reset(token)


def find_once(key: Hashable, find: Callable[[], T]) -> T:
    """Return what was found for a key within `reading_once`, or find it.

    Args:
        key: What is found, and where.
        find: Finds it.

    Returns:
        What `find` returns; outside of `reading_once`, always by calling it.
    """
    found = _found.get()
    if found is None:
        return find()
    if key not in found:
        found[key] = find()
    value: T = found[key]
    return value
