"""Closed days in scheduled runs: no forecast falls on a holiday, and forecasts after one are scored."""

from datetime import datetime, timedelta
from typing import Any

from forecasting.spec.spec import make_spec
from forecasting.store.latest import latest_forecasts
from workers.jobs.features import write_features
from workers.jobs.predict import predict
from workers.jobs.score import score

FIRST = datetime(2024, 1, 1)
HOLIDAYS = [datetime(2024, 1, 1), datetime(2024, 3, 29), datetime(2024, 4, 1)]  # Good Friday and Easter Monday


def write(small: Any, last: datetime) -> int:
    """Write the business days up to one, and return its hours after the first."""
    hours = (last - FIRST) // timedelta(hours=1)
    days = [FIRST + timedelta(days=number) for number in range(hours // 24 + 1)]
    is_open = [day.weekday() < 5 and day not in HOLIDAYS for day in days]
    rows = [f"a,{day},{10 + day.weekday()}" for day, is_one in zip(days, is_open, strict=True) if is_one]
    small.source.write_text("\n".join(["unique_id,ds,y", *rows]) + "\n")
    return hours


def test_days_after_holidays_are_forecast_and_scored(small: Any, serial: Any) -> None:
    source = {"uri": str(small.source), "closed_holidays": "DE"}
    fields = {"name": "small", "source": source, "freq": "1b", "season_lengths": [5], "horizon": 4}
    small.spec = make_spec(fields, subject="small")
    thursday = write(small, datetime(2024, 3, 28))
    write_features(small.run("features", thursday, cutoff="given"))
    predict(small.run("predict", thursday))
    served = latest_forecasts(small.store, spec="small", series="a")
    assert served["ds"].to_list() == [datetime(2024, 4, day) for day in (2, 3, 4, 5)]
    assert served["forecast"].to_list() == [11, 12, 13, 14]
    friday = write(small, datetime(2024, 4, 5))
    write_features(small.run("features", friday, cutoff="given"))
    score(small.run("score", friday))
    scores = small.store.scan("scores", "timestamp").collect()
    assert scores.filter("is_champion").select("num_points", "mae", "is_complete").rows() == [(4, 0.0, True)]
