"""The public Python API: its arguments and results, and that the command gives the same bits."""

import ast
import inspect
import json
import math
import os
import subprocess
import sys
import textwrap
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import forecasting as fc
from forecasting.cli import main
from forecasting.errors import DataWarning
from forecasting.series.reasons import Reason

ROOT = Path(__file__).parents[2]
START = datetime(2024, 1, 1)
HORIZON = 4
QUICK: dict[str, Any] = {
    "max_steps": 4,
    "evaluate_every": 2,
    "hidden_size": 4,
    "batch_windows": 4,
    "validation_windows": 4,
    "prior_steps": 8,
    "prior_hidden_size": 4,
    "tuning_steps": 2,
}
OPTIONS: dict[str, Any] = {
    "freq": "1h",
    "season_lengths": [6],
    "horizon": HORIZON,
    "models": ["gru"],
    "statistics": [],
    "recipe": "fast",
    "overrides": QUICK,
    "progress": False,
}
NAMES: dict[str, Any] = {"id": "store", "time": "when", "target": "sales"}
PAIR_NAMES = NAMES | {"id": ["store", "item"]}


def long_frame(*names: str, num_points: int = 60) -> pl.DataFrame:
    """A noisy wave of 6 hours per store."""
    hours = np.arange(num_points)
    parts = [
        pl.DataFrame(
            {
                "store": name,
                "when": [START + timedelta(hours=int(hour)) for hour in hours],
                "sales": 20 + 5 * np.sin(hours) + np.random.default_rng(seed).normal(0, 0.3, num_points),
            }
        )
        for seed, name in enumerate(names or ("b", "a"))
    ]
    return pl.concat(parts)


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return long_frame()


@pytest.fixture(scope="module")
def result(frame: pl.DataFrame) -> fc.Result:
    return fc.forecast(frame, **NAMES, **OPTIONS)


@pytest.fixture(scope="module")
def fleet(frame: pl.DataFrame) -> fc.Fleet:
    return fc.fit(frame, **NAMES, **OPTIONS)


