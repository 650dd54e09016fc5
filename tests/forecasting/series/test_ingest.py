"""A source read up to a cutoff, with its rejects and categories."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from forecasting.errors import SourceError
from forecasting.schemas import CATEGORIES
from forecasting.series.ingest import ingest
from forecasting.series.reasons import Reason
from forecasting.spec.categories import Categories
from forecasting.spec.spec import Spec, make_spec

BEGIN = datetime(2024, 1, 1)


def spec_of(path: Path, *, allow_rejects: float = 0.01, **fields: Any) -> Spec:
    source = {"uri": str(path), "allow_rejects": allow_rejects}
    described = {"name": "x", "source": source, "freq": "1h", "season_lengths": [3], "horizon": 2}
    return make_spec(described | fields, subject="x")


def write(path: Path, times: list[Any], values: list[Any] | None = None) -> Path:
    rows = pl.DataFrame({"unique_id": ["a"] * len(times), "ds": times, "y": values or list(range(len(times)))})
    rows.write_csv(path) if path.suffix == ".csv" else rows.write_parquet(path)
    return path


def test_names_in_another_encoding_are_rejected_and_never_become_one_series(tmp_path: Path) -> None:
    rows = "unique_id,ds,y\nMüller,{0},1\nMöller,{0},2\nMeier,{0},3\n".format(BEGIN.isoformat())
    (tmp_path / "latin.csv").write_bytes(rows.encode("latin-1"))
    (tmp_path / "utf.csv").write_bytes(rows.replace("Meier", "Mäier").encode())
    ingested = ingest(spec_of(tmp_path / "*.csv"))
    assert ingested.unique_ids == ["Meier", "Mäier", "Möller", "Müller"]
    assert ingested.rejects.select("source_row", "unique_id", "y", "reason").rows() == [
        (1, "M\ufffdller", "1", Reason.NOT_UTF_8),
        (2, "M\ufffdller", "2", Reason.NOT_UTF_8),
    ]
    assert "UTF-8" in Reason.NOT_UTF_8


def test_run_notes_the_files_of_a_folder_that_it_does_not_read(tmp_path: Path) -> None:
    write(tmp_path / "x.csv", [BEGIN])
    (tmp_path / "y.tsv").write_text("unique_id\tds\ty\n")
    assert [note for note in ingest(spec_of(tmp_path)).notes if "y.tsv" in note]


def test_categories_that_are_not_utf_8_are_refused_instead_of_becoming_one(tmp_path: Path) -> None:
    rows = [f"{name},2024-01-0{day},1,{town}" for name, town in (("a", "Köln"), ("b", "Kßln")) for day in (1, 2)]
    path = tmp_path / "x.csv"
    path.write_bytes(
        "\n".join(["unique_id,ds,y,town", *rows, "c,2024-01-01,1,Bonn", "c,2024-01-02,1,"]).encode("latin-1")
    )
    ingested = ingest(spec_of(path, categories={"static": ["town"]}))
    assert ingested.observations["unique_id"].unique().to_list() == ["c"]
    assert ingested.rejects["reason"].to_list() == [Reason.CATEGORY_NOT_UTF_8] * 4
    assert ingested.unique_ids == ["a", "b", "c"]
    assert "--csv-encoding" in Reason.CATEGORY_NOT_UTF_8
    only = tmp_path / "latin"
    only.mkdir()
    (only / "x.csv").write_bytes("unique_id,ds,y\nMüller,2024-01-01,1\n".encode("latin-1"))
    with pytest.raises(SourceError, match=r"no accepted observation; it needs at least one; 1 rows: .*UTF-8"):
        ingest(spec_of(only / "x.csv"))


def test_malformed_csv_row_names_no_series(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("y,unique_id,ds\n1,a,2024-01-01 00:00\n1,231.17,a,2024-01-01 01:00\n")
    ingested = ingest(spec_of(tmp_path / "x.csv"))
    assert ingested.unique_ids == ["a"]
    assert ingested.rejects.select("source_row", "unique_id", "reason").rows() == [(2, "231.17", Reason.MORE_FIELDS)]


def test_name_in_a_parquet_file_is_kept_unchanged(tmp_path: Path) -> None:
    rows = pl.DataFrame({"unique_id": ["M\ufffdller"], "ds": [BEGIN], "y": [1.0]})
    rows.write_parquet(tmp_path / "x.parquet")
    assert ingest(spec_of(tmp_path / "x.parquet")).unique_ids == ["M\ufffdller"]


def test_days_with_offsets_in_text_stay_on_their_own_midnights_through_a_clock_change(tmp_path: Path) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    days = [datetime(2024, 3, 20) + timedelta(days=day) for day in range(25)]
    path = write(tmp_path / "days.csv", [day.replace(tzinfo=berlin).isoformat() for day in days])
    ingested = ingest(spec_of(path, freq="1d"))
    assert ingested.observations["ds"].to_list() == days
    assert ingested.rejects.is_empty()
    assert ingested.cutoff == days[-1]


def test_rejects_after_the_newest_observation_are_returned_unless_a_cutoff_is_requested(tmp_path: Path) -> None:
    times = [(BEGIN + timedelta(hours=hour)).isoformat() for hour in range(6)]
    path = write(tmp_path / "late.csv", times, ["1", "2", "3", "4", "many", "nan"])
    spec, fourth = spec_of(path, allow_rejects=1), BEGIN + timedelta(hours=3)
    ingested = ingest(spec)
    assert ingested.cutoff == fourth
    assert ingested.rejects["y"].to_list() == ["many", "nan"]
    assert ingest(spec, cutoff=fourth).rejects.is_empty()
    assert ingest(spec, as_of=fourth + timedelta(hours=1)).rejects["y"].to_list() == ["many"]
    assert ingest(spec, cutoff=fourth, is_newest=True).rejects["y"].to_list() == ["many", "nan"]


def test_rejects_are_returned_once_and_only_up_to_as_of(tmp_path: Path) -> None:
    hours = [(BEGIN + timedelta(hours=hour)).isoformat() for hour in range(5)]
    late = [(BEGIN + timedelta(minutes=minutes)).isoformat() for minutes in (270, 290, 600, 660)]
    path = write(tmp_path / "messy.csv", [*hours, hours[1], "soon", *late], [*"12345", "9", "1", "1", "1", "x", "7"])
    ingested = ingest(spec_of(path, allow_rejects=1), as_of=BEGIN + timedelta(minutes=630))
    assert ingested.cutoff == ingested.features["ds"].max() == BEGIN + timedelta(hours=4)
    assert ingested.rejects["source_row"].to_list() == [6, 7, 8, 9, 10]
    earlier = ingest(spec_of(path, allow_rejects=1), as_of=BEGIN + timedelta(minutes=280))
    assert earlier.rejects["source_row"].to_list() == [6, 7]  # the hour of the next one is not over


def test_impossible_times_are_rejects_also_in_a_run_that_reads_nothing_later(tmp_path: Path) -> None:
    hours = [(BEGIN + timedelta(hours=hour)).isoformat() for hour in range(12)]
    path = write(tmp_path / "odd.csv", [*hours, "2203-12-01T00:00", "9999-12-31T00:00"], ["1"] * 14)
    ingested = ingest(spec_of(path, allow_rejects=1), as_of=BEGIN + timedelta(hours=11))
    assert ingested.rejects["reason"].to_list() == [Reason.FUTURE, Reason.OUT_OF_RANGE]
    assert str(ingested.counts) == "14 rows read, 11 used, 1 of unfinished periods, 2 refused"


CLASSED = """name,store,product,ds,y
a,north,7,2024-01-01 00:00,1
a,north,7,2024-01-01 01:00,2
b,,8,2024-01-01 01:00,4
b, south ,8,2024-01-01 00:00,3
a,east,7,2024-01-01 02:00,3
c,west,9,yesterday,3
"""


def test_series_has_the_newest_value_of_a_category_at_the_cutoff(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(CLASSED)
    spec = spec_of(tmp_path / "x.csv", categories={"static": ["store", "product"]})
    spec = spec.model_copy(update={"source": spec.source.model_copy(update={"id": "name"})})

    def classes(frame: pl.DataFrame) -> dict[str, dict[str, str]]:
        rows = frame.select("unique_id", "categories").unique(maintain_order=True)
        return {name: {each["name"]: each["value"] for each in given} for name, given in rows.iter_rows()}

    assert classes(ingest(spec).features) == {
        "a": {"store": "east", "product": "7"},
        "b": {"store": "south", "product": "8"},  # its newest row has no category
    }
    assert classes(ingest(spec, cutoff=BEGIN + timedelta(hours=1)).features)["a"]["store"] == "north"
    observed = ingest(spec).observations.filter(unique_id="a")["categories"].to_list()
    assert [each["value"] for row in observed for each in row if each["name"] == "store"] == ["north", "north", "east"]
    plain = ingest(spec.model_copy(update={"categories": Categories()}))
    assert plain.features.schema["categories"] == plain.observations.schema["categories"] == CATEGORIES
    assert plain.features["categories"].null_count() == plain.features.height


def test_missing_or_unusable_column_of_categories_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", [BEGIN])
    with pytest.raises(SourceError, match=r"lacks its category column 'store'; it has the columns 'unique_id', 'ds'"):
        ingest(spec_of(path, categories={"static": ["store"]}))
    pl.read_parquet(path).with_columns(store=1.5).write_parquet(path)
    with pytest.raises(SourceError, match=r"category column 'store' has Float64 but needs text or whole numbers"):
        ingest(spec_of(path, categories={"static": ["store"]}))
