"""Encoder and decoder (Sutskever, Vinyals & Le 2014; Cho et al. 2014): each decoder step forecasts one segment.

    encoder:  h_t, c_t = cell(x_t, …)                        over the context
    decoder:  s_k = cell([fed_k, calendar_k, context_k], s_{k-1}),  s_0 = the encoder's last state
              out_k = V [s_k, context_k] + c                 over the horizon's segments

The decoder reads the calendar of the segment and its own median of the segment before (`feeding`). All segments share
its weights, so that a horizon can be longer than in training.

With attention it reads all states of the encoder, with weights that depend on the decoder's previous state:

    additive (Bahdanau, Cho & Bengio 2015)         e_kj = v · tanh(W s_{k-1} + U h_j)
    scaled dot product (Vaswani et al. 2017)       e_kj = (W s_{k-1}) · h_j / √H
    context_k = Σ_j softmax_j(e_k) h_j
"""

# S series (one network each) · B windows · T steps · I inputs · H hidden · F horizon steps · Q quantiles
# K segments of the horizon · L points of a segment · C calendar features · O = F Q · P = L Q

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from forecasting.fleet.architectures.feeding import feed, newest_change, segment_outputs, segment_starts
from forecasting.fleet.architectures.layers import Layers
from forecasting.fleet.architectures.wiring import Dimensions, SegmentBySegment
from forecasting.fleet.cells import Cell, Shapes, Weights
from forecasting.spec.training import Design

if TYPE_CHECKING:
    from torch import Tensor

    from forecasting.fleet.architectures.noise import Noise
    from forecasting.fleet.kernels import Kernel
    from forecasting.fleet.windows import WindowBatch


