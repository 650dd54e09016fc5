"""Run stacked recurrent layers on the inputs of windows and return the outputs of the top layer.

Each layer above the first reads the outputs of the layer below, after dropout (Zaremba, Sutskever & Vinyals 2014: not
between time steps). Options add residual connections (He et al. 2016) and normalise the outputs of each layer.
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
"""The state of each layer between two steps."""


@dataclass(frozen=True)
class Layers:
    """Layers of one cell; `prefix` distinguishes the names of their parameters from those of other layers."""

    cell: Cell
    design: Design
    is_bidirectional: bool = False
    """Whether each layer reads its sequence in both directions and concatenates the outputs."""
    prefix: str = ""

    @property
    def num_directions(self) -> int:
        """Directions in which a layer reads: 1 or 2."""
        return 2 if self.is_bidirectional else 1

    @property
    def num_sequences(self) -> int:
        """Number of passes over a window: layers times directions."""
        return self.design.layers * self.num_directions

    @property
    def is_plain(self) -> bool:
        """Whether there is a single layer without options, whose parameters have the names of its cell's."""
        return not (self.is_bidirectional or self.design.layer_norm or self.prefix) and self.design.layers == 1

    def parameter_shapes(self, *, num_inputs: int, hidden_size: int) -> Shapes:
        """Return the shapes of all layers' parameters."""
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
        """Return the number of values per window that the gradient needs: projections, gates and states."""
        gates, width = 4 * self.cell.num_gates * hidden_size, self.num_directions * hidden_size
        above = (self.design.layers - 1) * width * (2 + 2 * self.design.layer_norm + bool(self.design.dropout))
        return num_steps * (self.design.layers * self.num_directions * gates + above)

    def run(self, x_SBTI: Tensor, weights: Weights, *, kernel: Kernel, noise: Noise | None, only_last: bool) -> Tensor:
        """Run all layers.

        Args:
            x_SBTI: Inputs of all steps.
            weights: Parameters by name.
            kernel: The kernel that runs the cell.
            noise: Random draws of training, for dropout; None otherwise.
            only_last: Whether to return only the output after a direction has read the whole window.

        Returns:
            The outputs of the top layer, (S, B, T, D), or with `only_last` (S, B, D).
        """
        outputs = x_SBTI
        # The last outputs of the two directions belong to different steps, and each step is normalised as a whole.
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
        """Continue from given states, in one direction, with the reference kernel; the others return no states.

        Args:
            x_SBTI: Inputs of the next steps.
            weights: Parameters by name.
            states: The state of each layer, or None to start.
            noise: Random draws of training, for dropout; None otherwise.

        Returns:
            The outputs of the top layer, (S, B, T, H), and the state of each layer after the last step.
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
        """Overwrite the drawn initial values of some parameters, in place; sequences have `num_steps` steps."""
        for layer in range(self.design.layers):
            for prefix in self._prefixes(layer):
                self.cell.settle(_unprefixed(weights, prefix), num_steps=num_steps)
            if self.design.layer_norm:
                settle_norm(weights, self._prefix(layer))

    def bound(self, weights: Weights, *, num_steps: int) -> None:
        """Clip bounded parameters, in place; sequences have `num_steps` steps."""
        if self.cell.has_bounds:
            for layer in range(self.design.layers):
                for prefix in self._prefixes(layer):
                    self.cell.bound(_unprefixed(weights, prefix), num_steps=num_steps)

    def _read(self, layer: int, below_SBTD: Tensor, noise: Noise | None) -> Tensor:
        """Return the inputs of a layer from the outputs of the one below."""
        if not layer or noise is None or not self.design.dropout:
            return below_SBTD
        return noise.drop(below_SBTD, share=self.design.dropout, purpose=f"{self.prefix}layer {layer}")

    def _finish(self, layer: int, outputs: Tensor, read: Tensor, weights: Weights) -> Tensor:
        """Normalise the outputs of a layer's cell and add the layer's inputs at the same steps, if so configured."""
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
        """Return the output of each direction after it has read the whole window."""
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
    """Return the parameters with a prefix, under their names without it."""
    return {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}
