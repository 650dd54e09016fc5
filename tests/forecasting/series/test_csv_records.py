"""CSV files read by scan_source beside Python's csv module: every record is accepted as it is, or refused."""

import csv
import gzip
import io
import re
import tracemalloc
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.errors import SourceError
from forecasting.series.csv_records import read_records
from forecasting.series.csv_shape import find_shape
from forecasting.series.read import scan_source
from forecasting.series.reasons import Reason
from forecasting.series.validate import validate
from forecasting.spec.dialect import CsvDialect
from forecasting.spec.source import Source

HEADERS = ("unique_id,ds,y", "note,ds,unique_id,y", 'unique_id,"ds",y,"a ""b"", c"', "y,ds,unique_id,row,problem")
VALUES = ("a", "2024-01-01", "-7.", "", "5.5", " x ", "ä", "€uro", "t\tt")
FIELDS = st.one_of(
    st.sampled_from(VALUES),
    st.sampled_from(VALUES).map(lambda text: f'"{text}"'),
    st.sampled_from(['"x,231.17"', '"say ""so"""', '""', '""""', '"l1\nl2"', '"l1\r\nl2"', '"\r"', '","']),
    st.text('a,"b \r\n\x00', max_size=4),
)
LINES = st.one_of(
    st.lists(st.sampled_from(VALUES), min_size=3, max_size=5),
    st.lists(FIELDS, min_size=2, max_size=6),
    st.just([]),
).map(",".join)


@st.composite
def _files(draw: st.DrawFn) -> str:
    """Files in four degrees of disorder, because one odd line decides how a whole file is read."""
    header = draw(st.sampled_from(HEADERS))
    width = header.count(",") + 1 - (', c"' in header)
    plain = st.lists(st.sampled_from(VALUES), min_size=width, max_size=width)
    quoted = st.lists(FIELDS.filter(_is_whole), min_size=width, max_size=width)
    blank = st.sampled_from([[""], [""] * width])
    ragged = st.lists(FIELDS.filter(_is_whole), min_size=1, max_size=7)
    kinds = [st.one_of(plain, blank), st.one_of(quoted, plain, blank), st.one_of(quoted, ragged, blank)]
    kind = draw(st.sampled_from([*(kind.map(",".join) for kind in kinds), LINES]))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"])) if kind is LINES else draw(st.sampled_from(["\n", "\r\n"]))
    again = st.sampled_from([header, f"\ufeff{header}", header.upper(), header.replace(",", " , "), _quoted(header)])
    more = draw(st.sampled_from(["", "", ",", ',""']))
    lines = [header, *(line + more * bool(line) for line in draw(st.lists(st.one_of(kind, again), max_size=12)))]
    return draw(st.sampled_from(["", "\ufeff"])) + end.join(lines) + draw(st.sampled_from(["", end, end * 2]))


def _quoted(header: str) -> str:
    return ",".join(f'"{name}"' for name in header.split(",")) if '"' not in header else header


def _is_whole(field: str) -> bool:
    """Return whether a field is one field of one line in itself."""
    if set(field) & set("\r\n\x00"):
        return False
    try:
        return len(next(csv.reader([field], strict=True), [])) == 1 and ('"' not in field or field[0] == '"')
    except csv.Error:
        return False


def _arbitrate(text: str) -> list[tuple[int, list[str] | None]] | None:
    """Return each record's line and fields, None for a single malformed line; None for a file without an end to it."""
    text = re.sub("(^|[\r\n])\ufeff", r"\1", text)
    lines = re.split("\r\n|\r|\n", text)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    records: list[tuple[int, list[str] | None]] = []
    width = 0
    while True:
        first = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return records
        except csv.Error as error:
            if reader.line_num > first or "expected after" not in str(error):
                return None
            records.append((first, None))
            continue
        is_bare = len(fields) > 1 and len(fields) >= width and not lines[first - 1].strip(",")
        if fields and not (width and is_bare):
            width = width or len(fields)
            records.append((first, fields))


def _check_swallowed(message: str, text: str, records: dict[int, list[str] | None]) -> None:
    """Check that a run stops only because of a record whose first and last lines both have a time."""
    assert "look like whole rows" in message
    first, last = map(int, re.findall(r"in line (\d+)", message))
    assert first < last
    assert first in records
    lines = re.split("\r\n|\r|\n", text)
    assert all("2024-01-01" in lines[line - 1] for line in (first, last))