@dataclass(frozen=True)
class Seq2Seq(SegmentBySegment):
    """An encoder and a decoder of the same cell and layers; the decoder starts from the encoder's states."""

    of_cell: Cell
    design: Design
    attention: Literal["additive", "dot"] | None = None

    @property
    def encoder(self) -> Layers:
        """The layers that read the context."""
        return Layers(self.of_cell, self.design, prefix="encoder_")

    @property
    def decoder(self) -> Layers:
        """The layers that forecast the horizon."""
        return Layers(self.of_cell, self.design, prefix="decoder_")

    def count_read_ahead(self, dimensions: Dimensions) -> int:
        """Return the horizon, because the decoder reads the calendar of every segment."""
        return dimensions.horizon

    def parameter_shapes(self, dimensions: Dimensions) -> Shapes:
        """Return the shapes of all parameters."""
        hidden, seen = dimensions.hidden_size, dimensions.hidden_size if self.attention else 0
        num_fed = dimensions.segment_length + dimensions.num_calendar + seen
        num_outputs = dimensions.segment_length * dimensions.num_quantiles
        shapes = self.encoder.parameter_shapes(num_inputs=dimensions.num_inputs, hidden_size=hidden)
        shapes |= self.decoder.parameter_shapes(num_inputs=num_fed, hidden_size=hidden)
        if self.attention:
            shapes["query_HH"] = (hidden, hidden)
        if self.attention == "additive":
            shapes |= {"key_HH": (hidden, hidden), "score_H1": (hidden, 1)}
        return shapes | {"head_HO": (hidden + seen, num_outputs), "bias_head_1O": (1, num_outputs)}

    def count_kept(self, dimensions: Dimensions) -> int:
        """Return the number of values per window that the gradient needs."""
        hidden, num_segments = dimensions.hidden_size, dimensions.num_segments
        of_layers = sum(
            layers.count_kept(num_inputs=0, num_steps=num_steps, hidden_size=hidden)
            for layers, num_steps in ((self.encoder, dimensions.num_steps), (self.decoder, num_segments))
        )
        of_attention = num_segments * dimensions.num_steps * (3 * hidden + 2) if self.attention else 0
        return of_layers + of_attention

    def count_launched(self, dimensions: Dimensions) -> int:
        """Return the number of consecutive steps."""
        return self.design.layers * (dimensions.num_steps + dimensions.num_segments)

    def run(
        self,
        windows: WindowBatch,
        reference_SBF: Tensor,
        weights: Weights,
        dimensions: Dimensions,
        *,
        kernel: Kernel,
        noise: Noise | None,
    ) -> Tensor:
        """Return the difference of all quantiles from the reference, (S, B, O), in the unit of the loss."""
        outputs_SBO, _ = self.run_with_attention(windows, reference_SBF, weights, dimensions, noise=noise)
        return outputs_SBO

    def run_with_attention(
        self,
        windows: WindowBatch,
        reference_SBF: Tensor,
        weights: Weights,
        dimensions: Dimensions,
        *,
        noise: Noise | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Run the networks and return the attention too.

        Args:
            windows: The batch of windows.
            reference_SBF: The mixed reference, in the unit of the loss.
            weights: Parameters by name.
            dimensions: The sizes of the network.
            noise: Random draws of training; None in validation and prediction.

        Returns:
            The outputs of `run`, and the weight of each step of the context for each segment, (S, B, K, T), or None
            without attention.
        """
        import torch

        states_SBTH, states = self.encoder.advance(windows.x_SBTI, weights, None, noise=noise)
        keys_SBTH = self._keys(states_SBTH, weights)
        feeding = feed(self.design.decoder, windows, reference_SBF, dimensions, noise)
        calendar_SBKC, fed_SBL = segment_starts(windows, dimensions), newest_change(windows, dimensions)
        query_SBH, outputs, weighed = states_SBTH[:, :, -1], [], []
        for segment in range(dimensions.num_segments):
            context: list[Tensor] = []
            if self.attention:
                share_SBT, context_SBH = self._attend(query_SBH, keys_SBTH, states_SBTH, weights)
                weighed.append(share_SBT)
                context = [context_SBH]
            input_SBI = torch.cat([fed_SBL, calendar_SBKC[:, :, segment], *context], dim=-1)
            top_SB1H, states = self.decoder.advance(input_SBI.unsqueeze(2), weights, states, noise=noise)
            query_SBH = top_SB1H.squeeze(2)
            seen_SBH = torch.cat([query_SBH, *context], dim=-1)
            outputs_SBLQ = segment_outputs(seen_SBH, weights, dimensions)
            outputs.append(outputs_SBLQ)
            fed_SBL = feeding.after(segment, outputs_SBLQ)
        outputs_SBFQ = torch.cat(outputs, dim=2)[:, :, : dimensions.horizon]
        return outputs_SBFQ.flatten(2), torch.stack(weighed, dim=2) if weighed else None

    def settle(self, weights: Weights, *, num_steps: int) -> None:
        """Overwrite the drawn initial values of some parameters, in place."""
        self.encoder.settle(weights, num_steps=num_steps)
        self.decoder.settle(weights, num_steps=num_steps)

    def bound(self, weights: Weights, *, num_steps: int) -> None:
        """Clip bounded parameters, in place; windows have `num_steps` steps."""
        self.encoder.bound(weights, num_steps=num_steps)
        self.decoder.bound(weights, num_steps=num_steps)

    def _keys(self, states_SBTH: Tensor, weights: Weights) -> Tensor:
        """Return the keys that a query is compared with."""
        if self.attention != "additive":
            return states_SBTH
        return (states_SBTH.flatten(1, 2) @ weights["key_HH"]).view_as(states_SBTH)

    def _attend(
        self, query_SBH: Tensor, keys_SBTH: Tensor, states_SBTH: Tensor, weights: Weights
    ) -> tuple[Tensor, Tensor]:
        """Return the weight of each step of the context, (S, B, T), and the weighted mean of its states, (S, B, H)."""
        query_SB1H = (query_SBH @ weights["query_HH"]).unsqueeze(2)
        if self.attention == "additive":
            seen_SBTH = (query_SB1H + keys_SBTH).tanh()
            score_SBT = (seen_SBTH.flatten(1, 2) @ weights["score_H1"]).view(seen_SBTH.shape[:3])
        else:
            score_SBT = (query_SB1H * keys_SBTH).sum(-1) / math.sqrt(keys_SBTH.shape[-1])
        share_SBT = score_SBT.softmax(-1)
        return share_SBT, (share_SBT.unsqueeze(-1) * states_SBTH).sum(2)
