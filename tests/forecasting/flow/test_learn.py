"""Learning: priors, the networks that begin from them, and their rows of the registry."""

import gc
import subprocess
import sys
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from forecasting.fleet.fitted import FittedFleet, Prior
from forecasting.fleet.options import FitOptions
from forecasting.fleet.prior.tuning import STRENGTHS
from forecasting.flow import learn
from forecasting.flow.learn import Priors, train_network, train_priors, train_shard
from forecasting.flow.members import MemberKey, members_with_prior, origins_of
from forecasting.flow.registry import registry_rows
from forecasting.schemas import table
from forecasting.series.panel import Panel
from forecasting.spec.spec import Spec, make_spec

CPU = FitOptions(accelerator="cpu")
MEMBERS = [{}, {"start": "prior"}, {"start": "prior", "transform": "log"}]
QUICK = {
    "hidden_size": 3,
    "context_segments": 2,
    "batch_windows": 4,
    "max_steps": 10,
    "evaluate_every": 5,
    "validation_windows": 4,
    "prior_hidden_size": 4,
    "prior_steps": 20,
    "prior_windows": 8,
    "tuning_steps": 5,
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def spec_of(members: Any = MEMBERS, **fields: Any) -> Spec:
    described = {"name": "x", "source": {"uri": "x.csv"}, "freq": 1, "season_lengths": [4], "horizon": 3}
    overrides = QUICK | {"members": members}
    return make_spec(described | {"quantiles": [0.1, 0.5, 0.9], "overrides": overrides} | fields, subject="x")


def panel_of(**series: np.ndarray) -> Panel:
    num_points = max(len(values) for values in series.values())
    y_SN = np.full((len(series), num_points), np.nan)
    for row, values in enumerate(series.values()):
        y_SN[row, num_points - len(values) :] = values
    ds_SN = np.repeat(np.arange(num_points + 3)[None], len(series), axis=0)
    lengths_S = np.array([len(values) for values in series.values()])
    return Panel(tuple(series), y_SN, lengths_S, np.zeros((*ds_SN.shape, 0), np.float32), ds_SN, 3)


def wave(num_points: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.2, num_points)
    return (seed + 1) * (5 + np.sin(2 * np.pi * np.arange(num_points) / 4) + noise)


@pytest.fixture(scope="module")
def panel() -> Panel:
    return panel_of(
        a=wave(80, 0), b=wave(80, 1), c=wave(60, 2), short=wave(7, 3), constant=np.full(50, 2.0), one=np.array([1.0])
    )


@pytest.fixture(scope="module")
def trained(panel: Panel) -> dict[tuple[str, int], Priors]:
    spec = spec_of()
    return {
        (network, member): train_priors(panel, spec, network, member, options=CPU)  # type: ignore[misc]
        for network, member in members_with_prior(spec, ("lstm", "gru"))
    }


def test_members_that_begin_from_a_prior_are_those_of_the_recipe() -> None:
    assert members_with_prior(spec_of(), ("lstm", "gru")) == [("lstm", 1), ("lstm", 2), ("gru", 1), ("gru", 2)]
    assert members_with_prior(spec_of([{}]), ("gru",)) == []


def test_candidates_know_the_effects_of_covariates_up_to_the_first_origin_alone() -> None:
    spec, network = spec_of([{}, {"start": "prior"}]), "gru"
    rng = np.random.default_rng(5)
    x_ST = rng.normal(size=(2, 83))
    panel = panel_of(a=wave(80, 0) + x_ST[0, :80], b=wave(80, 1) - 2 * x_ST[1, :80])
    after_SN = np.arange(83) > 79 - origins_of(panel, spec).max(1)[:, None]
    assert after_SN[:, :80].any()
    other_x = np.where(after_SN, rng.normal(3, 5, x_ST.shape), x_ST)
    other = replace(panel, y_SN=np.where(after_SN[:, :80], 100 * panel.y_SN, panel.y_SN))
    blind, one, two = (
        list(train_network(each, spec, network, priors=priors_of(each, spec, network), options=CPU))
        for each in (panel, with_covariate(panel, x_ST), with_covariate(other, other_x))
    )
    for before, first, second in zip(blind, one, two, strict=True):
        is_same = all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)
        assert is_same == (first.role == "candidate")
        assert not np.array_equal(before.scaling.spread_S, first.scaling.spread_S), "fitted without effects"


def with_covariate(panel: Panel, covariate_SN: np.ndarray) -> Panel:
    return replace(panel, covariate_SNK=covariate_SN[:, :, None])


def priors_of(panel: Panel, spec: Spec, network: str) -> dict[MemberKey, Priors]:
    keys = members_with_prior(spec, (network,))
    trained = {key: train_priors(panel, spec, network, key.number, options=CPU) for key in keys}
    return {key: priors for key, priors in trained.items() if priors is not None}


def test_candidate_priors_end_before_the_first_origin_and_serving_priors_continue_from_them(
    panel: Panel, trained: dict[tuple[str, int], Priors]
) -> None:
    assert (origins_of(panel, spec_of()) > 0).sum(1).tolist() == [3, 3, 3, 0, 3, 0]
    altered = panel.y_SN.copy()
    altered[:3, -9:] += 50.0  # three horizons
    candidate, serving = train_priors(
        Panel(panel.unique_ids, altered, panel.length_S, panel.calendar_SNC, panel.ds_SN, 3),
        spec_of(),
        "gru",
        1,
        options=CPU,
    )  # type: ignore[misc]
    first = trained["gru", 1]
    assert (candidate.role, serving.role) == ("candidate", "serving")
    assert candidate.version == first.candidate.version
    assert serving.version != first.serving.version
    assert (candidate.num_steps, serving.num_steps) == (20, 5)
    assert serving.gains == candidate.gains == first.candidate.gains
    assert (len(candidate.gains), candidate.gains[0]) == (len(STRENGTHS), 0.0)
    assert any(candidate.gains)
    assert (candidate.num_series, serving.num_series) == (4, 4)


