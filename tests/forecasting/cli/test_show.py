"""Rows as tables, CSV and JSON."""

import io
import json
from datetime import datetime

import polars as pl
import pytest

from forecasting.cli.formats import Format
from forecasting.cli.show import show

ROWS = pl.DataFrame(
    {
        "name": ["a", None, "[red]\x1b[31m"],
        "value": [1.5, float("nan"), None],
        "ds": [datetime(2024, 1, 1, 5), None, None],
        "many": [[1, 2], None, []],
    }
)


def test_json_is_a_list_of_objects_with_null_for_values_that_json_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    show(ROWS, Format.JSON)
    read = json.loads(capsys.readouterr().out)
    assert read[0] == {"name": "a", "value": 1.5, "ds": "2024-01-01T05:00:00", "many": [1, 2]}
    assert read[1] == {"name": None, "value": None, "ds": None, "many": None}


def test_json_of_no_rows_is_an_empty_list(capsys: pytest.CaptureFixture[str]) -> None:
    show(ROWS.clear(), Format.JSON)
    assert json.loads(capsys.readouterr().out) == []


def test_csv_has_lists_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    show(ROWS.head(1), Format.CSV)
    assert capsys.readouterr().out == 'name,value,ds,many\na,1.5,2024-01-01T05:00:00.000000,"[1, 2]"\n'


def test_table_shows_every_cell_literally_and_escapes_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    show(ROWS, Format.TABLE)
    printed = capsys.readouterr().out
    assert "[red]\\x1b[31m" in printed
    assert "\x1b" not in printed
    assert "2024-01-01 05:00:00" in printed
    assert "null" in printed


def test_table_in_a_pipe_is_as_wide_as_its_rows(capsys: pytest.CaptureFixture[str]) -> None:
    show(pl.DataFrame({f"column_{number}": ["x" * 40] for number in range(10)}), Format.TABLE)
    assert capsys.readouterr().out.count("x" * 40) == 10


def test_limit_bounds_rows_with_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    rows = pl.DataFrame({"a": range(150)})
    show(rows, Format.TABLE)
    assert capsys.readouterr().err == "100 of 150 rows; --limit 0 shows all\n"
    show(rows, Format.TABLE, limit=0)
    assert capsys.readouterr().err == ""
    show(rows, Format.CSV)
    assert capsys.readouterr().out.count("\n") == 151
    show(rows, Format.CSV, limit=2)
    assert capsys.readouterr().out == "a\n0\n1\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("width", "is_table"), [(40, False), (200, True)])
def test_rows_wider_than_the_terminal_get_a_line_per_cell(
    monkeypatch: pytest.MonkeyPatch, width: int, is_table: bool
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    show(pl.DataFrame({f"column_{number}": [number + 0.25] for number in range(10)}), Format.TABLE)
    assert ("column_7: 7.25" in terminal.getvalue()) is not is_table
    assert "9.25" in terminal.getvalue()
