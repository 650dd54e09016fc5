"""Windows of a fleet: context, references and targets at any origins, gathered from a panel when they are needed.

A window ends at a column of the panel, its *origin*: the last point that the network may read. Its context is
`context_segments` segments of `segment_length` points each. A step reads its points relative to the last segment, and
their change since one season ago in the unit of the loss. The network learns the difference from references, which
repeat the last seasons and possibly the last value, a season of one point. The first season length is the season. An
intermittent series may have zero as its only reference (`forecasting.fleet.scaling`).

Where a series is smoothed (`forecasting.fleet.smoothing`), points and references have no season and are relative to
the level at the origin, which is one more reference. References get back the season that is known at the origin.
"""

# S series · N grid points (context padding included) · B windows · T steps · L points of a segment · I inputs
# C calendar features · F horizon steps · M season lengths · K categories

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from forecasting.fleet.scaling import Scaling
from forecasting.fleet.smoothing import Smoothed, Smoothing, smoothing_for
from forecasting.fleet.young import NOT_YOUNG, first_columns
from forecasting.series.panel import Panel
from forecasting.spec.training import MemberConfig

_Take = Callable[[Tensor, Tensor], Tensor]


@dataclass
class WindowBatch:
    """Inputs of the network (`x_SBTI`, `reference_SBFM`), and its targets (`target_SBF` where observed)."""

    x_SBTI: Tensor
    reference_SBFM: Tensor
    target_SBF: Tensor
    is_observed_SBF: Tensor
    future_SBFC: Tensor | None = None
    """The calendar of the horizon, where the source reads the future."""
    level_SB1: Tensor | None = None
    """The level that the points of the last step are relative to, where the source reads the future."""
    is_known_SBFM: Tensor | None = None
    """Which references lie within their series; None where all do. A step without any has the newest value in all."""
    unit_S11: Tensor | None = None
    """Factor from the unit of points to that of the loss, (S, 1, 1)."""
    row_SBTLK: Tensor | None = None
    """Rows of category tables at the points; `forecasting.fleet.categories.embed` looks up their vectors."""
    future_row_SBFK: Tensor | None = None
    """Rows of category tables over the horizon, where the source reads the future."""


