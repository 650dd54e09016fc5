"""The CPU engine: C code for recurrences, whole training steps and forecasts. `library` loads it."""

CELLS = ("lstm", "gru", "elman", "indrnn")
"""Cells of the engine; the index of a cell is its number in fleet.h."""
