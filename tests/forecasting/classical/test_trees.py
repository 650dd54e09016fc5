"""Trees of a fleet: they learn what covariates do, read nothing later, and forecast each series by itself."""

import math
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from forecasting.classical import tree_fit
from forecasting.classical import trees as module
from forecasting.classical.tree_fit import fit_trees
from forecasting.classical.tree_inputs import Known
from forecasting.classical.tree_meaning import Meaning, Rows
from forecasting.classical.trees import Trees, check_installed, forecast_trees, least_points
from forecasting.errors import NothingStored, SpecError
from forecasting.series.categories import Coded
from forecasting.series.covariate_names import code_of
from forecasting.series.panel import Panel

NAN = math.nan
FEW = (0.1, 0.5, 0.9)
HORIZON, LENGTH = 6, 200


@pytest.fixture(autouse=True)
def quick(monkeypatch: Any) -> None:
    pytest.importorskip("lightgbm")
    monkeypatch.setattr(tree_fit, "MOST_TREES", 40)
    monkeypatch.setattr(tree_fit, "PARAMETERS", {**tree_fit.PARAMETERS, "learning_rate": 0.2, "min_data_in_leaf": 10})


def series(seed: int, num_points: int = LENGTH + HORIZON) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 50 * seed + 10 * np.sin(2 * np.pi * np.arange(num_points) / 7) + rng.normal(0, 1, num_points)


def marks(seed: int, num_points: int = LENGTH + HORIZON) -> np.ndarray:
    return (np.random.default_rng(100 + seed).random(num_points) < 0.3).astype(float)


def fit(panel: Panel, *, dropped: int = 0, seasons: tuple[int, ...] = (7,)) -> Trees:
    dropped_S = np.full(len(panel.unique_ids), dropped)
    trees = fit_trees(panel, season_lengths=seasons, quantiles=FEW, dropped_S=dropped_S, seed=0)
    assert trees is not None
    return trees


def forecast(panel: Panel, trees: Trees) -> np.ndarray:
    return forecast_trees(panel, trees=trees, quantiles=FEW)


@pytest.fixture
def promoted(make_panel: Any) -> tuple[Panel, np.ndarray]:
    """Three series that a mark lifts by 20, and the truth of their horizon."""
    truth_ST = np.stack([series(seed) + 20 * marks(seed) for seed in (1, 2, 3)])
    panel = make_panel(truth_ST[:, :LENGTH], horizon=HORIZON)
    covariate_SNK = np.stack([marks(seed) for seed in (1, 2, 3)])[:, :, None]
    return replace(panel, covariate_SNK=covariate_SNK), truth_ST[:, LENGTH:]


def test_effect_of_a_covariate_is_learned_over_the_fleet_and_applied_over_the_horizon(
    promoted: tuple[Panel, np.ndarray],
) -> None:
    panel, truth_SF = promoted
    found = forecast(panel, fit(panel))
    blind = replace(panel, covariate_SNK=None)
    without = forecast(blind, fit(blind))
    errors = [np.abs(each[:, :, 1] - truth_SF).mean() for each in (found, without)]
    assert errors[0] < 0.4 * errors[1]
    assert (np.diff(found, axis=2) >= 0).all()


def test_given_the_model_a_series_alone_has_the_same_bits_as_among_others(promoted: tuple[Panel, np.ndarray]) -> None:
    panel, _ = promoted
    trees = fit(panel)
    together = forecast(panel, trees)
    for row in range(3):
        alone = forecast(panel.select(np.array([row])), trees)
        assert np.array_equal(alone[0], together[row])


def test_fit_has_the_same_bits_again_and_in_a_file(promoted: tuple[Panel, np.ndarray]) -> None:
    trees = fit(promoted[0])
    content = trees.to_bytes()
    assert fit(promoted[0]).to_bytes() == content
    read = Trees.from_bytes(content, version=trees.version)
    assert read.version == trees.version
    assert np.array_equal(forecast(promoted[0], read), forecast(promoted[0], trees))


def test_nothing_after_the_dropped_points_is_read(promoted: tuple[Panel, np.ndarray]) -> None:
    panel, _ = promoted
    y_SN, covariate_SNK = panel.y_SN.copy(), panel.covariate_SNK.copy()  # type: ignore[union-attr]
    # Covariates are known as far ahead as the horizon.
    y_SN[:, -20:], covariate_SNK[:, -20:] = 1e6, 7.0
    changed = replace(panel, y_SN=y_SN, covariate_SNK=covariate_SNK)
    assert fit(changed, dropped=20).to_bytes() == fit(panel, dropped=20).to_bytes()
    cut = fit(panel.until(20))
    rows = Rows(*(np.array([value]) for value in (0, LENGTH - 21, 3)))
    end_S = np.full(3, LENGTH - 21)
    whole, until = (Known.of(each, cut.meaning, end_S).inputs(rows) for each in (panel, panel.until(20)))
    np.testing.assert_array_equal(whole, until)


