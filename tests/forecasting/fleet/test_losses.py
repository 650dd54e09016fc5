import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from forecasting.fleet.losses import pinball_loss

QUANTILES_Q = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)


@given(st.integers(0, 10_000))
def test_loss_is_the_masked_mean_of_the_textbook_formula(seed: int) -> None:
    random = np.random.default_rng(seed)
    predicted, target = random.normal(size=(2, 3, 4, 3)), random.normal(size=(2, 3, 4))
    is_observed = random.random((2, 3, 4)) < 0.7
    loss_S = pinball_loss(
        torch.from_numpy(predicted), torch.from_numpy(target), torch.from_numpy(is_observed), QUANTILES_Q
    )
    for series in range(2):
        terms = [
            max(q * (target[series, b, f] - value), (q - 1) * (target[series, b, f] - value))
            for b, f in np.argwhere(is_observed[series])
            for q, value in zip((0.1, 0.5, 0.9), predicted[series, b, f], strict=True)
        ]
        np.testing.assert_allclose(loss_S[series], np.mean(terms) if terms else 0.0, rtol=1e-12)


def test_least_loss_of_a_quantile_is_the_empirical_quantile() -> None:
    target = torch.arange(101, dtype=torch.float64)[None, :, None]
    candidates = torch.arange(0, 101, dtype=torch.float64)
    for q in (0.1, 0.5, 0.9):
        losses = [
            pinball_loss(
                torch.full((1, 101, 1, 1), value.item(), dtype=torch.float64),
                target,
                torch.ones_like(target),
                torch.tensor([q], dtype=torch.float64),
            ).item()
            for value in candidates
        ]
        assert candidates[int(np.argmin(losses))] == 100 * q


def test_an_unobserved_target_has_no_gradient() -> None:
    predicted = torch.zeros(1, 1, 2, 3, dtype=torch.float64, requires_grad=True)
    target, is_observed = torch.tensor([[[1.0, 1e9]]]), torch.tensor([[[1.0, 0.0]]])
    pinball_loss(predicted, target, is_observed, QUANTILES_Q).sum().backward()
    assert predicted.grad[0, 0, 0].abs().sum() > 0
    assert predicted.grad[0, 0, 1].abs().sum() == 0
