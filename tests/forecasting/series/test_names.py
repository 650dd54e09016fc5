import polars as pl
import pytest

from forecasting.series.ingest import ingest
from forecasting.series.names import describe_similar
from forecasting.series.read import scan_frame
from forecasting.spec.spec import Spec


@pytest.mark.parametrize(
    "names",
    [("Berlin", "BERLIN"), ("a b", "a  b"), ("a", " a"), ("101", "101.0"), ("caf\u00e9", "cafe\u0301"), ("ﬁ", "fi")],
)
def test_names_that_may_mean_one_series_are_reported(names: tuple[str, str]) -> None:
    said = describe_similar(names)
    assert said is not None
    assert all(repr(name) in said for name in names)


def test_names_that_differ_are_not_reported_and_few_of_many_are_shown() -> None:
    assert describe_similar(["a", "b", "101", "102.0", "1010", "1.5", "1.50", "a-b", "a_b"]) is None
    said = describe_similar([f"{letter}{case}" for letter in "abcde" for case in "xX"])
    assert said is not None
    assert said.count(" and '") == 3
    assert "and 2 more" in said


def test_an_ingested_source_notes_its_similar_names() -> None:
    spec = Spec(name="shops", source={"uri": "rows.csv"}, freq=1, season_lengths=(1,), horizon=1)
    rows = pl.DataFrame({"unique_id": ["101", "101.0"], "ds": [1, 1], "y": [1.0, 2.0]})
    (note,) = ingest(spec, rows=scan_frame(rows, spec.source, spec.clock)).notes
    assert "'101' and '101.0'" in note
