"""`fleetcast forecast` from the first word to the file that it leaves."""

import re
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from importlib.metadata import EntryPoint
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forecasting.flow import one_shot
from forecasting.spec.quantiles import DEFAULT_QUANTILES, quantile_column

COLUMNS = ["unique_id", "ds", "cutoff", "model", "forecast", *map(quantile_column, DEFAULT_QUANTILES)]
HORIZON = 4

Fleetcast = Callable[..., Any]


def check_shape(rows: pl.DataFrame, names: list[Any]) -> None:
    """Exactly the horizon's rows of each series, sorted."""
    assert rows["unique_id"].unique(maintain_order=True).to_list() == names
    assert rows.height == HORIZON * len(names)
    assert rows.sort("unique_id", "ds").equals(rows)
    assert (rows["ds"] > rows["cutoff"]).all()


def test_forecast_writes_exactly_the_promised_columns_and_rows(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], quick: list[str]
) -> None:
    hourly().write_parquet("in.parquet")
    ended = fleetcast("forecast", "in.parquet", "--freq", "1h", *quick, "--out", "out.parquet")
    assert (ended.exit_code, ended.out) == (0, "")
    rows = pl.read_parquet("out.parquet")
    assert rows.columns == COLUMNS
    check_shape(rows, ["a", "b", "short"])
    lines = ended.err.splitlines()
    assert any(re.fullmatch(r"3 series forecast in \d+\.\d s; out.parquet", line) for line in lines)
    assert any(line.startswith("champions: ") for line in lines)
    assert "a simpler model than requested for 1 series; --reasons FILE writes why" in lines
    assert any(line.startswith("  short: ") for line in lines)
    assert sorted(path.name for path in Path().iterdir()) == ["in.parquet", "out.parquet"]


def test_all_models_writes_every_candidate_with_champions_marked(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], quick: list[str]
) -> None:
    hourly().write_parquet("in.parquet")
    words = ["forecast", "in.parquet", "--freq", "1h", *quick]
    assert fleetcast(*words, "--all-models", "--out", "all.parquet").exit_code == 0
    assert fleetcast(*words, "--out", "out.parquet").exit_code == 0
    every = pl.read_parquet("all.parquet")
    assert every.columns == [*COLUMNS[:4], "is_champion", *COLUMNS[4:]]
    counts = every.group_by("unique_id", "model").len()
    assert counts["len"].unique().to_list() == [HORIZON]
    assert {"combination", "lstm", "gru", "seasonal_naive_6"} <= set(counts.filter(unique_id="a")["model"])
    assert every.sort("unique_id", "model", "ds").equals(every)
    assert every.filter("is_champion").drop("is_champion").equals(pl.read_parquet("out.parquet"))


def test_csv_in_and_out_has_naive_times_and_can_be_read_again(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], quick: list[str]
) -> None:
    rows = hourly("a").rename({"unique_id": "name", "ds": "when", "y": "sold"})
    rows.write_csv("in.csv")
    columns = ["--id", "name", "--time", "when", "--target", "sold"]
    ended = fleetcast("forecast", "in.csv", "--freq", "1h", *quick, *columns, "--models", "gru", "--out", "out.csv")
    assert ended.exit_code == 0, ended.err
    written = pl.read_csv("out.csv", try_parse_dates=True)
    assert written.columns == COLUMNS
    check_shape(written, ["a"])
    assert written.schema["ds"] == pl.Datetime("us")
    assert written["model"].unique().to_list() == ["gru"]


@pytest.mark.parametrize("zone", [None, "America/New_York"])
def test_types_of_the_input_come_back(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], quick: list[str], zone: str | None
) -> None:
    rows = hourly("10", "9").with_columns(
        pl.col("unique_id").cast(pl.Int32), pl.col("ds").cast(pl.Datetime("ms")).dt.replace_time_zone(zone)
    )
    rows.write_parquet("in.parquet")
    ended = fleetcast("forecast", "in.parquet", "--freq", "1h", *quick, "--models", "gru", "--out", "out.parquet")
    assert ended.exit_code == 0, ended.err
    written = pl.read_parquet("out.parquet")
    assert written.schema["unique_id"] == pl.Int32
    assert written.schema["ds"] == written.schema["cutoff"] == pl.Datetime("ms", zone)
    check_shape(written, [9, 10])
    assert written["cutoff"][0] == rows["ds"].max()
    assert written["ds"][0] == rows["ds"].max() + timedelta(hours=1)


