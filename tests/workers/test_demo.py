"""The demo's report; `make demo` itself is run as it stands."""

from typing import Any

import pytest
from rich.console import Console

from workers import demo
from workers.arguments import find_progress


def test_report_opens_the_store_as_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    class Opened(Exception):
        pass

    def open_store(*arguments: Any) -> None:
        raise Opened(*arguments)

    monkeypatch.setenv("FLEETCAST_STORE", "s3://bucket/prefix")
    monkeypatch.setenv("FLEETCAST_STORAGE_OPTIONS", '{"aws_region": "eu-central-1"}')
    monkeypatch.setattr(demo, "Store", open_store)
    with pytest.raises(Opened) as opened:
        demo._report(Console(), {})
    assert opened.value.args == ("s3://bucket/prefix", {"aws_region": "eu-central-1"})


@pytest.mark.parametrize(
    "progress",
    ["train: 64 of 250 series · 3.1 series/s · 1 min left", "train: 1 of 4 priors · 36 s a prior · 2 min left"],
)
@pytest.mark.parametrize("end", ["", "  loc=trigger.py:75", " \x1b[0m loc=trigger.py:75"])
def test_progress_of_any_noun_is_shown_without_time_and_place(progress: str, end: str) -> None:
    assert find_progress(f"2026-11-28T23:46:25.395715Z [info] {progress}{end}\n") == progress


@pytest.mark.parametrize(
    "line", ["error: series 'a · b' has no row", 'fleetcast-result: {"message": "9 rows · 1 used"}']
)
def test_other_lines_with_the_mark_are_not_progress(line: str) -> None:
    assert find_progress(line) is None