def test_checkpoints_of_priors_lie_in_the_folder_of_the_options(panel: Panel, tmp_path: Any) -> None:
    saved: list[str] = []

    class Folder(type(tmp_path)):  # type: ignore[misc]
        def __truediv__(self, name: str) -> Any:
            saved.append(name)
            return super().__truediv__(name)

    train_priors(panel, spec_of(), "gru", 2, options=FitOptions(accelerator="cpu", checkpoint=Folder(tmp_path)))
    assert saved == ["prior-gru-2-candidate.ckpt", "prior-gru-2-serving.ckpt"]
    assert not list(tmp_path.iterdir())


def test_there_is_no_prior_where_no_series_can_be_trained_on() -> None:
    hopeless = panel_of(constant=np.full(50, 2.0), one=np.array([1.0]), empty=np.full(9, np.nan))
    assert train_priors(hopeless, spec_of(), "gru", 1, options=CPU) is None


def test_the_candidate_prior_is_also_the_serving_one_where_later_data_cannot_be_trained_on(panel: Panel) -> None:
    broken = np.concatenate([wave(71, 0), np.resize([1.7e308, -1.7e308], 9)])
    candidate, serving = train_priors(panel_of(a=broken), spec_of(), "gru", 1, options=CPU)  # type: ignore[misc]
    assert serving.role == "serving"
    assert serving.version == candidate.version


def fleets_of(panel: Panel, priors: Any, **fields: Any) -> dict[tuple[int, str], FittedFleet]:
    fleets = train_network(panel, spec_of(**fields), "gru", priors=priors, options=CPU)
    return {(fleet.member, fleet.role): fleet for fleet in fleets}


def test_each_member_begins_from_its_own_prior_of_its_role(
    panel: Panel, trained: dict[tuple[str, int], Priors]
) -> None:
    fleets = fleets_of(panel, trained)
    assert set(fleets) == {(member, role) for member in range(3) for role in ("candidate", "serving")}
    for (member, role), fleet in fleets.items():
        prior: Prior | None = getattr(trained["gru", member], role) if member else None
        assert fleet.prior_version == (prior.version if prior else None)
        # A prior serves what a network from random weights is too short for.
        assert ("short" in fleet.unique_ids) == (prior is not None)
        if prior is None:
            assert fleet.strength_S is None
            continue
        assert fleet.strength_S is not None
        short = fleet.unique_ids.index("short")
        for name, weight in fleet.weights.items():
            assert torch.equal(weight[short], prior.weights[name][0])


def test_a_member_without_its_prior_is_left_out_and_the_others_are_not(
    panel: Panel, trained: dict[tuple[str, int], Priors]
) -> None:
    without = fleets_of(panel, {("gru", 1): trained["gru", 1], ("lstm", 2): trained["lstm", 2]})
    assert {member for member, _ in without} == {0, 1}
    assert {member for member, _ in fleets_of(panel, {})} == {0}
    whole = fleets_of(panel, trained)
    for key, fleet in without.items():
        assert fleet.versions() == whole[key].versions()


def test_registry_rows_name_prior_and_strength_where_there_are_any(
    panel: Panel, trained: dict[tuple[str, int], Priors]
) -> None:
    fleets = train_shard(panel, spec_of(), networks=("gru",), priors=trained, options=CPU)
    rows = pl.concat(registry_rows(fleet, panel) for fleet in fleets)
    assert rows.height == len(panel.unique_ids) * 3 * 2
    declared = table("models").schema("step")
    assert {name: declared[name] for name in rows.columns} == dict(rows.schema)
    for row in rows.iter_rows(named=True):
        is_tuned = row["member"] > 0
        prior = getattr(trained["gru", row["member"]], row["role"]) if is_tuned else None
        assert row["prior_version"] == (prior.version if prior else None)
        if row["status"] != "trained":
            assert row["strength"] is None
            assert row["reason"]
            continue
        assert (row["strength"] in STRENGTHS) if is_tuned else row["strength"] is None
        # Never NaN, because SQL averages over NaN are NaN.
        is_judged = row["role"] == "candidate" and row["unique_id"] != "short"
        assert (row["validation_loss"] is not None) == is_judged
        assert row["validation_loss"] is None or np.isfinite(row["validation_loss"])
    short = rows.filter(pl.col("unique_id") == "short", pl.col("member") > 0)
    assert short["strength"].to_list() == 4 * [0.0]
    assert set(rows.filter(pl.col("unique_id").is_in(["constant", "one"]))["status"]) == {"constant", "too_short"}


def test_a_process_that_has_loaded_duckdb_ends_without_reports_of_leaks() -> None:
    code = "import duckdb\nfrom forecasting.flow import learn\nlearn._freeze_loaded_modules()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert ended.stderr == ""


def test_modules_that_a_fit_has_loaded_are_excluded_from_later_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collection that visits Lightning's modules takes longer than the fit of a few series."""
    frozen: list[int] = []
    monkeypatch.setattr(gc, "collect", lambda: 0)
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(len(sys.modules)))
    monkeypatch.setattr(learn, "_freeze", cache(learn._freeze.__wrapped__))
    learn._freeze_loaded_modules()
    learn._free_trainer()
    assert len(frozen) == 1
    for number in range(100):
        monkeypatch.setitem(sys.modules, f"loaded_by_a_fit_{number}", sys)
    learn._free_trainer()
    assert len(frozen) == 2
