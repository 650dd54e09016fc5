"""A fixture that makes a panel from lists of values, newest last, on integer steps from 1."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from forecasting.series.panel import Panel

MakePanel = Callable[..., Panel]


@pytest.fixture(scope="session")
def make_panel() -> MakePanel:
    def make(series: Sequence[Sequence[float]], *, horizon: int = 4, unique_ids: Sequence[str] | None = None) -> Panel:
        lengths = np.array([len(values) for values in series], dtype=np.int64)
        num_points = int(lengths.max(initial=0))
        y_SN = np.full((len(series), num_points), np.nan)
        for row, values in enumerate(series):
            y_SN[row, num_points - len(values) :] = values
        columns = np.arange(num_points + horizon)
        return Panel(
            unique_ids=tuple(unique_ids or (f"s{row}" for row in range(len(series)))),
            y_SN=y_SN,
            length_S=lengths,
            calendar_SNC=np.zeros((len(series), num_points + horizon, 2), dtype=np.float32),
            ds_SN=columns[None, :] - num_points + lengths[:, None] + 1,
            horizon=horizon,
        )

    return make