def test_offsets_of_text_and_a_declared_zone_come_back_in_every_file(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], quick: list[str]
) -> None:
    rows = hourly("a")
    last = rows["ds"].max()
    assert isinstance(last, datetime)
    for suffix, options in (("+02:00", []), ("", ["--timezone", "Europe/Berlin"])):
        text = rows.with_columns(pl.col("ds").dt.to_string(f"%Y-%m-%dT%H:%M:%S{suffix}"))
        text.write_csv("in.csv")
        cutoff = ["--cutoff", (last - timedelta(hours=3)).isoformat(), "--evaluate", "in.csv"]
        more = ["--models", "gru", "--paths", "10", "--out", "out.csv", *options, *cutoff]
        ended = fleetcast("forecast", "in.csv", "--freq", "1h", *quick, *more)
        assert ended.exit_code == 0, ended.err
        assert "evaluated by 3 actuals" in ended.err
        for name in ("out.csv", "out.paths.csv"):
            first = pl.read_csv(name, infer_schema=False)["ds"][0]
            assert first == str(last - timedelta(hours=2)) + suffix


def test_actuals_of_days_that_are_midnights_in_utc_are_compared(fleetcast: Fleetcast, quick: list[str]) -> None:
    local = pl.datetime_range(datetime(2022, 9, 1), datetime(2023, 4, 3), "1d", eager=True, time_zone="Europe/Paris")
    rows = pl.DataFrame({"unique_id": "a", "ds": local.dt.convert_time_zone("UTC"), "y": range(len(local))})
    rows.write_parquet("in.parquet")
    more = ["--cutoff", "2023-03-25T12:00", "--evaluate", "in.parquet", "--models", "gru", "--out", "out.parquet"]
    ended = fleetcast("forecast", "in.parquet", "--freq", "1d", *quick, *more)
    assert ended.exit_code == 0, ended.err
    assert "warning: " in ended.err
    assert "--timezone (source.timezone)" in ended.err
    written = pl.read_parquet("out.parquet")["ds"]
    assert (
        written.to_list() == rows["ds"].filter(rows["ds"] > written[0] - timedelta(hours=1))[: len(written)].to_list()
    )
    assert "evaluated by " in ended.err


def test_integer_steps_need_no_dates(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], quick: list[str]
) -> None:
    rows = hourly("a").with_columns(ds=pl.int_range(pl.len(), dtype=pl.Int16))
    rows.write_parquet("in.parquet")
    ended = fleetcast("forecast", "in.parquet", "--freq", "1", *quick, "--cutoff", "49", "--out", "out.parquet")
    assert ended.exit_code == 0, ended.err
    written = pl.read_parquet("out.parquet")
    assert written.schema["ds"] == pl.Int16
    assert written["ds"].to_list() == [50, 51, 52, 53]


def test_several_inputs_are_read_together_and_a_file_named_twice_once(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], quick: list[str]
) -> None:
    Path("more").mkdir()
    hourly("a").write_parquet("a.parquet")
    hourly("b").write_csv("more/b.csv")
    words = ["a.parquet", "*.parquet", "more", "--freq", "1h", *quick, "--models", "gru"]
    ended = fleetcast("forecast", *words, "--out", "out.parquet")
    assert ended.exit_code == 0, ended.err
    check_shape(pl.read_parquet("out.parquet"), ["a", "b"])
    assert "rejects" not in ended.err


