"""A fleet's network: its first weights."""

import numpy as np
import pytest
import torch

from forecasting.fleet import network as module
from forecasting.fleet.architectures import Dimensions, make_wiring
from forecasting.fleet.kernels import reference
from forecasting.fleet.network import FleetNetwork
from forecasting.fleet.random import series_keys


def make_network(*names: str, model: str = "gru") -> FleetNetwork:
    network = FleetNetwork(
        make_wiring(model),
        Dimensions(num_inputs=3, num_steps=6, hidden_size=5, horizon=4, num_quantiles=2),
        kernel=reference,
        num_series=len(names),
        num_references=2,
    )
    network.initialise(series_keys(names, seed=0))
    return network


def weights_of(*names: str) -> dict[str, torch.Tensor]:
    network = make_network(*names)
    return {name: weight.detach() for name, weight in network.weights.items()}


@pytest.mark.parametrize("draws_at_once", [1, 100, 10**6])
def test_first_weights_are_a_series_own_however_many_are_drawn_at_once(
    monkeypatch: pytest.MonkeyPatch, draws_at_once: int
) -> None:
    alone = weights_of("b")
    monkeypatch.setattr(module, "DRAWS_AT_ONCE", draws_at_once)
    together = weights_of("a", "b", "c", "d", "e")
    for name, weight in together.items():
        assert torch.equal(weight[1], alone[name][0])
        if name not in ("mixture_FM", "bias_head_1O"):
            assert (weight != 0).all()
            assert not torch.equal(weight[0], weight[4])


def test_first_forecast_is_a_difference_from_the_references_where_one_is_given() -> None:
    network = make_network("a", "b")
    network.begin_at(np.array([[0.0, 0.0], [0.5, 2.0]]))
    bias_S1O = network.weights["bias_head_1O"].detach()
    assert bias_S1O.view(2, 4, 2).tolist() == [[[0.0, 0.0]] * 4, [[0.5, 2.0]] * 4]  # (S, F, Q)
