"""Recurrent cells: each file declares the parameters and one step of a cell; `make_cell` returns one by name."""

from forecasting.fleet.cells.cell import Cell, Shapes, Weights
from forecasting.fleet.cells.elman import Elman
from forecasting.fleet.cells.gru import Gru
from forecasting.fleet.cells.indrnn import IndRnn
from forecasting.fleet.cells.lstm import Lstm
from forecasting.spec.training import CellName, Design


def make_cell(name: CellName, design: Design = Design()) -> Cell:
    """Return a cell in the variant of a design.

    Args:
        name: The cell's name.
        design: Options of a model's network; a cell ignores those of others.

    Returns:
        The cell.

    Example:
        >>> make_cell("lstm", Design(peepholes=True)).name
        'lstm with peepholes'
    """
    cells: dict[CellName, Cell] = {
        "elman": Elman(rectifies=design.activation == "relu"),
        "lstm": Lstm(design.peepholes, design.forget_bias),
        "gru": Gru(resets_before=design.candidate == "before"),
        "indrnn": IndRnn(),
    }
    return cells[name]


__all__ = ["Cell", "Elman", "Gru", "IndRnn", "Lstm", "Shapes", "Weights", "make_cell"]