def test_many_refused_rows_stop_the_command_and_the_option_goes_on(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], quick: list[str]
) -> None:
    is_bad = pl.int_range(pl.len()) % 8 == 5
    hourly("a", "b").with_columns(
        y=pl.when(is_bad).then(pl.lit("n/k")).otherwise(pl.col("y").cast(pl.String))
    ).write_csv("in.csv")
    words = ["forecast", "in.csv", "--freq", "1h", *quick, "--models", "gru", "--out", "out.csv"]
    stopped = fleetcast(*words)
    assert stopped.exit_code == 2
    assert re.search(r"rows are refused \(12\.\d %\), in 2 of 2 series", stopped.err)
    assert re.search(r"in\.csv, line 7: a, 2024-01-01.*, n/k \(y is not a number\)", stopped.err)
    assert not Path("out.csv").exists()
    share = re.search(r"--allow-rejects (\S+) \(source.allow_rejects\)", stopped.err)
    assert share is not None
    ended = fleetcast(*words, "--allow-rejects", share[1])
    assert ended.exit_code == 0, ended.err
    assert re.search(r"\d+ rows read, \d+ used, \d+ refused\n", ended.err)
    refused = fleetcast(*words, "--allow-rejects", "2")
    assert (refused.exit_code, "--allow-rejects = 2" in refused.err) == (2, True)


def test_series_whose_newest_row_is_refused_is_set_aside(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], quick: list[str]
) -> None:
    rows = hourly("a", "b").with_columns(pl.col("y").cast(pl.String))
    is_newest = (pl.col("unique_id") == "a") & (pl.col("ds") == pl.col("ds").max())
    rows.with_columns(y=pl.when(is_newest).then(pl.lit("?")).otherwise("y")).write_csv("in.csv")
    ended = fleetcast("forecast", "in.csv", "--freq", "1h", *quick, "--models", "gru", "--out", "out.parquet")
    assert ended.exit_code == 0
    assert re.search(r"\nseries: \d forecast \(0 lagging\) · 0 ended · 1 set aside\n", ended.err)
    assert "  a: set aside: its newest row, " in ended.err
    nulls = pl.read_parquet("out.parquet").group_by("unique_id").agg(pl.col("forecast").is_null().all())
    assert dict(nulls.iter_rows()) == {"a": True, "b": False}


def test_spec_file_gives_what_its_options_would(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], quick: list[str]
) -> None:
    hourly("a").write_parquet("in.parquet")
    Path("demo.toml").write_text(
        'name = "demo"\nfreq = "1h"\nseason_lengths = [6]\nhorizon = 4\nmodels = ["gru"]\nlower_bound = 0\n'
        '[source]\nuri = "in.parquet"\n[overrides]\nmax_steps = 4\nevaluate_every = 2\nhidden_size = 4\n'
        "batch_windows = 4\nvalidation_windows = 4\nprior_steps = 8\nprior_hidden_size = 4\ntuning_steps = 2\n",
        encoding="utf-8",
    )
    assert fleetcast("forecast", "--spec", "demo.toml", "--out", "spec.parquet").exit_code == 0
    words = ["in.parquet", "--freq", "1h", *quick, "--models", "gru", "--lower-bound", "0", "--out", "words.parquet"]
    assert fleetcast("forecast", *words).exit_code == 0
    assert pl.read_parquet("spec.parquet").equals(pl.read_parquet("words.parquet"))


def test_absent_rows_are_warned_of_before_training_and_zero_with_the_option(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], quick: list[str]
) -> None:
    rows = hourly()
    rows.filter((pl.col("unique_id") != "a") | (pl.col("ds").dt.hour() % 3 == 0)).write_parquet("in.parquet")
    words = ["forecast", "in.parquet", "--freq", "1h", *quick, "--out", "out.csv"]
    ended = fleetcast(*words)
    assert ended.exit_code == 0
    assert re.match(r"warning: 1 of 3 series have no row at about half.*--missing-rows zero", ended.err)
    zero = fleetcast(*words, "--missing-rows", "zero")
    assert re.match(r"warning: \d+ of \d+ grid points have no row and are taken as 0", zero.err)
    assert "warning" not in fleetcast(*words, "--source", "missing_rows=gap").err
    refused = fleetcast(*words, "--missing-rows", "none")
    assert (refused.exit_code, "--missing-rows" in refused.err) == (2, True)


