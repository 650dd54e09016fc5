"""What a run finds once, so that all of its steps read the same rows of tables that others write to."""

from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple, TypeVar

from forecasting import temporary

T = TypeVar("T")


class _Run(NamedTuple):
    found: dict[Hashable, Any]
    exits: ExitStack


_run: ContextVar[_Run | None] = ContextVar("run", default=None)


@contextmanager
def reading_once() -> Iterator[None]:
    """Make everything within read the same rows of each table; outside of it, every scan reads the newest rows.

    It also removes what killed processes have left in the folder for temporary files.

    Yields:
        Nothing. Within another such context, that one lasts.
    """
    if _run.get() is not None:
        yield
        return
    temporary.remove_leftovers()
    with ExitStack() as exits:
        token = _run.set(_Run({}, exits))
        try:
            yield
        finally:
            _run.reset(token)


def find_once(key: Hashable, find: Callable[[], T]) -> T:
    """Return what was found for a key within `reading_once`, or find it.

    Args:
        key: What is found, and where.
        find: Finds it.

    Returns:
        What `find` returns; outside of `reading_once`, always by calling it.
    """
    run = _run.get()
    if run is None:
        return find()
    if key not in run.found:
        run.found[key] = find()
    value: T = run.found[key]
    return value


def temporary_folder() -> Path | None:
    """Return a folder that is deleted at the end of `reading_once`, also after an error; None outside of it."""
    run = _run.get()
    if run is None:
        return None
    return find_once("folder", lambda: run.exits.enter_context(temporary.temporary_folder()))


def new_temporary_folder() -> Path | None:
    """Return a new folder within `temporary_folder`; None outside of `reading_once`."""
    folder = temporary_folder()
    return None if folder is None else Path(mkdtemp(dir=folder))
