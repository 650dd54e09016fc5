"""Forecasts are checked before they are published: the last good one stays in the place of one that fails."""

from contextlib import redirect_stdout
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import polars as pl
import pytest

from forecasting.errors import CheckFailed
from forecasting.sinks.publish import read_served
from forecasting.store.latest import latest_forecasts
from forecasting.store.query import query
from workers.jobs.features import write_features
from workers.jobs.predict import predict

FIRST = datetime(2024, 1, 1)
WHY = "held: check 'forecast_jump' fails: its forecast of 500 at 2024-01-01 21:00:00 was 2 in the last good one, "


def hour(number: int) -> datetime:
    return FIRST + timedelta(hours=number)


def require(small: Any, *checks: Any, **fields: Any) -> None:
    small.spec = type(small.spec).model_validate(small.spec.model_dump() | fields | {"checks": checks})


def write(small: Any, hours: int, *, wrong: bool = False) -> None:
    """Write waves of two series up to an hour; the last season of `a` may be wrong."""
    lines = [
        f"{name},{hour(number)},{500 if wrong and name == 'a' and number > hours - 4 else number % 4 + 1}"
        for name in ("a", "b")
        for number in range(hours + 1)
    ]
    small.source.write_text("\n".join(["unique_id,ds,y", *lines]) + "\n")


def forecast_at(small: Any, hours: int, **options: Any) -> str:
    write_features(small.run("features", hours, cutoff="given"))
    message: str = predict(small.run("predict", hours, **options)).message
    return message


def latest(small: Any, name: str) -> pl.DataFrame:
    rows = latest_forecasts(small.store, spec="small", series=name).filter(pl.col("ds") > hour(20))
    return rows.select("ds", "forecast", "cutoff", "model", "held", "reason")


@pytest.fixture
def held(begin: Any, serial: Any) -> Any:
    """A store whose second forecast of series `a` is held."""
    return begin(forecast_twice)


def forecast_twice(small: Any) -> None:
    require(small, {"kind": "forecast_jump", "max": 20}, {"kind": "range", "max": 900})
    write(small, 19)
    assert " checks: 1 pass; 0 held; " in forecast_at(small, 19)
    write(small, 20, wrong=True)
    with redirect_stdout(StringIO()) as printed:
        assert " checks: 0 pass · 1 fail (hold); 1 held; " in forecast_at(small, 20)
    assert "; their last good forecasts stay in place" in printed.getvalue()


def test_last_good_forecast_stays_in_place_with_a_mark_and_its_own_cutoff(held: Any) -> None:
    served = latest(held, "a")
    assert served["ds"].to_list() == [hour(21), hour(22), hour(23)]
    assert served["forecast"].to_list() == [2, 3, 4]
    assert served["cutoff"].to_list() == [hour(19)] * 3
    assert served["held"].str.starts_with(WHY).all()
    other = latest(held, "b")
    assert other["cutoff"].to_list() == [hour(20)] * 4
    assert other["held"].null_count() == 4


def test_held_forecast_is_stored_with_its_verdict_but_is_not_the_champions(held: Any) -> None:
    rows = held.store.scan("forecasts", "timestamp").filter(pl.col("run_cutoff") == hour(20)).collect()
    of_held = rows.filter(pl.col("held").is_not_null())
    assert set(of_held.select("unique_id", "forecast", "is_champion").rows()) == {("a", 500.0, False)}
    assert of_held["step"].to_list() == [1, 2, 3, 4]
    assert rows.filter("is_champion", unique_id="a").is_empty()
    verdicts = held.store.scan("checks", "timestamp").filter(pl.col("run_cutoff") == hour(20)).collect()
    found = verdicts.sort("job", "unique_id").select("job", "check_name", "unique_id", "verdict").rows()
    assert found == [
        ("features", "range", None, "pass"),
        ("predict", "forecast_jump", None, "fail"),
        ("predict", "forecast_jump", "a", "fail"),
    ]


def test_last_good_forecast_is_what_is_copied_to_other_places(held: Any) -> None:
    rows = read_served(held.store, "small", clock_table="forecasts")
    copied = rows.group_by("unique_id", "run_cutoff").agg(pl.col("forecast").is_not_null().sum()).sort("unique_id")
    assert copied.rows() == [("a", hour(19), 4), ("b", hour(20), 4)]


def test_forecast_that_is_held_for_longer_than_a_horizon_leaves_rows_that_say_why(held: Any) -> None:
    require(held, {"kind": "forecast_constant", "min": 9.0, "series": "a"})
    write(held, 24)
    forecast_at(held, 24)
    served = latest(held, "a").filter(pl.col("ds") > hour(24))
    assert served["cutoff"].to_list() == [hour(24)] * 4
    assert served["forecast"].null_count() == 4
    assert served["reason"].str.starts_with("held: check 'forecast_constant' fails: ").all()


def test_later_good_forecast_is_current_and_is_compared_with_the_last_good_one(held: Any) -> None:
    write(held, 21)
    message = forecast_at(held, 21)
    assert " checks: 1 pass; 0 held; " in message
    served = latest(held, "a").filter(pl.col("ds") > hour(21))
    assert served["cutoff"].to_list() == [hour(21)] * 4
    assert served["held"].null_count() == 4