def test_rejects_are_counted_by_reason_and_written(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], quick: list[str]
) -> None:
    bad = hourly("bad", num_points=2).with_columns(y=pl.lit(float("nan")))
    pl.concat([hourly("a"), bad]).write_parquet("in.parquet")
    words = ["in.parquet", "--freq", "1h", *quick, "--models", "gru", "--out", "out.parquet"]
    ended = fleetcast("forecast", *words, "--rejects", "rejects.csv")
    assert ended.exit_code == 0
    assert "rejects: 2 rows; rejects.csv\n  2 × y is NaN\n" in ended.err
    assert pl.read_csv("rejects.csv")["reason"].to_list() == ["y is NaN", "y is NaN"]
    check_shape(pl.read_parquet("out.parquet"), ["a", "bad"])


@pytest.mark.parametrize("name", ["reasons.csv", "reasons.parquet"])
def test_reason_of_every_series_with_a_simpler_model_is_written(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], quick: list[str], name: str
) -> None:
    level = [hourly("a").with_columns(unique_id=pl.lit(number), y=pl.lit(2.5)) for number in (5, 4, 3, 2, 1)]
    pl.concat([hourly("a").with_columns(unique_id=pl.lit(9)), *level]).write_parquet("in.parquet")
    words = ["in.parquet", "--freq", "1h", *quick, "--models", "gru", "--out", "out.parquet"]
    ended = fleetcast("forecast", *words, "--reasons", name)
    assert f"a simpler model than requested for 5 series; {name}\n" in ended.err
    assert "  and 2 more" in ended.err
    written = pl.read_csv(name) if name.endswith(".csv") else pl.read_parquet(name)
    assert written.columns == ["unique_id", "model", "reason"]
    assert written["unique_id"].to_list() == [1, 2, 3, 4, 5]
    assert written["model"].unique().to_list() == ["seasonal_naive_6"]
    assert written["reason"].str.contains("is constant").all()


