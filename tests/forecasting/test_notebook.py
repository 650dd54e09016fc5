"""Forecasts in the kernel of a real notebook: a bar while it works, then a table and a picture."""

import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

SET_UP = """
import math, datetime as dt
import polars as pl
import forecasting as fc
times = [dt.datetime(2024, 1, 1) + dt.timedelta(hours=hour) for hour in range(60)]
frame = pl.DataFrame({"ds": times, "y": [10 + math.sin(hour) for hour in range(60)]})
options = dict(freq="1h", season_lengths=6, horizon=4, models="gru", statistics=[], recipe="fast",
               overrides={"max_steps": 40, "evaluate_every": 2, "hidden_size": 4})
"""
FORECAST = "result = fc.forecast(frame, **options)\nresult"


def test_a_notebook_shows_a_bar_then_a_table_and_a_picture(tmp_path: Path) -> None:
    notebook = new_notebook(cells=[new_code_cell(SET_UP), new_code_cell(FORECAST)])
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute()
    shown = _html_of(notebook.cells[1])
    assert len(shown) == 2, "the bar, which is empty at the end, and the result"
    assert "<progress" not in shown[0], "the bar goes away"
    assert "<th>ds</th>" in shown[1]
    assert re.search(r'<img [^>]*src="data:image/png;base64,', shown[1])
    assert not [output for output in notebook.cells[1].outputs if output.output_type in ("stream", "error")]


def _html_of(cell: nbformat.NotebookNode) -> list[str]:
    return [output.data["text/html"] for output in cell.outputs if "data" in output and "text/html" in output.data]
