"""Checks in Python and in the command: warnings, series that are set aside, runs that stop, and the verdicts."""

import pickle
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import forecasting as fc
from forecasting.cli import main

START = datetime(2024, 1, 1)
QUICK: dict[str, Any] = {
    "max_steps": 2,
    "evaluate_every": 2,
    "hidden_size": 4,
    "batch_windows": 4,
    "validation_windows": 4,
    "prior_steps": 2,
    "prior_hidden_size": 4,
    "tuning_steps": 2,
}
OPTIONS: dict[str, Any] = {
    "freq": "1h",
    "season_lengths": [6],
    "horizon": 4,
    "models": ["gru"],
    "statistics": [],
    "recipe": "fast",
    "overrides": QUICK,
    "progress": False,
    "processes": 1,
}


def frame_of(*names: str, num_points: int = 60) -> pl.DataFrame:
    hours = np.arange(num_points)
    times = [START + timedelta(hours=int(hour)) for hour in hours]
    waves = {name: 20 + place * 10 + 5 * np.sin(hours) for place, name in enumerate(names)}
    return pl.concat(pl.DataFrame({"unique_id": name, "ds": times, "y": y}) for name, y in waves.items())


def test_series_that_fails_is_set_aside_with_a_warning_a_reason_and_a_verdict() -> None:
    checks = [
        {"kind": "range", "max": 28, "series": "b*", "on_failure": "set_aside"},
        {"kind": "num_series", "min": 5, "on_failure": "warn"},
    ]
    with pytest.warns(fc.DataWarning) as warned:
        result = fc.forecast(frame_of("a", "b"), checks=checks, **OPTIONS)
    messages = [str(warning.message) for warning in warned]
    assert any(
        message.startswith("check 'range' fails: 1 of 1 series fail, such as 'b': y is ") for message in messages
    )
    assert any(message.startswith("check 'num_series' fails: the source has 2 series") for message in messages)
    (reason,) = result.reasons.filter(unique_id="b")["reason"]
    assert reason.startswith("set aside: check 'range' fails: y is 3")
    assert result.forecasts.filter(unique_id="b")["forecast"].null_count() == 4
    assert result.checks.select("check_name", "unique_id", "verdict").rows() == [
        ("range", None, "fail"),
        ("range", "b", "fail"),
        ("num_series", None, "fail"),
    ]
    assert "checks: 0 pass · 1 fail (set_aside) · 1 fail (warn)" in repr(result)


def test_failure_stops_python_before_it_trains_and_the_error_has_the_verdicts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("forecasting.flow.one_shot.suitable_size", lambda *_, **__: pytest.fail("it has gone on"))
    with pytest.raises(fc.CheckFailed, match="check 'level' fails: 1 of 2 series fail, such as 'b': y is") as failed:
        fc.forecast(frame_of("a", "b"), checks=[{"kind": "range", "max": 28, "name": "level"}], **OPTIONS)
    again = pickle.loads(pickle.dumps(failed.value))
    assert str(again) == str(failed.value)
    assert again.verdicts["unique_id"].to_list() == [None, "b"]


def test_freshness_is_of_the_current_time_unless_a_cutoff_is_requested() -> None:
    checks = [{"kind": "freshness", "max": 100}]
    with pytest.raises(
        fc.CheckFailed, match="check 'freshness' fails: the newest measurement, 2024-01-03 11:00:00, is"
    ):
        fc.forecast(frame_of("a"), checks=checks, **OPTIONS)
    with pytest.warns(fc.DataWarning, match="check 'freshness' is not checked: the cutoff was requested"):
        result = fc.forecast(frame_of("a"), checks=checks, cutoff="2024-01-03", **OPTIONS)
    assert result.checks["verdict"].to_list() == ["skipped"]


