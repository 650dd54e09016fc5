"""Fingerprints of observations."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from forecasting.series import blocks
from forecasting.series.fingerprint import Fingerprint, fingerprint, fingerprint_of_source
from forecasting.series.ingest import ingest
from forecasting.series.read import scan_frame
from forecasting.spec.spec import make_spec

BEGIN = datetime(2024, 1, 1)
DAYS = [BEGIN + timedelta(days=day) for day in range(30)]
ROWS = pl.DataFrame({"unique_id": [name for name in "abcd" for _ in DAYS], "ds": DAYS * 4, "y": range(120)})


def test_a_fingerprint_is_of_rows_and_not_of_their_order() -> None:
    shifted = ROWS.with_columns(y=ROWS["y"].shift(1))
    assert fingerprint(ROWS.lazy()) == fingerprint(ROWS.reverse().lazy())
    assert fingerprint(ROWS.lazy()) != fingerprint(shifted.lazy())
    parts = [fingerprint(part.lazy()) for part in ROWS.partition_by("unique_id")]
    assert sum(parts, start=Fingerprint()) == fingerprint(ROWS.lazy())


@pytest.mark.parametrize("source", [{}, {"duplicates": "last"}, {"aggregate": "sum"}, {"missing_rows": "zero"}])
@pytest.mark.parametrize("most_rows", [40, 1000])
def test_the_fingerprint_of_a_source_is_that_of_its_observations(
    monkeypatch: pytest.MonkeyPatch, source: dict[str, Any], most_rows: int
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ROWS", most_rows)
    odd = [("b", DAYS[3], 7.0), ("b", DAYS[4], float("nan")), ("c", BEGIN - timedelta(days=9), float("inf"))]
    frame = pl.concat([ROWS.with_columns(pl.col("y").cast(pl.Float64)), pl.DataFrame(odd, ROWS.columns, orient="row")])
    frame = frame.filter(pl.struct("unique_id", "ds") != {"unique_id": "b", "ds": DAYS[4]}) if source else frame
    fields: dict[str, Any] = {"name": "x", "freq": "1d", "season_lengths": [7], "horizon": 2}
    spec = make_spec({**fields, "source": {"uri": "memory", "allow_rejects": 1, **source}}, subject="x")
    rows = scan_frame(frame.sort("unique_id", "ds", maintain_order=True), spec.source, spec.clock)
    cutoff = DAYS[20]
    observed = ingest(spec, rows=rows, cutoff=cutoff).observed.drop("categories")
    assert 80 < (kept := fingerprint(observed)).num_rows < 86
    assert fingerprint_of_source(rows, spec, cutoff=cutoff, as_of=None) == kept
