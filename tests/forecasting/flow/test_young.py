"""Series that are younger than their season stay at their level, alone and beside long ones."""

import math
import random
from collections.abc import Iterator
from datetime import date, timedelta

import polars as pl
import pytest

import forecasting as fc

END, HORIZON, SEASON = date(2025, 12, 29), 26, 52
LENGTHS = (20, 39, 60)
Rows = Iterator[tuple[str, date, float]]


def series(name: str, values: list[float]) -> Rows:
    return ((name, END - timedelta(weeks=len(values) - 1 - week), value) for week, value in enumerate(values))


def young_values(kind: str, num_weeks: int, rng: random.Random) -> list[float]:
    level_at = {
        "flat": lambda week: 50.0,
        "rising": lambda week: 14 + 38 * week / (num_weeks - 1),
        "launched": lambda week: 60 * (1 - math.exp(-(week + 0.3) / 3)),
    }[kind]
    return [level_at(week) * rng.gauss(1, 0.01) for week in range(num_weeks)]


def long_series(number: int, rng: random.Random) -> Rows:
    level, phase = rng.uniform(50, 200), rng.uniform(0, 6)
    wave = (1 + 0.4 * math.sin(week / SEASON * math.tau + phase) for week in range(156))
    return series(f"long {number}", [level * each + rng.gauss(0, level / 30) for each in wave])


def worst_errors(young: dict[str, list[float]], *, num_long: int, rng: random.Random) -> dict[str, float]:
    """Return the largest relative distance of each young series' forecast from its last value."""
    rows = [row for name, values in young.items() for row in series(name, values)]
    rows += [row for number in range(num_long) for row in long_series(number, rng)]
    frame = pl.DataFrame(rows, schema=["unique_id", "ds", "y"], orient="row")
    result = fc.forecast(frame, freq="1w", season_lengths=[SEASON], horizon=HORIZON, processes=1, progress=False)
    errors = {}
    for name, values in young.items():
        forecast = result.forecasts.filter(unique_id=name)["forecast"]
        assert len(forecast) == HORIZON
        errors[name] = float((forecast / values[-1] - 1).abs().max())  # type: ignore[arg-type]
    return errors


@pytest.mark.parametrize("num_long", [0, 3, 6])
def test_young_series_stay_within_a_tenth_of_their_level_beside_long_ones(num_long: int) -> None:
    rng = random.Random(num_long)
    kinds = ("flat", "rising", "launched")
    young = {f"{kind} {weeks}": young_values(kind, weeks, rng) for kind in kinds for weeks in LENGTHS}
    errors = worst_errors(young, num_long=num_long, rng=rng)
    assert max(errors.values()) < 0.1, errors


@pytest.mark.parametrize(("kind", "num_weeks"), [("rising", 20), ("launched", 60)])
def test_a_young_series_alone_stays_within_a_tenth_of_its_level(kind: str, num_weeks: int) -> None:
    rng = random.Random(num_weeks)
    errors = worst_errors({kind: young_values(kind, num_weeks, rng)}, num_long=0, rng=rng)
    assert errors[kind] < 0.1
