"""A job's log as JSON lines, and back as text; the setting `log_format` chooses. Imports nothing heavy.

A collector of logs, such as Fluent Bit or Promtail, reads the driver's log files of Ray. With `log_format = "json"`,
each of their lines is one object, which it can filter by spec, job and run. Airflow's tasks show the text alone.
"""

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from typing import Literal, TextIO

LogFormat = Literal["text", "json"]

_MARK = '{"time": "'
"""The begin of each JSON line: a line of text that happens to be JSON is none of ours."""
_fields: dict[str, object] = {}
"""Those of the step that runs: one for all threads, because Ray prints the lines of actors from a thread of its own."""


class _JsonLines(io.TextIOBase):
    """A stream that writes each finished text as one JSON line to another stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begun = ""

    def write(self, text: str) -> int:
        """Collect text, and write a line once it ends with a newline.

        Args:
            text: Part of a text, or several lines of it, which stay together.

        Returns:
            Number of characters in the text.
        """
        self._begun += text
        if self._begun.endswith("\n"):
            finished, self._begun = self._begun[:-1], ""
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            entry = {"time": now, "level": _level(finished), **_fields, "message": finished}
            self._stream.write(json.dumps(entry, ensure_ascii=False) + "\n")
        return len(text)

    def flush(self) -> None:
        """Flush the other stream."""
        self._stream.flush()

    def fileno(self) -> int:
        """Return the other stream's file descriptor, which libraries and child processes use."""
        return self._stream.fileno()

    def end(self) -> None:
        """Write what has no newline yet."""
        if self._begun:
            self.write("\n")


def _level(text: str) -> str:
    if text.startswith(("error: ", "Traceback ")):
        return "error"
    return "warning" if "warning: " in text.partition("\n")[0].lower() else "info"


@contextmanager
def job_log(log_format: LogFormat) -> Iterator[None]:
    """Write what this process prints in a format.

    Args:
        log_format: `json` for one object a line, with `time` in UTC, `level`, the fields of `log_fields`, and
            `message`; `text` changes nothing.

    Yields:
        Nothing; standard output and standard error are in the format inside.
    """
    if log_format == "text":
        yield
        return
    streams = _JsonLines(sys.stdout), _JsonLines(sys.stderr)
    with redirect_stdout(streams[0]), redirect_stderr(streams[1]):
        try:
            yield
        finally:
            for stream in streams:
                stream.end()
                stream.flush()


@contextmanager
def log_fields(**fields: object) -> Iterator[None]:
    """Add fields to each JSON line that is written inside.

    Args:
        **fields: Values by name of the field, such as `run_id`.

    Yields:
        Nothing.
    """
    before = dict(_fields)
    _fields.update(fields)
    try:
        yield
    finally:
        _fields.clear()
        _fields.update(before)


def as_text(log: str) -> str:
    r"""Return a job's log as text; it may be in either format.

    Args:
        log: The log; lines that are not JSON lines of a job stay as they are.

    Returns:
        The log with the message of each JSON line in the line's place.

    >>> as_text('{"time": "2026-01-01T00:00:00.000+00:00", "level": "info", "message": "3 series"}\\nplain\\n')
    '3 series\\nplain\\n'
    """
    if _MARK not in log:
        return log
    return "".join(_message(line) for line in log.splitlines(keepends=True))


def _message(line: str) -> str:
    if not line.startswith(_MARK) or not line.endswith("\n"):
        return line
    try:
        return str(json.loads(line)["message"]) + "\n"
    except (ValueError, KeyError):
        return line
