"""The spec's `[[publish]]`: where its newest forecasts are copied to after each forecast."""

import re
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator, model_validator

from forecasting.spec.connection import ConnectionName, has_password
from forecasting.spec.place import STORES

SinkKind = Literal["postgres", "parquet", "csv", "delta"]

_SCHEMES = ("postgresql", "postgres")
_FILE = "file://"
_TABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_$]{0,62}\.)?[A-Za-z_][A-Za-z0-9_$]{0,55}")
"""A table, whose view `latest_<table>` must also have at most 63 characters, to which PostgreSQL cuts names."""


class Sink(BaseModel, frozen=True, extra="forbid", hide_input_in_errors=True):
    """One place that the newest forecasts are copied to."""

    uri: str | None = Field(
        None,
        min_length=1,
        description="`postgresql://host/database`; or a path or `s3://` URI: a file that ends in `.parquet` or `.csv`,"
        " or the folder of a Delta table; without one, `connection` is that of a PostgreSQL database",
    )
    connection: ConnectionName | None = Field(
        None,
        description="name of the connection that has the address, the login and the password of a database, or the keys"
        " of an object store",
    )
    table: str | None = Field(
        None,
        description="table of a database, with its schema if it is not the first one of the search path; `forecasts`"
        " where not given",
    )

    @field_validator("uri")
    @classmethod
    def _is_place(cls, uri: str | None) -> str | None:
        if uri is None:
            return None
        if has_password(uri):
            raise ValueError("must not have a password; publish.connection names a connection that has it")
        try:
            scheme, bucket, path, *_ = urlsplit(uri)
        except ValueError:
            raise ValueError("must be a postgresql:// or s3:// URI, or a path") from None
        if scheme in _SCHEMES:
            return uri
        if uri.startswith(STORES):
            if not bucket or (_kind_of(uri) != "delta" and not path.strip("/")):
                raise ValueError("must have a bucket and a path, such as s3://bucket/folder/forecasts.parquet")
        elif not uri.removeprefix(_FILE).startswith("/"):  # a job has a working directory that nobody chose
            if len(scheme) > 1:
                raise ValueError("must be a postgresql:// or s3:// URI, or a path")
            raise ValueError("must be an absolute path; in a spec file it may be relative to the file, with / in it")
        return uri

    @field_validator("table")
    @classmethod
    def _is_name(cls, table: str | None) -> str | None:
        if table is not None and not _TABLE.fullmatch(table):
            raise ValueError(
                "must be a table, or a schema and a table: letters, digits and `_`, at most 56 of a table and 63 of a"
                " schema"
            )
        return table

    @model_validator(mode="after")
    def _is_one_place(self) -> Self:
        if self.uri is None and self.connection is None:
            raise ValueError("publish needs uri or connection, which say where forecasts are copied to")
        if self.table is not None and self.kind != "postgres":
            raise ValueError("publish.table is that of a database, but uri names files")
        if self.uri is not None and self.connection is not None and not self.uri.startswith(STORES):
            if self.kind == "postgres":
                raise ValueError("publish.connection has an address of its own; leave it out, or publish.uri")
            raise ValueError("publish.connection opens s3:// URIs, but uri is a path; leave it out")
        return self

    @property
    def kind(self) -> SinkKind:
        """The kind of place."""
        if self.uri is None or urlsplit(self.uri).scheme in _SCHEMES:
            return "postgres"
        return _kind_of(self.uri)

    def __str__(self) -> str:
        place = self.uri or f"connection '{self.connection}'"
        return f"{place}, table {self.table or 'forecasts'}" if self.kind == "postgres" else place


def _kind_of(uri: str) -> SinkKind:
    """Return the kind of a place that is not a database."""
    path = uri.lower()
    return "parquet" if path.endswith(".parquet") else "csv" if path.endswith(".csv") else "delta"
