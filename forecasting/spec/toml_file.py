"""Read a TOML file whose content nobody has checked: of any type, size and nesting, and never for long."""

import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from forecasting.errors import SpecError

MOST_BYTES = 256 * 1024
MOST_KEY_PARTS = 50
"""Parts of a dotted key; the time that Python takes for one grows with their square, minutes for a file of 100 KB."""

_PART = r"""(?>[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+"""
_LONG_KEY = re.compile(rf"(?<![\w-])(?>{_PART}\.[ \t]*+){{{MOST_KEY_PARTS}}}")


def read_toml(path: Path, *, subject: str) -> dict[str, Any]:
    """Read the fields of a TOML file.

    Args:
        path: The file.
        subject: What an error's message begins with, such as `spec sales.toml`.

    Returns:
        The fields.

    Raises:
        SpecError: The file is not a regular file of at most `MOST_BYTES`, cannot be read, or is not TOML.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for its writer
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, a socket or a device"
            raise SpecError(subject, [f"is {kind}, but must be a file"])
        if status.st_size > MOST_BYTES:
            raise SpecError(subject, [f"has {status.st_size:,} bytes, but must have at most {MOST_BYTES:,}"])
        text = path.read_bytes().decode("utf-8-sig")  # editors of Windows begin a file with a byte order mark
        if _LONG_KEY.search(text):
            raise SpecError(subject, [f"has a key of more than {MOST_KEY_PARTS} parts, but must not"])
        fields = tomllib.loads(text)
        places = [place for place, value in _texts(fields) if "\0" in value]
    except OSError as error:
        raise SpecError(subject, [f"cannot be read: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(subject, [f"is not TOML: {error}"]) from error
    except RecursionError:
        raise SpecError(subject, ["is nested too deeply"]) from None
    except ValueError as error:  # of Python's conversion of digits
        raise SpecError(subject, ["has a number of more digits than Python reads"]) from error
    if places:  # databases do not store them, such as that of Airflow
        raise SpecError(subject, [f"{place}: must not have the character U+0000" for place in places])
    return fields


def _texts(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield all texts with the names of their fields, names of fields among them."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield place or "the file", name
            yield from _texts(each, f"{place}.{name}".lstrip("."))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _texts(each, f"{place}.{number}")
