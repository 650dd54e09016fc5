from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forecasting.fleet.scaling import measure_scaling
from forecasting.fleet.windows import WindowBatch, WindowSource, fill_gaps, window_source
from forecasting.series.panel import Panel
from forecasting.spec.training import MemberConfig

CONFIG = MemberConfig(segment_length=4, context_segments=3)
SEASONS = (8, 5)


def source_of(panel: Panel, row_SNK: npt.NDArray[np.int32] | None = None) -> WindowSource:
    return window_source(
        panel,
        measure_scaling(panel.y_SN, season_length=SEASONS[0]),
        config=CONFIG,
        season_lengths=SEASONS,
        row_SNK=row_SNK,
        vector_size=3,
        reads_future=row_SNK is not None,
    )


def test_a_window_holds_the_segments_before_its_origin_and_the_targets_after_it(
    make_panel: Callable[..., Panel],
) -> None:
    panel = make_panel(2)
    scaling = measure_scaling(panel.y_SN, season_length=SEASONS[0])
    windows = source_of(panel).gather(torch.tensor([[50, 120], [60, 90]]))
    for series, slot, origin in [(0, 0, 50), (0, 1, 120), (1, 0, 60), (1, 1, 90)]:
        scaled = (panel.y_SN[series] - scaling.location_S[series]) / scaling.spread_S[series]
        context = scaled[origin - 11 : origin + 1].reshape(3, 4)
        x_TI = windows.x_SBTI[series, slot].numpy()
        np.testing.assert_allclose(x_TI[:, :4], context - context[-1].mean(), atol=1e-5)
        change = (panel.y_SN[series, 8:] - panel.y_SN[series, :-8]) / scaling.error_S[series]
        np.testing.assert_allclose(x_TI[:, 4:8].ravel(), change[origin - 8 - 11 : origin - 8 + 1], atol=1e-4)
        np.testing.assert_array_equal(x_TI[:, 8], 1.0)
        np.testing.assert_array_equal(x_TI[:, 9:], panel.calendar_SNC[series, [origin - 8, origin - 4, origin]])
        in_errors = (panel.y_SN[series] - scaling.location_S[series]) / scaling.error_S[series]
        np.testing.assert_allclose(windows.target_SBF[series, slot], in_errors[origin + 1 : origin + 7], rtol=1e-4)
        day = in_errors[origin + 1 - 8 : origin + 7 - 8]
        five = np.tile(in_errors[origin - 4 : origin + 1], 2)[:6]
        np.testing.assert_allclose(windows.reference_SBFM[series, slot], np.stack([day, five], -1), rtol=1e-4)


def test_flat_references_replace_those_of_their_series_alone(make_panel: Callable[..., Panel]) -> None:
    panel = make_panel(3)
    scaling = measure_scaling(panel.y_SN, season_length=SEASONS[0])
    changed = replace(scaling, flat_S=np.array([np.nan, 2.0, np.nan]))
    plain, flat = (
        window_source(panel, each, config=CONFIG, season_lengths=SEASONS).gather(torch.tensor([[50], [60], [70]]))
        for each in (scaling, changed)
    )
    in_errors = (2.0 - scaling.location_S[1]) / scaling.error_S[1]
    np.testing.assert_allclose(flat.reference_SBFM[1], in_errors, rtol=1e-5)
    assert torch.equal(flat.reference_SBFM[[0, 2]], plain.reference_SBFM[[0, 2]])
    assert torch.equal(flat.x_SBTI, plain.x_SBTI)
    assert torch.equal(flat.target_SBF, plain.target_SBF)


@given(st.integers(0, 10_000))
def test_nothing_after_the_origin_enters_a_window(seed: int) -> None:
    random = np.random.default_rng(seed)
    y = random.normal(size=(1, 60))
    y[0, random.random(60) < 0.2] = np.nan
    altered = y.copy()
    altered[0, 41:] = random.normal(size=19) * 100
    calendar, ds = np.zeros((1, 66, 0), np.float32), np.arange(66)[None]
    scaling = measure_scaling(y[:, :41], season_length=8)
    windows, others = (
        window_source(
            Panel(("a",), values, np.array([60]), calendar, ds, 6), scaling, config=CONFIG, season_lengths=SEASONS
        ).gather(torch.tensor([[40]]))
        for values in (y, altered)
    )
    assert torch.equal(windows.x_SBTI, others.x_SBTI)
    assert torch.equal(windows.reference_SBFM, others.reference_SBFM)


def test_gap_is_filled_and_marked_and_not_a_target(make_panel: Callable[..., Panel]) -> None:
    panel = make_panel(1)
    y = panel.y_SN.copy()
    y[0, [97, 98, 103]] = np.nan
    windows = source_of(replace(panel, y_SN=y)).gather(torch.tensor([[100]]))
    assert torch.isfinite(windows.x_SBTI).all()
    assert windows.x_SBTI[0, 0, :, 8].tolist() == [1.0, 1.0, 0.5]
    assert windows.is_observed_SBF[0, 0].tolist() == [1, 1, 0, 1, 1, 1]


