"""Recurrences over time: `reference`, in plain torch on any device, is the one that every other must agree with."""