@pytest.mark.parametrize("all_models", [False, True])
def test_evaluation_prints_totals_and_writes_the_scores_of_every_series(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], quick: list[str], all_models: bool
) -> None:
    rows = hourly("9", "10").with_columns(pl.col("unique_id").cast(pl.Int64)).rename({"y": "sold"})
    cutoff = rows["ds"].max() - timedelta(hours=HORIZON)
    rows.filter(pl.col("ds") <= cutoff).write_parquet("known.parquet")
    rows.write_csv("all.csv")
    words = ["known.parquet", "--freq", "1h", *quick, "--target", "sold", "--models", "gru", "--out", "out.csv"]
    marks = ["--all-models"] * all_models
    ended = fleetcast("forecast", *words, *marks, "--evaluate", "all.csv", "--scores", "scores.parquet")
    assert (ended.exit_code, ended.out) == (0, ""), ended.err
    assert "evaluated by 8 actuals of 2 series; scores.parquet\n" in ended.err
    assert "actuals that meet no forecast: 112, 112 at or before the cutoff" in ended.err
    scores = pl.read_parquet("scores.parquet")
    models = {"gru", "seasonal_naive_6"} if all_models else {"gru"}
    assert models <= set(scores["model"])
    assert all_models or set(scores["model"]) == models
    assert scores["unique_id"].unique(maintain_order=True).to_list() == [9, 10]
    assert scores["num_points"].unique().to_list() == [HORIZON]
    assert scores.select("mase", "smape", "wql", "msis", "naive2_smape").null_count().sum_horizontal().item() == 0
    board = ended.err.partition("evaluated by")[2]
    assert "\nchampion " in board
    assert [f"\n{model} " in board for model in ("gru", "seasonal_naive_6")] == [all_models] * 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "out.csv", "--scores", "s.csv"], "--scores: 's.csv' needs --evaluate"),
        (["--out", "out.csv", "--evaluate", "nowhere.csv"], "nowhere.csv does not exist"),
        (["--out", "out.csv", "--evaluate", "x.txt"], "x.txt': must end in .parquet or .csv"),
        (["--out", "out.csv", "--evaluate", "in.parquet", "--scores", "out.csv"], "--scores: 'out.csv' is also --out"),
        (["--out", "out.csv", "--evaluate", "in.parquet", "--scores", "in.parquet"], "is one of the inputs"),
        (["--out", "out.csv", "--paths", "5"], "--paths = 5: must be 0 for none, or 10 to 10,000"),
        (["--out", "out.csv", "--paths", "10001"], "--paths = 10001: must be 0 for none, or 10 to 10,000"),
        (["--out", "out.csv", "--paths-out", "p.csv"], "--paths-out: 'p.csv' needs --paths"),
        (["--out", "out.csv", "--paths", "50", "--paths-out", "out.csv"], "--paths-out: 'out.csv' is also --out"),
        (["--out", "out.csv", "--paths", "50", "--paths-out", "p.json"], "--paths-out: 'p.json' must end in"),
        (["--out", "out.json"], "must end in .parquet or .csv"),
        (["--out", "nowhere/out.csv"], "folder nowhere does not exist"),
        (["--out", "in.parquet"], "'in.parquet' is one of the inputs"),
        (["--out", "out.csv", "--rejects", "out.csv"], "'out.csv' is also --out"),
        (["--out", "out.csv", "--reasons", "out.csv"], "--reasons: 'out.csv' is also --out"),
        (["--out", "out.csv", "--rejects", "x.csv", "--reasons", "x.csv"], "'x.csv' is also --rejects"),
        (["--out", "out.csv", "--reasons", "in.parquet"], "--reasons: 'in.parquet' is one of the inputs"),
        (["--out", "out.csv", ""], "INPUT = "),
        (["--out", "out.csv", "--cutoff", "soon"], "--cutoff: 'soon' must be an ISO 8601 time"),
        (["--out", "out.csv", "--id", "shop"], "lacks its id column 'shop'"),
        (["--out", "out.csv", "--horizon", "0"], "--horizon = 0"),
        (["--out", "out.csv", "nowhere.csv"], "nowhere.csv does not exist"),
        (["--out", "out.csv", "--freq", "1"], "needs whole numbers"),
    ],
)
def test_user_mistake_is_named_before_any_work(
    fleetcast: Fleetcast,
    hourly: Callable[..., pl.DataFrame],
    quick: list[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("work has begun")

    monkeypatch.setattr(one_shot, "forecast", never)
    hourly().write_parquet("in.parquet")
    usual = [each for each in zip(["--freq", *quick[::2]], ["1h", *quick[1::2]], strict=True) if each[0] not in words]
    ended = fleetcast("forecast", "in.parquet", *chain.from_iterable(usual), *words)
    assert ended.exit_code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["in.parquet"]


def test_ray_runs_what_the_entry_point_names(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    class Runner:
        def load(self) -> Callable[..., Any]:
            def run(spec: Any, given: Any, *, cutoff: Any, options: Any, keeps: Any) -> Any:
                print("the pool's progress")
                asked.append((spec.name, cutoff, options.kernel, given.storage_options))
                return one_shot.forecast(spec, cutoff=cutoff, options=options, keeps=keeps)

            return run

    monkeypatch.setattr("forecasting.flow.local.entry_points", lambda **_: (Runner(),))
    monkeypatch.setenv("FLEETCAST_KERNEL", "reference")
    monkeypatch.setenv("FLEETCAST_STORAGE_OPTIONS", '{"aws_region": "x"}')
    hourly("a").write_parquet("in.parquet")
    ended = fleetcast("forecast", "in.parquet", "--freq", "1h", *quick, "--ray", "--out", "out.parquet")
    assert (ended.exit_code, ended.out, asked) == (0, "", [("one_shot", None, "reference", {"aws_region": "x"})])
    assert "the pool's progress" in ended.err
    check_shape(pl.read_parquet("out.parquet"), ["a"])


@pytest.mark.parametrize("found", [(), (EntryPoint("ray", "ray:init", "fleetcast.runners"),)])
def test_ray_that_is_not_installed_is_reported(
    fleetcast: Fleetcast,
    hourly: Callable[..., pl.DataFrame],
    quick: list[str],
    monkeypatch: pytest.MonkeyPatch,
    found: tuple[EntryPoint, ...],
) -> None:
    monkeypatch.setattr("forecasting.flow.local.entry_points", lambda **_: found)
    monkeypatch.setitem(sys.modules, "ray", None)
    hourly("a").write_parquet("in.parquet")
    ended = fleetcast("forecast", "in.parquet", "--freq", "1h", *quick, "--ray", "--out", "out.parquet")
    assert ended.exit_code == 1
    assert "which" in ended.err
    assert "not installed" in ended.err
    assert not found or "pip install 'fleetcast[worker]'" in ended.err


def test_statistics_are_candidates_beside_the_networks(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], quick: list[str]
) -> None:
    hourly("a", "b").write_parquet("in.parquet")
    words = ["forecast", "in.parquet", "--freq", "1h", *quick, "--all-models", "--out", "out.parquet"]
    assert fleetcast(*words, "--statistics", "theta,ces").exit_code == 0
    named = pl.read_parquet("out.parquet").filter(unique_id="a")["model"].unique()
    assert {"theta", "ces", "lstm"} <= set(named)
    assert fleetcast(*words, "--statistics", "none").exit_code == 0
    assert set(pl.read_parquet("out.parquet")["model"]) == {"combination", "lstm", "gru", "seasonal_naive_6"}
    refused = fleetcast(*words, "--statistics", "arima")
    assert refused.exit_code == 2
    assert "--statistics" in refused.err
    assert "'theta'" in refused.err


@pytest.mark.parametrize("named", [[], ["--paths-out", "drawn.csv"]])
def test_paths_are_written_beside_the_forecast_in_the_types_of_the_input(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], quick: list[str], named: list[str]
) -> None:
    rows = hourly("10", "9").with_columns(pl.col("unique_id").cast(pl.Int32), pl.col("ds").cast(pl.Datetime("ms")))
    rows.write_parquet("in.parquet")
    words = ["in.parquet", "--freq", "1h", *quick, "--lower-bound", "15", "--out", "out.parquet"]
    ended = fleetcast("forecast", *words, "--paths", "100", *named)
    assert ended.exit_code == 0, ended.err
    path = named[1] if named else "out.paths.parquet"
    assert f"paths: 100 of each series; {path}\n" in ended.err
    drawn = pl.read_csv(path, try_parse_dates=True) if named else pl.read_parquet(path)
    assert drawn.columns == ["unique_id", "ds", "path", "y"]
    assert drawn.height == 2 * 100 * HORIZON
    assert drawn["unique_id"].unique(maintain_order=True).to_list() == [9, 10]
    assert drawn["y"].min() >= 15  # type: ignore[operator]
    forecasts = pl.read_parquet("out.parquet")
    if not named:
        assert (
            drawn.select("unique_id", "ds").unique().sort("unique_id", "ds").equals(forecasts.select("unique_id", "ds"))
        )
    medians = drawn.group_by("unique_id", "ds").agg(pl.col("y").quantile(0.5, "linear")).sort("unique_id", "ds")
    width = (forecasts["q90"] - forecasts["q10"]).to_numpy()
    assert (abs(medians["y"].to_numpy() - forecasts["forecast"].to_numpy()) <= 0.02 * width).all()
    assert fleetcast("forecast", *words, "--paths", "100", "--paths-out", "again.parquet").exit_code == 0
    if not named:
        assert pl.read_parquet("again.parquet").equals(drawn)
    assert fleetcast("forecast", *words[:-1], "plain.parquet").exit_code == 0
    assert pl.read_parquet("plain.parquet").equals(forecasts)


def test_paths_without_any_backtest_say_that_their_steps_go_together(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], quick: list[str]
) -> None:
    hourly("short").write_parquet("in.parquet")
    words = ["in.parquet", "--freq", "1h", *quick, "--out", "out.csv", "--paths", "10"]
    ended = fleetcast("forecast", *words)
    assert ended.exit_code == 0, ended.err
    assert "no backtest shows how their steps go together" in ended.err
    assert pl.read_csv("out.paths.csv").height == 10 * HORIZON


