"""Exponential smoothing that is trained with a network: scaled histories become each series' level and season.

Every series has its own smoothing coefficients and initial seasonal indices, which are weights of its network (ES-RNN:
Smyl 2020, International Journal of Forecasting 36(1):75-85). Level and seasons are added, not multiplied; for a member
that reads logarithms they are factors. A gap changes neither level nor season.

The recursion in terms of the one-step error (Hyndman, Koehler, Ord & Snyder 2008), with α and γ between 0 and 1:

    error = z - level - season,   level += α error,   season += γ (1 - α) error
"""

# S series · N grid points, padding included · D season lengths · P = their sum · C = 1 + D coefficients
# W grid points of a block

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from forecasting.series.open_calendar import make_open_calendar
from forecasting.series.panel import Panel
from forecasting.spec.frequency import fixed_width, learned_frequency, num_months

COEFFICIENTS, SEASONS = "coefficients_C", "seasons_P"
"""Names of the weights: raw coefficients, and initial seasonal indices by phase."""

GAIN = 10.0
"""Scale of raw coefficients, so that Adam's small steps cross their whole range within a hundred steps."""
FIRST_COEFFICIENT = 0.2
"""Initial value of every coefficient."""
FIRST_SEASONS = 4
"""First seasons of a series, whose mean gives its initial indices."""
LARGEST_BLOCK = 64
"""Largest number of grid points that are smoothed together; a block is at most the shortest season."""