def test_forecast_reads_covariates_of_its_horizon_and_no_later_ones(promoted: tuple[Panel, np.ndarray]) -> None:
    panel, _ = promoted
    trees = fit(panel)
    shorter = panel.until(20)
    covariate_SNK = panel.covariate_SNK.copy()  # type: ignore[union-attr]
    covariate_SNK[:, LENGTH - 20 + HORIZON :] = 9.0
    later = replace(panel, covariate_SNK=covariate_SNK).until(20)
    assert np.array_equal(forecast(shorter, trees), forecast(later, trees))


def test_window_reads_covariates_as_they_were_published_at_its_origin(promoted: tuple[Panel, np.ndarray]) -> None:
    panel, _ = promoted
    published = np.random.default_rng(9).normal(size=(3, LENGTH, HORIZON, 1))
    with_vintages = replace(panel, vintage_SNFV=published, vintages=(0,))
    end_S = np.full(3, LENGTH - 1)
    meaning = Meaning.of(with_vintages, (7,), end_S)
    origin = LENGTH - 30
    rows = Rows(np.zeros(HORIZON, dtype=int), np.full(HORIZON, origin), np.arange(1, HORIZON + 1))
    input_RP = Known.of(with_vintages, meaning, end_S).inputs(rows)
    assert any(np.allclose(input_R, published[0, origin, :, 0]) for input_R in input_RP.T)
    covariate_SNK = panel.covariate_SNK.copy()  # type: ignore[union-attr]
    covariate_SNK[:, origin + 1 :] = 1 - covariate_SNK[:, origin + 1 :]
    other = replace(with_vintages, covariate_SNK=covariate_SNK)
    np.testing.assert_array_equal(Known.of(other, meaning, end_S).inputs(rows), input_RP)
    newest = Rows(rows.series_R, np.full(HORIZON, LENGTH - 1), rows.step_R)
    known_F = panel.covariate_SNK[0, LENGTH:, 0]  # type: ignore[index]
    assert any(np.allclose(input_R, known_F) for input_R in Known.of(with_vintages, meaning, end_S).inputs(newest).T)


def test_names_are_kept_apart_and_a_new_one_is_unknown(make_panel: Any) -> None:
    names = np.array([code_of(name) for name in ("sun", "rain", "storm")])
    kind_T = np.random.default_rng(5).integers(0, 3, LENGTH + HORIZON)
    truth_T = series(1) + np.array([0.0, 15.0, -15.0])[kind_T]
    panel = make_panel([truth_T[:LENGTH]], horizon=HORIZON)
    named = replace(panel, covariate_SNK=names[kind_T][None, :, None])
    trees = fit(named)
    error = np.abs(forecast(named, trees)[0, :, 1] - truth_T[LENGTH:]).mean()
    assert error < 0.5 * np.abs(forecast(panel, fit(panel))[0, :, 1] - truth_T[LENGTH:]).mean()
    new = named.covariate_SNK.copy()
    new[:, LENGTH:] = code_of("hail")
    assert np.isfinite(forecast(replace(named, covariate_SNK=new), trees)).all()


def test_static_category_is_found_by_its_value_not_by_its_place(make_panel: Any) -> None:
    panel = make_panel([series(1)[:LENGTH], series(2)[:LENGTH]], horizon=HORIZON)
    shape = (2, LENGTH + HORIZON, 1)
    both = replace(panel, coded=Coded(("store",), (("a", "b"),), np.broadcast_to(np.array([[[0]], [[1]]]), shape)))
    trees = fit(both)
    alone = replace(
        both.select(np.array([1])), coded=Coded(("store",), (("b",),), np.zeros((1, LENGTH + HORIZON, 1), np.int32))
    )
    assert np.array_equal(forecast(alone, trees)[0], forecast(both, trees)[1])


def test_constant_covariate_changes_no_bit(make_panel: Any) -> None:
    panel = make_panel([series(1)[:LENGTH], series(2)[:LENGTH]], horizon=HORIZON)
    constant = replace(panel, covariate_SNK=np.full((2, LENGTH + HORIZON, 1), 3.0))
    assert np.array_equal(forecast(constant, fit(constant)), forecast(panel, fit(panel)))


