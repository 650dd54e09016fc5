"""The output formats of commands; a module without heavy imports, because every command needs it."""

from enum import StrEnum


class Format(StrEnum):
    """How a command prints rows."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
