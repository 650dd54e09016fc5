"""`[[publish]]`: places, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from forecasting.errors import SpecError
from forecasting.spec.spec import Spec, make_spec, read_spec

FIELDS = {"name": "sales", "freq": "1d", "season_lengths": [7], "horizon": 7, "source": {"uri": "s.parquet"}}


def spec_with(*sinks: dict[str, Any]) -> Spec:
    return make_spec({**FIELDS, "publish": list(sinks)}, subject="spec")


def test_places_are_of_the_kind_that_their_uri_names() -> None:
    spec = spec_with(
        {"uri": "postgresql://db/lake", "table": "out.sales"},
        {"connection": "warehouse"},
        {"uri": "s3://lake/out/sales.PARQUET"},
        {"uri": "s3a://lake/sales.csv", "connection": "lake"},
        {"uri": "/out/sales"},
    )
    assert [sink.kind for sink in spec.publish] == ["postgres", "postgres", "parquet", "csv", "delta"]
    assert str(spec.publish[0]) == "postgresql://db/lake, table out.sales"
    assert str(spec.publish[1]) == "connection 'warehouse', table forecasts"


@pytest.mark.parametrize(
    ("sink", "message"),
    [
        ({}, "needs uri or connection"),
        ({"uri": "postgresql://ada:hunter2@db/x"}, "must not have a password"),
        ({"uri": "mysql://db/x"}, "must be a postgresql:// or s3:// URI, or a path"),
        ({"uri": "/out/sales.csv", "table": "t"}, "table is that of a database"),
        ({"connection": "w", "table": "a.b.c"}, "must be a table"),
        ({"connection": "w", "table": 'a"; DROP'}, "must be a table"),
        ({"connection": "w", "tabel": "t"}, "tabel"),
        ({"connection": "w", "table": "a" * 57}, "at most 56"),
        ({"connection": "w", "password": "hunter2"}, "publish.0.password is not a known field"),
        ({"connection": "w", "storage_options": {"key": "hunter2"}}, "storage_options is not a known field"),
        ({"uri": "host=db password = 'hunter2'"}, "must not have a password"),
        ({"uri": "postgresql://[db/x"}, "must be a postgresql:// or s3:// URI, or a path"),
        ({"uri": "postgresql://db/x", "connection": "w"}, "publish.connection has an address of its own"),
        ({"uri": "/out/sales.csv", "connection": "w"}, "publish.connection opens s3:// URIs"),
        ({"uri": "C:\\out\\sales.csv"}, "must be an absolute path"),
        ({"uri": "out/sales.csv"}, "must be an absolute path"),
        ({"uri": "s3://sales.csv"}, "must have a bucket and a path"),
        ({"uri": "s3:///sales/"}, "must have a bucket and a path"),
    ],
)
def test_others_are_refused(sink: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as refused:
        spec_with(sink)
    assert message in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_paths_are_relative_to_the_spec(tmp_path: Path) -> None:
    path = tmp_path / "sales.toml"
    text = 'name = "sales"\nfreq = "1d"\nseason_lengths = [7]\nhorizon = 7\n[source]\nuri = "s.parquet"\n'
    path.write_text(text + '[[publish]]\nuri = "out/sales.csv"\n', encoding="utf-8")
    assert read_spec(path).publish[0].uri == str(tmp_path / "out/sales.csv")
    path.write_text(text + '[publish]\nuri = "~/sales.csv"\n', encoding="utf-8")
    assert read_spec(path).publish[0].uri == str(Path.home() / "sales.csv")
