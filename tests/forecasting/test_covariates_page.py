"""The page on covariates: its Python runs from the first block to the last, as a reader would run it."""

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "covariates.md"


def test_python_of_the_page_runs_and_shows_what_the_page_describes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown: dict[str, Any] = {}
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) > 4
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), shown)
    known, without = shown["fleet"].predict().forecasts, shown["without"].forecasts
    assert without["forecast"].sum() < known["forecast"].sum() - 60  # a promotion sells 60 more a day
    assert set(shown["effects"]["component"]) == {"promotion"}
    assert shown["effects"]["contribution"].max() > 30
