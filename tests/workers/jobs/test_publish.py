"""The publish job: the newest forecast of each series reaches every place, and a repeated run replaces it."""

from typing import Any

import polars as pl
import pytest

from forecasting.errors import SinkError
from forecasting.spec.publish import Sink
from workers.jobs.predict import predict
from workers.jobs.publish import publish


def publishing(small: Any, *sinks: dict[str, Any]) -> None:
    small.spec = small.spec.model_copy(update={"publish": tuple(Sink(**sink) for sink in sinks)})


def forecast(small: Any, hours: int, **num_points: int) -> None:
    small.write(**num_points)
    small.read(hours)
    predict(small.run("predict", hours))


def test_newest_forecast_of_each_series_is_copied(small: Any, serial: Any, tmp_path: Any) -> None:
    publishing(small, {"uri": str(tmp_path / "out.csv")}, {"uri": str(tmp_path / "table")})
    for hours in (11, 15):
        forecast(small, hours, a=hours + 1, b=hours + 1)
        outcome = publish(small.run("publish", hours))
        assert outcome.message == "8 forecasts of 2 series copied to 2 places"
    stored = pl.read_csv(tmp_path / "out.csv")
    assert stored["run_cutoff"].unique().to_list() == ["2024-01-01T15:00:00.000000"]
    assert stored["forecast"].to_list() == [1, 2, 3, 4] * 2
    assert pl.read_delta(str(tmp_path / "table")).height == 8


def test_failed_place_fails_the_job_and_keeps_its_rows(small: Any, serial: Any, tmp_path: Any) -> None:
    (tmp_path / "file").write_text("")
    publishing(small, {"uri": str(tmp_path / "out.csv")}, {"uri": str(tmp_path / "file" / "table")})
    forecast(small, 11, a=12)
    with pytest.raises(SinkError, match="cannot be written"):
        publish(small.run("publish", 11))
    publishing(small, {"uri": str(tmp_path / "table")})
    assert publish(small.run("publish", 11)).num_rows == 4
