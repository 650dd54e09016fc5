"""Options become the same spec as a file would, and refused ones are named as they were typed."""

from pathlib import Path

import pytest

from forecasting.cli.options import parse_pairs, parse_tables, refuse_twice, spec_from_options, split_commas
from forecasting.errors import SpecError
from forecasting.spec.source import make_source

NEEDED = {"freq": "1h", "season_lengths": [24], "horizon": 48}


def test_options_become_a_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = NEEDED | {"models": ["gru"], "source.id": "name", "backtest.margin": 0.1, "overrides.max_steps": "7"}
    spec = spec_from_options(["a.csv"], options)
    assert (spec.source.uri, spec.source.id, spec.source.time) == (str(tmp_path / "a.csv"), "name", "ds")
    assert (spec.models, spec.backtest.margin, spec.overrides.max_steps) == (("gru",), 0.1, 7)


def test_several_inputs_and_folders_are_taken_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "v1.2").mkdir()
    monkeypatch.chdir(tmp_path)
    spec = spec_from_options(["v1.2", "b/*.csv", "s3://bucket/c.parquet"], NEEDED)
    assert spec.source.uris == (f"{tmp_path}/v1.2/", f"{tmp_path}/b/*.csv", "s3://bucket/c.parquet")


@pytest.mark.parametrize("text", ["", " "])
def test_input_without_a_name_is_refused_and_not_the_working_directory(text: str) -> None:
    with pytest.raises(SpecError) as refused:
        spec_from_options([text], NEEDED)
    assert refused.value.problems[0].startswith(f"INPUT = {text!r}: must be the path or URI")
    with pytest.raises(SpecError, match="--actuals: '': must be the path"):
        make_source([""], {"id": "unique_id", "time": "ds", "target": "y"}, subject="--actuals")


def test_every_refused_option_is_named_at_once() -> None:
    options = {
        "freq": "0h",
        "season_lengths": [0],
        "horizon": 0,
        "models": ["arima"],
        "quantiles": ["0.1"],
        "lower_bound": float("nan"),
        "seed": -1,
        "recipe": "best",
        "backtest.margin": 2.0,
        "overrides.max_steps": "many",
        "overrides.depth": "2",
        "source.id": "",
    }
    with pytest.raises(SpecError) as refused:
        spec_from_options([], options)
    labels = sorted(problem.split(" =")[0].split(" is")[0].split(":")[0] for problem in refused.value.problems)
    assert labels == sorted(
        [
            "--freq",
            "--horizon",
            "--id",
            "--lower-bound",
            "--margin",
            "--models",
            "--quantiles",
            "--recipe",
            "--season-length",
            "--seed",
            "--set depth",
            "--set max_steps",
            "INPUT",
        ]
    )


def test_numbers_come_as_text() -> None:
    options = NEEDED | {"quantiles": ["0.1", ".5"], "overrides.max_steps": "20", "overrides.learning_rate": "1e-3"}
    spec = spec_from_options(["a.csv"], options)
    assert spec.quantiles == (0.1, 0.5)
    assert (spec.overrides.max_steps, spec.overrides.learning_rate) == (20, 1e-3)
    with pytest.raises(SpecError) as refused:
        spec_from_options(["a.csv"], options | {"quantiles": ["half"], "overrides.max_steps": "many"})
    assert list(refused.value.problems) == [
        "--quantiles = 'half': must be a number",
        "--set max_steps = 'many': must be a whole number",
    ]


def test_missing_options_are_named_together() -> None:
    with pytest.raises(SpecError) as refused:
        spec_from_options([], {"freq": None, "season_lengths": None, "horizon": None})
    assert [problem.split(":")[0] for problem in refused.value.problems] == ["INPUT is missing", "--horizon is missing"]


def test_columns_that_are_not_three_are_refused() -> None:
    with pytest.raises(SpecError, match="--id, --time, --target: id, time and target must be three columns"):
        spec_from_options(["a.csv"], NEEDED | {"source.id": "ds"})


def test_options_lie_over_the_spec_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "sales.toml").write_text(
        'name = "sales"\nfreq = "1d"\nseason_lengths = [7]\nhorizon = 14\nlower_bound = 0\n'
        '[source]\nuri = "sales.csv"\nid = "shop"\n[overrides]\nmax_steps = 9\n',
        encoding="utf-8",
    )
    plain = spec_from_options([], {"horizon": None}, spec_path=tmp_path / "sales.toml")
    assert (plain.name, plain.horizon, plain.source.uri) == ("sales", 14, str(tmp_path / "sales.csv"))
    changed = spec_from_options(
        ["/other.csv"], {"horizon": 3, "overrides.patience": "2"}, spec_path=tmp_path / "sales.toml"
    )
    assert (changed.horizon, changed.lower_bound, changed.source.uri, changed.source.id) == (
        3,
        0.0,
        "/other.csv",
        "shop",
    )
    assert (changed.overrides.max_steps, changed.overrides.patience) == (9, 2)


