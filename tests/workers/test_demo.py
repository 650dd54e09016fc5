"""The demo's report; `make demo` itself is run as it stands."""

from typing import Any

import pytest
from rich.console import Console

from workers import demo


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