@pytest.mark.parametrize(("timezone", "is_stale"), [("Asia/Tokyo", True), ("America/New_York", False)])
def test_periods_are_over_on_the_clock_of_the_data(
    timezone: str, is_stale: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 16:00 UTC a further day is over in Tokyo, but not in New York."""
    monkeypatch.setattr("forecasting.series.freshness.wall_clock", lambda: datetime(2024, 3, 1, 16))
    monkeypatch.setattr("forecasting.flow.one_shot.suitable_size", lambda *_, **__: 1 / 0)
    days = pl.datetime_range(datetime(2024, 1, 1), datetime(2024, 2, 29), "1d", eager=True, time_zone=timezone)
    frame = pl.DataFrame({"ds": days, "y": [float(day % 7) for day in range(len(days))]})
    options = OPTIONS | {"freq": "1d", "season_lengths": [7], "checks": [{"kind": "freshness", "max": 0}]}
    with pytest.raises(fc.CheckFailed if is_stale else ZeroDivisionError):
        fc.forecast(frame, **options)


def test_fleet_checks_the_rows_that_it_predicts_from(tmp_path: Path) -> None:
    checks = [{"kind": "range", "max": 40}, {"kind": "ids", "expected": ["a"], "on_failure": "warn"}]
    fleet = fc.fit(frame_of("a", "b"), checks=checks, **OPTIONS)
    fleet.save(tmp_path / "fleet")
    fleet = fc.load(tmp_path / "fleet")
    assert fleet.predict().checks["verdict"].to_list() == ["pass", "pass"]
    newer = pl.DataFrame({"unique_id": ["a", "b"], "ds": [START + timedelta(hours=60)] * 2, "y": [99.0, 30.0]})
    with pytest.raises(fc.CheckFailed, match="such as 'a': y is 99 at 2024-01-03 12:00:00, above max = 40"):
        fleet.predict(newer)


def test_series_that_a_check_sets_aside_at_the_fit_is_forecast_when_it_was_corrected(tmp_path: Path) -> None:
    frame = frame_of("a", "b")
    wrong = pl.when(pl.col("unique_id") == "b", pl.col("ds") == START + timedelta(hours=50)).then(99.0)
    checks = [{"kind": "range", "max": 50, "on_failure": "set_aside"}]
    with pytest.warns(fc.DataWarning) as warned:
        fleet = fc.fit(frame.with_columns(y=wrong.otherwise("y")), checks=checks, **OPTIONS)
    assert [str(warning.message) for warning in warned if "'b'" in str(warning.message)] == [
        "check 'range' fails: 1 of 2 series fail, such as 'b': y is 99 at 2024-01-03 02:00:00, above max = 50;"
        " these series get no forecast"
    ]
    fleet.save(tmp_path / "fleet")
    fleet = fc.load(tmp_path / "fleet")
    result = fleet.predict(frame.filter(pl.col("unique_id") == "b", pl.col("ds") == START + timedelta(hours=50)))
    assert result.forecasts.filter(unique_id="b")["forecast"].null_count() == 0
    assert result.outcome.features.filter(unique_id="b").height == 60


def test_refused_check_is_named_as_an_argument() -> None:
    with pytest.raises(fc.SpecError, match=r"^forecast: checks\.0: 'kind' must be 'range'"):
        fc.forecast(frame_of("a"), checks=[{"kind": "rnage"}], **OPTIONS)
    with pytest.raises(fc.SpecError, match="checks = 'range': must be a list"):
        fc.forecast(frame_of("a"), checks="range", **OPTIONS)


def test_names_of_verdicts_come_back_in_the_columns_of_the_input() -> None:
    frame = frame_of("1", "2").with_columns(store=pl.col("unique_id").cast(pl.Int64)).drop("unique_id")
    checks = [{"kind": "range", "max": 28, "on_failure": "warn"}]
    with pytest.warns(fc.DataWarning, match="check 'range' fails"):
        result = fc.forecast(frame.to_pandas(), id="store", checks=checks, **OPTIONS)
    assert result.checks["store"].dropna().tolist() == ["2"]  # expected names may be other than those of the input


def test_forecast_that_fails_is_warned_of_and_has_that_reason() -> None:
    checks = [{"kind": "forecast_constant", "min": 9.0, "series": "a"}, {"kind": "forecast_jump"}]
    with pytest.warns(fc.DataWarning) as warned:
        result = fc.forecast(frame_of("a", "b"), checks=checks, **OPTIONS)
    messages = [str(warning.message) for warning in warned]
    assert any(message.endswith("; their forecasts have that reason") for message in messages)
    assert (
        "check 'forecast_jump' is not checked: earlier forecasts are in a store, which only scheduled runs have"
        in messages
    )
    (reason,) = result.reasons.filter(unique_id="a")["reason"]
    assert reason.startswith("check 'forecast_constant' fails: its forecast varies by ")
    assert result.forecasts["forecast"].null_count() == 0
    assert result.checks["verdict"].to_list() == ["fail", "fail", "skipped"]


def test_forecast_that_stops_the_run_is_an_error() -> None:
    checks = [{"kind": "forecast_constant", "min": 9.0, "on_failure": "fail"}]
    fleet = fc.fit(frame_of("a"), **OPTIONS)
    fleet.spec = type(fleet.spec).model_validate(fleet.spec.model_dump() | {"checks": checks})
    fleet._newest = None
    with pytest.raises(fc.CheckFailed, match="check 'forecast_constant' fails: 1 of 1 series fail, such as 'a'"):
        fleet.predict()


def test_backtest_evaluates_no_checks_and_says_so(tmp_path: Path) -> None:
    frame_of("a").write_parquet(tmp_path / "in.parquet")
    fields = {name: value for name, value in OPTIONS.items() if name not in ("progress", "processes")}
    source = {"uri": str(tmp_path / "in.parquet")}
    spec = fc.Spec(name="x", source=source, checks=[{"kind": "num_series", "min": 5}], **fields)
    with pytest.warns(fc.DataWarning, match="a backtest does not evaluate the checks of its spec"):
        scores = fc.backtest(spec=spec, cutoffs=1, processes=1, progress=False)
    assert scores.height


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Callable[[str], tuple[int, list[str]]]:
    """Forecast two series with a spec file that has one check, and return the exit code and the lines of stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLEETCAST_PROCESSES", "1")
    frame_of("a", "b").write_parquet("in.parquet")
    sets = "\n".join(f"{name} = {value}" for name, value in QUICK.items())

    def run(check: str) -> tuple[int, list[str]]:
        Path("x.toml").write_text(
            'name = "x"\nfreq = "1h"\nseason_lengths = [6]\nhorizon = 4\nmodels = ["gru"]\nstatistics = []\n'
            f'recipe = "fast"\n[source]\nuri = "in.parquet"\n[overrides]\n{sets}\n[[checks]]\n{check}\n'
        )
        code = main(["forecast", "--spec", "x.toml", "--out", "out.parquet", "--checks", "checks.csv"])
        return code, capsys.readouterr().err.splitlines()

    return run


def test_command_reads_checks_from_the_spec(command: Callable[[str], tuple[int, list[str]]]) -> None:
    code, lines = command('kind = "num_series"\nmin = 3')
    assert code == 2
    assert not Path("out.parquet").exists()
    assert pl.read_csv("checks.csv").select("check_name", "verdict").rows() == [("num_series", "fail")]
    Path("checks.csv").unlink()
    wanted = "error: check 'num_series' fails: the source has 2 series that have not ended; min = 3; on_failure = "
    assert any(line.startswith(wanted) for line in lines), lines
    code, lines = command('kind = "num_series"\nmin = 3\non_failure = "warn"')
    assert code == 0
    assert "warning: check 'num_series' fails: the source has 2 series that have not ended; min = 3" in lines
    assert "checks: 0 pass · 1 fail (warn); checks.csv" in lines
    assert pl.read_csv("checks.csv")["found"].to_list() == [2]
    frame_of("a").write_parquet("a.parquet")
    assert main(["forecast", "a.parquet", "--freq", "1h", "--horizon", "4", "--out", "o.csv", "--checks", "c.csv"]) == 2
