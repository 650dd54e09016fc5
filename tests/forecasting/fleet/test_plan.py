import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.fleet import plan
from forecasting.fleet.plan import plan_training, prior_series, required_length
from forecasting.fleet.scaling import measure_scaling
from forecasting.series.panel import Panel
from forecasting.spec.training import Member, MemberConfig, TrainingConfig

CONFIG = MemberConfig(segment_length=4, context_segments=3, validation_windows=9)


def panel_of(*series: list[float] | np.ndarray, horizon: int = 6) -> Panel:
    num_points = max(len(values) for values in series)
    y = np.full((len(series), num_points), np.nan)
    for row, values in enumerate(series):
        y[row, num_points - len(values) :] = values
    ds = np.repeat(np.arange(num_points + horizon)[None], len(series), axis=0)
    calendar = np.zeros((*ds.shape, 0), np.float32)
    names = tuple(f"s{row}" for row in range(len(series)))
    return Panel(names, y, np.array([len(values) for values in series]), calendar, ds, horizon)


def plan_of(panel: Panel, dropped: int = 0, *, with_validation: bool = True):
    num_series = len(panel.unique_ids)
    hidden = panel.y_SN.copy()
    hidden[:, panel.y_SN.shape[1] - dropped :] = np.nan
    known = replace(panel, y_SN=hidden)
    return plan_training(
        known,
        measure_scaling(known.y_SN, season_length=4),
        model="lstm",
        config=CONFIG,
        dropped_S=np.full(num_series, dropped),
        with_validation=with_validation,
    )


@given(num_points=st.integers(23, 400), dropped=st.integers(0, 20))
def test_training_validation_and_hidden_points_never_overlap(num_points: int, dropped: int) -> None:
    panel = panel_of(np.random.default_rng(0).normal(size=num_points))
    plan = plan_of(panel, dropped)
    if num_points - dropped < required_length(TrainingConfig(segment_length=4), horizon=6):
        assert plan.refused[0].status == "too_short"
        return
    last_training_target = plan.first_S[0] + plan.num_windows_S[0] - 1 + 6
    assert plan.first_S[0] >= 3
    assert last_training_target <= plan.validation_SV.min()
    assert plan.validation_SV.max() + 6 == num_points - dropped - 1


def test_refit_uses_every_window_up_to_the_end() -> None:
    plan = plan_of(panel_of(np.random.default_rng(0).normal(size=100)), with_validation=False)
    assert plan.first_S[0] + plan.num_windows_S[0] - 1 + 6 == 99
    assert plan.validation_SV.shape == (1, 0)


def test_each_series_that_cannot_be_trained_has_a_reason(make_panel: Callable[..., Panel]) -> None:
    long = np.random.default_rng(0).normal(size=60)
    plan = plan_of(panel_of(long, long[:20], [5.0] * 60, [np.nan] * 60, [1.0], [2.0] + [np.nan] * 59, []))
    assert plan.rows_S.tolist() == [0]
    assert {refusal.unique_id: refusal.status for refusal in plan.refused} == {
        "s1": "too_short",
        "s2": "constant",
        "s3": "empty",
        "s4": "too_short",
        "s5": "too_short",
        "s6": "empty",
    }
    assert plan.refused[0].reason == "series 's1' has 20 points; lstm needs 23"


def test_series_that_ends_in_a_gap_is_validated_before_the_gap() -> None:
    values = np.random.default_rng(0).normal(size=100)
    values[70:] = np.nan
    plan = plan_of(panel_of(values))
    assert plan.validation_SV.max() + 6 == 69
    assert plan.first_S[0] + plan.num_windows_S[0] - 1 + 6 <= plan.validation_SV.min()


def test_required_length_is_enough_and_one_less_is_not() -> None:
    needed = required_length(TrainingConfig(segment_length=4), horizon=6)
    wave = np.sin(np.arange(needed))
    assert len(plan_of(panel_of(wave)).rows_S) == 1
    assert len(plan_of(panel_of(wave[1:])).rows_S) == 0


def test_a_series_of_a_segment_and_a_point_can_use_a_prior() -> None:
    members = (Member(), Member(start="prior"))
    assert required_length(TrainingConfig(segment_length=4, members=members), horizon=6) == 4 + 1
    assert required_length(TrainingConfig(segment_length=4, members=members[:1]), horizon=6) == 4 + 7 + 2 * 6


@given(
    num_points=st.dictionaries(st.text(max_size=3), st.integers(0, 40), max_size=12),
    most_points=st.integers(1, 200),
    most_series=st.integers(1, 12),
    shuffled=st.randoms(use_true_random=False),
)
def test_a_prior_is_trained_on_the_same_series_in_any_order_and_within_its_limits(
    num_points: dict[str, int], most_points: int, most_series: int, shuffled: Any
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "MOST_POINTS", most_points)
        patch.setattr(plan, "MOST_SERIES", most_series)
        chosen = prior_series(num_points)
        others = list(num_points)
        shuffled.shuffle(others)
        assert chosen == prior_series({name: num_points[name] for name in others})
        assert chosen == sorted(set(chosen))
        assert set(chosen) <= set(num_points)
        cells = len(chosen) * max((num_points[name] for name in chosen), default=0)
        assert len(chosen) <= most_series
        assert cells <= most_points or len(chosen) == 1
        assert bool(chosen) == bool(num_points)
        longest, known = max(num_points.values(), default=0), [num for num in num_points.values() if num]
        are_alike = bool(known) and longest <= 20 * sorted(known)[len(known) // 2 - (len(known) % 2 == 0)]
        if are_alike and len(num_points) <= most_series and len(num_points) * longest <= most_points:
            assert chosen == sorted(num_points)
        # A series more leaves out none but those that come after it.
        patch.setattr(plan, "MOST_SERIES", most_series + 1)
        assert set(chosen) <= set(prior_series(num_points))


def test_the_series_of_a_prior_are_those_of_the_least_hashes() -> None:
    names = {f"s{number}": 1 for number in range(30_000)}
    chosen = prior_series(names)
    assert len(chosen) == 20_000
    hashes = {name: hashlib.sha256(name.encode()).digest() for name in names}
    assert max(hashes[name] for name in chosen) < min(hashes[name] for name in names.keys() - set(chosen))
    assert len(prior_series(dict.fromkeys(names, 4_000))) == 1_000


def test_one_series_that_is_far_longer_does_not_make_a_priors_panel_as_wide() -> None:
    lengths = {f"s{number}": 200 for number in range(5_000)} | {"giant": 1_000_000}
    chosen = prior_series(lengths)
    assert "giant" not in chosen
    assert len(chosen) == 5_000
    assert prior_series({"giant": 1_000_000_000}) == ["giant"]


@given(num_series=st.integers(1, 200), most=st.integers(0, 300))
def test_a_prior_is_trained_on_as_many_series_as_memory_holds_and_on_one_at_least(num_series: int, most: int) -> None:
    lengths = {f"s{number}": 10 + number % 7 for number in range(num_series)}
    calls: list[tuple[int, int, int]] = []

    def fits(num: int, longest: int, total: int) -> bool:
        calls.append((num, longest, total))
        return num <= most

    chosen = prior_series(lengths, fits=fits)
    assert len(chosen) == max(1, min(num_series, most))
    assert set(chosen) <= set(prior_series(lengths, fits=lambda num, *_: num <= most + 1))
    assert all(10 * num <= total <= num * longest for num, longest, total in calls)
