"""Rows of `latest_forecasts`, as a store has them."""

from datetime import datetime, timedelta

import polars as pl
import pytest

from forecasting.schemas import table

CUTOFF = datetime(2024, 1, 31)


def make_rows(spec: str = "sales", *, num_series: int = 2, num_steps: int = 3, level: float = 1.0) -> pl.DataFrame:
    """Return forecasts of `num_series` series, the last of which has none but a reason."""
    schema = table("forecasts").schema("timestamp")
    rows = [
        {
            "spec": spec,
            "unique_id": f"s{number}",
            "ds": CUTOFF + timedelta(days=step),
            "run_cutoff": CUTOFF,
            "cutoff_date": CUTOFF.date(),
            "step": step,
            "model": "lstm",
            "is_champion": True,
            "forecast": None if number == num_series - 1 else level * (number + step),
            "reason": 'ended, it\'s "over"' if number == num_series - 1 else None,
        }
        for number in range(num_series)
        for step in range(1, num_steps + 1)
    ]
    known = [{name: value for name, value in row.items() if name in schema} for row in rows]
    frame = pl.DataFrame(known, schema=schema)
    return frame.with_columns(unseen=pl.Series([['shop=Łódź, "1"']] * frame.height, dtype=pl.List(pl.String)))


@pytest.fixture
def rows() -> pl.DataFrame:
    return make_rows()
