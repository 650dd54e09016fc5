"""Embeddings of categories: what networks learn from them, which series own them, and how unseen values are read."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from forecasting.fleet.architectures.noise import Noise
from forecasting.fleet.categories import embed, extend_vocabulary, learn_vocabulary
from forecasting.fleet.fit import fit_candidates, fit_serving
from forecasting.fleet.fitted import FittedFleet, Prior
from forecasting.fleet.options import FitOptions
from forecasting.fleet.predict import find_unseen, predict
from forecasting.fleet.prior.prior import fit_prior
from forecasting.fleet.random import series_keys
from forecasting.fleet.task import ForecastTask
from forecasting.fleet.windows import WindowBatch
from forecasting.series.categories import MISSING, Coded
from forecasting.series.panel import Panel
from forecasting.spec.categories import Categories
from forecasting.spec.spec import NETWORKS
from forecasting.spec.training import Design, MemberConfig

MakePanel = Callable[..., Panel]
CPU = FitOptions(accelerator="cpu", show_progress=False)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
WEEKDAY = Categories(calendar=("weekday",), size=3)
STORE = Categories(static=("store",), size=3, most=4)

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {model: (model, {}) for model in NETWORKS} | {
    "gru that is rolled on": ("gru", {"head": "next"}),
    "lstm, head every_step": ("lstm", {"head": "every_step"}),
    "gru, series read as streams": ("gru", {"stream": True}),
}
every_variant = pytest.mark.parametrize(("model", "design"), VARIANTS.values(), ids=VARIANTS)


def with_days(panel: Panel, code_SN: npt.NDArray[np.int32]) -> Panel:
    """Give a panel arbitrary days of the week, which no other input reveals."""
    return replace(panel, coded=Coded(("weekday",), (DAYS,), code_SN[..., None].astype(np.int32)))


def with_stores(panel: Panel, stores: Sequence[str | None]) -> Panel:
    values = tuple(sorted({store for store in stores if store is not None}))
    code_S = np.array([MISSING if store is None else values.index(store) for store in stores], dtype=np.int32)
    code_SNK = np.broadcast_to(code_S[:, None, None], (*panel.ds_SN.shape, 1)).copy()
    return replace(panel, coded=Coded(("store",), (values,), code_SNK))


def random_days(panel: Panel, *, most: int = 7) -> npt.NDArray[np.int32]:
    """Draw days that do not follow each other; series i's do not depend on the others."""
    draws = [np.random.default_rng(int(name[1:])).integers(0, most, panel.ds_SN.shape[1]) for name in panel.unique_ids]
    return np.array(draws, dtype=np.int32)


def config_of(design: dict[str, Any] | None = None, **fields: Any) -> MemberConfig:
    small = {
        "hidden_size": 6,
        "prior_hidden_size": 6,
        "segment_length": 2,
        "context_segments": 4,
        "batch_windows": 7,
        "max_steps": 30,
        "evaluate_every": 10,
        "patience": 1000,
        "validation_windows": 9,
        "learning_rate": 1e-2,
        "prior_steps": 300,
        "prior_windows": 32,
        "tuning_steps": 10,
    }
    return MemberConfig(**small | fields, design=Design(**design or {}))


def task_of(categories: Categories) -> ForecastTask:
    return ForecastTask(1, 6, (0.1, 0.5, 0.9), (8,), categories)


def fit(panel: Panel, model: str, config: MemberConfig, categories: Categories, **more: Any) -> FittedFleet:
    dropped_S = np.full(len(panel.unique_ids), 12)
    task = task_of(categories)
    return fit_candidates(panel, model, task, config, seed=7, dropped_S=dropped_S, options=CPU, **more)


def train(panel: Panel, config: MemberConfig, categories: Categories, **more: Any) -> Prior:
    dropped_S = np.full(len(panel.unique_ids), 12)
    task = task_of(categories)
    prior = fit_prior(panel, "gru", task, config, seed=7, dropped_S=dropped_S, role="candidate", options=CPU, **more)
    assert prior is not None
    return prior


@every_variant
def test_every_design_reads_categories_and_keeps_series_apart(
    make_panel: MakePanel, model: str, design: dict[str, Any]
) -> None:
    many = make_panel(5)
    many = with_days(many, random_days(many))
    alone, config = many.select(np.array([3])), config_of(design)
    among, lone = fit(many, model, config, WEEKDAY), fit(alone, model, config, WEEKDAY)
    assert among.weights["embedding_0_VE"].shape == (5, 8, 3)
    assert (
        (
            among.weights["embedding_0_VE"]
            != fit(many, model, config_of(design, max_steps=10), WEEKDAY).weights["embedding_0_VE"]
        )
        .any((1, 2))
        .all()
    ), "vectors are learned"
    forecasts = predict(among, many)
    assert np.isfinite(forecasts).all()
    scale = np.abs(np.diff(alone.y_SN[0])).mean()
    np.testing.assert_allclose(forecasts[3], predict(lone, alone)[0], rtol=0, atol=1e-5 * scale)
    read = FittedFleet.from_bytes(among.to_bytes())
    assert read.vocabulary == {"weekday": DAYS}
    assert read.versions() == among.versions()
    np.testing.assert_array_equal(predict(read, many), forecasts)
    other_days = with_days(many, (random_days(many) + 1) % 7)
    assert (predict(among, other_days) != forecasts).any((1, 2)).all(), "categories must change the forecast"


