"""Recurrent layers one above the other: windows' inputs in, the top layer's outputs out.

A layer above the first reads the outputs of the one below, some of whose units dropout hides (Zaremba, Sutskever &
Vinyals 2014: not between time steps). It may add its outputs to what it reads (He et al. 2016), and each layer's
outputs may be normalised over its units.
"""

# S series (one network each) · B windows · T steps · I inputs · H hidden · D = H, or 2H in both directions

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forecasting.fleet.architectures.norm import norm_shapes, normalise, settle_norm
from forecasting.fleet.cells import Cell, Shapes, Weights
from forecasting.spec.training import Design

if TYPE_CHECKING:
    from torch import Tensor

    from forecasting.fleet.architectures.noise import Noise
    from forecasting.fleet.kernels import Kernel

States = list[tuple["Tensor", ...]]
"""What each layer hands on from one step to the next."""


@dataclass(frozen=True)
class Layers:
    """Layers of one cell; `prefix` keeps the names of their parameters apart from those of others."""

    cell: Cell
    design: Design
    is_bidirectional: bool = False
    """Whether each layer reads its sequence from both ends, and its outputs are those of both."""
    prefix: str = ""

    @property
    def num_directions(self) -> int:
        return 2 if self.is_bidirectional else 1

    @property
    def num_sequences(self) -> int:
        """How often a window's sequence is read."""
        return self.design.layers * self.num_directions

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing but one layer, whose parameters have the names that its cell gives them."""
        return not (self.is_bidirectional or self.design.layer_norm or self.prefix) and self.design.layers == 1

    def parameter_shapes(self, *, num_inputs: int, hidden_size: int) -> Shapes:
        width = self.num_directions * hidden_size
        shapes: Shapes = {}
        for layer in range(self.design.layers):
            of_cell = self.cell.parameter_shapes(num_inputs=width if layer else num_inputs, hidden_size=hidden_size)
            for prefix in self._prefixes(layer):
                shapes |= {prefix + name: shape for name, shape in of_cell.items()}
            if self.design.layer_norm:
                shapes |= norm_shapes(self._prefix(layer), width)
        return shapes

    def count_kept(self, *, num_inputs: int, num_steps: int, hidden_size: int) -> int:
        """Count the numbers that a window keeps for its gradient: projections, gates and states of all its steps."""
        gates, width = 4 * self.cell.num_gates * hidden_size, self.num_directions * hidden_size
        above = (self.design.layers - 1) * width * (2 + 2 * self.design.layer_norm + bool(self.design.dropout))
        return num_steps * (self.design.layers * self.num_directions * gates + above)

    def run(self, x_SBTI: Tensor, weights: Weights, *, kernel: Kernel, noise: Noise | None, only_last: bool) -> Tensor:
        """Return (S, B, T, D), or the last states (S, B, D): of both directions, what each has read the window to."""
        outputs = x_SBTI
        # What two directions said last belongs to two steps, and is normalised with what stands beside it at each.
        picks = only_last and self.is_bidirectional and self.design.layer_norm
        for layer in range(self.design.layers):
            is_last = only_last and not picks and layer == self.design.layers - 1
            read_SBTD = self._read(layer, outputs, noise)
            outputs = self._run_layer(layer, read_SBTD, weights, kernel=kernel, only_last=is_last)
            if is_last and layer:
                read_SBTD = self._last(read_SBTD)
            outputs = self._finish(layer, outputs, read_SBTD, weights)
        return self._last(outputs) if picks else outputs

    def advance(
        self, x_SBTI: Tensor, weights: Weights, states: States | None, *, noise: Noise | None
    ) -> tuple[Tensor, States]:
        """Read on from the states of all layers, or from none; return (S, B, T, H) of the top one, and their states.

        In one direction alone, and by the reference recurrence: kernels give no states away.
        """
        import torch

        from forecasting.fleet.kernels.reference import unroll

        outputs_SBTH, after = x_SBTI, []
        for layer in range(self.design.layers):
            read_SBTD = self._read(layer, outputs_SBTH, noise)
            state = None if states is None else states[layer]
            steps, state = unroll(self.cell, read_SBTD, _unprefixed(weights, self._prefix(layer)), state)
            outputs_SBTH = self._finish(layer, torch.stack(steps, dim=2), read_SBTD, weights)
            after.append(state)
        return outputs_SBTH, after

    def settle(self, weights: Weights, *, num_steps: int) -> None:
        for layer in range(self.design.layers):
            for prefix in self._prefixes(layer):
                self.cell.settle(_unprefixed(weights, prefix), num_steps=num_steps)
            if self.design.layer_norm:
                settle_norm(weights, self._prefix(layer))

    def bound(self, weights: Weights, *, num_steps: int) -> None:
        if self.cell.has_bounds:
            for layer in range(self.design.layers):
                for prefix in self._prefixes(layer):
                    self.cell.bound(_unprefixed(weights, prefix), num_steps=num_steps)

    def _read(self, layer: int, below_SBTD: Tensor, noise: Noise | None) -> Tensor:
        """Return what a layer reads of the one below."""
        if not layer or noise is None or not self.design.dropout:
            return below_SBTD
        return noise.drop(below_SBTD, share=self.design.dropout, purpose=f"{self.prefix}layer {layer}")

    def _finish(self, layer: int, outputs: Tensor, read: Tensor, weights: Weights) -> Tensor:
        """Return what a layer gives on, of its cell's outputs and of what it has read at the same steps."""
        if self.design.layer_norm:
            outputs = normalise(outputs, weights, self._prefix(layer))
        return outputs + read if self.design.residual and layer else outputs

    def _run_layer(self, layer: int, x_SBTD: Tensor, weights: Weights, *, kernel: Kernel, only_last: bool) -> Tensor:
        forward, *backward = (_unprefixed(weights, prefix) for prefix in self._prefixes(layer))
        ahead = kernel.run(self.cell, x_SBTD, forward, only_last=only_last)
        if not backward:
            return ahead
        import torch

        back = kernel.run(self.cell, x_SBTD.flip(2), backward[0], only_last=only_last)
        return torch.cat([ahead, back if only_last else back.flip(2)], dim=-1)

    def _last(self, x_SBTD: Tensor) -> Tensor:
        """Return what each direction said when it had read all."""
        if not self.is_bidirectional:
            return x_SBTD[:, :, -1]
        import torch

        ahead, back = x_SBTD.chunk(2, dim=-1)
        return torch.cat([ahead[:, :, -1], back[:, :, 0]], dim=-1)

    def _prefix(self, layer: int) -> str:
        return self.prefix + (f"layer{layer}_" if layer else "")

    def _prefixes(self, layer: int) -> tuple[str, ...]:
        return (self._prefix(layer), f"{self._prefix(layer)}back_")[: self.num_directions]


def _unprefixed(weights: Weights, prefix: str) -> Weights:
    """Return the parameters whose names begin with a prefix and go on as a cell's do, under these names."""
    return {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}