@settings(max_examples=200)
@given(text=_files(), compressed=st.booleans())
def test_every_record_of_the_csv_module_is_accepted_as_it_is_or_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str, compressed: bool
) -> None:
    file = tmp_path_factory.mktemp("csv") / ("x.csv.gz" if compressed else "x.csv")
    file.write_bytes(gzip.compress(text.encode()) if compressed else text.encode())
    records = _arbitrate(text)
    if records is None:
        with pytest.raises(SourceError, match="line"):
            scan_source(Source(uri=str(file)), "timestamp")
        return
    header = records[0][1]
    assert header is not None
    if len(records) == 1:
        with pytest.raises(SourceError, match="no rows"):
            scan_source(Source(uri=str(file)), "timestamp")
        return
    try:
        rows = scan_source(Source(uri=str(file)), "timestamp").collect()
    except SourceError as error:
        _check_swallowed(str(error), text, dict(records))
        return
    if "problem" not in rows.columns:
        rows = rows.with_columns(problem=pl.lit(None, pl.String))
    at = [header.index(name) for name in ("unique_id", "ds", "y")]
    read = rows.select("source_row", "unique_id", "ds", "y", "problem").rows()
    assert len(read) == len(records) - 1
    has_last = None
    for (row, *texts, problem), (line, fields) in zip(read, records[1:], strict=True):
        assert row + 1 == line
        if fields is None:
            assert problem == Reason.STRAY_QUOTE
            continue
        if [field.strip().lower() for field in fields] == [name.strip().lower() for name in header]:
            assert problem == Reason.HEADER
            continue
        is_longer = len(fields) == len(header) + 1 and fields[-1] == ""
        has_last = is_longer if has_last is None else has_last
        fields = fields[:-1] if has_last and is_longer else fields
        if len(fields) != len(header):
            assert problem == (Reason.MORE_FIELDS if len(fields) > len(header) else Reason.FEWER_FIELDS)
        else:
            assert problem is None
            name, *others = (fields[one] for one in at)
            assert [text or "" for text in texts] == [name.strip(), *others]
    validated = validate(scan_source(Source(uri=str(file)), "timestamp"), freq="1d")
    accepted, rejects = pl.collect_all([validated.accepted, validated.rejects])
    assert accepted.height + rejects.height == len(records) - 1


@pytest.mark.parametrize(
    ("text", "is_plain"),
    [
        ("a,b\n1,2\n", True),
        ("a,b\r\n1,2\r\n\r\n3,4", True),
        ('a,"b"\n"1,5","say ""so"""\n"",""""\n', True),
        ("a,b\n1,2,3\n4\n", True),
        ("a,b\r1,2\r", False),
        ("a,b\n1,2\n3,4\r", False),
        ("a,b\n1,\x002\n", False),
        ('a,b\n1,5" pipe\n2,7" pipe\n', False),
        ('a,b\n1,"x"y\n', False),
        ('a,b\n1,"two\nlines"\n', False),
        ("\na,b\n1,2\n", False),
    ],
)
def test_only_a_plain_file_is_read_by_polars(tmp_path: Path, text: str, is_plain: bool) -> None:
    (tmp_path / "x.csv").write_bytes(text.encode())
    assert (find_shape(str(tmp_path / "x.csv"), {}, CsvDialect()) is not None) == is_plain


def test_line_that_is_cut_by_a_block_is_judged_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forecasting.series.csv_bytes.BLOCK_BYTES", 3)
    (tmp_path / "x.csv").write_text('\ufeffabc,def\n"1,1",2\n\n3\n\n3,4,5\n6')
    assert find_shape(str(tmp_path / "x.csv"), {}, CsvDialect()) == ((1, 3), (4,), (2, 5), (), ())


NOTES = st.lists(st.text('a1,"\n\r ', max_size=12).map(str.strip), min_size=3, max_size=8)


@pytest.mark.parametrize("place", [0, 1, 3])
@given(notes=NOTES)
def test_quoted_notes_of_several_lines_are_read_in_every_column(
    tmp_path_factory: pytest.TempPathFactory, place: int, notes: list[str]
) -> None:
    file = tmp_path_factory.mktemp("csv") / "x.csv"
    columns = [["unique_id", "ds", "y"], *(["a", f"2024-01-{day:02}", "1"] for day in range(1, len(notes) + 1))]
    with file.open("w", newline="") as stream:
        for fields, note in zip(columns, ["note", *notes], strict=True):
            csv.writer(stream).writerow([*fields[:place], note, *fields[place:]])
    rows = scan_source(Source(uri=str(file)), "timestamp").collect()
    assert rows.select("unique_id", "ds", "y").rows() == [tuple(fields) for fields in columns[1:]]
    assert "problem" not in rows.columns or rows["problem"].null_count() == len(notes)


