"""The source of a spec: its URIs and its columns."""

import json
import traceback
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from forecasting.errors import SpecError
from forecasting.spec.source import Source, absolute_uri, absolute_uris, make_source
from forecasting.spec.spec import make_spec, read_spec


def test_one_uri_and_several_are_both_a_tuple() -> None:
    assert Source(uri="a.csv").uris == ("a.csv",)
    assert Source(uri=("a.csv", "s3://b/c/")).uris == ("a.csv", "s3://b/c/")
    assert str(Source(uri=("a.csv", "s3://b/c/"))) == "a.csv, s3://b/c/"


@pytest.mark.parametrize("uri", ["a.csv", "a.CSV.GZ", "rows/", "rows", "rows/*.pq", "s3://bucket/2024.01/", "a.b/rows"])
def test_file_folder_and_glob_are_accepted(uri: str) -> None:
    assert Source(uri=uri).uris == (uri,)


@pytest.mark.parametrize("columns", [{"id": "ds"}, {"time": "y"}, {"id": "a", "target": "a"}])
def test_one_column_cannot_have_two_roles(columns: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="id, time and target must be three columns"):
        Source(uri="a.csv", **columns)


def test_home_is_expanded_and_a_trailing_slash_is_kept(tmp_path: Path) -> None:
    assert absolute_uri("~/a.csv", relative_to=tmp_path) == str(Path.home().resolve() / "a.csv")
    assert absolute_uri("rows/", relative_to=tmp_path) == f"{tmp_path.resolve()}/rows/"


def test_unknown_user_is_an_ordinary_name(tmp_path: Path) -> None:
    name = "~no such user/a.csv"
    assert absolute_uri(name, relative_to=tmp_path) == f"{tmp_path.resolve()}/{name}"


@pytest.mark.parametrize("uri", ["s3://[bucket/a.csv", "a\0.csv", " "])
def test_text_that_is_neither_a_path_nor_a_uri_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="must be the path or URI of a file"):
        make_source([uri], {"id": "unique_id", "time": "ds", "target": "y"}, subject="--actuals")
    (tmp_path / "sales.toml").write_text(f"[source]\nuri = {json.dumps(uri)}\n")
    in_file = "source.uri: must not have the character U\\+0000" if "\0" in uri else "must be the path or URI of a file"
    with pytest.raises(SpecError, match=in_file):
        read_spec(tmp_path / "sales.toml")


@pytest.mark.parametrize("uri", [None, 5, "", [None, 5], {"a": 1}])
def test_values_that_are_not_paths_are_left_to_validation(uri: Any) -> None:
    assert absolute_uris(uri, relative_to=Path("/specs")) == uri


def test_files_are_named_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows").mkdir()
    source = make_source(
        ["a.csv", "rows", "s3://b/c.csv"], {"id": "shop", "time": "day", "target": "sold"}, subject="--actuals"
    )
    assert source.uris == (f"{tmp_path}/a.csv", f"{tmp_path}/rows/", "s3://b/c.csv")
    assert (source.id, source.time, source.target) == ("shop", "day", "sold")


def test_all_refused_paths_and_columns_are_reported_under_the_subject() -> None:
    with pytest.raises(SpecError) as refused:
        make_source([" "], {"id": "ds", "time": "ds", "target": "y"}, subject="--actuals")
    assert refused.value.subject == "--actuals"
    assert [problem.split(":")[0] for problem in refused.value.problems] == [
        "' '",
        "id, time and target must be three columns, not 'ds', 'ds', 'y'",
    ]


def test_a_name_may_have_several_columns() -> None:
    assert Source(uri="a.csv", id=["store", "item"]).ids == ("store", "item")
    assert Source(uri="a.csv", id=["store"]).id == "store"
    assert Source.model_validate(Source(uri="a.csv", id=["store", "item"]).model_dump(mode="json")).ids == (
        "store",
        "item",
    )


@pytest.mark.parametrize(
    ("id", "problem"),
    [
        ([], "must be the name of a column, or a list of names"),
        (3, "must be the name of a column, or a list of names"),
        ("", "must not be empty"),
        (["store", "store"], "must not name anything twice"),
        (["store", "unique_id"], "cannot have 'unique_id' among several columns"),
        (["store", "day"], "id, time and target must be different columns"),
    ],
)
def test_columns_that_cannot_name_series_are_refused(id: Any, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Source(uri="a.csv", id=id, time="day")


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("postgresql://ada:hunter2@host/db", "PGPASSWORD or PGPASSFILE"),
        ("postgresql://host/db?sslmode=require&password=hunter2", "PGPASSWORD or PGPASSFILE"),
        ("postgresql://ada:x@hunter2@host/db", "PGPASSWORD or PGPASSFILE"),
        ("s3://AKIA:hunter2/x@bucket/a.csv", "FLEETCAST_STORAGE_OPTIONS"),
        (["a.csv", "s3://AKIA:hunter2@bucket/a.csv"], "FLEETCAST_STORAGE_OPTIONS"),
    ],
)
def test_secret_in_a_uri_is_refused_without_it(uri: Any, place: str) -> None:
    spec = {"name": "a", "freq": 1, "season_lengths": [1], "horizon": 1, "source": {"uri": uri}}
    with pytest.raises(SpecError) as refused:
        make_spec(spec, subject="spec a.toml")
    shown = "".join(traceback.format_exception(refused.value))
    assert "hunter2" not in shown
    assert "***" in str(refused.value)
    assert "must not have a password; source.connection" in str(refused.value)
    assert place in str(refused.value)
    with pytest.raises(SpecError) as refused:
        make_source([uri] if isinstance(uri, str) else uri, {}, subject="--actuals")
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


def test_secret_in_the_place_of_a_name_is_refused_without_it() -> None:
    with pytest.raises(SpecError, match="source: connection: must be the name of a"):
        make_source(["s3://b/a.csv"], {"connection": "postgresql://ada:hunter2@host/db"}, subject="source")


def test_connection_opens_object_stores_alone() -> None:
    assert Source(uri=("s3://b/a.csv", "s3a://b/c/"), connection="lake").connection == "lake"
    with pytest.raises(SpecError, match=r"connection opens s3:// URIs, and '/a.csv' is another place"):
        make_source(["s3://b/a.csv", "/a.csv"], {"connection": "lake"}, subject="source")


def test_other_rows_of_the_same_kind_of_place_are_read_with_the_same_connection() -> None:
    source = Source(uri="s3://b/a.csv", connection="lake", id="shop")
    assert source.reading_of(["s3://b/c.csv"]) == {"id": "shop", "connection": "lake"}
    assert source.reading_of(["/c.csv"]) == source.reading_of(None) == {"id": "shop"}
