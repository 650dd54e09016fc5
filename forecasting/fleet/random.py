"""Counter-based random numbers: a series gets the same numbers at any place in a fleet and on any device.

A number is a hash of (seed, series, purpose, counter), so drawing it needs neither state nor order. The mixing
function is the finaliser of SplitMix64 (Steele, Lea & Flood 2014), which torch's wrapping int64 arithmetic computes
exactly.
"""

# S series · D draws

import hashlib

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as int64
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def stable_hash(text: str) -> int:
    """Hash a text to an int64 that is the same in every process (Python's own hash is salted)."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


def series_keys(unique_ids: tuple[str, ...], *, seed: int) -> Tensor:
    """Return one int64 key per series, (S,), which depends on its name and the seed alone."""
    names_S = torch.tensor([stable_hash(name) for name in unique_ids], dtype=torch.int64)
    return _mix(names_S + torch.tensor(seed, dtype=torch.int64) * _GOLDEN)


def purpose_keys(keys_S: Tensor, *, purpose: str) -> Tensor:
    """Return each series' key for one purpose, (S,), from which counters draw numbers."""
    return _mix(keys_S ^ stable_hash(purpose))


def draw_bits(keys_S: Tensor, *, purpose: str, counters_D: Tensor) -> Tensor:
    """Return 63 random bits per series and counter, (S, D), as non-negative int64."""
    purpose_key_S1 = purpose_keys(keys_S, purpose=purpose)[:, None]
    return _mix(purpose_key_S1 + (counters_D + 1)[None, :] * _GOLDEN) & 0x7FFF_FFFF_FFFF_FFFF


def draw_uniform(keys_S: Tensor, *, purpose: str, num_draws: int) -> Tensor:
    """Return float64 numbers in [0, 1), (S, D)."""
    counters_D = torch.arange(num_draws, dtype=torch.int64, device=keys_S.device)
    return (draw_bits(keys_S, purpose=purpose, counters_D=counters_D) >> 10).double() * 2.0**-53


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _shift_right(bits, 30)) * _MIX_1
    bits = (bits ^ _shift_right(bits, 27)) * _MIX_2
    return bits ^ _shift_right(bits, 31)


def _shift_right(bits: Tensor, places: int) -> Tensor:
    """Shift logically; int64's own shift repeats the sign."""
    return (bits >> places) & ((1 << (64 - places)) - 1)
