"""Fixtures: rows as a source has them, and their validation."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import settings

from forecasting.series.validate import validate

settings.register_profile("fleetcast", deadline=None, max_examples=60)
settings.load_profile("fleetcast")

MakeRows = Callable[[Sequence[tuple[Any, Any, Any]]], pl.LazyFrame]


@pytest.fixture
def no_object_store() -> dict[str, Any]:
    """Storage options of an object store that does not answer."""
    keys = dict.fromkeys(("aws_access_key_id", "aws_secret_access_key", "aws_region"), "x")
    return keys | {"endpoint_url": "http://127.0.0.1:9", "allow_http": "true", "max_retries": 0}


@pytest.fixture(scope="session")
def make_rows() -> MakeRows:
    """Rows in the columns of `scan_source`, from (unique_id, ds, y); dtypes are inferred, text stays text."""

    def make(triples: Sequence[tuple[Any, Any, Any]]) -> pl.LazyFrame:
        ids, times, values = zip(*triples, strict=True)
        return pl.LazyFrame(
            {
                "source_file": ["rows.parquet"] * len(ids),
                "source_row": range(1, len(ids) + 1),
                "unique_id": pl.Series(ids, dtype=pl.String),
                "ds": times,
                "y": values,
            }
        )

    return make


@pytest.fixture(scope="session")
def accept(make_rows: MakeRows) -> Callable[..., tuple[pl.DataFrame, pl.DataFrame]]:
    """Validate triples and return (accepted, rejects)."""

    def accept(
        triples: Sequence[tuple[Any, Any, Any]],
        *,
        freq: str | int,
        cutoff: datetime | int | None = None,
        now: datetime = datetime(9000, 1, 1),
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        validated = validate(make_rows(triples), freq=freq, cutoff=cutoff, now=now)
        accepted, rejects = pl.collect_all([validated.accepted, validated.rejects], engine="streaming")
        return accepted, rejects

    return accept
