"""The spec's `[[publish]]`: where its newest forecasts are copied to after each forecast."""

import re
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator, model_validator

from forecasting.spec.connection import ConnectionName, has_password

SinkKind = Literal["postgres", "parquet", "csv", "delta"]

_SCHEMES = ("postgresql", "postgres")
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,62}(\.[A-Za-z_][A-Za-z0-9_$]{0,62})?")


class Sink(BaseModel, frozen=True, extra="forbid"):
    """One place that the newest forecasts are copied to."""

    uri: str | None = Field(
        None,
        min_length=1,
        description="`postgresql://host/database`; or a path or `s3://` URI: a file that ends in `.parquet` or `.csv`,"
        " or the folder of a Delta table; without one, `connection` is that of a PostgreSQL database",
    )
    connection: ConnectionName | None = Field(
        None, description="name of the connection that has the address, the login and the password"
    )
    table: str | None = Field(
        None,
        description="table of a database, with its schema if it is not the first one of the search path; `forecasts`"
        " where not given",
    )

    @field_validator("uri")
    @classmethod
    def _has_no_secret(cls, uri: str | None) -> str | None:
        if uri is not None and has_password(uri):
            raise ValueError("must not have a password; publish.connection names a connection that has it")
        scheme = "" if uri is None else urlsplit(uri).scheme
        if len(scheme) > 1 and scheme not in (*_SCHEMES, "s3", "s3a", "file"):
            raise ValueError("must be a postgresql:// or s3:// URI, or a path")
        return uri

    @field_validator("table")
    @classmethod
    def _is_name(cls, table: str | None) -> str | None:
        if table is not None and not _TABLE.fullmatch(table):
            raise ValueError("must be a table, or a schema and a table: letters, digits and `_`, at most 63 of each")
        return table

    @model_validator(mode="after")
    def _is_one_place(self) -> Self:
        if self.uri is None and self.connection is None:
            raise ValueError("publish needs uri or connection, which say where forecasts are copied to")
        if self.table is not None and self.kind != "postgres":
            raise ValueError("publish.table is that of a database, but uri names files")
        return self

    @property
    def kind(self) -> SinkKind:
        """The kind of place."""
        if self.uri is None or urlsplit(self.uri).scheme in _SCHEMES:
            return "postgres"
        path = self.uri.lower()
        return "parquet" if path.endswith(".parquet") else "csv" if path.endswith(".csv") else "delta"

    def __str__(self) -> str:
        place = self.uri or f"connection '{self.connection}'"
        return f"{place}, table {self.table or 'forecasts'}" if self.kind == "postgres" else place
