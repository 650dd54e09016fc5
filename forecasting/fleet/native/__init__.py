"""The CPU engine: C that runs recurrences, whole training steps and forecasts; `library` is its door to Python."""

CELLS = ("lstm", "gru", "elman", "indrnn")
"""Cells that the engine knows; a cell's place is its number in fleet.h."""