@pytest.mark.parametrize("model", ["seq2seq", "attention"])
def test_a_category_that_is_known_of_the_future_is_used(make_panel: MakePanel, model: str) -> None:
    """Demand doubles on days that nothing but their category announces."""
    panel = make_panel(4, num_points=400)
    days = random_days(panel, most=2)
    level = 10.0 * (1 + days[:, :400])
    noise = np.stack([np.random.default_rng(row).normal(0, 0.3, 400) for row in range(4)])
    panel = with_days(replace(panel, y_SN=level + noise), days)
    config = config_of(segment_length=1, max_steps=300, hidden_size=8)

    def error(categories: Categories) -> float:
        fitted = fit_serving(panel.until(12), fit(panel.until(12), model, config, categories), options=CPU)
        forecast = predict(fitted, panel.until(12))[:, :, 1]
        return float(np.abs(forecast - panel.y_SN[:, -12:-6]).mean())

    with_days_error, without_error = error(WEEKDAY), error(Categories())
    assert with_days_error < 0.4 * without_error, (
        f"{with_days_error:.2f} with the category, {without_error:.2f} without"
    )


def test_a_value_that_a_series_never_had_has_the_vector_of_the_unseen_and_is_reported(make_panel: MakePanel) -> None:
    panel = make_panel(2)
    days = random_days(panel, most=5)
    days[1, 10] = 6  # one series has met a Sunday, long ago
    fitted = fit(with_days(panel, days), "seq2seq", config_of(), WEEKDAY)
    table_SVE = fitted.weights["embedding_0_VE"]
    for day in (5, 6):
        assert torch.equal(table_SVE[0, 1 + day], table_SVE[0, 0])
    assert not torch.equal(table_SVE[1, 7], table_SVE[1, 0])
    assert torch.equal(table_SVE[1, 6], table_SVE[1, 0])

    later = days.copy()
    later[:, -1] = 6  # the last day of the horizon
    missing = days.copy()
    missing[:, -1] = MISSING
    forecasts = predict(fitted, with_days(panel, later))
    np.testing.assert_array_equal(forecasts[0], predict(fitted, with_days(panel, missing))[0])
    assert (forecasts[1] != predict(fitted, with_days(panel, missing))[1]).any()
    assert find_unseen(fitted, with_days(panel, later)) == {"s0": (("weekday", "Sunday"),)}
    assert find_unseen(fitted, with_days(panel, days)) == {}
    only_past = fit(with_days(panel, days), "lstm", config_of(), WEEKDAY)
    assert find_unseen(only_past, with_days(panel, later)) == {}, "it does not read the horizon's calendar"


@pytest.mark.parametrize(
    ("model", "design", "reaches"),
    [("gru", {}, 0), ("seq2seq", {}, 6), ("gru", {"head": "next"}, 4), ("gru", {"stream": True}, 0)],
)
def test_a_value_that_no_training_window_reads_is_not_seen(
    make_panel: MakePanel, model: str, design: dict[str, Any], reaches: int
) -> None:
    """Among the last targets it is read by what reads the horizon, and only as far as that does."""
    panel = make_panel(1, num_points=160)
    last_origin = 160 - 12 - 14 - 6 - 1  # held back, a tenth that validates, and the targets of the last origin
    for column, is_seen in ((last_origin + reaches, True), (last_origin + reaches + 1, False)):
        days = random_days(panel, most=5)
        days[0, column] = 6
        table_SVE = fit(with_days(panel, days), model, config_of(design), WEEKDAY).weights["embedding_0_VE"]
        assert torch.equal(table_SVE[0, 7], table_SVE[0, 0]) != is_seen, column


def test_hidden_points_train_no_vector(make_panel: MakePanel) -> None:
    panel = make_panel(2)
    days = random_days(panel, most=5)
    shown = fit(with_days(panel, days), "gru", config_of(), WEEKDAY)
    days[:, -12 - panel.horizon :] = 6
    assert fit(with_days(panel, days), "gru", config_of(), WEEKDAY).versions() == shown.versions()