@dataclass(frozen=True)
class WindowSource:
    """A panel as float32 tensors in scaled units without gaps, from which windows are gathered."""

    y_SN: Tensor
    is_observed_SN: Tensor
    calendar_SNC: Tensor
    error_unit_S: Tensor
    """Spread over error: the factor from the unit of inputs to that of the loss."""
    horizon: int
    segment_length: int
    context_segments: int
    season_lengths: tuple[int, ...]
    start_S: Tensor
    """Each series' first column in the panel."""
    began_S: Tensor
    """First column, padding included, of each young series (`forecasting.fleet.young`): before it nothing is known. 0
    for the others, whose first value is known before they began."""
    has_young: bool
    """Whether any series is young."""
    flat_S: Tensor
    """The reference of all windows of a series, NaN where references are past values."""
    calendar_after_SFC: Tensor
    """The calendar of the horizon after the panel's last column."""
    padding: int
    """Columns before the panel's first column, so that a context may begin before its series."""
    smoothing: Smoothing | None = None
    reads_future: bool = False
    """Whether windows have the calendar and categories of their horizon."""
    is_causal: bool = False
    """Whether each step's points are relative to the segment before it, so that no step depends on a later one."""
    row_SNK: Tensor | None = None
    """Rows of category tables, int32, at the columns of `calendar_SNC` and the horizon after them."""
    vector_size: int = 0
    """Numbers in a category's vector."""

    @property
    def num_inputs(self) -> int:
        """Numbers of one step's input, vectors of categories included."""
        num_vectors = 0 if self.row_SNK is None else self.row_SNK.shape[-1]
        return 2 * self.segment_length + 1 + self.calendar_SNC.shape[-1] + num_vectors * self.vector_size

    def to(self, device: torch.device) -> Self:
        """Return the source with its tensors on a device."""
        tensors = ((name, value) for name, value in vars(self).items() if isinstance(value, Tensor | Smoothing))
        moved: dict[str, Any] = {name: value.to(device) for name, value in tensors}
        return replace(self, **moved)

    def gather(
        self,
        origins_SB: Tensor,
        rows_S: Tensor | None = None,
        *,
        weights: Mapping[str, Tensor] | None = None,
        every_step: bool = False,
    ) -> WindowBatch:
        """Gather the windows that end at the given columns of the panel.

        Args:
            origins_SB: Columns of the panel, without padding.
            rows_S: Rows of the series to gather, possibly repeated; None for every series in order.
            weights: Weights of the networks, from which level and season of smoothed series follow.
            every_step: Whether references and targets belong to every step of every window, B·T of them.

        Returns:
            Windows of the series that `rows_S` lists.
        """
        smoothed, history_SN = None, self.y_SN
        if self.smoothing is not None:
            assert weights is not None, "level and seasons follow from weights"
            smoothed = self.smoothing.run(self.y_SN, weights)
            history_SN = smoothed.without_season_SN
        ends_SB = origins_SB + self.padding
        if rows_S is None:
            rows_S = torch.arange(len(ends_SB), device=ends_SB.device)

        def take(values_SN: Tensor, columns: Tensor) -> Tensor:
            """Read each series' own values at (S, B, …) columns."""
            places = columns.reshape(len(rows_S), -1) + rows_S[:, None] * values_SN.shape[1]
            return values_SN.reshape(-1).take(places).view(columns.shape)

        context = self.segment_length * self.context_segments
        points_SBK = ends_SB.unsqueeze(-1) + torch.arange(1 - context, 1, device=ends_SB.device)
        shape = (*ends_SB.shape, self.context_segments, self.segment_length)
        values_SBTL = take(history_SN, points_SBK).view(shape)
        if self.is_causal:
            before_SBK = (points_SBK - self.segment_length).clamp(min=0)
            level_SBT1 = take(history_SN, before_SBK).view(shape).mean(-1, keepdim=True)
        elif smoothed is None:
            level_SBT1 = self._newest_level(values_SBTL[:, :, -1:], points_SBK, rows_S)
        else:
            level_SBT1 = take(smoothed.level_SN, ends_SB)[..., None, None]
        observed_SBT1 = take(self.is_observed_SN, points_SBK).view(shape).mean(-1, keepdim=True)
        segment_ends_SBT = points_SBK[..., self.segment_length - 1 :: self.segment_length]
        calendar_SBTC = self.calendar_SNC[rows_S[:, None, None], segment_ends_SBT]
        season_ago_SBK = (points_SBK - self.season_lengths[0]).clamp(min=0)
        seen_SBTL = values_SBTL if smoothed is None else take(self.y_SN, points_SBK).view(shape)
        change_SBTL = seen_SBTL - take(self.y_SN, season_ago_SBK).view(shape)
        unit_S11 = self.error_unit_S[rows_S, None, None]
        change_SBTL = change_SBTL * unit_S11.unsqueeze(-1)
        relative_SBTL = values_SBTL - level_SBT1
        if self.has_young:
            relative_SBTL = self._mask(relative_SBTL, points_SBK, rows_S)
            change_SBTL = self._mask(change_SBTL, points_SBK, rows_S, reach=self.season_lengths[0])
        x_SBTI = torch.cat([relative_SBTL, change_SBTL, observed_SBT1, calendar_SBTC], dim=-1)

        last_known_SB = segment_ends_SBT.flatten(1) if every_step else ends_SB
        future_SBF = ahead_SBF = last_known_SB.unsqueeze(-1) + torch.arange(1, self.horizon + 1, device=ends_SB.device)
        places = [self._seasons_back(future_SBF, m) for m in self.season_lengths]
        references = [take(history_SN, place_SBF.clamp(min=0)) for place_SBF in places]
        if smoothed is not None:
            season_SBF = self._known_season(smoothed, future_SBF, take)
            level_SBF = take(smoothed.level_SN, last_known_SB).unsqueeze(-1).expand_as(future_SBF)
            references = [each_SBF + season_SBF for each_SBF in (*references, level_SBF)]
        reference_SBFM = torch.stack(references, -1)
        is_inside_SBF = future_SBF < self.y_SN.shape[1]
        is_known_SBFM = None
        if self.has_young:
            is_known_SBFM = self._are_known(places, last_known_SB, rows_S, take, is_smoothed=smoothed is not None)
            has_any_SBF1 = is_known_SBFM.any(-1, keepdim=True)
            newest_SB11 = take(history_SN, last_known_SB)[..., None, None]
            reference_SBFM = torch.where(has_any_SBF1, reference_SBFM, newest_SB11)
            is_inside_SBF = is_inside_SBF & has_any_SBF1.squeeze(-1)
        flat_S111 = self.flat_S[rows_S, None, None, None]
        reference_SBFM = torch.where(flat_S111.isnan(), reference_SBFM, flat_S111)
        future_SBF = future_SBF.clamp(max=self.y_SN.shape[1] - 1)
        return WindowBatch(
            x_SBTI=x_SBTI,
            reference_SBFM=reference_SBFM * unit_S11.unsqueeze(-1),
            target_SBF=take(self.y_SN, future_SBF) * unit_S11,
            is_observed_SBF=take(self.is_observed_SN, future_SBF) * is_inside_SBF,
            future_SBFC=self._future(rows_S, last_known_SB) if self.reads_future else None,
            level_SB1=level_SBT1[:, :, -1] if self.reads_future else None,
            is_known_SBFM=is_known_SBFM,
            unit_S11=unit_S11 if self.reads_future else None,
            row_SBTLK=self._rows(rows_S, points_SBK.view(shape)),
            future_row_SBFK=self._rows(rows_S, ahead_SBF) if self.reads_future else None,
        )

    def _newest_level(self, values_SB1L: Tensor, points_SBK: Tensor, rows_S: Tensor) -> Tensor:
        """Return the mean of the newest segment's known points, of which the last one always counts, (S, B, 1, 1)."""
        if not self.has_young:
            return values_SB1L.mean(-1, keepdim=True)
        is_known_SBL = points_SBK[..., -self.segment_length :] >= self.began_S[rows_S, None, None]
        is_known_SBL[..., -1] = True
        is_known_SB1L = is_known_SBL.unsqueeze(2).float()
        return (values_SB1L * is_known_SB1L).sum(-1, keepdim=True) / is_known_SB1L.sum(-1, keepdim=True)

    def _mask(self, inputs_SBTL: Tensor, points_SBK: Tensor, rows_S: Tensor, *, reach: int = 0) -> Tensor:
        """Return inputs that are 0 where a young series has no value `reach` points before theirs."""
        began_S11 = self.began_S[rows_S, None, None]
        is_known_SBK = (points_SBK - reach >= began_S11) | (began_S11 == 0)
        return torch.where(is_known_SBK.view(inputs_SBTL.shape), inputs_SBTL, inputs_SBTL.new_zeros(()))

    def _are_known(
        self, places: Sequence[Tensor], ends_SB: Tensor, rows_S: Tensor, take: _Take, *, is_smoothed: bool
    ) -> Tensor:
        """Return which references have a value, (S, B, F, M); the level of a smoothed series always has one."""
        began_S11 = self.began_S[rows_S, None, None]
        known = [
            ((place_SBF >= began_S11) & self._is_usable(length, ends_SB, rows_S, take).unsqueeze(-1)) | (began_S11 == 0)
            for place_SBF, length in zip(places, self.season_lengths, strict=True)
        ]
        return torch.stack([*known, torch.ones_like(known[0])] if is_smoothed else known, -1)

    def _is_usable(self, length: int, ends_SB: Tensor, rows_S: Tensor, take: _Take) -> Tensor:
        """Return whether windows may read the reference of a season, (S, B).

        In a series that began less than two of its seasons ago, a season must have been better than the last value, on
        as many of the newest points as there are with a point a season before them. The shortest season is always
        usable.
        """
        if length == min(self.season_lengths):
            return torch.ones_like(ends_SB, dtype=torch.bool)
        span_SB = ends_SB + 1 - self.began_S[rows_S, None]
        num_pairs_SB = (span_SB - length).clamp(min=0, max=self.horizon)
        ago_P = torch.arange(self.horizon, device=ends_SB.device)
        is_pair_SBP = ago_P < num_pairs_SB.unsqueeze(-1)
        places_SBP = (ends_SB.unsqueeze(-1) - ago_P).clamp(min=0)
        y_SBP, before_SBP = take(self.y_SN, places_SBP), take(self.y_SN, (places_SBP - length).clamp(min=0))
        last_SB1 = take(self.y_SN, (ends_SB - num_pairs_SB).clamp(min=0)).unsqueeze(-1)
        seasonal_SB, naive_SB = (
            torch.where(is_pair_SBP, (y_SBP - forecast).abs(), 0.0).sum(-1) for forecast in (before_SBP, last_SB1)
        )
        return (span_SB >= 2 * length) | ((num_pairs_SB > 0) & (seasonal_SB <= naive_SB))

    def _rows(self, rows_S: Tensor, columns: Tensor) -> Tensor | None:
        """Return the rows of each series' categories at (S, B, …) columns."""
        if self.row_SNK is None:
            return None
        return self.row_SNK[rows_S.view(-1, *(1,) * (columns.dim() - 1)), columns].long()

    def _future(self, rows_S: Tensor, ends_SB: Tensor) -> Tensor:
        """Return the calendar of the horizon after each window, (S, B, F, C)."""
        columns_SBF = ends_SB.unsqueeze(-1) + torch.arange(1, self.horizon + 1, device=ends_SB.device)
        num_columns, rows_S11 = self.calendar_SNC.shape[1], rows_S[:, None, None]
        inside_SBFC = self.calendar_SNC[rows_S11, columns_SBF.clamp(max=num_columns - 1)]
        after_SBFC = self.calendar_after_SFC[rows_S11, (columns_SBF - num_columns).clamp(min=0)]
        return torch.where((columns_SBF < num_columns).unsqueeze(-1), inside_SBFC, after_SBFC)

    def _known_season(self, smoothed: Smoothed, future_SBF: Tensor, take: _Take) -> Tensor:
        """Return the season at future columns that is known at the origin: each phase's newest index."""
        assert self.smoothing is not None
        seasons = zip(smoothed.next_seasons, self.smoothing.season_lengths, strict=True)
        known = (take(index_SN, self._seasons_back(future_SBF, length).clamp(min=0)) for index_SN, length in seasons)
        return sum(known, torch.zeros(future_SBF.shape, device=future_SBF.device))

    def _seasons_back(self, future_SBF: Tensor, season_length: int) -> Tensor:
        """Return the newest column up to the origin that lies whole seasons before each future column, or below 0."""
        steps_F = torch.arange(1, self.horizon + 1, device=future_SBF.device)
        seasons_F = (steps_F + season_length - 1) // season_length
        return future_SBF - seasons_F * season_length


