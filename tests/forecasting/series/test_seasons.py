"""Seasons by autocorrelation: those of known waves are found, and nothing is found where there are none."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from forecasting.series.seasons import find_seasons

Values = npt.NDArray[np.float64]


def frame(series: Sequence[Values]) -> pl.DataFrame:
    parts = [
        pl.DataFrame({"unique_id": f"s{number:03d}", "ds": np.arange(len(y)), "y": y}).with_columns(
            pl.col("y").fill_nan(None)
        )
        for number, y in enumerate(series)
    ]
    return pl.concat(parts)


def waves(num: int, *lengths: int, noise: float = 0.3, count: int = 4) -> list[Values]:
    random, time = np.random.default_rng(0), np.arange(num)
    return [
        sum(np.sin(2 * np.pi * time / length + 6 * random.random()) for length in lengths)
        + random.normal(0, noise, num)
        for _ in range(count)
    ]


def lengths_found(series: Sequence[Values]) -> list[int]:
    return [season.length for season in find_seasons(frame(series), [1])[1]]


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (waves(120, 7), [7]),
        (waves(40, 12, count=30), [12]),
        (waves(40, 4, count=30), [4]),
        ([y + 0.1 * np.arange(120) for y in waves(120, 7)], [7]),
        ([np.tile([1.0, 1, 1, 1, 1, 2, 3], 60)], [7]),
        ([np.tile(np.r_[np.tile(day := np.sin(np.arange(24) / 4), 5), 0.2 * day, 0.2 * day], 8)], [168, 24]),
    ],
    ids=["week", "few years of months", "quarters", "week on a trend", "one sharp week", "weekdays of hours"],
)
def test_seasons_of_waves_are_found(series: list[Values], expected: list[int]) -> None:
    assert lengths_found(series) == expected


@pytest.mark.parametrize("seed", range(5))
def test_random_walks_and_noise_have_no_season(seed: int) -> None:
    random = np.random.default_rng(seed)
    assert lengths_found([random.normal(size=300)]) == []
    assert lengths_found([np.cumsum(random.normal(size=300)) for _ in range(5)]) == []


def test_gaps_do_not_hide_a_season() -> None:
    random = np.random.default_rng(1)
    series = waves(200, 7)
    for y in series:
        y[random.random(200) < 0.3] = np.nan
    assert lengths_found(series) == [7]


def test_asked_seasons_are_measured() -> None:
    (week, other, year), _ = find_seasons(frame(waves(120, 7)), [7, 10, 365])
    assert week.correlation is not None
    assert other.correlation is not None
    assert week.correlation > 0.7
    assert other.correlation < 0
    assert year.correlation is None


def test_short_and_constant_series_and_those_without_points_say_nothing() -> None:
    series = [np.ones(100), np.arange(5.0), np.full(50, np.nan), np.r_[1e300, np.ones(60)]]
    (asked,), found = find_seasons(frame(series), [7])
    assert (found, asked.share) == ([], 0.0)
    assert find_seasons(frame(series).clear(), [7])[1] == []


def test_noise_that_echoes_two_steps_later_is_no_season_of_two() -> None:
    random, time = np.random.default_rng(0), np.arange(1000)
    noise = [random.normal(size=1002) for _ in range(3)]
    echoes = [3 * np.sin(2 * np.pi * time / 24) + each[2:] + 0.7 * each[:-2] for each in noise]
    assert lengths_found(echoes) == [24]
