from datetime import datetime, timedelta

import polars as pl

from workers.jobs.features import write_features
from workers.jobs.predict import predict
from workers.jobs.score import score

FIRST = datetime(2024, 1, 1)


def scores_at(small, hours):
    """Return what a flow at this cutoff scores of the forecast of hour 11: points and completeness by series."""
    write_features(small.run("features", hours, cutoff="given"))
    score(small.run("score", hours))
    rows = small.store.scan("scores", "timestamp").filter(
        "is_champion",
        pl.col("run_cutoff") == FIRST + timedelta(hours=hours),
        pl.col("forecast_run_cutoff") == FIRST + timedelta(hours=11),
    )
    return {name: (points, done) for name, points, done in rows.select(
        "unique_id", "num_points", "is_complete"
    ).collect().iter_rows()}  # fmt: skip


def forecast_at_11(small, **num_points):
    small.write(**num_points)
    write_features(small.run("features", 11, cutoff="given"))
    predict(small.run("predict", 11))


def test_actuals_that_come_late_are_scored_when_they_come(small, serial):
    forecast_at_11(small, a=12, b=12)
    small.write(a=16, b=12)
    assert scores_at(small, 15) == {"a": (4, True), "b": (0, False)}
    small.write(a=18, b=16)
    assert scores_at(small, 17) == {"b": (4, True)}
    assert scores_at(small, 18) == {}


def test_series_that_has_ended_is_not_waited_for_for_ever(small, serial):
    forecast_at_11(small, a=12, b=12)
    small.write(a=21, b=14)
    assert scores_at(small, 18)["b"] == (2, False)
    assert scores_at(small, 19)["b"] == (2, True)
    assert scores_at(small, 20) == {}


def test_series_that_lags_by_more_than_its_horizon_is_waited_for(small, serial):
    forecast_at_11(small, a=12, b=6)
    small.write(a=14, b=8)
    assert scores_at(small, 13)["b"] == (0, False)
    small.write(a=18, b=14)
    assert scores_at(small, 17)["b"] == (2, False)
    small.write(a=19, b=16)
    assert scores_at(small, 18)["b"] == (4, True)


def test_score_reports_the_error_of_champions_beside_that_of_a_naive(small, serial):
    small.write(*(f"a,{FIRST + timedelta(hours=hour)},{hour * 7 % 5 + hour % 4}" for hour in range(16)))
    for hour in (11, 15):
        write_features(small.run("features", hour, cutoff="given"))
        predict(small.run("predict", hour))
    message = score(small.run("score", 15)).message
    rows = small.store.scan("scores", "timestamp").filter("is_champion").select("mase", "naive2_mase").collect()
    of_champions, of_naive = rows.mean().row(0)
    assert message.endswith(f"; mean MASE {of_champions:.3f} of champions, {of_naive:.3f} of Naive2")
