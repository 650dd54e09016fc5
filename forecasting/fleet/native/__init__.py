"""The CPU engine: C code for recurrences, whole training steps and forecasts. `library` loads it."""

CELLS = ("lstm", "gru", "elman", "indrnn")
"""Cells of the engine; the index of a cell is its number in fleet.h."""

PART_WINDOWS = 32
"""Windows of a prior whose gradients are computed together, at most: enough to fill the engine's tiles of rows, and few
enough for states and gates to stay in the L2 cache. Another number gives other bits."""
