"""Recurrences as Triton programs, a file per cell; imported on first use only, so that nothing else needs triton."""
