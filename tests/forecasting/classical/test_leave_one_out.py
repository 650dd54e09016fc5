"""Ridge regression in closed form: repeated inputs count as often as they are there."""

import numpy as np
import pytest

from forecasting.classical import leave_one_out
from forecasting.classical.leave_one_out import fit_ridge


@pytest.mark.parametrize("num_windows", [40, 200], ids=["dual", "primal"])
def test_repeated_inputs_give_the_same_forecast_and_errors(num_windows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    own_WP, of_day_WP = rng.normal(size=(num_windows, 30)), rng.integers(0, 2, (num_windows, 4)).astype(float)
    input_WP = np.concatenate([own_WP, np.repeat(of_day_WP, 24, axis=1)], axis=1)
    target_WM = input_WP @ rng.normal(size=(input_WP.shape[1], 2)) + rng.normal(size=(num_windows, 2))
    next_VP = rng.normal(size=(2, input_WP.shape[1]))  # repeated in the history, but not in the horizon
    found = fit_ridge(input_WP, target_WM, next_VP)
    monkeypatch.setattr(leave_one_out, "_FEWEST_INPUTS", 10**6)
    expected = fit_ridge(input_WP, target_WM, next_VP)
    np.testing.assert_allclose(found.forecast_VM, expected.forecast_VM, rtol=1e-8)
    np.testing.assert_allclose(found.error_WM, expected.error_WM, rtol=1e-8)