def test_categories_are_learned_and_one_that_training_had_not_seen_is_named(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], quick: list[str]
) -> None:
    """New Year's Day comes with the horizon: the 60 hours before it held no holiday."""
    rows = hourly("a", "b").with_columns(
        pl.col("ds") - pl.duration(hours=60), store=pl.col("unique_id").replace({"a": "north", "b": "south"})
    )
    rows.write_parquet("in.parquet")
    words = ["forecast", "in.parquet", "--freq", "1h", *quick, "--models", "seq2seq", "--all-models"]
    classed = ["--static", "store", "--calendar", "hour,holiday", "--country", "US"]
    ended = fleetcast(*words, *classed, "--out", "out.parquet")
    assert ended.exit_code == 0, ended.err
    line = "categories without a vector of their own, new or rare: in 2 series, holiday 'New Year's Day' 2"
    assert line in ended.err.splitlines()
    assert fleetcast(*words, "--out", "plain.parquet").exit_code == 0
    differs = (
        pl.read_parquet("out.parquet").filter(model="seq2seq")["forecast"]
        != (pl.read_parquet("plain.parquet").filter(model="seq2seq")["forecast"])
    )
    assert differs.all()
    refused = fleetcast(*words, "--static", "store", "--recipe", "fast", "--out", "none.parquet")
    assert refused.exit_code == 2
    assert "--static needs a member that begins from a prior; recipe 'fast'" in refused.err
    refused = fleetcast(*words, "--calendar", "holiday", "--country", "UK", "--out", "none.parquet")
    assert refused.exit_code == 2
    assert "'UK' must be the ISO 3166-1 code of a country whose holidays are known, such as US or GB" in refused.err
    refused = fleetcast(*words, "--calendar", "holiday", "--out", "none.parquet")
    assert refused.exit_code == 2
    assert "--static, --calendar, --country: country and 'holiday' in calendar must be set together" in refused.err