def test_static_number_is_an_input_as_it_is(make_panel: Any) -> None:
    sizes_ST = np.repeat([3.0, 8.0], LENGTH + HORIZON).reshape(2, -1)
    panel = make_panel([series(1)[:LENGTH], series(2)[:LENGTH]], horizon=HORIZON)
    panel = replace(panel, covariate_SNK=np.stack([sizes_ST, np.stack([marks(1), marks(2)])], axis=2))
    end_S = np.full(2, LENGTH - 1)
    meaning = Meaning.of(panel, (7,), end_S)
    assert meaning.kinds == ("static", "marks")
    rows = Rows(np.array([0, 1]), end_S, np.array([2, 2]))
    input_RP = Known.of(panel, meaning, end_S).inputs(rows)
    assert any(np.array_equal(input_R, [3.0, 8.0]) for input_R in input_RP.T)


def test_horizon_longer_than_its_seasons_reads_the_last_known_season(make_panel: Any) -> None:
    y_T = np.tile([0.0, 5.0, 9.0], 60)
    panel = make_panel([y_T], horizon=8)
    found = forecast(panel, fit(panel, seasons=(3, 6)))[0, :, 1]
    np.testing.assert_allclose(found, [0, 5, 9, 0, 5, 9, 0, 5], atol=0.5)


@pytest.mark.parametrize("start", ["2024-01-01", None])
def test_series_of_any_kind_are_survived(make_panel: Any, start: str | None) -> None:
    kinds = [
        series(1)[:LENGTH],
        np.where(series(2)[:LENGTH] > 105, NAN, series(2)[:LENGTH]),
        np.full(LENGTH, 4.0),
        np.zeros(LENGTH),
        series(3)[:LENGTH] * 1e300,
        np.full(LENGTH, NAN),
        series(4)[: least_points((7,)) - 1],
    ]
    panel = make_panel(kinds, horizon=HORIZON)
    if start is not None:
        days = np.datetime64(start, "us") + np.arange(LENGTH + HORIZON) * np.timedelta64(1, "D")
        panel = replace(panel, ds_SN=np.broadcast_to(days, panel.ds_SN.shape))
    found = forecast(panel, fit(panel))
    assert np.isfinite(found).all((1, 2)).tolist() == [True, True, True, True, True, False, False]
    np.testing.assert_allclose(found[2], 4.0)
    assert (found[3] == 0).all()


def test_rows_are_limited_for_any_number_of_series(make_panel: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(tree_fit, "MOST_ROWS", 300)
    panel = make_panel([series(seed % 5)[:LENGTH] for seed in range(8)], horizon=HORIZON)
    trees = fit(panel)
    assert trees.num_rows == 300
    assert trees.num_series == 8


def test_too_few_rows_give_no_model(make_panel: Any) -> None:
    panel = make_panel([series(1)[:20]], horizon=HORIZON)
    zero = np.zeros(1, dtype=np.int64)
    assert fit_trees(panel, season_lengths=(7,), quantiles=FEW, dropped_S=zero, seed=0) is None


def test_damaged_file_is_refused(promoted: tuple[Panel, np.ndarray]) -> None:
    trees = fit(promoted[0])
    content = trees.to_bytes()
    for damaged in (content[:-10], content.replace(b"leaf_value=", b"leaf_value=9", 1)):
        with pytest.raises(NothingStored, match="is not the file that was stored"):
            Trees.from_bytes(damaged, name="file", version=trees.version)
    for damaged in (b"", b"\xff\xfe", b"[1]\n", b'{"lengths": [3]}\nabc'):
        with pytest.raises(NothingStored, match="is damaged"):
            Trees.from_bytes(damaged)


def test_missing_package_is_refused_with_the_extra_that_installs_it(monkeypatch: Any) -> None:
    check_installed("spec sales")
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(
        SpecError, match=r"spec sales: regressions = \[\"lightgbm\"\] needs LightGBM.*fleetcast\[trees\]"
    ):
        check_installed("spec sales")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes libgomp from the system")
def test_missing_library_of_the_system_is_refused_with_its_package(monkeypatch: Any) -> None:
    def load(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(module.ctypes, "CDLL", load)
    with pytest.raises(SpecError, match=r"needs the system's libgomp, .* libgomp1; .*\(libgomp.so.1: cannot open"):
        check_installed("spec sales")


def test_fit_and_forecast_leave_the_threads_of_torch_alone(promoted: tuple[Panel, np.ndarray]) -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    forecast(promoted[0], fit(promoted[0]))
    assert torch.get_num_threads() == before


def test_meaning_survives_json(promoted: tuple[Panel, np.ndarray]) -> None:
    panel = promoted[0]
    meaning = Meaning.of(panel, (7, 30), np.full(3, LENGTH - 1))
    assert meaning.season_lengths == (7, 28)
    assert Meaning.read(meaning.describe()) == meaning
