"""Recurrent cells: each file declares its parameters' shapes and one step; `CELLS` names them."""

from forecasting.fleet.cells.cell import Cell, Weights
from forecasting.fleet.cells.gru import Gru
from forecasting.fleet.cells.lstm import Lstm

CELLS: dict[str, Cell] = {"lstm": Lstm(), "gru": Gru()}

__all__ = ["CELLS", "Cell", "Gru", "Lstm", "Weights"]
