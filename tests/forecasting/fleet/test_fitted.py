import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from forecasting.errors import NothingStored
from forecasting.fleet.fit import fit_candidates
from forecasting.fleet.fitted import FittedFleet
from forecasting.fleet.plan import Refusal
from forecasting.fleet.predict import predict
from forecasting.fleet.task import ForecastTask
from forecasting.series.panel import Panel
from forecasting.spec.training import MemberConfig


@pytest.fixture
def panel(make_panel: Callable[..., Panel]) -> Panel:
    return make_panel(4)


@pytest.fixture
def fitted(panel: Panel, model: str, task: ForecastTask, config: MemberConfig) -> FittedFleet:
    return fit_candidates(panel, model, task, config, seed=0, dropped_S=np.zeros(4, dtype=np.int64))


def test_bytes_give_back_the_same_fleet_bit_for_bit(fitted: FittedFleet, panel: Panel) -> None:
    read = FittedFleet.from_bytes(fitted.to_bytes())
    assert read.versions() == fitted.versions()
    assert (read.config, read.model, read.task, read.seed) == (fitted.config, fitted.model, fitted.task, fitted.seed)
    assert np.array_equal(predict(read, panel), predict(fitted, panel))


def test_file_gives_back_what_bytes_do(fitted: FittedFleet, panel: Panel, tmp_path: Path) -> None:
    path = tmp_path / "fleet.safetensors"
    path.write_bytes(fitted.to_bytes())
    read = FittedFleet.from_file(path)
    path.unlink()
    assert read.versions() == fitted.versions()
    assert (read.config, read.task, read.refused) == (fitted.config, fitted.task, fitted.refused)
    assert np.array_equal(predict(read, panel), predict(fitted, panel))


def without_task(content: bytes) -> bytes:
    """Name a field as an earlier version did."""
    return content.replace(rb"\"task\"", rb"\"duty\"")


@pytest.mark.parametrize(
    "spoil",
    [
        without_task,
        lambda content: content.replace(rb"\"hidden_size\"", rb"\"hidden_sise\""),
        lambda content: content.replace(b"fleetcast", b"elsewhere"),
        lambda content: content[:-1],
        lambda content: b"",
        lambda content: b"unique_id,ds,y\n",
    ],
)
def test_file_that_is_damaged_or_of_another_format_is_refused_by_name(
    fitted: FittedFleet, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    content = spoil(fitted.to_bytes())
    path = tmp_path / "fleet.safetensors"
    path.write_bytes(content)
    for read in (lambda: FittedFleet.from_file(path), lambda: FittedFleet.from_bytes(content, name=str(path))):
        with pytest.raises(NothingStored, match=rf"^{re.escape(str(path))} is damaged, or .*; train again$"):
            read()


def test_last_read_points_and_starting_versions_survive_bytes(fitted: FittedFleet) -> None:
    warm = replace(fitted, started_from=("p", "q", "r", "s"), trained_until_S=np.array([9, 8, -7, 2**60]))
    for each in (warm, warm.select(["s3", "s1"])):
        read = FittedFleet.from_bytes(each.to_bytes())
        assert read.started_from == each.started_from
        assert read.trained_until_S is not None
        assert read.trained_until_S.tolist() == each.trained_until_S.tolist()  # type: ignore[union-attr]
    assert each.started_from == ("s", "q")
    assert read.trained_until_S.tolist() == [2**60, 8]


def test_weights_of_all_series_are_not_copied(fitted: FittedFleet) -> None:
    refused = tuple(Refusal(name, "broken", "for a test") for name in ("s8", "s9"))
    whole = replace(fitted, refused=refused).select([*fitted.unique_ids, "s9"])
    assert [refusal.unique_id for refusal in whole.refused] == ["s9"]
    for name, weight in fitted.weights.items():
        assert whole.weights[name] is weight
        assert fitted.select(fitted.unique_ids[:2]).weights[name].data_ptr() != weight.data_ptr()


def test_a_selected_series_keeps_its_version_and_forecast(fitted: FittedFleet, panel: Panel) -> None:
    part = fitted.select(["s2", "unknown", "s0"])
    assert part.unique_ids == ("s2", "s0")
    assert part.versions() == (fitted.versions()[2], fitted.versions()[0])
    whole, some = predict(fitted, panel), predict(part, panel)
    np.testing.assert_allclose(some[[0, 2]], whole[[0, 2]], rtol=1e-6)
    assert np.isnan(some[[1, 3]]).all()


def test_version_changes_with_weights_and_scaling(fitted: FittedFleet) -> None:
    versions = fitted.versions()
    assert len(set(versions)) == 4
    with torch.no_grad():
        fitted.weights["head_HO"][1, 0, 0] += 1e-6
    fitted.scaling.location_S[2] += 1e-9
    changed = [now != before for now, before in zip(fitted.versions(), versions, strict=True)]
    assert changed == [False, True, True, False]


def test_forecasts_are_finite_ordered_and_in_the_unit_of_y(fitted: FittedFleet, panel: Panel) -> None:
    quantiles_SFQ = predict(fitted, panel)
    assert (np.diff(quantiles_SFQ, axis=-1) >= 0).all()
    for row in range(4):
        low, high = panel.y_SN[row].min(), panel.y_SN[row].max()
        assert (quantiles_SFQ[row] > low - (high - low)).all()
        assert (quantiles_SFQ[row] < high + (high - low)).all()


def test_a_series_without_any_observation_gets_no_forecast(fitted: FittedFleet, panel: Panel) -> None:
    panel.y_SN[1] = np.nan
    quantiles_SFQ = predict(fitted, panel)
    assert np.isnan(quantiles_SFQ[1]).all()
    assert np.isfinite(quantiles_SFQ[[0, 2, 3]]).all()
