"""`fleetcast check`: what a run would use of an input, without training."""

import tomllib
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forecasting.spec.spec import read_spec

Fleetcast = Callable[..., Any]
NUM_DAYS = 70


def write_rows(*extra: str, name: str = "sales.csv", count: int = 3) -> None:
    lines = ["shop,day,sold"]
    for number in range(count):
        for back in range(NUM_DAYS):
            day = datetime(2024, 1, 1) + timedelta(days=back)
            lines.append(f"s{number},{day:%Y-%m-%d},{[5, 4, 4, 4, 6, 9, 9][back % 7] + number + back * back % 3}")
    Path(name).write_text("\n".join([*lines, *extra]) + "\n", encoding="utf-8")


NAMED = ("--id", "shop", "--time", "day", "--target", "sold")


def test_profile_describes_what_a_run_would_use(fleetcast: Fleetcast) -> None:
    write_rows("s0,2024-02-30,5", "old,2023-06-01,0", "old,2023-06-02,3", "s1,2024-01-01,50")
    ended = fleetcast(
        "check", "sales.csv", *NAMED, "--freq", "1d", "--series", "series.csv", "--rejects", "rejects.csv"
    )
    assert (ended.exit_code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[1:3] == [
        "times      without a zone, from 2023-06-01 00:00:00 to 2024-03-10 00:00:00; cutoff 2024-03-10 00:00:00",
        "           frequency 1d",
    ]
    for expected in (
        "rows       214 rows read, 212 used, 2 refused",
        "sales.csv, line 212: s0, 2024-02-30, 5",
        "series     4: 3 forecast · 1 ended",
        "values     from 0 to 12",
        "seasons    7 customary: autocorrelation 0.",
        "           no gaps",
    ):
        assert any(expected in line for line in lines), expected
    rows = pl.read_csv("series.csv")
    assert rows["status"].to_list() == ["ended", "forecast", "forecast", "forecast"]
    assert rows["num_observed"].to_list() == [2, NUM_DAYS, NUM_DAYS, NUM_DAYS]
    assert pl.read_csv("rejects.csv").height == 2


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_columns_that_are_not_read_are_named(fleetcast: Fleetcast, suffix: str) -> None:
    write_rows()
    rows = pl.read_csv("sales.csv").with_columns(
        price=pl.lit(1.5), colour=pl.lit("red"), day=pl.col("day").str.to_date()
    )
    getattr(rows, f"write_{suffix}")(f"more.{suffix}")
    found = fleetcast("check", f"more.{suffix}", *NAMED, "--freq", "1d").out
    assert "columns    not read: price, colour; --known-ahead (covariates.future) reads" in found
    write_rows()
    assert "not read" not in fleetcast("check", "sales.csv", *NAMED, "--freq", "1d").out


def test_covariates_and_their_tables_are_described(fleetcast: Fleetcast) -> None:
    write_rows()
    rows = pl.read_csv("sales.csv").with_columns(day=pl.col("day").str.to_datetime())
    days = pl.datetime_range(rows["day"].min(), rows["day"].max() + timedelta(days=1), "1d", eager=True)  # type: ignore[operator]
    weather = pl.DataFrame({"day": days, "sky": ["blue", "grey"] * (len(days) // 2) + ["blue"] * (len(days) % 2)})
    weather.with_columns(rain=0.5).write_csv("weather.csv", separator=";")
    words = ["check", "sales.csv", *NAMED, "--freq", "1d", "--horizon", "1"]
    found = fleetcast(*words, "--covariates", "weather.csv csv.separator=; time=day future=rain,sky")
    assert found.exit_code == 0, found.err
    assert "weather.csv: rain, sky, joined by time" in found.out
    assert "           rain: from 0.5 to 0.5\n           sky: 2 names\n" in found.out
    lines = tomllib.loads(found.out[found.out.index("# lines of a spec") :])
    (table,) = lines["covariates"]["tables"]
    assert (table["future"], table["time"], table["csv"]) == (["rain", "sky"], "day", {"separator": ";"})
    refused = fleetcast(*words, "--covariates", "weather.csv")
    assert refused.exit_code == 2
    assert "lacks its time column" in refused.err


def test_printed_lines_are_those_of_a_spec_that_reads_the_same(fleetcast: Fleetcast) -> None:
    write_rows()
    Path("sales.csv").write_text(Path("sales.csv").read_text(encoding="utf-8").replace(",", ";"), encoding="utf-8")
    found = fleetcast("check", "sales.csv", *NAMED, "--csv-separator", ";", "--horizon", "7")
    lines = found.out[found.out.index("# lines of a spec") :]
    assert tomllib.loads(lines)["source"]["csv"] == {"separator": ";"}
    Path("sales.toml").write_text('name = "sales"\n' + lines, encoding="utf-8")
    spec = read_spec(Path("sales.toml"))
    assert (spec.freq, spec.season_lengths, spec.horizon, spec.lower_bound, spec.integer_valued) == (
        "1d",
        (7,),
        7,
        0,
        True,
    )
    again = fleetcast("check", "sales.toml")
    assert again.exit_code == 0
    assert "210 rows read, 210 used" in again.out
    assert "lines of a spec" not in again.out


def test_too_many_refused_rows_are_shown_and_fail(fleetcast: Fleetcast) -> None:
    write_rows(*(f"s0,2024-13-{number:02d},5" for number in range(20)))
    ended = fleetcast("check", "sales.csv", *NAMED, "--freq", "1d")
    assert ended.exit_code == 2
    assert "20 × time cannot be read" in ended.out
    assert "error: source " in ended.err
    assert "--allow-rejects" in ended.err


def test_other_season_is_proposed(fleetcast: Fleetcast) -> None:
    write_rows()
    ended = fleetcast("check", "sales.csv", *NAMED, "--freq", "1d", "--season-length", "5")
    assert "7 found: autocorrelation 0." in ended.out
    assert "--season-length 7 (season_lengths) adds it" in ended.out


def test_gaps_zeros_and_short_series_are_counted(fleetcast: Fleetcast) -> None:
    write_rows("b,2024-03-08,0", "b,2024-03-10,0")
    ended = fleetcast("check", "sales.csv", *NAMED, "--freq", "1d", "--horizon", "7")
    assert "1 of 213 grid points are gaps (0.5%); most in 'b' (33%)" in ended.out
    assert "series with fewer than the 8 that networks need: 1" in ended.out
    assert "series: 1 constant · 1 zero in more than half of their measurements" in ended.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--series", "sales.csv"), "--series: 'sales.csv' is one of the inputs"),
        (("--rejects", "sales.csv"), "--rejects: 'sales.csv' is one of the inputs"),
        (("--series", "nowhere/s.csv"), "--series: 'nowhere/s.csv' cannot be written: folder nowhere does not exist"),
        (("--series", "s.txt"), "--series: 's.txt' must end in .parquet or .csv"),
        (("--series", "s.csv", "--rejects", "s.csv"), "--rejects: 's.csv' is also --series"),
    ],
)
def test_file_that_must_not_be_written_is_refused_before_reading(
    fleetcast: Fleetcast, words: tuple[str, ...], message: str
) -> None:
    write_rows()
    before = Path("sales.csv").read_text(encoding="utf-8")
    ended = fleetcast("check", "sales.csv", *NAMED, *words)
    assert (ended.exit_code, ended.out, ended.err.strip()) == (2, "", f"error: {message}")
    assert Path("sales.csv").read_text(encoding="utf-8") == before


def test_integer_steps_need_no_season(fleetcast: Fleetcast) -> None:
    lines = [f"a,{step},{[5, 1, 2, 8, 3, 3, 9][step % 7] + step % 2 / 10}" for step in range(60)]
    Path("steps.csv").write_text("unique_id,ds,y\n" + "\n".join(lines) + "\n", encoding="utf-8")
    ended = fleetcast("check", "steps.csv", "--cutoff", "50")
    assert (ended.exit_code, ended.err) == (0, "")
    assert "integer steps, from 0 to 50; cutoff 50" in ended.out
    assert "7 found: autocorrelation" in ended.out
    assert "freq = 1\nseason_lengths = [1]\n" in ended.out
    refused = fleetcast("check", "steps.csv", "--cutoff", "2024-01-01")
    assert refused.err.startswith("error: --cutoff: '2024-01-01' must be an integer")


def test_times_below_a_day_are_shown_in_utc(fleetcast: Fleetcast) -> None:
    lines = [f"a,2024-01-{1 + hour // 24:02d} {hour % 24:02d}:00,{hour % 24}" for hour in range(96)]
    Path("hours.csv").write_text("unique_id,ds,y\n" + "\n".join(lines) + "\n", encoding="utf-8")
    ended = fleetcast("check", "hours.csv", "--timezone", "Europe/Berlin")
    times = "in Europe/Berlin, from 2023-12-31 23:00:00 to 2024-01-04 22:00:00; cutoff 2024-01-04 22:00:00 (UTC)"
    assert times in ended.out
    daily = fleetcast("check", "hours.csv", "--timezone", "Europe/Berlin", "--freq", "1d", "--source", "aggregate=sum")
    assert "in Europe/Berlin, from 2024-01-01 00:00:00 to 2024-01-04 00:00:00; cutoff 2024-01-04 " in daily.out
    assert "UTC" not in daily.out


@pytest.mark.parametrize("words", [("nowhere.csv",), ("nowhere.toml",), ()])
def test_missing_input_is_one_line(fleetcast: Fleetcast, words: tuple[str, ...]) -> None:
    ended = fleetcast("check", *words)
    assert ended.exit_code == 2
    assert ended.out == ""
    assert ended.err.count("\n") == 1


def test_verdicts_of_checks_are_shown_and_may_fail(fleetcast: Fleetcast) -> None:
    write_rows()
    checks = """
[[checks]]
kind = "range"
max = 11
[[checks]]
kind = "num_series"
min = 5
on_failure = "fail"
"""
    source = '[source]\nuri = "sales.csv"\nid = "shop"\ntime = "day"\ntarget = "sold"\n'
    Path("sales.toml").write_text(
        'name = "sales"\nfreq = "1d"\nseason_lengths = [7]\nhorizon = 7\n' + source + checks, encoding="utf-8"
    )
    ended = fleetcast("check", "sales.toml")
    assert ended.exit_code == 2
    assert "checks     fail (fail): range: " in ended.out
    assert "fail (fail): num_series: " in ended.out
    assert ended.err.startswith("error: ")
    assert "num_series" in ended.err