def window_source(
    panel: Panel,
    scaling: Scaling,
    *,
    config: MemberConfig,
    season_lengths: tuple[int, ...],
    smoothed: tuple[int, ...] | None = None,
    freq: str | int | None = None,
    row_SNK: npt.NDArray[np.int32] | None = None,
    num_static: int = 0,
    vector_size: int = 0,
    reads_future: bool = False,
    is_causal: bool = False,
) -> WindowSource:
    """Transform and scale a panel, fill its gaps from the past alone, and pad it; tensors are on the CPU.

    A gap takes the value of one season earlier, or else the last value. Columns before a series take its first value.

    Args:
        panel: The series.
        scaling: Scales of the panel's series, in its order.
        config: Configuration of the member, of which the lengths of segments and contexts matter.
        season_lengths: Distances of the references, M of them; the first is the season.
        smoothed: Seasons that series are smoothed by; None where they are not smoothed.
        freq: The panel's frequency, which smoothing needs.
        row_SNK: Rows of tables of categories over panel and horizon; None where none are read.
        num_static: Number of static categories, the last ones; they also hold before a series begins.
        vector_size: Numbers in a category's vector.
        reads_future: Whether windows have the calendar and categories of their horizon.
        is_causal: Whether each step's points are relative to the segment before it.

    Returns:
        The source of the panel's windows.
    """
    padding = max(config.segment_length * config.context_segments, *season_lengths)
    spread_S1 = np.where(scaling.spread_S > 0, scaling.spread_S, 1.0)[:, None]
    with np.errstate(over="ignore", invalid="ignore"):  # values near the largest float break only the fit
        scaled_SN = (scaling.to_z(panel.y_SN) - np.nan_to_num(scaling.location_S)[:, None]) / spread_S1
    filled_SN = fill_gaps(scaled_SN, season_length=season_lengths[0])
    observed_SN = np.isfinite(scaled_SN)
    before = ((0, 0), (padding, 0))
    num_known = panel.y_SN.shape[1]
    calendar_SNC = np.pad(panel.calendar_SNC[:, :num_known], (*before, (0, 0)))
    error_S = np.where(scaling.error_S > 0, scaling.error_S, 1.0)
    with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite and breaks only its own series' fit
        y_SN = np.pad(filled_SN, before, mode="edge").astype(np.float32)
        error_unit_S = (spread_S1[:, 0] / error_S).astype(np.float32)
        flat_S = ((scaling.flat_S - np.nan_to_num(scaling.location_S)) / spread_S1[:, 0]).astype(np.float32)
    is_observed_SN = torch.from_numpy(np.pad(observed_SN, before).astype(np.float32))
    first_S = first_columns(panel, config, season_lengths, is_dense=is_causal)
    began_S = np.where(first_S == NOT_YOUNG, 0, first_S + padding)
    smoothing = None
    if smoothed is not None:
        assert freq is not None, "phases of a season follow from the frequency"
        smoothing = smoothing_for(panel, is_observed_SN, season_lengths=smoothed, freq=freq)
    return WindowSource(
        y_SN=torch.from_numpy(y_SN),
        is_observed_SN=is_observed_SN,
        calendar_SNC=torch.from_numpy(np.nan_to_num(calendar_SNC)),
        start_S=torch.from_numpy(num_known - panel.length_S.astype(np.int64)),
        began_S=torch.from_numpy(began_S),
        has_young=bool(began_S.any()),
        flat_S=torch.from_numpy(flat_S),
        calendar_after_SFC=torch.from_numpy(np.nan_to_num(panel.calendar_SNC[:, num_known:])),
        error_unit_S=torch.from_numpy(error_unit_S),
        horizon=panel.horizon,
        segment_length=config.segment_length,
        context_segments=config.context_segments,
        season_lengths=season_lengths,
        padding=padding,
        smoothing=smoothing,
        reads_future=reads_future,
        is_causal=is_causal,
        row_SNK=None if row_SNK is None else torch.from_numpy(_pad_rows(row_SNK, padding, num_static)),
        vector_size=vector_size,
    )