def parameter_shapes(season_lengths: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of one series' smoothing weights."""
    return {COEFFICIENTS: (1 + len(season_lengths),), SEASONS: (sum(season_lengths),)}


@dataclass(frozen=True)
class Smoothed:
    """Level and seasons as they are known at each point.

    `level_SN` is the level after the point. `without_season_SN` is z without all seasons as they were before the point;
    before a series begins it is the first level. `next_seasons` has, for each season length, the index after the point,
    which is used one season later, (S, N).
    """

    level_SN: Tensor
    without_season_SN: Tensor
    next_seasons: tuple[Tensor, ...]


@dataclass(frozen=True)
class Smoothing:
    """Inputs of the recursion besides z: where each series begins, and at which phase of its seasons.

    The phase of a grid point follows from the calendar or the integer step, so it does not change when a series loses
    points at its beginning.
    """

    season_lengths: tuple[int, ...]
    is_observed_SN: Tensor
    has_begun_SN: Tensor
    """Whether this or an earlier point is observed."""
    first_S: Tensor
    """The first observed column."""
    phases: tuple[Tensor, ...]
    """For each season length, the phases of one season from the first column of the first block, (S, length)."""

    def to(self, device: torch.device) -> Self:
        """Return the same with its tensors on a device."""
        tensors = ((name, value) for name, value in vars(self).items() if isinstance(value, Tensor))
        moved: dict[str, Any] = {name: value.to(device) for name, value in tensors}
        return replace(self, phases=tuple(phases.to(device) for phases in self.phases), **moved)

    def run(self, z_SN: Tensor, weights: Mapping[str, Tensor]) -> Smoothed:
        """Smooth every series from its first point on; differentiable with respect to the weights."""
        splits = weights[SEASONS].split(self.season_lengths, dim=1) if self.season_lengths else ()
        initial = [values.gather(1, phases) for values, phases in zip(splits, self.phases, strict=True)]
        coefficient_SC = squash(weights[COEFFICIENTS])
        first_S1 = self.first_S[:, None]
        level_S1 = z_SN.gather(1, first_S1)
        for season, length in zip(initial, self.season_lengths, strict=True):
            level_S1 = level_S1 - season.gather(1, (first_S1 + self.num_before) % length)
        padded = smooth(self._pad(z_SN), self._pad(self.is_observed_SN), coefficient_SC, level_S1, initial)
        level_SN, season_SN, *next_seasons = (part_SN[:, self.num_before :] for part_SN in padded)
        return Smoothed(
            level_SN, torch.where(self.has_begun_SN, z_SN - season_SN, level_SN), next_seasons=tuple(next_seasons)
        )

    @property
    def num_before(self) -> int:
        """Columns that complete the first block, so that blocks are aligned with the end of the series."""
        return -self.is_observed_SN.shape[1] % block_width(self.season_lengths)

    @torch.no_grad()
    def initialise(self, weights: Mapping[str, Tensor], z_SN: Tensor) -> None:
        """Set the initial weights in place: seasons are the mean of a series' first few seasons."""
        squashed = 2 * FIRST_COEFFICIENT - 1
        weights[COEFFICIENTS].fill_(squashed / (1 - abs(squashed)) / GAIN)
        rest_SN = np.where(self.is_observed_SN.cpu().numpy() > 0, z_SN.cpu().numpy().astype(np.float64), np.nan)
        parts = weights[SEASONS].split(self.season_lengths, dim=1) if self.season_lengths else ()
        for part, length, phases in zip(parts, self.season_lengths, self.phases, strict=True):
            phase_SN = phases.cpu().numpy()[:, (np.arange(rest_SN.shape[1]) + self.num_before) % length]
            index_SL = _first_indices(rest_SN, phase_SN, self.first_S.cpu().numpy(), length)
            part.copy_(torch.from_numpy(index_SL))
            rest_SN = rest_SN - np.take_along_axis(index_SL, phase_SN, axis=1)

    def _pad(self, values_SN: Tensor) -> Tensor:
        return torch.nn.functional.pad(values_SN, (self.num_before, 0))


def smoothing_for(panel: Panel, is_observed_SN: Tensor, *, season_lengths: Sequence[int], freq: str | int) -> Smoothing:
    """Prepare the recursion over a panel's series, whose points lie in the last columns of `is_observed_SN`."""
    width = block_width(season_lengths)
    num_columns = -(-is_observed_SN.shape[1] // width) * width
    has_begun_SN = is_observed_SN.cumsum(1) > 0
    last_S = grid_index(panel.last_ds, freq)
    phases = (
        torch.from_numpy((last_S[:, None] - (num_columns - 1) + np.arange(length)) % length)
        for length in season_lengths
    )
    first_S = has_begun_SN.to(torch.uint8).argmax(1)
    return Smoothing(tuple(season_lengths), is_observed_SN, has_begun_SN, first_S, tuple(phases))


def grid_index(ds_S: npt.NDArray[np.generic], freq: str | int) -> npt.NDArray[np.int64]:
    """Number grid points so that neighbours on any even grid differ by one.

    >>> grid_index(np.array(["2024-12-31", "2025-01-31"], "datetime64[us]"), "1mo").tolist()
    [659, 660]
    """
    months = num_months(freq)
    if months is not None:
        return ds_S.astype("datetime64[M]").astype(np.int64) // months
    if (calendar := make_open_calendar(learned_frequency(freq))) is not None:
        return calendar.count_before(calendar.slot_at(ds_S.astype("datetime64[us]").astype(np.int64)))
    width = fixed_width(freq)
    assert width is not None, "a frequency is of months or of a fixed width"
    return ds_S.astype(np.int64) // width


def squash(raw: Tensor) -> Tensor:
    """Map any number into (0, 1) by operations that every processor rounds alike, at any place in a tensor.

    >>> squash(torch.tensor([-0.15, 0.0]))
    tensor([0.2000, 0.5000])
    """
    steep = GAIN * raw
    return 0.5 + 0.5 * (steep / (1 + steep.abs()))


def smooth(
    z_SN: Tensor, is_observed_SN: Tensor, coefficient_SC: Tensor, level_S1: Tensor, initial: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Run the recursion; differentiable in everything but z and what is observed.

    Args:
        z_SN: Scaled histories; the number of columns is a multiple of the block width.
        is_observed_SN: 1 where a point is observed, else 0.
        coefficient_SC: Coefficients in (0, 1): the level's, then one for each season.
        level_S1: The level before the first column.
        initial: For each season length, the indices of the first columns, (S, length).

    Returns:
        The level after each point, the sum of all seasons before it, and for each season length its index after it;
        each (S, N).
    """
    assert z_SN.shape[1] % block_width([season.shape[1] for season in initial]) == 0
    alpha_S1 = coefficient_SC[:, :1]
    gain_SD = coefficient_SC[:, 1:] * (1 - alpha_S1)
    smoothed: tuple[Tensor, ...] = _Recursion.apply(z_SN, is_observed_SN, alpha_S1, gain_SD, level_S1, *initial)  # type: ignore[no-untyped-call]
    return smoothed


def block_width(season_lengths: Sequence[int]) -> int:
    """Return the number of grid points that are smoothed together; within a block all indices are known before.

    Blocks are whole and counted from the end, where series are aligned, so no bit depends on the length of other
    series.

    Args:
        season_lengths: Grid points in each season.

    Returns:
        The shortest season, and at most `LARGEST_BLOCK`.
    """
    return min(LARGEST_BLOCK, *season_lengths) if season_lengths else LARGEST_BLOCK


class _Recursion(torch.autograd.Function):
    """Within a block the level is a linear recursion; its gradient is one in the other direction."""

    @staticmethod
    def forward(
        ctx: Any,
        z_SN: Tensor,
        is_observed_SN: Tensor,
        alpha_S1: Tensor,
        gain_SD: Tensor,
        level_S1: Tensor,
        *initial: Tensor,
    ) -> tuple[Tensor, ...]:
        lengths = [season.shape[1] for season in initial]
        level_SN, season_SN, error_SN = (torch.empty_like(z_SN) for _ in range(3))
        # A column reads the index at its own place and writes the one a season later.
        indices = [torch.cat([season, torch.empty_like(z_SN)], dim=1) for season in initial]
        last_S1 = level_S1
        for block in _blocks(z_SN.shape[1], lengths):
            known = [index[:, block] for index in indices]
            season_SN[:, block] = sum(known, torch.zeros_like(z_SN[:, block]))
            rest_SW, is_observed_SW = z_SN[:, block] - season_SN[:, block], is_observed_SN[:, block]
            share_SW = alpha_S1 * is_observed_SW
            first_keep_S1 = 1 - share_SW[:, :1]
            add_SW = share_SW * rest_SW
            add_SW[:, :1] += first_keep_S1 * last_S1
            level_SW = _scan(1 - share_SW, add_SW)
            before_SW = torch.cat([last_S1, level_SW[:, :-1]], dim=1)
            error_SW = is_observed_SW * (rest_SW - before_SW)
            level_SN[:, block], error_SN[:, block] = level_SW, error_SW
            for season, (index, length) in enumerate(zip(indices, lengths, strict=True)):
                later = slice(block.start + length, block.stop + length)
                index[:, later] = known[season] + gain_SD[:, season : season + 1] * error_SW
            last_S1 = level_SW[:, -1:]
        ctx.save_for_backward(is_observed_SN, error_SN, alpha_S1, gain_SD)
        ctx.lengths = lengths
        return level_SN, season_SN, *(index[:, length:].clone() for index, length in zip(indices, lengths, strict=True))

    @staticmethod
    def backward(ctx: Any, d_level_SN: Tensor, d_season_SN: Tensor, *d_next: Tensor) -> tuple[Tensor | None, ...]:
        is_observed_SN, error_SN, alpha_S1, gain_SD = ctx.saved_tensors
        lengths = ctx.lengths
        d_indices = [
            torch.cat([each.new_zeros(len(each), length), each], dim=1)
            for each, length in zip(d_next, lengths, strict=True)
        ]
        d_alpha_S1, d_last_S1 = torch.zeros_like(alpha_S1), torch.zeros_like(alpha_S1)
        d_gains = [torch.zeros_like(alpha_S1) for _ in lengths]
        for block in reversed(_blocks(error_SN.shape[1], lengths)):
            is_observed_SW, error_SW = is_observed_SN[:, block], error_SN[:, block]
            written = [
                d_index[:, block.start + length : block.stop + length]
                for d_index, length in zip(d_indices, lengths, strict=True)
            ]
            d_error_SW = torch.zeros_like(error_SW)
            for season, d_written_SW in enumerate(written):
                d_gains[season] = d_gains[season] + (d_written_SW * error_SW).sum(1, keepdim=True)
                d_error_SW = d_error_SW + gain_SD[:, season : season + 1] * d_written_SW
            # A level enters the next level, and reduces the next error.
            keep_SW, less_SW = 1 - alpha_S1 * is_observed_SW, is_observed_SW * d_error_SW
            add_SW = d_level_SN[:, block] - torch.cat([less_SW[:, 1:], -d_last_S1], dim=1)
            kept_SW = torch.cat([keep_SW[:, 1:], torch.zeros_like(d_last_S1)], dim=1)
            d_level_SW = _scan(kept_SW.flip(1), add_SW.flip(1)).flip(1)
            d_alpha_S1 = d_alpha_S1 + (d_level_SW * error_SW).sum(1, keepdim=True)
            d_rest_SW = is_observed_SW * (alpha_S1 * d_level_SW + d_error_SW)
            for d_index, d_written_SW in zip(d_indices, written, strict=True):
                d_index[:, block] += d_written_SW + d_season_SN[:, block] - d_rest_SW
            d_last_S1 = keep_SW[:, :1] * d_level_SW[:, :1] - less_SW[:, :1]
        d_gain_SD = torch.cat(d_gains, dim=1) if d_gains else torch.zeros_like(gain_SD)
        d_initial = (d_index[:, :length] for d_index, length in zip(d_indices, lengths, strict=True))
        return None, None, d_alpha_S1, d_gain_SD, d_last_S1, *d_initial


def _blocks(num_columns: int, season_lengths: Sequence[int]) -> list[slice]:
    width = block_width(season_lengths)
    return [slice(begin, begin + width) for begin in range(0, num_columns, width)]


def _scan(keep_SW: Tensor, x_SW: Tensor) -> Tensor:
    """Return y[t] = x[t] + keep[t] y[t - 1] in a logarithmic number of rounds (Hillis & Steele 1986)."""
    reach = 1
    while reach < x_SW.shape[1]:
        later_SW = keep_SW[:, reach:]
        x_SW = torch.cat([x_SW[:, :reach], x_SW[:, reach:] + later_SW * x_SW[:, :-reach]], dim=1)
        keep_SW = torch.cat([keep_SW[:, :reach], later_SW * keep_SW[:, :-reach]], dim=1)
        reach *= 2
    return x_SW


def _first_indices(
    rest_SN: npt.NDArray[np.float64], phase_SN: npt.NDArray[np.int64], first_S: npt.NDArray[np.int64], length: int
) -> npt.NDArray[np.float64]:
    """Return the mean of each phase in a series' first seasons, less the mean of all phases, (S, L).

    Incomplete seasons do not count, nor does a single season, whose shape cannot be separated from the level's trend.
    Phases without an observation are 0.
    """
    place_SN = np.arange(rest_SN.shape[1])[None, :] - first_S[:, None]
    num_points_S = np.where(np.isfinite(rest_SN), place_SN + 1, 0).max(1, initial=0)
    num_seasons_S = np.clip(num_points_S // length, 0, FIRST_SEASONS)
    is_used_SN = (place_SN >= 0) & (place_SN < (num_seasons_S * length)[:, None]) & np.isfinite(rest_SN)
    is_used_SN &= (num_seasons_S > 1)[:, None]
    place_SN = phase_SN + length * np.arange(len(rest_SN))[:, None]
    size = len(rest_SN) * length
    used = np.where(is_used_SN, rest_SN, 0.0)
    total_SL = np.bincount(place_SN.ravel(), used.ravel(), minlength=size).reshape(-1, length)
    count_SL = np.bincount(place_SN.ravel(), is_used_SN.ravel(), minlength=size).reshape(-1, length)
    with np.errstate(all="ignore"):
        mean_SL = total_SL / count_SL
    has_any_SL = count_SL > 0
    count_S1 = has_any_SL.sum(1, keepdims=True)
    centre_S1 = np.where(has_any_SL, mean_SL, 0.0).sum(1, keepdims=True) / np.maximum(count_S1, 1)
    return np.where(has_any_SL, mean_SL - centre_S1, 0.0)
