"""The spec: what it accepts, and how it reports every field that it refuses."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from forecasting.errors import SpecError
from forecasting.spec.categories import Categories
from forecasting.spec.quantiles import DEFAULT_QUANTILES
from forecasting.spec.source import Source
from forecasting.spec.spec import Backtest, Schedule, Spec, make_spec, read_spec

FIELDS: dict[str, Any] = {
    "name": "sales",
    "source": {"uri": "sales.csv"},
    "freq": "1h",
    "season_lengths": [24],
    "horizon": 48,
}

ONE_OF_THE_NETWORKS = (
    "must be 'elman', 'jordan', 'lstm', 'gru', 'indrnn', 'bidirectional', 'seq2seq', 'attention' or 'window_mlp'"
)


def refuse(**fields: Any) -> tuple[str, ...]:
    with pytest.raises(SpecError) as refused:
        make_spec(FIELDS | fields, subject="spec")
    return refused.value.problems


def test_defaults_are_the_documented_ones() -> None:
    spec = make_spec(FIELDS, subject="spec")
    assert spec.models == ("lstm", "gru")
    assert spec.quantiles == DEFAULT_QUANTILES
    assert (spec.backtest.origins, spec.origin_step, spec.backtest.margin) == (3, 48, -1.0)
    assert (spec.clock, spec.recipe, spec.lower_bound) == ("timestamp", "standard", None)


@pytest.mark.parametrize("part", [Spec, Source, Schedule, Backtest, Categories])
def test_every_field_is_described(part: type[BaseModel]) -> None:
    assert [name for name, field in part.model_fields.items() if not field.description] == []


def test_default_quantile_columns_are_the_documented_thirteen() -> None:
    assert make_spec(FIELDS, subject="spec").quantile_columns == (
        "q02_5", "q05", "q10", "q20", "q30", "q40", "q50", "q60", "q70", "q80", "q90", "q95", "q97_5",
    )  # fmt: skip


@pytest.mark.parametrize("freq", [0, "0", -1, "0h", "h", "1x", "1h 30m", "-1h", "1mo1d", "1.5h", True, 1.5, None, ""])
def test_frequency_without_a_grid_is_refused(freq: Any) -> None:
    assert refuse(freq=freq)[0].startswith(f"freq = {freq!r}: ")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("name", "Sales 1", "name = 'Sales 1': must match ^[a-z]"),
        ("horizon", 0, "horizon = 0: must be 1 or more"),
        ("freq", "9999999y", "freq = '9999999y': must be at most 1000 years"),
        ("freq", 10**21, "freq = 1000000000000000000000: an integer step must be 1 or more and at most 10^15"),
        ("horizon", 20_000, "horizon = 20000: must be 10000 or less"),
        ("season_lengths", [], "season_lengths = []: must not be empty"),
        ("season_lengths", [24, 24], "season_lengths = [24, 24]: must not name anything twice"),
        ("season_lengths", [0], "season_lengths.0 = 0: must be 1 or more"),
        ("models", ["lstm", "lstm"], "models = ['lstm', 'lstm']: must not name anything twice"),
        (
            "models",
            ["arima"],
            f"models.0 = 'arima': {ONE_OF_THE_NETWORKS}",
        ),
        ("quantiles", [0.5, 0.1], "quantiles = [0.5, 0.1]: must rise without repeats"),
        ("quantiles", [0.1, 0.9], "must contain 0.5"),
        ("quantiles", [0.0, 0.5], "must lie strictly between 0 and 1"),
        ("quantiles", [0.5, 0.9999], "must be whole tenths of a percent"),
        ("lower_bound", float("nan"), "lower_bound = nan: must be a finite number"),
        ("seed", -1, "seed = -1: must be 0 or more"),
        ("recipe", "best", "recipe = 'best': must be 'fast', 'standard' or 'accurate'"),
        ("seed", True, "seed = True: must be a whole number"),
        ("seed", "0", "seed = '0': must be a whole number"),
        ("horizon", 48.5, "horizon = 48.5: must be a whole number"),
        ("integer_valued", "yes", "integer_valued = 'yes': must be true or false"),
        ("integer_valued", 1, "integer_valued = 1: must be true or false"),
        ("lower_bound", "0", "lower_bound = '0': must be a number"),
        ("lower_bound", False, "lower_bound = False: must be a number"),
        ("quantiles", [0.1, "0.5"], "quantiles.1 = '0.5': must be a number"),
        ("season_lengths", [True], "season_lengths.0 = True: must be a whole number"),
        ("season_lengths", 24, "season_lengths = 24: must be a list"),
        ("description", 5, "description = 5: must be text"),
        ("source", "sales.csv", "source = 'sales.csv': must be a table of fields"),
        ("overrides", "fast", "overrides = 'fast': must be a table of fields"),
        ("overrides", {"max_steps": "5"}, "overrides.max_steps = '5': must be a whole number"),
        ("backtest", {"origins": "3"}, "backtest.origins = '3': must be a whole number"),
        ("backtest", {"margin": True}, "backtest.margin = True: must be a number"),
        ("colour", "red", "colour = 'red' is not a known field"),
        ("source", {"uri": ""}, "source.uri = '': must be the path or URI"),
        ("source", {"uri": "a.xlsx"}, "source.uri = 'a.xlsx': must end in .parquet or .csv"),
        ("source", {"uri": ["a.csv", "b.txt"]}, "'b.txt' must end in .parquet or .csv"),
        ("source", {"uri": []}, "source.uri = []: must be the path or URI"),
        ("source", {"uri": 5}, "source.uri = 5: must be the path or URI"),
        ("source", {"uri": "a.csv", "id": "ds"}, "source: id, time and target must be three columns"),
        ("source", {}, "source.uri is missing"),
        ("backtest", {"margin": 1.0}, "backtest.margin = 1.0: must be less than 1"),
        (
            "schedule",
            {"train": "0 25 * * *"},
            "schedule.train = '0 25 * * *': cron field '25' (hour) must lie between 0 and 23",
        ),
        ("schedule", {"train": "daily"}, "must be a cron expression of five fields"),
        ("schedule", {"timezone": "Mars"}, "schedule.timezone = 'Mars': must be an IANA time zone"),
        (
            "categories",
            {"calendar": ["season"]},
            "categories.calendar.0 = 'season': must be 'hour', 'weekday'",
        ),
        ("categories", {"calendar": ["hour", "hour"]}, "must not name anything twice"),
        ("categories", {"calendar": ["holiday"]}, "categories: country and 'holiday' in calendar must be set together"),
        ("categories", {"country": "US"}, "categories: country and 'holiday' in calendar must be set together"),
        ("categories", {"subdivision": "CA"}, "categories: subdivision needs the country that it is a part of"),
        (
            "categories",
            {"calendar": ["holiday"], "country": "usa"},
            "categories.country = 'usa': must match ^[A-Z]",
        ),
        ("categories", {"static": ["month"]}, "static columns must not have the names of calendar categories: month"),
        ("categories", {"static": ["ds"]}, "categories.static must be other columns than id, time and target: ds"),
        ("categories", {"size": 0}, "categories.size = 0: must be 1 or more"),
        ("overrides", {"max_steps": 0}, "overrides.max_steps = 0: must be 1 or more"),
        ("overrides", {"depth": 2}, "overrides.depth = 2 is not a known field"),
    ],
)
def test_refused_field_is_reported_with_its_value_and_what_it_needs(field: str, value: Any, expected: str) -> None:
    problems = refuse(**{field: value})
    assert len(problems) == 1
    assert expected in problems[0]


@pytest.mark.parametrize(
    ("freq", "calendar", "expected"),
    [
        ("1w", ["weekday", "month"], "calendar 'weekday' needs a finer frequency than 1w"),
        ("1d", ["hour"], "calendar 'hour' needs a finer frequency than 1d"),
        ("1y", ["month"], "calendar 'month' needs a finer frequency than 1y"),
        (1, ["weekday"], "calendar 'weekday' needs timestamps, but the frequency is an integer step"),
    ],
)
def test_category_that_is_constant_along_the_grid_is_refused(
    freq: str | int, calendar: list[str], expected: str
) -> None:
    (problem,) = refuse(freq=freq, categories={"calendar": calendar})
    assert expected in problem


@pytest.mark.parametrize("form", ["yyyymmdd", "yyyymm", "iso_week", "quarter", "%d.%m.%Y"])
def test_format_without_a_time_of_day_needs_a_frequency_of_a_day_or_coarser(form: str) -> None:
    source = {"uri": "x.parquet", "time_format": form}
    (problem,) = refuse(source=source, freq="1h")
    assert f"source.time_format = '{form}' reads no time of day, which the frequency 1h needs" in problem
    assert make_spec(FIELDS | {"source": source, "freq": "1d"}, subject="spec").freq == "1d"
    hours = source | {"time_format": "%d.%m.%Y %I %p"}
    assert make_spec(FIELDS | {"source": hours, "freq": "1h"}, subject="spec").freq == "1h"


def test_horizon_that_leaves_the_calendar_is_refused() -> None:
    assert refuse(freq="1000y", horizon=10) == ("horizon = 10: steps of 1000y must reach at most 5000 years ahead",)
    assert refuse(freq=10**15, horizon=1001) == (
        "horizon = 1001: times the frequency 1000000000000000 must be at most 10^18",
    )


def test_all_refused_fields_are_reported_together() -> None:
    problems = refuse(freq="1x", horizon=0, models=["arima"], overrides={"depth": 2}, name="A")
    assert [problem.split(" ")[0] for problem in problems] == ["name", "freq", "horizon", "models.0", "overrides.depth"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"source": {"uri": "f.xlsx", "id": "a", "time": "a"}, "season_lengths": [24, 24, -1]},
            [
                "source.uri = 'f.xlsx': must end in .parquet or .csv (a file or a glob), or name a folder of such"
                " files",
                "source: id, time and target must be three columns, not 'a', 'a', 'y'",
                "season_lengths.2 = -1: must be 1 or more",
                "season_lengths = [24, 24, -1]: must not name anything twice",
            ],
        ),
        (
            {"models": ["lstm", "lstm", "foo"], "quantiles": [0.9, 1.5, "x", 0.1]},
            [
                "quantiles.2 = 'x': must be a number",
                "quantiles = [0.9, 1.5, 'x', 0.1]: must lie strictly between 0 and 1; must rise without repeats",
                f"models.2 = 'foo': {ONE_OF_THE_NETWORKS}",
                "models = ['lstm', 'lstm', 'foo']: must not name anything twice",
            ],
        ),
        (
            {"source": {"uri": ["a.txt", "b.csv", "c.doc"], "time": "y", "colour": 1}},
            [
                "source.uri = ['a.txt', 'b.csv', 'c.doc']: 'a.txt', 'c.doc' must end in .parquet or .csv (a file or a"
                " glob), or name a folder of such files",
                "source.colour = 1 is not a known field",
                "source: id, time and target must be three columns, not 'unique_id', 'y', 'y'",
            ],
        ),
    ],
)
def test_problems_of_parts_do_not_hide_problems_of_the_whole(fields: dict[str, Any], expected: list[str]) -> None:
    assert list(refuse(**fields)) == expected


def test_values_of_any_type_are_refused_in_plain_words() -> None:
    values: list[Any] = [None, True, 5, 1.5, "x", [], {}, [None], [{}, {}], [[]], {"a": 1}, float("inf")]
    refusals: list[tuple[str, str]] = []
    for name in Spec.model_fields:
        for value in values:
            try:
                make_spec(FIELDS | {name: value}, subject="spec")
            except SpecError as refused:
                refusals += [(name, problem) for problem in refused.problems]
    assert len(refusals) > 100
    assert [problem for name, problem in refusals if not problem.startswith(name)] == []
    assert [problem for _, problem in refusals if re.search(r"[Ii]nput|valid |should|instance", problem)] == []


def test_json_of_a_spec_reads_back_as_the_same_spec() -> None:
    fields = FIELDS | {"source": {"uri": ["/a.csv", "s3://b/c.parquet"]}, "overrides": {"max_steps": 5}, "freq": 3}
    spec = make_spec(fields, subject="spec")
    assert Spec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ('"rows/a.csv"', "{folder}/rows/a.csv"),
        ('"../a.csv"', "{parent}/a.csv"),
        ('"rows/"', "{folder}/rows/"),
        ('"rows/*.csv"', "{folder}/rows/*.csv"),
        ('"/rows/a.csv"', "/rows/a.csv"),
        ('"s3://bucket/a.csv"', "s3://bucket/a.csv"),
    ],
)
def test_relative_source_is_resolved_from_the_folder_of_the_spec(tmp_path: Path, uri: str, expected: str) -> None:
    path = tmp_path / "specs" / "sales.toml"
    path.parent.mkdir()
    path.write_text(
        f'name = "sales"\nfreq = "1h"\nseason_lengths = [24]\nhorizon = 4\n[source]\nuri = {uri}\n', encoding="utf-8"
    )
    assert read_spec(path).source.uri == expected.format(folder=path.parent, parent=tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace(uri, f"[{uri}, {uri}]"), encoding="utf-8")
    assert read_spec(path).source.uris == (expected.format(folder=path.parent, parent=tmp_path),) * 2


@pytest.mark.parametrize(
    ("content", "expected"), [(b"name =", "is not TOML"), (b"\xff", "is not TOML"), (None, "cannot be read")]
)
def test_file_without_a_spec_is_reported_with_its_path(tmp_path: Path, content: bytes | None, expected: str) -> None:
    path = tmp_path / "sales.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpecError, match=expected) as refused:
        read_spec(path)
    assert refused.value.subject == f"spec {path}"


def test_statistics_are_named_in_the_spec_or_chosen_by_the_recipe() -> None:
    assert make_spec(FIELDS, subject="spec").statistics is None
    named = make_spec(FIELDS | {"statistics": ["theta", "tsb"]}, subject="spec")
    assert named.statistics == ("theta", "tsb")
    assert Spec.model_validate_json(named.model_dump_json()) == named
    assert make_spec(FIELDS | {"statistics": []}, subject="spec").statistics == ()
    assert refuse(statistics=["theta", "theta"]) == ("statistics = ['theta', 'theta']: must not name anything twice",)
    (problem,) = refuse(statistics=["arima"])
    assert "statistics" in problem
    assert "theta" in problem


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"paths": 9}, "paths = 9: must be 0 for none, or 10 to 10,000"),
        ({"paths": -1}, "paths = -1: must be 0 for none, or 10 to 10,000"),
        ({"paths": 10_001, "horizon": 1}, "paths = 10001: must be 0 for none, or 10 to 10,000"),
        ({"paths": 200.0}, "paths = 200.0: "),
        ({"paths": 200, "horizon": 1001}, "paths = 200: needs a horizon of at most 1,000 steps, not 1,001"),
        ({"paths": 2001, "horizon": 500}, "paths = 2001: must be at most 2,000 for a horizon of 500"),
        ({"paths": 200, "quantiles": [0.5]}, "paths = 200: needs quantiles besides the median"),
    ],
)
def test_paths_that_cannot_be_drawn_are_refused(fields: dict[str, Any], expected: str) -> None:
    (problem,) = refuse(**fields)
    assert problem.startswith(expected)


@pytest.mark.parametrize(
    "fields", [{"paths": 0, "horizon": 10_000, "quantiles": [0.5]}, {"paths": 2000, "horizon": 500}]
)
def test_paths_that_can_be_drawn_are_accepted_and_so_is_none(fields: dict[str, Any]) -> None:
    assert make_spec(FIELDS | fields, subject="spec").paths == fields["paths"]