def test_frequency_and_seasons_are_inferred_and_printed_before_anything_is_trained(fleetcast: Fleetcast) -> None:
    rows = [f"a,2024-{month:02d}-01,{month}" for month in range(1, 13)]
    Path("months.csv").write_text("\n".join(["unique_id,ds,y", *rows]) + "\n")
    ended = fleetcast("forecast", "months.csv", "--horizon", "2", "--recipe", "fast", "--out", "out.csv")
    assert ended.exit_code == 0, ended.err
    assert ended.err.splitlines()[:2] == [
        "frequency 1mo: 100% of neighbouring rows are so far apart; --freq (freq) changes it",
        "season lengths 12: customary at frequency 1mo; --season-length (season_lengths) changes them",
    ]
    assert pl.read_csv("out.csv")["ds"].str.slice(0, 10).to_list() == ["2025-01-01", "2025-02-01"]


def test_weeks_that_could_be_months_are_refused_and_read_with_their_format(
    fleetcast: Fleetcast, quick: list[str]
) -> None:
    weeks = [f"{year}-{week:02d}" for year in (2022, 2023) for week in range(1, 53)]
    pl.DataFrame({"unique_id": "a", "ds": weeks, "y": [float(step % 6) for step in range(104)]}).write_csv("in.csv")
    words = ["forecast", "in.csv", "--freq", "1w", *quick, "--out", "out.csv"]
    refused = fleetcast(*words)
    assert (refused.exit_code, Path("out.csv").exists()) == (2, False)
    assert "looks like year and week: --time-format iso_week (source.time_format)" in refused.err
    assert fleetcast(*words, "--time-format", "iso_week").exit_code == 0
    assert pl.read_csv("out.csv")["ds"][0] == "2024-01-01 00:00:00"


