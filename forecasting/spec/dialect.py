"""The spec's `[source.csv]`: how CSV files write fields, numbers and text."""

import codecs
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

_NAMES = {"tab": "\t", "\\t": "\t", "space": " ", "none": ""}
"""Names of characters that are hard to type or to see, on a command line above all."""
_UTF_8 = ("utf-8", "utf-8-sig", "ascii")
_REFUSED = frozenset("\r\n\0")


def _by_name(value: Any) -> Any:
    return _NAMES.get(value.lower(), value) if isinstance(value, str) else value


def _check_character(value: str) -> str:
    if len(value) != 1 or not value.isascii() or value in _REFUSED:
        raise ValueError("must be one ASCII character, 'tab' or 'space'")
    return value


def _check_quote(value: str) -> str:
    if value and (len(value) != 1 or not value.isascii() or value in _REFUSED):
        raise ValueError("must be one ASCII character, or 'none'")
    return value


def _check_encoding(value: str) -> str:
    try:
        b"text".decode(value)
    except UnicodeError:
        return value  # an encoding of text, though not of this one
    except (LookupError, ValueError) as error:
        raise ValueError("must be an encoding of text such as utf-8, latin-1, cp1252 or utf-16") from error
    return value


class CsvDialect(BaseModel, frozen=True, extra="forbid"):
    """How CSV files write fields, numbers and text; other files do not use it."""

    separator: Annotated[str, BeforeValidator(_by_name), AfterValidator(_check_character)] = Field(
        ",", description="character between fields: one ASCII character, `tab` or `space`"
    )
    decimal: Literal[".", ","] = Field(".", description="decimal sign of measurements")
    thousands: Annotated[Literal["", ".", ",", " ", "'", "_"], BeforeValidator(_by_name)] = Field(
        "", description="sign between groups of three digits of measurements: `.`, `,`, `'`, `_` or `space`"
    )
    encoding: Annotated[str, AfterValidator(_check_encoding)] = Field(
        "utf-8", description="encoding of the text, such as `latin-1`, `cp1252` or `utf-16`"
    )
    quote: Annotated[str, BeforeValidator(_by_name), AfterValidator(_check_quote)] = Field(
        '"', description="character around fields that contain the separator; `none` if quotes are text"
    )
    null: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = Field(
        (), description="words in the place of a measurement that is unknown, such as `NA`; they are gaps"
    )

    @field_validator("null", mode="before")
    @classmethod
    def _is_list(cls, words: Any) -> Any:
        return [words] if isinstance(words, str) else words

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.thousands == self.decimal:
            raise ValueError(f"decimal and thousands must be two signs, not both {self.decimal!r}")
        if self.separator == self.quote:
            raise ValueError(f"separator and quote must be two characters, not both {self.quote!r}")
        return self

    @property
    def is_utf_8(self) -> bool:
        """Whether files are UTF-8, which Polars reads."""
        return codecs.lookup(self.encoding).name in _UTF_8

    @property
    def has_plain_numbers(self) -> bool:
        """Whether measurements have a decimal point and no thousands sign."""
        return self.decimal == "." and not self.thousands