def test_repeated_run_replaces_a_held_forecast(held: Any) -> None:
    write(held, 20)
    forecast_at(held, 20)
    served = latest(held, "a")
    assert (served["held"].null_count(), served["cutoff"].to_list()) == (4, [hour(20)] * 4)
    verdicts = held.store.scan("checks", "timestamp").filter(job="predict").sort("run_cutoff").collect()
    assert verdicts["verdict"].to_list() == ["pass", "pass"]


def test_run_of_some_series_holds_their_forecasts_and_keeps_the_verdicts_of_others(held: Any) -> None:
    write_features(held.run("features", 20, cutoff="given", series=("b",)))
    require(held, *held.spec.checks, {"kind": "forecast_range", "series": "a"})
    message = predict(held.run("predict", 20, series=("b",))).message
    assert " checks: 1 pass · 1 skipped; 0 held; " in message
    assert latest(held, "a")["held"].null_count() == 0
    verdicts = held.store.scan("checks", "timestamp").filter(pl.col("run_cutoff") == hour(20), job="predict").collect()
    assert sorted(verdicts["unique_id"].fill_null("")) == ["", "a"]


def test_first_forecast_that_fails_leaves_rows_that_say_why(small: Any, serial: Any) -> None:
    require(small, {"kind": "forecast_constant"})
    small.source.write_text(
        "unique_id,ds,y\n" + "\n".join(f"a,{hour(n)},{9 if n > 7 else n}" for n in range(13)) + "\n"
    )
    forecast_at(small, 12)
    served = latest_forecasts(small.store, spec="small", series="a")
    assert (served["forecast"].null_count(), served["model"].unique().to_list()) == (4, ["none"])
    assert served["reason"].str.starts_with("held: check 'forecast_constant' fails: its forecast varies by 0, ").all()
    assert served["reason"].str.ends_with("; there is no earlier forecast of these times").all()


def test_forecast_that_stops_the_run_publishes_verdicts_alone(small: Any, serial: Any) -> None:
    require(small, {"kind": "forecast_jump", "max": 20, "on_failure": "fail"})
    write(small, 19)
    forecast_at(small, 19)
    write(small, 20, wrong=True)
    write_features(small.run("features", 20, cutoff="given"))
    with pytest.raises(CheckFailed, match="check 'forecast_jump' fails: 1 of 2 series fail, such as 'a'") as failed:
        predict(small.run("predict", 20))
    assert failed.value.exit_code == 2
    assert small.store.scan("forecasts", "timestamp").collect()["run_cutoff"].unique().to_list() == [hour(19)]
    verdicts = small.store.scan("checks", "timestamp").filter(pl.col("run_cutoff") == hour(20)).collect()
    assert verdicts.sort("unique_id")["unique_id"].to_list() == [None, "a"]


def test_warning_publishes_the_forecast(small: Any, serial: Any, capsys: pytest.CaptureFixture[str]) -> None:
    require(small, {"kind": "forecast_jump", "max": 20, "on_failure": "warn"})
    write(small, 19)
    forecast_at(small, 19)
    write(small, 20, wrong=True)
    forecast_at(small, 20)
    assert "predict: check 'forecast_jump' fails: 1 of 2 series fail, such as 'a'" in capsys.readouterr().out
    assert latest(small, "a")["forecast"].to_list() == [500] * 4


def test_sample_paths_of_a_held_forecast_are_those_of_the_last_good_one(small: Any, serial: Any) -> None:
    require(small, {"kind": "forecast_jump", "max": 20}, paths=10)
    write(small, 19)
    forecast_at(small, 19)
    write(small, 20, wrong=True)
    forecast_at(small, 20)
    paths = query(small.store, "SELECT unique_id, run_cutoff FROM latest_sample_paths GROUP BY ALL ORDER BY ALL")
    assert paths.rows() == [("a", hour(19)), ("b", hour(20))]


def test_held_forecast_of_a_network_is_free_again_where_another_network_is_requested(held: Any) -> None:
    run = held.run("predict", 20)
    of_network = run.rows("forecasts").filter(pl.col("run_cutoff") == hour(20), pl.col("held").is_not_null())
    run.publish("forecasts", of_network.with_columns(model=pl.lit("gru")).collect())
    write(held, 20)
    write_features(held.run("features", 20, cutoff="given"))
    predict(held.run("predict", 20, models=("lstm",)))
    rows = held.store.scan("forecasts", "timestamp").filter(pl.col("run_cutoff") == hour(20)).collect()
    assert rows.filter(model="gru")["unique_id"].to_list() == ["a"] * 4
    assert rows["held"].null_count() == rows.height


def test_run_of_changed_series_alone_checks_these(small: Any, serial: Any) -> None:
    require(small, {"kind": "forecast_jump", "max": 20}, {"kind": "forecast_range", "series": "b", "max": 9.0})
    write(small, 19)
    forecast_at(small, 19)
    small.source.write_text(small.source.read_text() + f"a,{hour(20)},1\n")
    write_features(small.run("features", 20, cutoff="given"))
    message = predict(small.run("predict", 20, changed_only=True)).message
    assert " checks: 1 pass · 1 skipped; 0 held; " in message
    assert "1 of 2 series skipped" in message
    assert latest(small, "a").filter(pl.col("ds") > hour(20))["cutoff"].to_list() == [hour(20)] * 4