def test_several_columns_name_series_and_come_back_beside_the_joined_name(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], quick: list[str]
) -> None:
    rows = hourly().with_columns(store=pl.lit(7), item=pl.col("unique_id")).drop("unique_id")
    rows.write_parquet("in.parquet")
    words = ["forecast", "in.parquet", "--freq", "1h", *quick, "--paths", "10", "--out", "out.parquet"]
    assert fleetcast(*words, "--id", "store,item").exit_code == 0
    first = pl.read_parquet("out.parquet")
    assert first.columns == ["unique_id", "store", "item", *COLUMNS[1:]]
    assert first.select("unique_id", "store", "item").unique().sort("item").rows() == [
        (f"7/{name}", 7, name) for name in ("a", "b", "short")
    ]
    assert pl.read_parquet("out.paths.parquet").columns == ["unique_id", "store", "item", "ds", "path", "y"]
    assert fleetcast(*words, "--id", "store", "--id", "item").exit_code == 0
    assert pl.read_parquet("out.parquet").equals(first)
    words = ["plot", "7/a", "--forecasts", "out.parquet", "--actuals", "in.parquet", "--out", "fan.png"]
    assert fleetcast(*words, "--id", "store,item").exit_code == 0


def test_scenario_has_a_file_of_its_own_beside_the_forecast(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], quick: list[str]
) -> None:
    rows = hourly("a")
    last: Any = rows["ds"].max()
    ahead = pl.DataFrame({"unique_id": "a", "ds": [last + timedelta(hours=step) for step in range(1, HORIZON + 1)]})
    every = pl.concat([rows, ahead], how="diagonal").with_columns(price=1.0 + pl.int_range(pl.len()) % 5 / 10)
    every.write_parquet("in.parquet")
    ahead.with_columns(price=pl.lit(9.0)).write_csv("dear plan.csv")
    words = ["forecast", "in.parquet", "--freq", "1h", *quick, "--models", "gru", "--out", "out.parquet"]
    ended = fleetcast(*words, "--known-ahead", "price", "--future", "dear plan.csv")
    assert ended.exit_code == 0, ended.err
    assert re.search(r"^scenario dear_plan: the sum of all forecasts is .* instead of .*;", ended.err, re.MULTILINE)
    made, forecast = pl.read_parquet("out.dear_plan.parquet"), pl.read_parquet("out.parquet")
    assert made.columns == ["scenario", *COLUMNS]
    assert made["scenario"].unique().to_list() == ["dear_plan"]
    assert made.select("unique_id", "ds", "cutoff").equals(forecast.select("unique_id", "ds", "cutoff"))
    moved = fleetcast(*words, "--known-ahead", "price", "--effects", "price")
    assert moved.exit_code == 0, moved.err
    effects = pl.read_parquet("out.effects.parquet")
    assert effects.columns[:4] == ["covariate", "value", "mean_forecast", "difference"]
    assert effects["value"].is_sorted()
    assert re.search(r"^effects of price: .* in \d+% of 1 series; out.effects.parquet", moved.err, re.MULTILINE)
    for more, message in (
        (["--known-ahead", "price", "--effects", "prize"], "--effects: 'prize' is not a covariate that is known ahead"),
        (["--effects-out", "e.csv"], "--effects-out: 'e.csv' needs --effects"),
        (["--scenario", "x"], "--scenario: 'x' needs --future"),
        (["--future", "dear plan.csv", "--scenario", "a b"], "--scenario: 'a b' must be at most 60 letters"),
        (["--future", "dear plan.csv"], "future: needs covariates that are known ahead"),
        (["--known-ahead", "price", "--future", "absent.csv"], "absent.csv"),
    ):
        refused = fleetcast(*words, *more)
        assert refused.exit_code == 2
        assert message in refused.err