def _pad_rows(row_SNK: npt.NDArray[np.int32], padding: int, num_static: int) -> npt.NDArray[np.int32]:
    padded_SNK = np.pad(row_SNK, ((0, 0), (padding, 0), (0, 0)))
    first_static = row_SNK.shape[2] - num_static
    padded_SNK[:, :padding, first_static:] = row_SNK[:, :1, first_static:]
    return padded_SNK


def fill_gaps(y_SN: npt.NDArray[np.float64], *, season_length: int) -> npt.NDArray[np.float64]:
    """Fill gaps (NaN) with the value of one season earlier, else the last; leading gaps take the first value.

    >>> fill_gaps(np.array([[np.nan, 1.0, 2.0, np.nan, 4.0, np.nan]]), season_length=3)
    array([[1., 1., 2., 2., 4., 2.]])
    """
    filled_SN = y_SN.copy()
    is_gap_SN = ~np.isfinite(filled_SN)
    for column in np.flatnonzero(is_gap_SN.any(0)):
        if column == 0:
            continue
        gap_S = is_gap_SN[:, column]
        season_S = filled_SN[:, column - season_length] if column >= season_length else np.full(len(y_SN), np.nan)
        filled_SN[gap_S, column] = np.where(np.isfinite(season_S), season_S, filled_SN[:, column - 1])[gap_S]
    first_S = np.argmax(np.isfinite(filled_SN), axis=1)
    first_value_S1 = np.take_along_axis(filled_SN, first_S[:, None], axis=1)
    return np.where(np.isfinite(filled_SN), filled_SN, np.nan_to_num(first_value_S1))