@pytest.mark.parametrize("place", [0, 1, 3])
@pytest.mark.parametrize(("first", "last"), [('"12 inch', 'n"'), ('"', '"'), ('"12 inch', 'again"')])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_quotes_that_enclose_rows_stop_the_run_by_their_lines(
    tmp_path: Path, place: int, first: str, last: str, end: str
) -> None:
    notes = {3: first, 9: last, 12: '"1,231"', 20: '"two\nlines"'}
    rows = [["a", f"2024-01-{day:02}", "1"] for day in range(1, 21)]
    lines = [
        ",".join([*fields[:place], notes.get(day, "x"), *fields[place:]])
        for day, fields in enumerate([["unique_id", "ds", "y"], *rows])
    ]
    (tmp_path / "x.csv").write_bytes(end.join(lines).encode())
    with pytest.raises(SourceError, match=r"quote in line 4 encloses all up to one in line 10, .* --csv-quote none"):
        scan_source(Source(uri=str(tmp_path / "x.csv")), "timestamp")
    rows_read = scan_source(Source(uri=str(tmp_path / "x.csv"), csv={"quote": "none"}), "timestamp").collect()
    assert rows_read.filter(pl.col("ds").str.contains("2024") & pl.col("problem").is_null()).height >= 18


@pytest.mark.parametrize("header", ["\ufeffa,b,c", "A,b , c", '"a","b","c"', '\ufeff"a",b,c', '"a",b, c\t'])
@pytest.mark.parametrize("rest", ["", 'x,"two\nlines",z\n'])
@pytest.mark.parametrize("block_bytes", [7, 1 << 20])
def test_header_that_is_written_in_another_way_names_no_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: str, rest: str, block_bytes: int
) -> None:
    monkeypatch.setattr("forecasting.series.csv_bytes.BLOCK_BYTES", block_bytes)
    (tmp_path / "x.csv").write_text(f"\ufeffa,b,c\n1,2024-01-01,3\n{header}\n2,2024-01-01,4\n{rest}")
    rows = scan_source(Source(uri=str(tmp_path / "x.csv"), id="a", time="b", target="c"), "timestamp").collect()
    assert rows["problem"].to_list()[:3] == [None, Reason.HEADER, None]
    assert rows["unique_id"].to_list()[::2][:2] == ["1", "2"]


@pytest.mark.parametrize("header", ["b,a,c", "B, c,a", 'a,"c","b"', "\ufeffc,b,a"])
@pytest.mark.parametrize("rest", ["", 'x,"two\nlines",z\n'])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("block_bytes", [7, 1 << 20])
def test_header_with_its_columns_in_another_order_stops_the_run_by_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: str, rest: str, end: str, block_bytes: int
) -> None:
    monkeypatch.setattr("forecasting.series.csv_bytes.BLOCK_BYTES", block_bytes)
    text = f"a,b,c\n1,2024-01-01,3\n\n{header}\n2024-01-01,2,4\n{rest}"
    (tmp_path / "x.csv").write_bytes(text.replace("\n", end).encode())
    with pytest.raises(SourceError, match=r"x\.csv: line 4 repeats the header with its columns in another order"):
        scan_source(Source(uri=str(tmp_path / "x.csv"), id="a", time="b", target="c"), "timestamp")


@pytest.mark.parametrize("more", [",", ',""'])
@pytest.mark.parametrize("rest", ["", 'd,"2024-01-02",2,\n', 'd,"two\nlines",2,\n'])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_empty_last_field_that_the_header_lacks_is_left_out(tmp_path: Path, more: str, rest: str, end: str) -> None:
    text = f"unique_id,ds,y\n\na,2024-01-01,1{more}\nb,2024-01-01,2\n,\nb,2024-01-02,3{more}\nc,2024-01-01,4,5\n"
    (tmp_path / "x.csv").write_bytes((text + rest).replace("\n", end).encode())
    rows = scan_source(Source(uri=str(tmp_path / "x.csv")), "timestamp").collect()
    assert rows["problem"].to_list()[:5] == [None, None, Reason.FEWER_FIELDS, None, Reason.MORE_FIELDS]
    assert rows["y"].to_list()[3] == "3"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("block_bytes", [5, 1 << 20])
