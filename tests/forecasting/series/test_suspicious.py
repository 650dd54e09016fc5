"""All warnings about measurements that seem to be mistakes."""

from datetime import datetime, timedelta

import polars as pl

from forecasting.series.suspicious import Suspicions
from forecasting.spec.spec import make_spec

USUAL = [10.0 + number * number % 13 for number in range(60)]


def notes_of(**series: list[float]) -> list[str]:
    rows = [
        (name, datetime(2024, 1, 1) + timedelta(days=day), y) for name, ys in series.items() for day, y in enumerate(ys)
    ]
    observations = pl.DataFrame(rows, schema=["unique_id", "ds", "y"], orient="row")
    fields = {"name": "x", "freq": "1d", "season_lengths": [7], "horizon": 1, "source": {"uri": "x.parquet"}}
    spec = make_spec(fields | {"upper_bound": 50}, subject="x")
    suspicions = Suspicions()
    for block in observations.partition_by("unique_id") or [observations]:
        suspicions.add(block)
    return list(suspicions.describe(observations.lazy(), observations.lazy(), spec))


def test_each_kind_of_mistake_has_a_sentence() -> None:
    notes = notes_of(huge=[*USUAL, 1e9], coded=[*USUAL, 999.0, 999.0], stuck=[*USUAL, *[9.5] * 12])
    kinds = ["a million times", "stand for a missing", "repeat their newest value", "lie above upper_bound"]
    assert [kind in note for kind, note in zip(kinds, notes, strict=True)] == [True] * 4
    assert "all 2 series are 0" in notes_of(a=[*USUAL, *[0.0] * 3], b=[*USUAL, *[0.0] * 3])[0]


def test_usual_measurements_have_none() -> None:
    assert notes_of(a=USUAL, b=USUAL[:40]) == []
