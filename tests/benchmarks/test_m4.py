"""M4 Hourly for benchmarks: forecasts have the organisers' scores, and incomplete ones are refused."""

import os
from pathlib import Path

import polars as pl
import pytest

from tests.benchmarks.m4 import DATA_VARIABLE, HORIZON, SEASON_LENGTHS, DataMissing, M4Hourly


@pytest.fixture(scope="module")
def m4() -> M4Hourly:
    if not os.environ.get(DATA_VARIABLE):
        pytest.skip(f"{DATA_VARIABLE} does not name a folder with benchmark data")
    return M4Hourly()


@pytest.fixture(scope="module")
def last_day_again(m4: M4Hourly) -> pl.DataFrame:
    season = SEASON_LENGTHS[0]
    known = pl.read_parquet(m4.path).sort("unique_id", "ds")
    day = known.group_by("unique_id", maintain_order=True).tail(season).rename({"y": "forecast"})
    return pl.concat(day.with_columns(pl.col("ds") + after) for after in range(season, HORIZON + 1, season))


def test_published_accuracy_of_the_seasonal_naive_is_reproduced(m4: M4Hourly, last_day_again: pl.DataFrame) -> None:
    assert str(m4.judge(last_day_again)) == "OWA 0.628, MASE 1.193, sMAPE 13.91"


def test_forecasts_that_lack_a_point_are_refused(m4: M4Hourly, last_day_again: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="19871 forecasts for 19872 points, 1 without any"):
        m4.judge(last_day_again[:-1])


def test_forecasts_of_some_series_are_scored_by_themselves(m4: M4Hourly, last_day_again: pl.DataFrame) -> None:
    some = last_day_again.filter(pl.col("unique_id").is_in(m4.unique_ids[:2]))
    assert m4.judge(some) != m4.judge(last_day_again)


def test_missing_data_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    with pytest.raises(DataMissing, match=r"holds no m4_hourly/m4_hourly\.parquet"):
        M4Hourly()
    monkeypatch.delenv(DATA_VARIABLE)
    with pytest.raises(DataMissing, match="does not name a folder"):
        M4Hourly()
