from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.series import names
from forecasting.series.ingest import Ingested, ingest
from forecasting.series.names import describe_similar, describe_stripped
from forecasting.series.read import scan_frame
from forecasting.spec.spec import Spec


@pytest.mark.parametrize(
    "alike",
    [
        *(
            ("Berlin", "BERLIN"),
            ("a b", "a  b"),
            ("a", " a"),
            ("101", "101.0"),
            ("caf\u00e9", "cafe\u0301"),
            ("ﬁ", "fi"),
        ),
        *(("007", "7"), ("0", "00"), ("-07", "-7"), ("shop/007", "shop/7"), ("007/x", "7/x"), ("007", "7.0")),
        *(("ab", "a\u200bb"), ("ab", "\ufeffab"), ("straße", "STRASSE")),
    ],
)
def test_names_that_may_mean_one_series_are_reported(alike: tuple[str, str]) -> None:
    said = describe_similar(alike)
    assert said is not None
    assert all(repr(name) in said or ascii(name) in said for name in alike)


@given(st.lists(st.text(alphabet="aA0 1./+-\u200bßsﬁ\x1c\u00a0", max_size=5), unique=True))
def test_names_that_share_no_coarser_form_are_not_alike(unique_ids: list[str]) -> None:
    folds = [names._fold(name) for name in unique_ids]
    may_be_alike = names._may_be_alike(unique_ids)
    assert {name for name, fold in zip(unique_ids, folds, strict=True) if folds.count(fold) > 1} <= set(may_be_alike)


def test_names_that_look_the_same_are_shown_with_escapes() -> None:
    assert r"'cafe\u0301' and 'caf\xe9'" in (describe_similar(["caf\u00e9", "cafe\u0301"]) or "")
    assert r"'ab' and 'a\u200bb'" in (describe_similar(["a\u200bb", "ab"]) or "")
    assert "'Café' and 'café'" in (describe_similar(["Café", "café"]) or "")


def test_names_that_differ_are_not_reported_and_few_of_many_are_shown() -> None:
    assert describe_similar(["a", "b", "101", "102.0", "1010", "1.5", "1.50", "a-b", "a_b", "a007", "a7"]) is None
    said = describe_similar([f"{letter}{case}" for letter in "abcde" for case in "xX"])
    assert said is not None
    assert said.count(" and '") == 3
    assert "and 2 more" in said


def test_an_ingested_source_notes_its_similar_names() -> None:
    spec = Spec(name="shops", source={"uri": "rows.csv"}, freq=1, season_lengths=(1,), horizon=1)
    rows = pl.DataFrame({"unique_id": ["101", "101.0"], "ds": [1, 1], "y": [1.0, 2.0]})
    (note,) = ingest(spec, rows=scan_frame(rows, spec.source, spec.clock)).notes
    assert "'101' and '101.0'" in note


def ingest_names(names: list[str], **source: object) -> Ingested:
    frame = pl.DataFrame({"unique_id": names, "ds": range(len(names)), "y": 1.0})
    spec = Spec(name="x", freq=1, season_lengths=[2], horizon=2, source={"uri": "x.csv", **source})
    return ingest(spec, rows=scan_frame(frame, spec.source, "step"), cutoff=len(names), is_settled=True)


def test_blanks_around_names_are_left_out_and_names_that_become_one_are_named() -> None:
    ingested = ingest_names(["a", " a", "a\u00a0", "b ", "c", " "])
    assert ingested.unique_ids == ["a", "b", "c"]
    assert ingested.observations.group_by("unique_id").len().sort("unique_id")["len"].to_list() == [3, 1, 1]
    (note,) = (note for note in ingested.notes if "blanks around" in note)
    assert note == (
        "3 names of series have blanks around them, which are left out, such as ' a'; without them, these names are"
        " one series each: ' a' and 'a' and 'a\\xa0'"
    )


def test_names_without_blanks_around_them_are_not_mentioned() -> None:
    assert not any("blanks around" in note for note in ingest_names(["a", "b c", "b  d"]).notes)
    assert describe_stripped(pl.Series(dtype=pl.String), pl.LazyFrame()) is None


def test_a_single_name_with_blanks_that_remains_itself_is_mentioned() -> None:
    notes = ingest_names(["a ", "a ", "b"]).notes
    assert notes == ("1 name of series has blanks around it, which are left out, such as 'a '",)


def test_options_of_csv_files_that_no_file_uses_are_named(tmp_path: Path) -> None:
    pl.DataFrame({"unique_id": ["a", "a"], "ds": [1, 2], "y": [1.0, 2.0]}).write_parquet(tmp_path / "x.parquet")
    fields = {"name": "x", "freq": 1, "season_lengths": [2], "horizon": 2}
    parquet = {"uri": f"{tmp_path}/", "csv": {"decimal": ","}}
    (note,) = ingest(Spec(**fields, source=parquet)).notes
    assert "has no CSV file, so that source.csv is not used: decimal (--csv-decimal)" in note
    (tmp_path / "y.csv").write_text("unique_id,ds,y\na,3,1\n")
    assert ingest(Spec(**fields, source=parquet)).notes == ()