def test_points_after_the_end_of_the_panel_are_no_targets(make_panel: Callable[..., Panel]) -> None:
    windows = source_of(make_panel(1)).gather(torch.tensor([[197]]))
    assert windows.is_observed_SBF[0, 0].tolist() == [1, 1, 0, 0, 0, 0]


def test_context_before_a_series_is_marked_unobserved(make_panel: Callable[..., Panel]) -> None:
    windows = source_of(make_panel(1)).gather(torch.tensor([[3]]))
    assert windows.x_SBTI[0, 0, :, 8].tolist() == [0.0, 0.0, 1.0]


def test_values_beyond_float32_break_only_their_own_series_and_without_a_warning(
    make_panel: Callable[..., Panel],
) -> None:
    panel = make_panel(2)
    y = panel.y_SN.copy()
    y[0, 50] = 1e300
    scaling = measure_scaling(panel.y_SN, season_length=SEASONS[0])
    windows, plain = (
        window_source(replace(panel, y_SN=values), scaling, config=CONFIG, season_lengths=SEASONS).gather(
            torch.tensor([[60], [60]])
        )
        for values in (y, panel.y_SN)
    )
    assert not torch.isfinite(windows.x_SBTI[0]).all()
    assert torch.equal(windows.x_SBTI[1], plain.x_SBTI[1])


@pytest.mark.parametrize(
    ("values", "filled"),
    [
        ([1.0, 2.0, np.nan, np.nan, np.nan], [1.0, 2.0, 1.0, 2.0, 1.0]),
        ([np.nan, np.nan, 3.0, np.nan], [3.0, 3.0, 3.0, 3.0]),
        ([np.nan, np.nan], [0.0, 0.0]),
    ],
)
def test_gaps_repeat_the_season_before_or_the_last_value(values: list[float], filled: list[float]) -> None:
    assert fill_gaps(np.array([values]), season_length=2)[0].tolist() == filled


def equal(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    return other is None if one is None else other is not None and torch.equal(one, other)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 199)), min_size=1, max_size=9))
def test_windows_of_some_series_are_those_of_the_panel_with_these_series_alone(pairs: list[tuple[int, int]]) -> None:
    random = np.random.default_rng(0)
    y_SN = random.normal(size=(5, 200)) * [[1.0], [10.0], [100.0], [2.0], [3.0]]
    y_SN[random.random(y_SN.shape) < 0.1] = np.nan
    calendar_SNC = random.normal(size=(5, 206, 2)).astype(np.float32)
    ds_SN = np.repeat(np.arange(206)[None], 5, axis=0)
    panel = Panel(tuple("abcde"), y_SN, np.full(5, 200), calendar_SNC, ds_SN, 6)
    row_SNK = random.integers(0, 9, (5, 206, 2)).astype(np.int32)
    rows = np.array([row for row, _ in pairs])
    origins_SB = torch.tensor([[origin, 199 - origin] for _, origin in pairs])
    source = source_of(panel, row_SNK)
    some = source.gather(origins_SB, torch.from_numpy(rows))
    names = tuple(f"{number}" for number in range(len(rows)))
    alone = replace(panel.select(rows), unique_ids=names)
    alone = replace(alone, y_SN=panel.y_SN[rows], calendar_SNC=calendar_SNC[rows], length_S=np.full(len(rows), 200))
    source = source_of(alone, row_SNK[rows])
    whole = source.gather(origins_SB)
    for name in WindowBatch.__dataclass_fields__:
        assert equal(getattr(some, name), getattr(whole, name)), name


def test_a_window_has_the_categories_of_its_points_and_of_its_horizon(
    make_panel: Callable[..., Panel],
) -> None:
    panel = make_panel(2)
    row_SNK = np.arange(2 * 206 * 2, dtype=np.int32).reshape(2, 206, 2)
    source = source_of(panel, row_SNK)
    windows = source.gather(torch.tensor([[50, 199]] * 2))
    assert windows.row_SBTLK is not None
    assert windows.future_row_SBFK is not None
    assert windows.row_SBTLK[1, 0].tolist() == row_SNK[1, 39:51].reshape(3, 4, 2).tolist()
    assert windows.future_row_SBFK[1, 1].tolist() == row_SNK[1, 200:206].tolist()
    # Before a series there is nothing to be seen.
    begins = source.gather(torch.tensor([[3, 3]] * 2))
    assert begins.row_SBTLK is not None
    assert begins.row_SBTLK[1, 0].tolist() == [[[0, 0]] * 4] * 2 + row_SNK[1, None, :4].tolist()