def test_a_prior_learns_static_categories_and_a_network_of_one_series_does_not_read_them(
    make_panel: MakePanel,
) -> None:
    """Series of one store rise as those of the other fall, so noisily that a window hardly shows which is which."""
    rng = np.random.default_rng(0)
    stores = ["up" if row % 2 else "down" for row in range(24)]
    drift_S1 = np.where(np.arange(24) % 2, 0.4, -0.4)[:, None]
    y_SN = np.cumsum(drift_S1 + rng.normal(0, 1.5, (24, 120)), axis=1)
    panel = make_panel(24, num_points=120)
    panel = with_stores(replace(panel, y_SN=y_SN), stores)
    config = config_of(start="prior", context_segments=1, prior_steps=600)
    classed, without = train(panel, config, STORE), train(panel, config, Categories())
    assert classed.vocabulary == {"store": ("down", "up")}
    assert classed.weights["embedding_0_VE"].shape == (1, 5, 3)
    assert classed.loss < 0.97 * without.loss
    assert without.vocabulary == {}
    assert Prior.from_bytes(classed.to_bytes()).version == classed.version

    fitted = fit(panel, "gru", config, STORE, prior=classed)
    assert fitted.vocabulary == classed.vocabulary
    swapped = with_stores(panel, ["down" if store == "up" else "up" for store in stores])
    gain_S = (predict(fitted, panel) - predict(fitted, swapped))[:, -1, 1] * drift_S1[:, 0]
    assert (gain_S > 0).mean() > 0.9, "the class carries over to each series' own network"
    scratch = fit(panel, "gru", config_of(), STORE)
    assert scratch.vocabulary == {}
    assert "embedding_0_VE" not in scratch.weights


def test_a_class_that_the_prior_has_not_seen_is_read_as_the_unseen_and_reported(make_panel: MakePanel) -> None:
    panel, config = make_panel(4), config_of(start="prior")
    prior = train(with_stores(panel, ["A", "A", "B", None]), config, STORE)
    fitted = fit(with_stores(panel, ["A", "A", "B", None]), "gru", config, STORE, prior=prior)
    moved = with_stores(panel, ["A", "C", "C", None])
    assert find_unseen(fitted, moved) == {"s1": (("store", "C"),), "s2": (("store", "C"),)}
    nowhere = predict(fitted, with_stores(panel, [None] * 4))
    np.testing.assert_array_equal(predict(fitted, moved)[1:], nowhere[1:])
    assert (predict(fitted, moved)[0] != nowhere[0]).any()


def test_a_prior_that_is_trained_further_keeps_its_rows_and_adds_new_values(make_panel: MakePanel) -> None:
    panel, config = make_panel(4), config_of(start="prior")
    first = train(with_stores(panel, ["B", "B", "B", "C"]), config, STORE)
    assert first.vocabulary == {"store": ("B", "C")}
    further = train(with_stores(panel, ["A", "A", "A", "B"]), config, STORE, start=first, share=0.1)
    assert further.vocabulary == {"store": ("B", "C", "A")}
    table_VE = further.weights["embedding_0_VE"][0]
    assert not torch.equal(table_VE[3], table_VE[0]), "A is learned"
    assert not torch.equal(table_VE[2], table_VE[0]), "C keeps what it was taught"
    assert torch.equal(table_VE[4], table_VE[0])


def test_rare_values_beyond_the_rows_of_a_table_share_one(make_panel: MakePanel) -> None:
    panel = with_stores(make_panel(9), ["A", "A", "B", "B", "C", "D", "D", "E", "E"])
    assert learn_vocabulary(panel.coded, STORE, reads_static=True) == {"store": ("A", "B", "D", "E")}
    assert extend_vocabulary({"store": ("Z",)}, {"store": ("A", "B", "D", "E")}, STORE) == {
        "store": ("Z", "A", "B", "D")
    }


def test_training_hides_categories_of_some_windows_and_of_both_their_parts() -> None:
    num_windows = 4000
    row = torch.ones(1, num_windows, 2, 1, 1, dtype=torch.int64)
    nothing = torch.zeros(1, num_windows, 2, 0)
    windows = WindowBatch(
        x_SBTI=nothing,
        reference_SBFM=nothing,
        target_SBF=nothing,
        is_observed_SBF=nothing,
        future_SBFC=nothing,
        row_SBTLK=row,
        future_row_SBFK=row[:, :, :, 0],
    )
    weights = {"embedding_0_VE": torch.tensor([[[-1.0], [1.0]]])}
    noise = Noise(series_keys(("s",), seed=0), 5, num_windows)
    trained = embed(windows, weights, noise)
    assert trained.future_SBFC is not None
    is_hidden_B = trained.x_SBTI[0, :, 0, 0] < 0
    assert 0.035 < is_hidden_B.float().mean() < 0.065
    assert torch.equal(trained.x_SBTI, trained.future_SBFC)
    assert torch.equal(trained.x_SBTI[..., 0, :], trained.x_SBTI[..., 1, :])
    assert (embed(windows, weights).x_SBTI == 1).all(), "nothing is hidden from what is judged or serves"
