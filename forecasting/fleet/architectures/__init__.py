"""Architectures: each file defines networks from window to horizon; `make_wiring` returns them by name."""

from collections.abc import Callable, Mapping

from forecasting.errors import SpecError
from forecasting.fleet.architectures.jordan import Jordan
from forecasting.fleet.architectures.layers import Layers
from forecasting.fleet.architectures.recurrent import Recurrent
from forecasting.fleet.architectures.rollout import Rollout
from forecasting.fleet.architectures.seq2seq import Seq2Seq
from forecasting.fleet.architectures.window_mlp import WindowMlp
from forecasting.fleet.architectures.wiring import Dimensions, Wiring
from forecasting.fleet.cells import make_cell
from forecasting.spec.training import CellName, Design


def make_wiring(model: str, design: Design = Design()) -> Wiring:
    """Return the wiring of a model's networks.

    Args:
        model: The model's name.
        design: Options that select a variant.

    Returns:
        The wiring.

    Raises:
        SpecError: The model has no such variant; a run may name other models than its spec.
    """
    if problem := design.problem_with(model):
        raise SpecError("design", [problem])
    return _WIRINGS[model](design)


def _of_cell(name: CellName) -> Callable[[Design], Wiring]:
    def wire(design: Design) -> Wiring:
        layers = Layers(make_cell(name, design), design)
        return Rollout(layers) if design.head == "next" else Recurrent(layers)

    return wire


def _bidirectional(design: Design) -> Wiring:
    return Recurrent(Layers(make_cell(design.cell, design), design, is_bidirectional=True))


_WIRINGS: Mapping[str, Callable[[Design], Wiring]] = {
    "elman": _of_cell("elman"),
    "lstm": _of_cell("lstm"),
    "gru": _of_cell("gru"),
    "indrnn": _of_cell("indrnn"),
    "bidirectional": _bidirectional,
    "jordan": Jordan,
    "seq2seq": lambda design: Seq2Seq(make_cell(design.cell, design), design),
    "attention": lambda design: Seq2Seq(make_cell(design.cell, design), design, design.attention),
    "window_mlp": WindowMlp,
}

__all__ = ["Dimensions", "Jordan", "Layers", "Recurrent", "Rollout", "Seq2Seq", "WindowMlp", "Wiring", "make_wiring"]
