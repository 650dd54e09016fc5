"""Encoder–decoders and Jordan networks equal loops over single series and windows."""

# T steps · F horizon steps · L points of a segment · Q quantiles

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from forecasting.fleet.architectures import Dimensions, Jordan, Seq2Seq, make_wiring
from forecasting.fleet.architectures.noise import Noise
from forecasting.fleet.cells import make_cell
from forecasting.fleet.kernels import reference
from forecasting.fleet.network import forecast_windows
from forecasting.fleet.random import series_keys
from forecasting.fleet.windows import WindowBatch
from forecasting.spec.training import Design

S, B, H, L, C, T = 3, 2, 4, 3, 2, 5
DIMENSIONS = Dimensions(
    num_inputs=2 * L + 1 + C, num_steps=T, hidden_size=H, horizon=7, num_quantiles=3, segment_length=L, median=1
)
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def draw(wiring: Any, *, horizon: int = 7, seed: int = 0) -> tuple[dict[str, Tensor], WindowBatch, Tensor]:
    """Return weights, windows of a horizon, and a reference."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    weights = {
        name: normal(S, *shape).div(2).requires_grad_() for name, shape in wiring.parameter_shapes(DIMENSIONS).items()
    }
    x_SBTI = normal(S, B, T, DIMENSIONS.num_inputs).requires_grad_()
    seen_SBF = torch.ones(S, B, horizon, dtype=torch.float64)
    seen_SBF[1, :, 2] = 0  # a gap among what follows
    windows = WindowBatch(
        x_SBTI, normal(S, B, horizon, 1), normal(S, B, horizon), seen_SBF, future_SBFC=normal(S, B, horizon, C)
    )
    return weights, windows, normal(S, B, horizon)


def noise_of(*, step: int = 0, max_steps: int = 10) -> Noise:
    return Noise(series_keys(("a", "b", "c"), seed=0), step, num_windows=B, max_steps=max_steps)


def run(wiring: Any, drawn: Any, *, noise: Noise | None = None, dimensions: Dimensions = DIMENSIONS) -> Tensor:
    weights, windows, reference_SBF = drawn
    return wiring.run(windows, reference_SBF, weights, dimensions, kernel=reference, noise=noise)


def hold_against(wiring: Any, by_hand: Any, *, noise: Noise | None = None, is_forced: bool = False) -> None:
    """Compare outputs and all gradients with `by_hand(weights, x_TI, calendar_FC, truth_F)` of each window."""
    drawn = draw(wiring)
    weights, windows, reference_SBF = drawn
    found = run(wiring, drawn, noise=noise)
    truth_SBF = (windows.target_SBF - reference_SBF).where(windows.is_observed_SBF > 0, torch.nan)
    expected = torch.stack(
        [
            torch.stack(
                [
                    by_hand(
                        {name: weight[s] for name, weight in weights.items()},
                        windows.x_SBTI[s, b],
                        windows.future_SBFC[s, b],
                        truth_SBF[s, b] if is_forced else None,
                    )
                    for b in range(B)
                ]
            )
            for s in range(S)
        ]
    )
    torch.testing.assert_close(found, expected, **CLOSE)
    tensors, pull = [windows.x_SBTI, *weights.values()], torch.ones_like(found).cumsum(-1)
    theirs = torch.autograd.grad(expected, tensors, pull)
    for ours, other in zip(torch.autograd.grad(found, tensors, pull), theirs, strict=True):
        torch.testing.assert_close(ours, other, **CLOSE)


def feed_on(outputs_LQ: Tensor, truth_F: Tensor | None, first: int) -> Tensor:
    """Return the median, or the actual value if it is known."""
    if truth_F is None:
        return outputs_LQ[:, 1]
    fed = [truth_F[first + p] if first + p < len(truth_F) and truth_F[first + p] == truth_F[first + p] else None
           for p in range(L)]  # fmt: skip
    return torch.stack([outputs_LQ[p, 1] if value is None else value for p, value in enumerate(fed)])


def lstm_step(w: dict[str, Tensor], prefix: str, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    gates = x @ w[f"{prefix}input_IG"] + w[f"{prefix}bias_input_1G"][0] + h @ w[f"{prefix}hidden_HG"]
    i, f, g, o = gates.split(H)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def decode_by_hand(attention: str | None) -> Any:
    def by_hand(w: dict[str, Tensor], x_TI: Tensor, calendar_FC: Tensor, truth_F: Tensor | None) -> Tensor:
        h = c = torch.zeros(H, dtype=torch.float64)
        states = []
        for x in x_TI:
            h, c = lstm_step(w, "encoder_", x, h, c)
            states.append(h)
        fed, outputs = x_TI[-1][L : 2 * L], []
        for first in range(0, 7, L):
            context = []
            if attention is not None:
                query = h @ w["query_HH"]
                if attention == "additive":
                    scores = [torch.tanh(query + s @ w["key_HH"]) @ w["score_H1"][:, 0] for s in states]
                else:
                    scores = [query @ s / H**0.5 for s in states]
                shares = torch.softmax(torch.stack(scores), dim=0)
                context = [sum(share * s for share, s in zip(shares, states, strict=True))]
            h, c = lstm_step(w, "decoder_", torch.cat([fed, calendar_FC[first], *context]), h, c)
            outputs_LQ = (torch.cat([h, *context]) @ w["head_HO"] + w["bias_head_1O"][0]).view(L, 3)
            outputs.append(outputs_LQ)
            fed = feed_on(outputs_LQ, truth_F, first)
        return torch.cat(outputs)[:7].flatten()

    return by_hand


@pytest.mark.parametrize("attention", [None, "additive", "dot"])
def test_an_encoder_and_decoder_equal_a_loop_if_medians_are_fed(attention: Any) -> None:
    hold_against(Seq2Seq(make_cell("lstm"), Design(), attention), decode_by_hand(attention), noise=noise_of())


@pytest.mark.parametrize("attention", [None, "additive"])
def test_teacher_forcing_feeds_actual_values_and_medians_over_gaps(attention: Any) -> None:
    forced = Seq2Seq(make_cell("lstm"), Design(decoder="forced"), attention)
    hold_against(forced, decode_by_hand(attention), noise=noise_of(), is_forced=True)


@pytest.mark.parametrize("decoder", ["forced", "scheduled"])
def test_actual_values_are_fed_in_training_only(decoder: Any) -> None:
    design = Design(decoder=decoder)
    for wiring in (Seq2Seq(make_cell("gru"), design), Jordan(design)):
        weights, windows, reference_SBF = drawn = draw(wiring)
        other = replace(windows, target_SBF=windows.target_SBF + 1)
        assert torch.equal(run(wiring, drawn), run(wiring, (weights, other, reference_SBF)))
        fed = run(wiring, drawn, noise=noise_of()), run(wiring, (weights, other, reference_SBF), noise=noise_of())
        assert not torch.equal(*fed)


def test_scheduled_sampling_goes_from_actual_values_to_medians() -> None:
    def outputs_of(decoder: Any, step: int) -> Tensor:
        wiring = Seq2Seq(make_cell("gru"), Design(decoder=decoder))
        return run(wiring, draw(wiring), noise=noise_of(step=step))

    assert torch.equal(outputs_of("scheduled", 0), outputs_of("forced", 0))
    assert torch.equal(outputs_of("scheduled", 10), outputs_of("free", 10))
    halfway = outputs_of("scheduled", 5)
    assert not torch.equal(halfway, outputs_of("forced", 5))
    assert not torch.equal(halfway, outputs_of("free", 5))
    assert torch.equal(halfway, outputs_of("scheduled", 5))


def test_coins_differ_by_series_and_have_the_requested_share() -> None:
    keys = series_keys(tuple(map(str, range(50))), seed=0)
    coins = Noise(keys, 3, num_windows=8).coins(8, 20, share=0.3)
    assert coins.double().mean() == pytest.approx(0.3, abs=0.02)
    alone = Noise(keys[7:8], 3, num_windows=8).coins(8, 20, share=0.3)
    assert torch.equal(coins[7:8], alone)
    assert not torch.equal(coins[7], coins[8])


def test_attention_weights_of_the_context_are_positive_and_sum_to_one() -> None:
    wiring = make_wiring("attention")
    weights, windows, reference_SBF = draw(wiring)
    _, share_SBKT = wiring.run_with_attention(windows, reference_SBF, weights, DIMENSIONS)
    assert share_SBKT.shape == (S, B, 3, T)
    assert (share_SBKT > 0).all()
    torch.testing.assert_close(share_SBKT.sum(-1), torch.ones(S, B, 3, dtype=torch.float64), **CLOSE)
    assert share_SBKT.std() > 0.01


@pytest.mark.parametrize("model", ["seq2seq", "attention", "jordan"])
def test_a_longer_horizon_than_in_training_starts_with_the_same_forecasts(model: str) -> None:
    wiring = make_wiring(model)
    weights, windows, _ = draw(wiring, horizon=14)
    mixture = torch.zeros(S, wiring.count_mixtures(DIMENSIONS), 1, dtype=torch.float64)
    weights = weights | {"mixture_FM": mixture}
    longer = forecast_windows(wiring, replace(DIMENSIONS, horizon=14), windows, weights, kernel=reference)
    assert longer.shape == (S, B, 14, 3)
    first = {
        name: getattr(windows, name)[:, :, :7]
        for name in ("reference_SBFM", "target_SBF", "is_observed_SBF", "future_SBFC")
    }
    short = forecast_windows(wiring, DIMENSIONS, replace(windows, **first), weights, kernel=reference)
    torch.testing.assert_close(longer[:, :, :7], short, **CLOSE)


def jordan_by_hand(*, is_forced: bool) -> Any:
    def by_hand(w: dict[str, Tensor], x_TI: Tensor, calendar_FC: Tensor, truth_F: Tensor | None) -> Tensor:
        fed, outputs = torch.zeros(L, dtype=torch.float64), []
        for t in range(T + 2):
            if t < T:
                total = x_TI[t] @ w["input_IH"]
                fed = x_TI[t][L : 2 * L] if is_forced else fed
            else:
                total = calendar_FC[(t - T) * L] @ w["input_IH"][-C:]
            h = torch.tanh(total + w["bias_input_1H"][0] + fed @ w["feedback_LH"])
            outputs_LQ = (h @ w["head_HO"] + w["bias_head_1O"][0]).view(L, 3)
            if t >= T - 1:
                outputs.append(outputs_LQ)
                fed = feed_on(outputs_LQ, truth_F, (t - T + 1) * L)
            else:
                fed = outputs_LQ[:, 1]
        return torch.cat(outputs)[:7].flatten()

    return by_hand


def test_a_jordan_network_equals_a_loop_without_forcing() -> None:
    hold_against(Jordan(Design()), jordan_by_hand(is_forced=False), noise=noise_of())


def test_a_jordan_network_equals_a_loop_with_teacher_forcing() -> None:
    hold_against(Jordan(Design(decoder="forced")), jordan_by_hand(is_forced=True), noise=noise_of(), is_forced=True)


def test_layers_of_a_decoder_start_from_the_states_of_the_encoder() -> None:
    """The first segment equals that of torch's LSTM with two layers."""
    wiring = Seq2Seq(make_cell("lstm"), Design(layers=2))
    weights, windows, reference_SBF = draw(wiring)
    found = run(wiring, (weights, windows, reference_SBF)).view(S, B, 7, 3)[:, :, :L]
    for s in range(S):
        state = None
        parts = (("encoder", windows.x_SBTI[s]), ("decoder", None))
        for part, x_BTI in parts:
            if x_BTI is None:
                fed = torch.cat([windows.x_SBTI[s, :, -1, L : 2 * L], windows.future_SBFC[s, :, 0]], dim=-1)
                x_BTI = fed[:, None]
            twin = torch.nn.LSTM(x_BTI.shape[-1], H, num_layers=2, batch_first=True).double()
            values = {}
            for layer in range(2):
                prefix = f"{part}_" + ("layer1_" if layer else "")
                bias = weights[f"{prefix}bias_input_1G"][s, 0]
                values |= {
                    f"weight_ih_l{layer}": weights[f"{prefix}input_IG"][s].T,
                    f"weight_hh_l{layer}": weights[f"{prefix}hidden_HG"][s].T,
                    f"bias_ih_l{layer}": bias,
                    f"bias_hh_l{layer}": torch.zeros_like(bias),
                }
            outputs, state = torch.func.functional_call(twin, values, (x_BTI, state))
        expected = outputs[:, -1] @ weights["head_HO"][s] + weights["bias_head_1O"][s]
        torch.testing.assert_close(found[s].flatten(1), expected, **CLOSE)


@pytest.mark.parametrize("model", ["seq2seq", "attention", "jordan"])
def test_a_series_gradient_never_reaches_another(model: str) -> None:
    wiring = make_wiring(model)
    weights, windows, reference_SBF = draw(wiring)
    run(wiring, (weights, windows, reference_SBF))[1].sum().backward()
    for tensor in (windows.x_SBTI, *weights.values()):
        assert tensor.grad[1].abs().sum() > 0
        assert tensor.grad[[0, 2]].abs().sum() == 0
