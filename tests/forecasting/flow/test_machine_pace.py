"""The pace of this machine: how it is compared with the reference."""

import pytest
import torch

from forecasting.flow import machine_pace
from forecasting.flow.machine_pace import measure_pace


def test_pace_is_the_least_seconds_over_those_of_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter((3.0, 2.0))
    monkeypatch.setattr(machine_pace, "_train_seconds", lambda *_: next(seconds))
    monkeypatch.setattr(machine_pace, "_other_seconds", lambda: 0.5)
    monkeypatch.setattr(machine_pace, "NETWORK_SECONDS", 4.0)
    monkeypatch.setattr(machine_pace, "OTHER_SECONDS", 0.25)
    assert measure_pace() == (0.5, 2.0)


def test_work_takes_cpu_seconds_and_leaves_the_threads_of_torch_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_pace, "NUM_SERIES", 4)
    monkeypatch.setattr(machine_pace, "NUM_RUNS", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        pace = measure_pace()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert min(pace) > 0
