"""Encoder and decoder (Sutskever, Vinyals & Le 2014; Cho et al. 2014): many-to-many, a segment of the horizon a step.

    encoder:  h_t, c_t = cell(x_t, …)                        over the context
    decoder:  s_k = cell([fed_k, calendar_k, context_k], s_{k-1}),  s_0 = the encoder's last state
              out_k = V [s_k, context_k] + c                 over the horizon's segments

The decoder knows the calendar of the segment to come, and is fed what it said of the one before (`feeding`). Its
weights are the same at every segment, so that a horizon may be longer than the one that was learned.

With attention it sees all of the encoder's states, weighed anew at every segment by its own state before it:

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

from forecasting.fleet.architectures.feeding import feed, newest_change, segment_starts, tell_segment
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
    """An encoder and a decoder of the same cell and as many layers, whose states the encoder hands over."""

    of_cell: Cell
    design: Design
    attention: Literal["additive", "dot"] | None = None

    @property
    def encoder(self) -> Layers:
        return Layers(self.of_cell, self.design, prefix="encoder_")

    @property
    def decoder(self) -> Layers:
        return Layers(self.of_cell, self.design, prefix="decoder_")

    def count_read_ahead(self, dimensions: Dimensions) -> int:
        """Count the whole horizon: a segment is told by what is known of itself."""
        return dimensions.horizon

    def parameter_shapes(self, dimensions: Dimensions) -> Shapes:
        hidden, seen = dimensions.hidden_size, dimensions.hidden_size if self.attention else 0
        num_fed = dimensions.segment_length + dimensions.num_calendar + seen
        num_said = dimensions.segment_length * dimensions.num_quantiles
        shapes = self.encoder.parameter_shapes(num_inputs=dimensions.num_inputs, hidden_size=hidden)
        shapes |= self.decoder.parameter_shapes(num_inputs=num_fed, hidden_size=hidden)
        if self.attention:
            shapes["query_HH"] = (hidden, hidden)
        if self.attention == "additive":
            shapes |= {"key_HH": (hidden, hidden), "score_H1": (hidden, 1)}
        return shapes | {"head_HO": (hidden + seen, num_said), "bias_head_1O": (1, num_said)}

    def count_kept(self, dimensions: Dimensions) -> int:
        hidden, num_segments = dimensions.hidden_size, dimensions.num_segments
        of_layers = sum(
            layers.count_kept(num_inputs=0, num_steps=num_steps, hidden_size=hidden)
            for layers, num_steps in ((self.encoder, dimensions.num_steps), (self.decoder, num_segments))
        )
        of_attention = num_segments * dimensions.num_steps * (3 * hidden + 2) if self.attention else 0
        return of_layers + of_attention

    def count_launched(self, dimensions: Dimensions) -> int:
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
        said_SBO, _ = self.run_with_attention(windows, reference_SBF, weights, dimensions, noise=noise)
        return said_SBO

    def run_with_attention(
        self,
        windows: WindowBatch,
        reference_SBF: Tensor,
        weights: Weights,
        dimensions: Dimensions,
        *,
        noise: Noise | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return (S, B, O) as `run` does, and how each segment weighed the context's steps, (S, B, K, T), if it did."""
        import torch

        states_SBTH, states = self.encoder.advance(windows.x_SBTI, weights, None, noise=noise)
        keys_SBTH = self._keys(states_SBTH, weights)
        feeding = feed(self.design.decoder, windows, reference_SBF, dimensions, noise)
        calendar_SBKC, fed_SBL = segment_starts(windows, dimensions), newest_change(windows, dimensions)
        query_SBH, said, weighed = states_SBTH[:, :, -1], [], []
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
            said_SBLQ = tell_segment(seen_SBH, weights, dimensions)
            said.append(said_SBLQ)
            fed_SBL = feeding.after(segment, said_SBLQ)
        said_SBFQ = torch.cat(said, dim=2)[:, :, : dimensions.horizon]
        return said_SBFQ.flatten(2), torch.stack(weighed, dim=2) if weighed else None

    def settle(self, weights: Weights, *, num_steps: int) -> None:
        self.encoder.settle(weights, num_steps=num_steps)
        self.decoder.settle(weights, num_steps=num_steps)

    def bound(self, weights: Weights, *, num_steps: int) -> None:
        self.encoder.bound(weights, num_steps=num_steps)
        self.decoder.bound(weights, num_steps=num_steps)

    def _keys(self, states_SBTH: Tensor, weights: Weights) -> Tensor:
        """Return what a query is compared with."""
        if self.attention != "additive":
            return states_SBTH
        return (states_SBTH.flatten(1, 2) @ weights["key_HH"]).view_as(states_SBTH)

    def _attend(
        self, query_SBH: Tensor, keys_SBTH: Tensor, states_SBTH: Tensor, weights: Weights
    ) -> tuple[Tensor, Tensor]:
        """Return how much each step of the context weighs, (S, B, T), and the mean of its states, (S, B, H)."""
        asked_SB1H = (query_SBH @ weights["query_HH"]).unsqueeze(2)
        if self.attention == "additive":
            seen_SBTH = (asked_SB1H + keys_SBTH).tanh()
            score_SBT = (seen_SBTH.flatten(1, 2) @ weights["score_H1"]).view(seen_SBTH.shape[:3])
        else:
            score_SBT = (asked_SB1H * keys_SBTH).sum(-1) / math.sqrt(keys_SBTH.shape[-1])
        share_SBT = score_SBT.softmax(-1)
        return share_SBT, (share_SBT.unsqueeze(-1) * states_SBTH).sum(2)