class TestSurface:
    def test_exported_names_are_those_that_the_documents_describe(self) -> None:
        text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
        missing = [name for name in fc.__all__ if f"`{name}" not in text and f"`fc.{name}" not in text]
        assert not missing, f"docs/python.md does not describe {missing}"
        assert all(hasattr(fc, name) for name in fc.__all__)

    def test_an_unknown_name_is_an_attribute_error(self) -> None:
        with pytest.raises(AttributeError, match="has no attribute 'prophet'"):
            fc.prophet  # noqa: B018

    def test_import_loads_no_heavy_library_and_takes_milliseconds(self) -> None:
        code = """
        import sys, time
        began = time.perf_counter()
        import forecasting
        seconds = time.perf_counter() - began
        heavy = {"torch", "polars", "numpy", "pydantic", "narwhals"} & set(sys.modules)
        assert not heavy, heavy
        print(seconds)
        """
        ran = [_python(code) for _ in range(3)]
        assert min(float(each.stdout) for each in ran) < 0.1

    @pytest.mark.parametrize("name", ["forecast", "fit", "backtest", "load"])
    def test_every_parameter_is_documented(self, name: str) -> None:
        function = getattr(fc, name)
        text = inspect.getdoc(function) or ""
        undocumented = [each for each in inspect.signature(function).parameters if f"\n    {each}:" not in text]
        assert not undocumented
        assert "Returns:" in text
        assert "Raises:" in text

    def test_a_typed_script_of_a_user_passes_mypy(self, tmp_path: Path) -> None:
        script, config = tmp_path / "script.py", tmp_path / "mypy.ini"
        # What the public signatures do not mention need not be read, which takes minutes.
        unread = ",".join(f"{name}.*" for name in ("torch", "pytorch_lightning", "matplotlib", "narwhals", "numpy"))
        config.write_text(f"[mypy]\nstrict = true\n[mypy-{unread}]\nfollow_imports = skip\n", encoding="utf-8")
        command = [sys.executable, "-m", "mypy", "--config-file", str(config), str(script)]

        # mypy does not follow the hook of an editable install; it reads the checkout as it reads an installed package.
        environment = os.environ | {"PYTHONPATH": str(ROOT)}

        def check(text: str) -> str:
            script.write_text(text, encoding="utf-8")
            checked = subprocess.run(
                command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            return checked.stdout

        assert check(textwrap.dedent(USER_SCRIPT)).startswith("Success")
        refused = check("import forecasting as fc\nfc.forecast(freq=[1])\nfc.load()\n")
        assert refused.count("error:") == 2, "types of the package are not seen at all"


USER_SCRIPT = """
import polars as pl
import forecasting as fc

def run(frame: pl.DataFrame) -> float:
    result: fc.Result = fc.forecast(frame, freq="1h", season_lengths=[24, 168], horizon=48, recipe="fast")
    evaluation: fc.Evaluation = result.evaluate(frame)
    fleet: fc.Fleet = fc.fit(frame, freq="1h", season_lengths=24, horizon=48)
    fleet.save("folder")
    later: fc.Result = fc.load("folder").predict(frame)
    rows: pl.DataFrame = fc.Store("store").query("SELECT 1")
    try:
        spec: fc.Spec = fc.read_spec("spec.toml")
    except fc.SpecError as error:
        print(error.problems)
    version: str = fc.__version__
    return float(rows.height + evaluation.num_compared + len(version))
"""


class TestForecast:
    def test_forecasts_have_the_inputs_names_and_one_row_per_step(self, result: fc.Result) -> None:
        rows = result.forecasts
        assert rows.columns[:5] == ["store", "when", "cutoff", "model", "forecast"]
        assert rows.select("store", "when").equals(rows.select("store", "when").sort("store", "when"))
        assert rows.group_by("store").len()["len"].to_list() == [HORIZON] * 2
        assert rows["when"].min() == START + timedelta(hours=60)
        assert result.cutoff == START + timedelta(hours=59)
        assert set(result.candidates["model"]) >= {"gru", "seasonal_naive_6"}
        assert result.candidates.filter("is_champion").height == rows.height
        assert result.backtests.columns[:3] == ["store", "model", "origin"]
        assert result.champions["store"].to_list() == ["a", "b"]
        assert result.rejects.is_empty()
        assert result.reasons.columns == ["store", "model", "reason"]

    def test_the_command_gives_the_same_bits(
        self, frame: pl.DataFrame, result: fc.Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        frame.write_parquet("in.parquet")
        words = ["forecast", "in.parquet", "--freq", "1h", "--season-length", "6", "--horizon", str(HORIZON)]
        words += ["--models", "gru", "--id", "store", "--time", "when", "--target", "sales", "--out", "out.parquet"]
        words += ["--all-models", "--paths", "10", "--recipe", "fast", "--statistics", "none"]
        words += [word for name, value in QUICK.items() for word in ("--set", f"{name}={value}")]
        assert main(words) == 0
        standard = result.as_polars()
        assert pl.read_parquet("out.parquet").equals(standard.candidates)
        assert pl.read_parquet("out.paths.parquet").equals(standard.sample_paths(10))
        from_file = fc.forecast("in.parquet", **NAMES, **OPTIONS)
        assert from_file.candidates.equals(result.candidates)

    def test_a_spec_and_arguments_over_it(self, frame: pl.DataFrame, result: fc.Result, tmp_path: Path) -> None:
        path = tmp_path / "demo.toml"
        overrides = "\n".join(f"{name} = {value}" for name, value in QUICK.items())
        path.write_text(
            'name = "demo"\nfreq = "1h"\nseason_lengths = [6]\nhorizon = 9\nmodels = ["gru"]\nrecipe = "fast"\n'
            'statistics = []\n[source]\nuri = "in.parquet"\nid = "store"\ntime = "when"\ntarget = "sales"\n'
            f"[overrides]\n{overrides}\n",
            encoding="utf-8",
        )
        frame.write_parquet(tmp_path / "in.parquet")
        for spec in (path, fc.read_spec(path)):
            assert fc.forecast(spec=spec, horizon=HORIZON, progress=False).forecasts.equals(result.forecasts)
        assert fc.forecast(frame, spec=path, horizon=HORIZON, progress=False).forecasts.equals(result.forecasts)

    def test_evaluation_scores_the_champions_or_every_model(self, frame: pl.DataFrame) -> None:
        cutoff = START + timedelta(hours=55)
        early = fc.forecast(frame, cutoff=cutoff, **NAMES, **OPTIONS)
        evaluation = early.evaluate(frame)
        assert evaluation.num_compared == 2 * HORIZON
        assert evaluation.scores["store"].to_list() == ["a", "b"]
        assert evaluation.leaderboard["model"].to_list() == ["champion"]
        assert any("at or before the cutoff" in note for note in evaluation.notes)
        every = early.evaluate(frame, all_models=True)
        assert set(every.scores["model"]) == set(early.candidates["model"])
        with pytest.raises(fc.SourceError, match="no actual could be compared"):
            early.evaluate(frame.filter(pl.col("when") <= cutoff))

    @pytest.mark.parametrize(
        "cutoff", [START + timedelta(hours=50), "2024-01-03T02:00:00", np.datetime64("2024-01-03T02:00")]
    )
    def test_cutoffs_of_any_library(self, frame: pl.DataFrame, cutoff: Any) -> None:
        early = fc.forecast(frame, cutoff=cutoff, **NAMES, **OPTIONS)
        assert early.cutoff == START + timedelta(hours=50)
        past_only = fc.forecast(frame.filter(pl.col("when") <= START + timedelta(hours=50)), **NAMES, **OPTIONS)
        assert early.forecasts.equals(past_only.forecasts)

    def test_paths_go_together_and_are_refused_where_they_cannot_be_drawn(self, result: fc.Result) -> None:
        paths = result.sample_paths(50)
        assert paths.columns == ["store", "when", "path", "sales"]
        assert paths.height == 2 * 50 * HORIZON
        with pytest.raises(fc.SpecError, match="10 to 10,000"):
            result.sample_paths(3)
        with pytest.raises(fc.SpecError, match="10 to 10,000"):
            result.sample_paths(0)
        assert result.sample_paths(np.int64(50)).equals(paths)

    def test_paths_of_the_median_alone_are_refused_by_the_argument(self, frame: pl.DataFrame) -> None:
        median = fc.forecast(frame, quantiles=[0.5], **NAMES, **OPTIONS)
        with pytest.raises(fc.SpecError, match=r"^sample_paths: num_paths = 50: needs quantiles besides the median"):
            median.sample_paths(50)

    def test_a_notebook_shows_a_table_and_a_picture(self, result: fc.Result) -> None:
        shown = result._repr_html_()
        assert "<th>store</th>" in shown
        assert "data:image/png;base64," in shown
        assert "2 series, 4 steps of 1h" in repr(result)
        figure = result.plot("a")
        assert [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()] == ["a"]
        with pytest.raises(fc.UserError, match="'c'"):
            result.plot("c")

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            ({"freq": "soon"}, "freq = 'soon'"),
            ({"horizon": 0}, "horizon = 0: must be 1 or more"),
            ({"margin": 2.0}, "margin = 2.0"),
            ({"static": ["store"]}, "^forecast: static must be other columns than id, time and target: store$"),
            ({"country": "US"}, "^forecast: static, calendar, country: country and 'holiday' in calendar"),
            ({"id": "when"}, "^frame: id, time and target must be three columns"),
            ({"freq": np.timedelta64(3600 * 10**9, "ns")}, "freq = .*; write '1h'"),
            (
                {"storage_options": {"key": ["hunter2"]}},
                "^forecast: storage_options must be a table of names and texts$",
            ),
            ({"overrides": {"max_stps": 3}}, "overrides.max_stps = 3 is not a known field"),
            ({"cutoff": "soon"}, "cutoff: 'soon' must be an ISO 8601 time"),
            (
                {"cutoff": START + timedelta(days=9)},
                "lies after the newest finished period that is measured, 2024-01-03T11:00:00",
            ),
            ({"processes": -1}, "processes = -1: must be a whole number"),
            ({"kernel": "abacus"}, "kernel = 'abacus': must be auto, reference, cpu, gpu"),
            ({"overrides": [1]}, "overrides = .* must be a table"),
            ({"spec": {}}, "spec is of type dict"),
        ],
    )
    def test_refused_arguments_are_named(self, frame: pl.DataFrame, arguments: dict[str, Any], problem: str) -> None:
        with pytest.raises(fc.SpecError, match=problem):
            fc.forecast(frame, **(NAMES | OPTIONS | arguments))

    def test_static_categories_that_no_member_can_learn_are_refused_by_the_argument(self, frame: pl.DataFrame) -> None:
        with pytest.raises(fc.SpecError, match=r"^fit: static needs a member that begins from a prior; recipe 'fast'"):
            fc.fit(frame.with_columns(region=pl.lit("north")), static="region", **NAMES, **OPTIONS)

    def test_files_of_another_kind_are_refused_by_their_name(self) -> None:
        with pytest.raises(fc.SpecError, match=r"^frame: '.*/x\.txt': must end in \.parquet or \.csv"):
            fc.forecast("x.txt", **OPTIONS)

    def test_every_problem_is_named_at_once(self) -> None:
        with pytest.raises(fc.SpecError) as refused:
            fc.forecast(long_frame(), **NAMES, freq="soon", horizon=-1, season_lengths=[0])
        assert len(refused.value.problems) == 3

    def test_frequency_and_seasons_may_be_left_out_and_are_then_stated(self, frame: pl.DataFrame) -> None:
        given = {name: value for name, value in OPTIONS.items() if name not in ("freq", "season_lengths")}
        with pytest.warns(DataWarning) as stated:
            inferred = fc.forecast(frame, **NAMES, **given)
        assert [str(each.message) for each in stated] == [
            "frequency 1h: 100% of neighbouring rows are so far apart; --freq (freq) changes it",
            "season lengths 24 and 168: customary at frequency 1h; --season-length (season_lengths) changes them",
        ]
        assert {each.filename for each in stated} == {__file__}
        named = fc.forecast(frame, **NAMES, **OPTIONS | {"season_lengths": [24, 168]})
        assert inferred.candidates.equals(named.candidates)

    def test_a_column_that_is_named_twice_is_refused(self, frame: pl.DataFrame) -> None:
        with pytest.raises(fc.SpecError, match="id is given in source as well"):
            fc.forecast(frame, **NAMES, **OPTIONS, source={"id": "when"})

    def test_other_problems_are_named_before_anything_is_read(self) -> None:
        with pytest.raises(fc.SpecError) as refused:
            fc.forecast("missing.parquet", horizon=0)
        assert [problem.split(":")[0] for problem in refused.value.problems] == ["horizon = 0"]

    def test_steps_without_a_customary_season_are_refused(self, frame: pl.DataFrame) -> None:
        steps = frame.with_columns(when=pl.int_range(pl.len()).over("store"))
        with pytest.raises(
            fc.SpecError, match="season_lengths is missing: none is customary at frequency 1; 1 stands for"
        ):
            fc.forecast(steps, **NAMES, horizon=2)

    def test_neither_frame_nor_source_is_refused(self) -> None:
        with pytest.raises(fc.SpecError, match="frame is missing"):
            fc.forecast(**OPTIONS)

    def test_numbers_of_numpy_are_numbers(self, frame: pl.DataFrame, result: fc.Result) -> None:
        options = OPTIONS | {"horizon": np.int64(HORIZON), "season_lengths": np.array([6])}
        assert fc.forecast(frame, **NAMES, **options).forecasts.equals(result.forecasts)

    def test_text_with_offsets_comes_back_at_its_offset(self, frame: pl.DataFrame) -> None:
        text = frame.with_columns(pl.col("when").dt.to_string("%Y-%m-%dT%H:%M:%S+01:00"))
        result = fc.forecast(text, **NAMES, **OPTIONS)
        assert result.forecasts.schema["when"] == pl.Datetime("us", "Etc/GMT-1")
        assert result.forecasts["when"].min() == datetime(2024, 1, 3, 11, tzinfo=UTC)

    def test_names_of_result_columns_are_refused(self, frame: pl.DataFrame) -> None:
        with pytest.raises(fc.SourceError, match="id = 'source_file'"):
            fc.forecast(frame.rename({"store": "source_file"}), **(NAMES | {"id": "source_file"}), **OPTIONS)


