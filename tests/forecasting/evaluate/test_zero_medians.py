"""Forecasts that are zero although demand is expected are named; dead and sold series are not."""

import polars as pl
import pytest

from forecasting.evaluate.zero_medians import describe_zero_medians

QUANTILES = ("q10", "q50", "q90")


def forecasts(**steps: list[tuple[float | None, float]]) -> pl.LazyFrame:
    """Return rows of `forecasts`: the median and the upper quantile of each step of each series."""
    rows = [
        {"unique_id": name, "model": "gru", "is_champion": True, "forecast": y, "q10": 0.0, "q50": y, "q90": high}
        for name, parts in steps.items()
        for y, high in parts
    ]
    others = [row | {"model": "naive", "is_champion": False, "forecast": 0.0, "q90": 9.0} for row in rows]
    return pl.LazyFrame([*rows, *others])


def test_series_of_zeros_with_demand_are_named() -> None:
    rows = forecasts(sold=[(0.0, 3.0), (2.0, 4.0)], slow=[(0.0, 0.0), (0.0, 5.0)], dead=[(0.0, 0.0)], ended=[(None, 1)])
    note = describe_zero_medians(rows, QUANTILES, has_paths=False)
    assert note is not None
    assert note.startswith("1 of 3 series, such as 'slow', are forecast 0 at every step")
    assert note.endswith("paths = 200 (--paths 200) draws some")
    assert "--paths" not in str(describe_zero_medians(rows, QUANTILES, has_paths=True))


@pytest.mark.parametrize("steps", [[(0.0, 0.0)], [(1.0, 2.0), (0.0, 2.0)], [(None, 2.0)]])
def test_nothing_is_said_of_other_series(steps: list[tuple[float | None, float]]) -> None:
    assert describe_zero_medians(forecasts(a=steps), QUANTILES, has_paths=False) is None
