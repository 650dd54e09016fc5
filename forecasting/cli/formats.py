"""The forms in which commands print frames; light, because every command names it."""

from enum import StrEnum


class Format(StrEnum):
    TABLE = "table"
    CSV = "csv"
    JSON = "json"