class TestFleet:
    def test_a_fit_forecasts_what_forecast_does(self, fleet: fc.Fleet, result: fc.Result) -> None:
        assert fleet.predict().candidates.equals(result.candidates)
        assert fleet.backtests.equals(result.backtests)
        assert fleet.champions.equals(result.champions)

    def test_a_saved_fleet_forecasts_the_same(self, fleet: fc.Fleet, result: fc.Result, tmp_path: Path) -> None:
        fleet.save(tmp_path / "fleet")
        suffixes = {path.suffix for path in (tmp_path / "fleet").iterdir()}
        assert suffixes == {".json", ".parquet", ".safetensors"}
        loaded = fc.load(tmp_path / "fleet")
        assert loaded.predict(progress=False).candidates.equals(result.candidates)
        fleet.save(tmp_path / "fleet")
        assert [path.name for path in tmp_path.iterdir()] == ["fleet"]

    def test_newer_rows_join_the_history_and_nothing_is_trained(
        self, frame: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fleet = fc.fit(frame, **NAMES, **OPTIONS)
        monkeypatch.setattr("forecasting.fleet.fit.fit_candidates", _refuse_to_train)
        longer = long_frame(num_points=66)
        corrected = longer.filter(pl.col("when") >= START + timedelta(hours=58)).with_columns(pl.col("sales") + 1)
        once = fleet.predict(corrected, progress=False)
        assert once.cutoff == START + timedelta(hours=65)
        assert once.forecasts["when"].min() == START + timedelta(hours=66)
        joined = pl.concat([longer.filter(pl.col("when") < START + timedelta(hours=58)), corrected])
        assert fleet.predict(joined, progress=False).forecasts.equals(once.forecasts), "the history is kept"
        assert fleet.predict(progress=False).forecasts.equals(once.forecasts)

    def test_a_missing_measurement_leaves_the_one_that_is_known(self, frame: pl.DataFrame) -> None:
        fleet = fc.fit(frame, **NAMES, **OPTIONS)
        before = fleet.predict().forecasts
        gap = frame.tail(1).with_columns(sales=pl.lit(None, pl.Float64))
        with pytest.warns(
            fc.DataWarning, match="1 newer rows have no measurement where the fleet has one, which it keeps"
        ):
            assert fleet.predict(gap, progress=False).forecasts.equals(before)

    @pytest.mark.filterwarnings("ignore:1 of 2 series, such as 'a', are forecast 0 at every step")
    def test_absent_rows_are_zero_in_forecasts_backtests_and_fleets_alike(self, frame: pl.DataFrame) -> None:
        sparse = frame.filter((pl.col("store") == "b") | (pl.col("when").dt.minute() == 0))
        sparse = sparse.filter((pl.col("store") == "b") | (pl.col("when").dt.hour() % 4 == 0))
        options = NAMES | OPTIONS
        with pytest.warns(UserWarning, match=r"1 of 2 series have no row at about half .* such as 'a' at"):
            fc.forecast(sparse, **options)
        options |= {"source": {"missing_rows": "zero"}}
        filled = sparse.join(frame.select("store", "when"), on=["store", "when"], how="right").fill_null(0.0)
        explicit = fc.forecast(filled.select(frame.columns), **NAMES, **OPTIONS).forecasts
        with pytest.warns(UserWarning, match="have no row and are taken as 0"):
            assert fc.forecast(sparse, **options).forecasts.equals(explicit)
        with pytest.warns(UserWarning, match="have no row and are taken as 0"):
            fleet = fc.fit(sparse, **options)
        assert fleet.predict(progress=False).forecasts.equals(explicit)
        with pytest.warns(UserWarning, match="have no row and are taken as 0"):
            scored = fc.backtest(sparse, cutoffs=1, **options)
        of_a = scored.filter(store="a").select("when", "sales").unique()
        assert of_a.height == HORIZON
        assert of_a.filter(pl.col("when").dt.hour() % 4 != 0)["sales"].to_list() == [0.0] * 3

    @pytest.mark.filterwarnings("ignore:1 series get no forecast")
    def test_bad_newer_rows_are_rejected_with_their_reason(self, frame: pl.DataFrame) -> None:
        fleet = fc.fit(frame, **NAMES, **OPTIONS)
        bad = pl.DataFrame(
            {
                "store": ["a", "a"],
                "when": [START + timedelta(hours=60), START + timedelta(hours=61, minutes=20)],
                "sales": [float("nan"), 3.0],
            }
        )
        with pytest.warns(fc.DataWarning, match=r"1 of 2 rows are refused, such as <frame>, row 2: a, .* 3\.0 \("):
            later = fleet.predict(bad, progress=False)
        assert sorted(later.rejects["reason"]) == [
            Reason.OFF_GRID,
            "y is NaN",
        ]
        assert later.cutoff == START + timedelta(hours=59)

    @pytest.mark.filterwarnings("ignore:1 of 1 rows are refused")
    def test_refused_newest_row_sets_its_series_aside_until_better_rows_come(self, frame: pl.DataFrame) -> None:
        fleet = fc.fit(frame, **NAMES, **OPTIONS)
        at_60 = {"store": ["a"], "when": [START + timedelta(hours=60)]}
        with pytest.warns(
            fc.DataWarning, match=r"1 series get no forecast, such as 'a', which is set aside: its newest"
        ):
            bad = fleet.predict(pl.DataFrame(at_60 | {"sales": [float("inf")]}), progress=False)
        assert bad.forecasts.filter(store="a")["forecast"].null_count() == HORIZON
        assert bad.forecasts.filter(store="b")["forecast"].null_count() == 0
        assert bad.reasons["reason"][0].startswith("set aside: its newest row, 2024-01-03 12:00:00, is refused")
        good = fleet.predict(pl.DataFrame(at_60 | {"sales": [20.0]}), progress=False)
        assert good.forecasts["forecast"].null_count() == 0

    def test_points_of_newer_rows_that_separate_thousands_are_refused(self, frame: pl.DataFrame) -> None:
        fleet = fc.fit(frame, **NAMES, **OPTIONS)
        before = fleet.predict().forecasts
        times = [START + timedelta(hours=60 + hour) for hour in range(4)]
        newer = pl.DataFrame({"store": "a", "when": times, "sales": ["950", "980", "1.050", "999"]})
        with pytest.raises(fc.SourceError, match=r"measurement '1\.050' would be read as 1\.05"):
            fleet.predict(newer, progress=False)
        assert fleet.predict().forecasts.equals(before)

    def test_time_in_the_future_does_not_set_its_series_aside(self, frame: pl.DataFrame) -> None:
        fleet = fc.fit(frame, **NAMES, **OPTIONS)
        odd = pl.DataFrame({"store": ["a"], "when": [datetime(2934, 1, 1)], "sales": [1.0]})
        with pytest.warns(fc.DataWarning, match=r"1 of 1 rows are refused"):
            later = fleet.predict(odd, progress=False)
        assert later.forecasts["forecast"].null_count() == 0

    @pytest.mark.filterwarnings("ignore:1 of 120 rows are refused", "ignore:1 series get no forecast")
    def test_series_set_aside_by_the_fit_stays_so_in_predictions_and_in_the_saved_fleet(
        self, frame: pl.DataFrame, tmp_path: Path
    ) -> None:
        is_newest = (pl.col("store") == "a") & (pl.col("when") == pl.col("when").max())
        spoilt = frame.with_columns(sales=pl.when(is_newest).then(float("inf")).otherwise("sales"))
        once = fc.forecast(spoilt, **NAMES, **OPTIONS)
        assert once.reasons.select("store", "model").rows() == [("a", "none")]
        assert once.reasons["reason"][0].startswith("set aside: its newest row, 2024-01-03 11:00:00, is refused")
        assert "120 rows read, 119 used, 1 refused; 1 rows refused" in repr(once)
        fleet = fc.fit(spoilt, **NAMES, **OPTIONS)
        fleet.save(tmp_path / "fleet")
        for each in (fleet, fc.load(tmp_path / "fleet")):
            again = each.predict(progress=False)
            assert again.forecasts.equals(once.forecasts)
            assert again.reasons.equals(once.reasons)
        kept = fc.forecast(spoilt, **NAMES, **OPTIONS, source={"allow_rejects": 1})
        assert kept.forecasts["forecast"].null_count() == 0

    def test_part_of_an_aggregated_period_is_not_known_at_a_cutoff_within_it_and_not_compared(self) -> None:
        options = OPTIONS | {"freq": "6h", "season_lengths": [4], "source": {"aggregate": "sum"}}
        hours = long_frame("a", num_points=240)
        fleet = fc.fit(hours.head(180), **NAMES, **options)
        fleet.predict(hours.slice(180), progress=False)
        until = START + timedelta(hours=200)
        with pytest.warns(
            DataWarning, match=r"cutoff 2024-01-09T08:00:00 means 2024-01-09T00:00:00, the newest point of the"
        ):
            part = fleet.predict(cutoff=until, progress=False)
        assert part.forecasts["when"].min() == START + timedelta(hours=198)
        whole = fleet.predict(cutoff=START + timedelta(hours=192), progress=False)
        assert part.forecasts["forecast"].equals(whole.forecasts["forecast"])
        assert fleet.predict(cutoff=fleet.cutoff, progress=False).forecasts["when"].min() == START + timedelta(
            hours=180
        )
        scored = part.evaluate(hours.head(208))
        assert scored.num_compared == 1
        assert "such as 2024-01-09 12:00:00 of 'a', which has 4 of 6 rows; source.unfinished" in scored.notes[-1]

    def test_many_refused_rows_stop_every_function_before_it_trains(self, frame: pl.DataFrame) -> None:
        bad = frame.with_columns(sales=pl.when(pl.int_range(pl.len()) % 10 == 3).then(float("inf")).otherwise("sales"))
        expected = (
            r"12 of 120 rows are refused \(10 %\), in 2 of 2 series(.|\n)*--allow-rejects 0.1 \(source.allow_rejects"
        )
        for function in (fc.forecast, fc.fit, fc.backtest):
            with pytest.raises(fc.SourceError, match=expected):
                function(bad, **NAMES, **OPTIONS)
        newer = bad.with_columns(pl.col("when") + timedelta(hours=60))
        with pytest.raises(fc.SourceError, match=expected):
            fc.fit(frame, **NAMES, **OPTIONS).predict(newer, progress=False)

    def test_a_new_series_uses_the_priors_directly(self, frame: pl.DataFrame) -> None:
        options = OPTIONS | {"overrides": QUICK | {"members": [{}, {"start": "prior"}]}}
        fleet = fc.fit(frame, **NAMES, **options)
        new = long_frame("c", num_points=60)
        later = fleet.predict(new, progress=False)
        champion = later.candidates.filter(pl.col("store") == "c", pl.col("is_champion"))
        assert champion["forecast"].is_finite().all()
        assert champion["model"].unique().to_list() == ["gru"]
        assert later.candidates.filter(store="a")["forecast"].is_finite().all()
        assert later.reasons.filter(pl.col("store") == "c").height == 1

    def test_text_ids_stay_text_beside_whole_numbers(self) -> None:
        rows = long_frame("001", "002")
        fleet = fc.fit(rows, **NAMES, **OPTIONS)
        newer = rows.tail(1).with_columns(store=pl.lit(2), when=pl.lit(START + timedelta(hours=60)))
        with pytest.raises(fc.SourceError, match="whole numbers such as 2, but the fleet's ids are text"):
            fleet.predict(newer, progress=False)
        integers = fc.fit(rows.with_columns(pl.col("store").cast(pl.Int64)), **NAMES, **OPTIONS)
        named = newer.with_columns(store=pl.lit("x"), when=pl.lit(START + timedelta(hours=59)))
        assert set(integers.predict(named, progress=False).forecasts["store"]) == {"1", "2", "x"}
        assert set(integers.predict(progress=False).forecasts["store"]) == {"1", "2", "x"}

    def test_row_that_waited_at_the_fit_is_known_when_the_other_series_follow(self) -> None:
        rows = long_frame("a", "b", "c", num_points=61)
        last = pl.col("when") == START + timedelta(hours=60)
        with pytest.warns(fc.DataWarning, match=r"1 rows of 1 series, such as 'a', .* --cutoff"):
            fleet = fc.fit(rows.filter(~last | (pl.col("store") == "a")), **NAMES, **OPTIONS)
        assert fleet.cutoff == START + timedelta(hours=59)
        later = fleet.predict(rows.filter(last & (pl.col("store") != "a")), progress=False)
        assert later.cutoff == START + timedelta(hours=60)
        assert later.outcome.features.filter(unique_id="a", ds=START + timedelta(hours=60))["y"].is_not_null().all()
        assert "3 forecast (0 lagging) · 0 ended · 0 set aside" in repr(later)

    @pytest.mark.parametrize(("nothing", "reason"), [(None, Reason.NO_MEASUREMENT), (math.nan, Reason.NAN)])
    def test_newer_row_without_a_measurement_leaves_the_stored_one_which_is_said(
        self, frame: pl.DataFrame, nothing: float | None, reason: Reason
    ) -> None:
        fleet = fc.fit(frame, **NAMES, **OPTIONS)
        known = fleet.predict(progress=False).forecasts
        newer = frame.filter(store="a").tail(2).with_columns(sales=pl.lit(nothing, pl.Float64))
        with pytest.warns(fc.DataWarning, match=r"2 newer rows have no measurement where the fleet has one.*of 'a'"):
            later = fleet.predict(newer, progress=False)
        assert later.rejects["reason"].to_list() == [reason] * 2
        assert later.forecasts.equals(known)

    def test_newer_times_on_another_clock_are_refused(self, frame: pl.DataFrame) -> None:
        fleet = fc.fit(frame, **NAMES, **OPTIONS)
        before = fleet.predict().forecasts
        zoned = frame.tail(2).with_columns(pl.col("when").dt.replace_time_zone("America/New_York"))
        with pytest.raises(fc.SourceError, match="has a time zone or offset, but that of the input does not have one"):
            fleet.predict(zoned)
        assert fleet.predict().forecasts.equals(before)

    def test_newer_rows_never_push_out_the_history(self, frame: pl.DataFrame) -> None:
        fleet = fc.fit(frame, **NAMES, **OPTIONS)
        before = fleet.predict().forecasts
        shifted = long_frame("a", num_points=100).with_columns(pl.col("when") + timedelta(hours=60, minutes=30))
        with pytest.raises(fc.SourceError, match="series 'a' would lose 60 rows of its history"):
            fleet.predict(shifted)
        assert fleet.predict().forecasts.equals(before)

    def test_newer_rows_must_name_series_as_the_fit_did(self, frame: pl.DataFrame) -> None:
        fleet = fc.fit(frame, **NAMES, **OPTIONS)
        with pytest.raises(fc.SourceError, match="lacks its id column 'store'"):
            fleet.predict(frame.tail(1).drop("store"))
        single = fc.fit(frame.filter(store="a").drop("store"), time="when", target="sales", **OPTIONS)
        with pytest.raises(fc.SourceError, match="fitted to a frame without a column of series"):
            single.predict(frame.tail(1).rename({"store": "unique_id"}))

    def test_an_empty_frame_adds_nothing(self, fleet: fc.Fleet, result: fc.Result, frame: pl.DataFrame) -> None:
        assert fleet.predict(frame.clear()).forecasts.equals(result.forecasts)

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            ({"processes": 0}, "^predict: processes = 0: must be a whole number of 1 or more"),
            ({"kernel": "abacus"}, "^predict: kernel = 'abacus': must be auto, reference, cpu, gpu"),
        ],
    )
    def test_refused_arguments_are_named(self, fleet: fc.Fleet, arguments: dict[str, Any], problem: str) -> None:
        with pytest.raises(fc.SpecError, match=problem):
            fleet.predict(**arguments)

    def test_a_cutoff_is_on_the_clock_of_days_with_offsets_also_after_loading(self, tmp_path: Path) -> None:
        days = [f"{date(2024, 1, 1) + timedelta(days=day)}T00:00:00+05:00" for day in range(44)]
        rows = pl.DataFrame({"ds": days, "y": [float(day % 7) + 0.1 * day for day in range(44)]})
        options = OPTIONS | {"freq": "1d", "season_lengths": [7]}
        # 01:00 at +05:00 is the day before in UTC.
        cutoff = "2024-02-10T01:00:00+05:00"
        fleet = fc.fit(rows.head(40), **options)
        fleet.save(tmp_path / "fleet")
        for each in (fleet, fc.load(tmp_path / "fleet")):
            with pytest.warns(DataWarning, match="cutoff 2024-02-10T01:00:00 means 2024-02-10T00:00:00"):
                later = each.predict(rows, cutoff=cutoff, progress=False)
            with pytest.warns(DataWarning, match="cutoff 2024-02-10T01:00:00 means 2024-02-10T00:00:00"):
                once = fc.forecast(rows, cutoff=cutoff, **options)
            known = datetime.fromisoformat(cutoff).replace(hour=0)
            assert later.cutoff == once.cutoff == known
            assert later.forecasts["ds"].min() == known.replace(day=11)

    def test_a_cutoff_before_the_fit_is_refused(self, fleet: fc.Fleet) -> None:
        with pytest.raises(fc.SpecError, match="lies before 2024-01-03T11:00:00, which the fleet was fitted to"):
            fleet.predict(cutoff=START)

    def test_a_cut_or_missing_file_is_named(self, fleet: fc.Fleet, tmp_path: Path) -> None:
        fleet.save(tmp_path / "fleet")
        weights = next((tmp_path / "fleet").glob("shard-*.safetensors"))
        whole = weights.read_bytes()
        weights.write_bytes(whole[:-1])
        with pytest.raises(fc.SourceError, match=weights.name):
            fc.load(tmp_path / "fleet")
        weights.unlink()
        with pytest.raises(fc.SourceError, match=weights.name):
            fc.load(tmp_path / "fleet")
        with pytest.raises(fc.NothingStored, match="does not hold a saved fleet"):
            fc.load(tmp_path)

    def test_a_file_that_the_manifest_does_not_list_is_named(self, fleet: fc.Fleet, tmp_path: Path) -> None:
        fleet.save(tmp_path / "fleet")
        path = tmp_path / "fleet" / "fleet.json"
        manifest = json.loads(path.read_text())
        del manifest["files"]["champions.parquet"]
        path.write_text(json.dumps(manifest))
        with pytest.raises(fc.SourceError, match=r"lists no champions\.parquet"):
            fc.load(tmp_path / "fleet")

    def test_a_folder_of_another_format_is_refused(self, fleet: fc.Fleet, tmp_path: Path) -> None:
        fleet.save(tmp_path / "fleet")
        manifest = tmp_path / "fleet" / "fleet.json"
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 99}))
        with pytest.raises(fc.SourceError, match="format 99"):
            fc.load(tmp_path / "fleet")

    def test_a_folder_with_other_content_is_not_replaced(self, fleet: fc.Fleet, tmp_path: Path) -> None:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.txt").write_text("years of work")
        with pytest.raises(fc.SpecError, match="holds something else"):
            fleet.save(tmp_path / "mine")
        (tmp_path / "mine" / "fleet.json").write_text('{"my": "own"}')
        with pytest.raises(fc.SpecError, match="holds something else"):
            fleet.save(tmp_path / "mine")
        assert (tmp_path / "mine" / "thesis.txt").exists()
        fleet.save(tmp_path / "fleet")
        (tmp_path / "fleet" / "notes.md").write_text("mine")
        with pytest.raises(fc.SpecError, match=r"'notes\.md'"):
            fleet.save(tmp_path / "fleet")

    def test_a_save_that_is_interrupted_leaves_the_fleet_that_was_there(
        self, fleet: fc.Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fleet.save(tmp_path / "fleet")
        rename = Path.rename

        def interrupt(path: Path, target: Path) -> Path:
            if path.name == "new":
                raise KeyboardInterrupt
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fleet.save(tmp_path / "fleet")
        assert [path.name for path in tmp_path.iterdir()] == ["fleet"]
        assert fc.load(tmp_path / "fleet").spec == fleet.spec


class TestBacktest:
    @pytest.mark.parametrize("refit", [True, False])
    def test_one_row_per_series_cutoff_step_and_model(self, frame: pl.DataFrame, refit: bool) -> None:
        rows = fc.backtest(frame, cutoffs=2, step=3, refit=refit, **NAMES, **OPTIONS)
        key = ["store", "cutoff", "model", "step"]
        assert rows.select(key).is_unique().all()
        assert rows["cutoff"].unique().sort().to_list() == [START + timedelta(hours=hour) for hour in (52, 55)]
        assert (rows["when"] == rows["cutoff"] + rows["step"].cast(pl.Int64) * timedelta(hours=1)).all()
        assert rows.join(frame, on=["store", "when"]).select((pl.col("sales") == pl.col("sales_right")).all()).item()
        oldest = fc.forecast(frame, cutoff=START + timedelta(hours=52), **NAMES, **OPTIONS)
        first = rows.filter(pl.col("cutoff") == START + timedelta(hours=52))
        assert first["forecast"].to_list() == oldest.candidates["forecast"].to_list()

    def test_no_forecast_knows_what_followed_its_cutoff(self, frame: pl.DataFrame) -> None:
        cutoff = START + timedelta(hours=55)
        changed = frame.with_columns(sales=pl.when(pl.col("when") > cutoff).then(1e6).otherwise("sales"))
        before, after = (fc.backtest(each, cutoffs=1, **NAMES, **OPTIONS).drop("sales") for each in (frame, changed))
        assert before.equals(after)

    def test_a_series_that_has_only_begun_does_not_set_the_cutoffs(self, frame: pl.DataFrame) -> None:
        fresh = long_frame("fresh", num_points=9).with_columns(pl.col("when") + timedelta(hours=52))
        rows = fc.backtest(pl.concat([frame, fresh]), cutoffs=3, refit=False, **NAMES, **OPTIONS)
        assert rows["cutoff"].max() == START + timedelta(hours=55)
        assert (rows["when"] > rows["cutoff"]).all()

    def test_too_many_cutoffs_are_refused(self, frame: pl.DataFrame) -> None:
        with pytest.raises(fc.SourceError, match="60 grid points, but 20 cutoffs 4 apart"):
            fc.backtest(frame, cutoffs=20, **NAMES, **OPTIONS)
        with pytest.raises(fc.SpecError, match="cutoffs = 0"):
            fc.backtest(frame, cutoffs=0, **NAMES, **OPTIONS)


class TestFrames:
    def test_what_comes_back_is_of_the_kind_that_went_in(self, frame: pl.DataFrame, result: fc.Result) -> None:
        import duckdb
        import pandas as pd
        import pyarrow as pa

        expected = result.forecasts["forecast"].to_list()
        kinds: dict[type, Any] = {
            pl.LazyFrame: frame.lazy(),
            pd.DataFrame: frame.to_pandas(),
            pa.Table: frame.to_arrow(),
            duckdb.DuckDBPyRelation: duckdb.from_arrow(frame.to_arrow()),
        }
        for kind, given in kinds.items():
            returned = fc.forecast(given, **NAMES, **OPTIONS).forecasts
            assert isinstance(returned, kind)
            match returned:
                case pl.LazyFrame():
                    values = returned.collect()["forecast"].to_list()
                case pd.DataFrame():
                    values = returned["forecast"].to_list()
                case pa.Table():
                    values = returned["forecast"].to_pylist()
                case _:
                    values = [row[0] for row in returned.project("forecast").fetchall()]
            assert values == expected, kind

    def test_a_notebook_shows_the_scores_of_every_kind_of_frame(self, frame: pl.DataFrame) -> None:
        import duckdb

        cutoff = START + timedelta(hours=55)
        for given in (frame, frame.lazy(), frame.to_pandas(), frame.to_arrow(), duckdb.from_arrow(frame.to_arrow())):
            shown = fc.forecast(given, cutoff=cutoff, **NAMES, **OPTIONS).evaluate(frame)
            assert isinstance(shown.leaderboard, type(given))
            html = shown._repr_html_()
            assert "<th>mase</th>" in html
            assert "<td>champion</td>" in html

    def test_times_in_an_index_of_another_name_are_refused_with_the_argument_that_reads_them(
        self, frame: pl.DataFrame
    ) -> None:
        indexed = frame.to_pandas().set_index("when")
        with pytest.raises(fc.SourceError, match=r"lacks its time column 'ds'.*; time='when' reads the times of its"):
            fc.forecast(indexed, id="store", target="sales", **OPTIONS)


def test_a_script_without_a_main_guard_forecasts_once_on_several_processes(tmp_path: Path) -> None:
    long_frame(*(f"s{number}" for number in range(20))).write_parquet(tmp_path / "in.parquet")
    script = tmp_path / "script.py"
    script.write_text(
        f"""import forecasting as fc
print("started")
options = {OPTIONS!r}
result = fc.forecast("in.parquet", id="store", time="when", target="sales", processes=2, **options)
print(result.forecasts.height)
""",
        encoding="utf-8",
    )
    ran = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["started", str(20 * HORIZON)]


INTERRUPTED = """
import os, signal, sys, threading, time
from pathlib import Path
import forecasting as fc

def children():
    return [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit() and is_child(entry)]

def is_child(entry):
    try:
        return (entry / "stat").read_text().rpartition(")")[2].split()[1] == str(os.getpid())
    except OSError:
        return False

def interrupt():
    while len(children()) < 3:  # two workers and the tracker of multiprocessing's resources
        time.sleep(0.05)
    time.sleep(1)
    os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore the signal
threading.Thread(target=interrupt, daemon=True).start()
try:
    fc.forecast("in.parquet", id="store", time="when", target="sales", processes=2, **OPTIONS)
except KeyboardInterrupt:
    workers = [pid for pid in children() if "resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_text()]
    print("interrupted", len(workers))
"""


def test_an_interrupted_cell_leaves_no_process_and_the_kernel_goes_on(tmp_path: Path) -> None:
    long_frame(*(f"s{number}" for number in range(20))).write_parquet(tmp_path / "in.parquet")
    endless = OPTIONS | {"overrides": QUICK | {"max_steps": 1_000_000, "patience": 10_000}}
    code = f"OPTIONS = {endless!r}\n{INTERRUPTED}"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.stdout.split() == ["interrupted", "0"], ran.stderr


def test_doctests_of_the_module_docstring_compile() -> None:
    text = inspect.getdoc(fc) or ""
    code = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    assert code
    ast.parse("\n".join(code))


def _python(code: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def _refuse_to_train(*_: Any, **__: Any) -> None:
    raise AssertionError("nothing may be trained")


def test_dates_of_days_come_back_as_dates() -> None:
    days = [date(2024, 1, 1) + timedelta(days=day) for day in range(40)]
    rows = pl.DataFrame({"ds": days, "y": [float(day % 7) + 0.1 * day for day in range(40)]})
    options = OPTIONS | {"freq": "1d", "season_lengths": [7]}
    result = fc.forecast(rows, **options)
    assert result.forecasts.schema["ds"] == pl.Date
    assert result.forecasts["unique_id"].unique().to_list() == ["y"]
    assert result.forecasts["ds"].min() == date(2024, 2, 10)


@pytest.fixture(scope="module")
def pairs() -> pl.DataFrame:
    keys = {"a": (10, "milk"), "b": (2, "milk"), "c": (2, "bread/butter")}
    parts = [
        long_frame(name).with_columns(store=pl.lit(store, pl.Int32), item=pl.lit(item))
        for name, (store, item) in keys.items()
    ]
    bad = parts[0].head(1).with_columns(sales=pl.lit(float("inf")), when=pl.lit(START - timedelta(hours=1)))
    return pl.concat([*parts, bad])


@pytest.fixture(scope="module")
def pairs_result(pairs: pl.DataFrame) -> fc.Result:
    with pytest.warns(fc.DataWarning, match=r"1 of 181 rows are refused"):
        return fc.forecast(pairs, **PAIR_NAMES, **OPTIONS)


@pytest.mark.filterwarnings("ignore:1 of 181 rows are refused")
class TestSeveralColumnsOfNames:
    """Series that two columns name come back with these columns, in their own types."""

    def test_every_frame_has_the_columns_in_their_own_types(self, pairs: pl.DataFrame, pairs_result: fc.Result) -> None:
        keys = set(pairs.select("store", "item").unique().rows())
        evaluation = pairs_result.evaluate(pairs.with_columns(pl.col("when") + timedelta(hours=HORIZON)))
        frames = {
            "forecasts": pairs_result.forecasts,
            "candidates": pairs_result.candidates,
            "champions": pairs_result.champions,
            "backtests": pairs_result.backtests,
            "paths": pairs_result.sample_paths(10),
            "scores": evaluation.scores,
        }
        for name, rows in frames.items():
            assert rows.columns[:2] == ["store", "item"], name
            assert "unique_id" not in rows.columns
            assert rows.schema["store"] == pl.Int32
            assert set(rows.select("store", "item").unique().rows()) == keys
        assert pairs_result.rejects.select("store", "item", "reason").rows() == [(10, "milk", Reason.INFINITE)]

    def test_a_forecast_is_that_of_a_frame_with_the_joined_name(
        self, pairs: pl.DataFrame, pairs_result: fc.Result
    ) -> None:
        item = pl.col("item").str.replace("/", "\\/", literal=True)
        joined = pairs.with_columns(store=pl.concat_str(pl.col("store").cast(pl.String), item, separator="/"))
        alone = fc.forecast(joined, **NAMES, **OPTIONS)
        assert alone.forecasts.drop("store").equals(pairs_result.forecasts.drop("store", "item"))

    def test_pandas_and_a_saved_fleet_have_them_too(self, pairs: pl.DataFrame, tmp_path: Path) -> None:
        pandas = pairs.to_pandas()
        fleet = fc.fit(pandas.set_index(["store", "item"]), **PAIR_NAMES, **OPTIONS)
        fleet.save(tmp_path / "fleet")
        forecasts = fc.load(tmp_path / "fleet").predict().forecasts
        assert list(forecasts.columns[:2]) == ["store", "item"]
        assert forecasts["store"].dtype == pandas["store"].dtype
        assert set(forecasts["item"]) == {"milk", "bread/butter"}

    def test_a_column_that_results_have_is_refused(self, pairs: pl.DataFrame) -> None:
        with pytest.raises(fc.SourceError, match="cannot have id = 'model'"):
            fc.forecast(pairs.rename({"item": "model"}), **PAIR_NAMES | {"id": ["store", "model"]}, **OPTIONS)