def test_headers_of_joined_files_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, block_bytes: int
) -> None:
    monkeypatch.setattr("forecasting.series.csv_bytes.BLOCK_BYTES", block_bytes)
    lines = ["a,b,c", "a,b,cd", "1,2,3", "a,b,c", "xa,b,c", "a,b,c", "a,b", "a,b,c"]
    (tmp_path / "x.csv").write_bytes(end.join(lines).encode())
    shape = find_shape(str(tmp_path / "x.csv"), {}, CsvDialect())
    assert shape is not None
    assert shape.header == (2, 4, 6)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ('a,2024-01-01,1\na,2024-01-02,"2\na,2024-01-03,3\n', "line 3 opens a quote that is never closed"),
        ('a,2024-01-01,1\na,"2024-01-02,2\n\na,"2024-01-03,3\n', "line 3 opens a quote that line 5 does not close"),
        ('a,2024-01-01,"' + "1,2,3\n" * 30_000, "line 2 has a field of more than 131072 characters"),
    ],
)
def test_quote_over_lines_that_may_be_rows_stops_the_run_by_its_line(tmp_path: Path, rows: str, says: str) -> None:
    (tmp_path / "x.csv").write_text("unique_id,ds,y\n" + rows)
    with pytest.raises(SourceError, match=rf"x\.csv: {says}"):
        scan_source(Source(uri=str(tmp_path / "x.csv")), "timestamp")


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
def test_remote_file_is_read_as_a_local_one(tmp_path: Path, name: str) -> None:
    content = '\ufeffunique_id,ds,y\na,2024-01-01,1\r\n\n"a ""b""\nc",2024-01-02,2\nä,3\n'.encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    rows = [
        read_records(uri, {}, ["y", "unique_id"], CsvDialect(), row="row", problem="problem")
        for uri in (str(tmp_path / name), f"file://{tmp_path / name}")
    ]
    assert rows[0].equals(rows[1])
    assert rows[1]["unique_id"].to_list() == ["a", 'a "b"\nc', "ä"]
    (tmp_path / "even.csv").write_text("a,b\n1,2\n\n3,4\n")
    assert find_shape(f"file://{tmp_path / 'even.csv'}", {}, CsvDialect()) == ((1,), (), (), (), ())


def test_malformed_rows_are_refused_by_their_line_and_name_no_series(tmp_path: Path) -> None:
    text = 'unique_id,ds,y\na,2024-01-01,1\na,2024-01-02,1,231.17\nb\n"a"x,2024-01-02,3\na,2024-01-02,2\n'
    (tmp_path / "x.csv").write_text(text)
    (tmp_path / "y.csv").write_text("unique_id,ds,y\na,2024-01-03,3\n")
    validated = validate(scan_source(Source(uri=f"{tmp_path}/"), "timestamp"), freq="1d")
    accepted, rejects = pl.collect_all([validated.accepted, validated.rejects])
    assert accepted["y"].to_list() == [1, 2, 3]
    assert rejects.drop("source_file").rows() == [
        (2, "a", "2024-01-02", "1", Reason.MORE_FIELDS),
        (3, "b", None, None, Reason.FEWER_FIELDS),
        (4, '"a"x', "2024-01-02", "3", Reason.STRAY_QUOTE),
    ]


def test_malformed_row_has_no_age_among_files_of_which_one_is_plain(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("unique_id,ds,y,at\na,2024-01-01,1\na,2024-01-01,2,x,3\na,2024-01-01,3,2\n")
    (tmp_path / "b.csv").write_text("unique_id,ds,y,at\na,2024-01-01,4,1\n")
    source = Source(uri=f"{tmp_path}/", duplicates="last", newer="at")
    assert validate(scan_source(source, "timestamp"), freq="1d").accepted.collect()["y"].to_list() == [3.0]


def test_memory_holds_only_the_columns_that_are_read(tmp_path: Path) -> None:
    row = "a,2024-01-01,1," + "x" * 2000 + "\n"
    (tmp_path / "x.csv").write_text("unique_id,ds,y,note\n" + row * 20_000 + '"x"y\n')
    tracemalloc.start()
    rows = scan_source(Source(uri=str(tmp_path / "x.csv")), "timestamp")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows.select(pl.len()).collect().item() == 20_001
    assert peak < 24 << 20  # the file has 40 MB


@pytest.mark.parametrize("quoted", ["", 'c,"two\nlines",3\n'])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_rows_of_separators_alone_are_blank_as_spreadsheets_write_them(tmp_path: Path, quoted: str, end: str) -> None:
    text = "unique_id,ds,y\na,2024-01-01,1\n,,\n,,,\na,2024-01-02,2\n,\n" + ",,\n" * 50 + quoted
    (tmp_path / "x.csv").write_bytes(text.replace("\n", end).encode())
    rows = scan_source(Source(uri=str(tmp_path / "x.csv")), "timestamp").collect()
    assert rows.select("source_row", "problem").rows()[:3] == [(1, None), (4, None), (5, Reason.FEWER_FIELDS)]
    assert rows.height == 3 + bool(quoted)
    (tmp_path / "even.csv").write_text("unique_id,ds,y\na,2024-01-01,1\n,,\na,2024-01-02,2\n")
    even = scan_source(Source(uri=str(tmp_path / "even.csv")), "timestamp").collect()
    assert even["source_row"].to_list() == [1, 3]