@pytest.mark.parametrize("text", ["max_steps", "=3", "max_steps="])
def test_override_that_is_no_pair_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="must be KEY=VALUE"):
        parse_pairs([text], option="--set", table="overrides", example="max_steps=200")


def test_lists_may_be_split_by_commas_or_repeated() -> None:
    assert split_commas(["a,b", " c "]) == ["a", "b", "c"]
    assert split_commas(None) is None


def test_fields_of_the_source_are_options_and_a_refused_one_is_named_as_typed() -> None:
    fields = parse_pairs(["time=day", "id = 7"], option="--source", table="source", example="time=day")
    spec = spec_from_options(["a.csv"], NEEDED | fields)
    assert (spec.source.time, spec.source.id) == ("day", "7")
    with pytest.raises(SpecError) as refused:
        spec_from_options(["a.csv"], NEEDED | {"source.colour": "red"})
    assert refused.value.problems[0].startswith("--source colour = 'red'")


def test_dialect_of_csv_files_lies_over_that_of_a_spec_and_refused_parts_are_named_as_typed(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    head = 'name = "a"\nfreq = "1h"\nseason_lengths = [24]\nhorizon = 2\n'
    file.write_text(head + '[source]\nuri = "a.csv"\n[source.csv]\nseparator = ";"\ndecimal = ","\n')
    csv = spec_from_options(
        [], {"source.csv.separator": "tab", "source.csv.null": ["NA", "-"]}, spec_path=file
    ).source.csv
    assert (csv.separator, csv.decimal, csv.null) == ("\t", ",", ("NA", "-"))
    with pytest.raises(
        SpecError, match=r"(?s)--csv-separator = ';;': must be one ASCII character.*--csv-decimal = 'x'"
    ):
        spec_from_options(["a.csv"], NEEDED | {"source.csv.separator": ";;", "source.csv.decimal": "x"})


def test_a_field_that_is_given_twice_is_refused() -> None:
    with pytest.raises(SpecError, match="--set max_steps is given 2 times; it takes one value"):
        parse_pairs(["max_steps=1", "max_steps=2"], option="--set", table="overrides", example="max_steps=200")
    refuse_twice({"source.id": None, "source.time": "day"}, {"source.id": "shop"})
    with pytest.raises(SpecError, match="--id is given by --source id as well"):
        refuse_twice({"source.id": "store"}, {"source.id": "shop"})


def test_tables_of_covariates_have_fields_beside_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (spaced,) = parse_tables(["my data/weather.csv  by=station csv.separator=';' future=rain,sun"]) or ()
    expected = {"uri": f"{tmp_path}/my data/weather.csv", "by": "station", "csv": {"separator": ";"}}
    assert spaced == expected | {"future": ["rain", "sun"]}
    (database,) = parse_tables(["connection=lake query='SELECT * FROM rain' by=all"]) or ()
    assert database == {"connection": "lake", "query": "SELECT * FROM rain", "by": "all"}
    for text, said in (("by=all", "names no table"), ("x.csv by=all by=id", "is given 2 times")):
        with pytest.raises(SpecError, match=said):
            parse_tables([text])


def test_columns_of_a_table_are_its_covariates_unless_they_are_named(tmp_path: Path) -> None:
    path = tmp_path / "weather.csv"
    path.write_text("station,ds,rain,sun\n")
    options = NEEDED | {"covariates.tables": [{"uri": str(path), "by": "station"}]}
    assert spec_from_options(["sales.csv"], options).covariates.names == ("rain", "sun")


def test_holidays_are_options_with_a_window_of_two_numbers() -> None:
    window = split_commas(["-1,2"])
    spec = spec_from_options(["a.csv"], NEEDED | {"holidays.country": "DE-BY", "holidays.window": window})
    assert (spec.holidays.country, spec.holidays.window) == ("DE-BY", (-1, 2))
    assert spec.chosen_regressions == ("ridge",)
    with pytest.raises(SpecError, match=r"forecast: --holiday-window = \[-1\]: must be two numbers of days"):
        spec_from_options(["a.csv"], NEEDED | {"holidays.country": "US", "holidays.window": ["-1"]})


def test_time_of_publication_is_no_covariate(tmp_path: Path) -> None:
    path = tmp_path / "weather.csv"
    path.write_text("ds,rain,published\n")
    options = NEEDED | {"covariates.tables": [{"uri": str(path), "available_at": "published"}]}
    assert spec_from_options(["sales.csv"], options).covariates.names == ("rain",)
