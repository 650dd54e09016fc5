"""Lines before the header of a CSV file, and columns whose names differ a little, are named by a message."""

from pathlib import Path

import pytest

from forecasting.errors import SourceError
from forecasting.series.read import scan_source
from forecasting.spec.source import Source

ROWS = "unique_id;ds;y\na;2024-01-01;1\n"


def _refusal(path: Path, text: str, separator: str = ",") -> str:
    path.write_text(text)
    with pytest.raises(SourceError) as refused:
        scan_source(Source(uri=str(path), csv={"separator": separator}), "timestamp")
    return str(refused.value)


@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize(
    ("before", "says"),
    [
        ("sep=;\n", "line 1 names the separator for Excel, 'sep=;'; line 2 has these columns: remove the lines before"),
        ("# exported\n# a;b;c;d\n", "line 1 is a comment, '# exported'; line 3 has these columns"),
        ("\ufeff\nSales of 2024\n\n", "line 2 is not a header, 'Sales of 2024'; line 4 has these columns"),
    ],
)  # fmt: skip
def test_lines_before_the_header_are_named(tmp_path: Path, before: str, says: str, separator: str) -> None:
    message = _refusal(tmp_path / "x.csv", before + ROWS, separator)
    assert says in message
    assert ("--csv-separator ';' (source.csv.separator)" in message) == (separator == ",")
    assert "looks like" not in message


def test_comment_before_another_header_is_named(tmp_path: Path) -> None:
    says = "; line 1 is a comment, '# exported by a tool'; the header must be the first line"
    assert _refusal(tmp_path / "x.csv", "# exported by a tool\nshop,day,sold\na,2024-01-01,1\n").endswith(says)


def test_first_line_that_is_the_header_of_another_dialect_is_not_taken_for_a_preamble(tmp_path: Path) -> None:
    message = _refusal(tmp_path / "x.csv", ROWS + ROWS)
    assert message.endswith("it looks like a semicolon-separated file: --csv-separator ';' (source.csv in a spec)")


def test_names_that_differ_in_blanks_case_or_a_mark_are_pointed_out(tmp_path: Path) -> None:
    message = _refusal(tmp_path / "x.csv", "#unique_id, DS,y \na,2024-01-01,1\n")
    assert (
        "lacks its id column 'unique_id' (is it '#unique_id'?) and its time column 'ds' (is it ' DS'?) and its target"
        " column 'y' (is it 'y '?); it has the columns '#unique_id', ' DS', 'y '"
    ) in message
    assert "comment" not in message


def test_two_byte_order_marks_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("\ufeff\ufeffunique_id,ds,y\na,2024-01-01,1\n")
    assert scan_source(Source(uri=str(tmp_path / "x.csv")), "timestamp").collect()["unique_id"].to_list() == ["a"]
