"""The whole flow on small fleets: every series has a champion, nothing after the cutoff matters, and runs repeat."""

import gc
import math
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from forecasting.errors import SourceError, UserError
from forecasting.fleet.fitted import FittedFleet
from forecasting.fleet.module import FleetModule
from forecasting.fleet.predict import predict
from forecasting.flow import one_shot, shards
from forecasting.flow.learn import train_network, train_priors, train_shard
from forecasting.flow.members import MemberKey, members_with_prior, origins_of
from forecasting.flow.one_shot import OneShot, forecast
from forecasting.flow.outcome import Keeps
from forecasting.flow.processes import Crew
from forecasting.flow.registry import registry_rows
from forecasting.flow.serving import join_versions
from forecasting.flow.shards import backtest_shard, predict_shard
from forecasting.series.ingest import ingest, panel_of
from forecasting.spec.recipes import configure
from forecasting.spec.spec import Spec, make_spec

pytestmark = pytest.mark.filterwarnings(
    "ignore:1 of 432 rows are refused",
    "ignore:1 series get no forecast",
    "ignore:1 of . series get no forecast, such as .all_null",
)

START = datetime(2024, 1, 1)
NUM_POINTS = 72
HORIZON = 4
SEASON = 6
QUICK = {
    "max_steps": 20,
    "hidden_size": 4,
    "batch_windows": 4,
    "validation_windows": 4,
    "evaluate_every": 10,
    "prior_steps": 20,
    "prior_hidden_size": 4,
    "prior_windows": 8,
    "tuning_steps": 10,
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


def wave(seed: int, num_points: int = NUM_POINTS) -> list[float | None]:
    points = np.arange(num_points)
    noise = np.random.default_rng(seed).normal(0, 0.4, num_points)
    return (20 + 5 * np.sin(2 * np.pi * points / SEASON + seed) + noise).tolist()


def hours(num_points: int, last: int = NUM_POINTS) -> list[datetime]:
    """The last hours of the fleet's span."""
    return [START + timedelta(hours=hour) for hour in range(last - num_points, last)]


def frame_of(series: dict[str, tuple[list[Any], list[float | None]]]) -> pl.DataFrame:
    return pl.concat(
        pl.DataFrame({"unique_id": [name] * len(ds), "ds": ds, "y": pl.Series(y, dtype=pl.Float64)}, strict=False)
        for name, (ds, y) in series.items()
    )


def odd_fleet() -> pl.DataFrame:
    gappy = [None if 20 <= hour < 40 or hour % 5 == 0 else y for hour, y in enumerate(wave(9))]
    return frame_of(
        {
            "all_null": (hours(NUM_POINTS), [None] * NUM_POINTS),
            "constant": (hours(NUM_POINTS), [7.0] * NUM_POINTS),
            "ended": (hours(60, last=60), wave(4, 60)),
            "gappy": (hours(NUM_POINTS), gappy),
            "one_point": (hours(1), [3.0]),
            "plain": (hours(NUM_POINTS), wave(1)),
            "plain_too": (hours(NUM_POINTS), wave(2)),
            "rejected": (hours(3), [math.nan, math.inf, math.nan]),
            "too_short": (hours(8), wave(3, 8)),
        }
    )


@pytest.fixture(scope="module")
def spec_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Spec]:
    """Write rows to a file of their own and describe a quick forecast of them."""

    def build(rows: pl.DataFrame, **fields: Any) -> Spec:
        path = tmp_path_factory.mktemp("source") / "rows.parquet"
        rows.write_parquet(path)
        overrides = QUICK | fields.pop("overrides", {})
        defaults = {"name": "quick", "freq": "1h", "season_lengths": [SEASON], "horizon": HORIZON}
        return make_spec(
            defaults | {"source": {"uri": str(path)}, "overrides": overrides} | fields, subject="the test's spec"
        )

    return build


@pytest.fixture(scope="module")
def odd_run(spec_of: Callable[..., Spec]) -> OneShot:
    return forecast(spec_of(odd_fleet()))


def served(outcome: OneShot) -> pl.DataFrame:
    return outcome.forecasts.filter("is_champion")


def values_of(outcome: OneShot, **equals: Any) -> np.ndarray:
    rows = outcome.forecasts.filter(*(pl.col(name) == value for name, value in equals.items()))
    return rows.sort("unique_id", "model", "ds").select("^q\\d.*$").to_numpy()


def test_every_series_has_exactly_one_champion_over_the_whole_horizon(odd_run: OneShot) -> None:
    counts = (
        served(odd_run).group_by("unique_id").agg(rows=pl.len(), models=pl.col("model").n_unique()).sort("unique_id")
    )
    assert counts["unique_id"].to_list() == sorted(odd_fleet()["unique_id"].unique())
    assert counts["rows"].to_list() == [HORIZON] * counts.height
    assert counts["models"].to_list() == [1] * counts.height


@pytest.mark.parametrize(
    ("name", "model", "reason"),
    [
        ("all_null", "none", "has no observed point"),
        ("constant", "seasonal_naive_6", "is constant"),
        ("one_point", "naive", "has 1 observed point"),
        ("rejected", "none", "none is a measurement"),
    ],
)
def test_champion_of_an_odd_series_is_the_simplest_model_that_can_forecast_it_with_the_reason(
    odd_run: OneShot, name: str, model: str, reason: str
) -> None:
    rows = served(odd_run).filter(unique_id=name)
    assert rows["model"].unique().to_list() == [model]
    assert reason in rows["reason"][0]


def test_champion_of_a_series_too_short_for_a_backtest_is_the_combination_with_the_reason(odd_run: OneShot) -> None:
    rows = served(odd_run).filter(unique_id="too_short")
    assert rows["model"].unique().to_list() == ["combination"]
    assert rows["reason"].null_count() == rows.height
    (champion,) = odd_run.champions.filter(unique_id="too_short").iter_rows(named=True)
    assert champion["reason"].startswith("combination: series is too short for a comparison")


def test_champion_of_a_series_is_the_model_that_its_forecast_names(odd_run: OneShot) -> None:
    chosen = dict(odd_run.champions.select("unique_id", "model").iter_rows())
    assert chosen == dict(served(odd_run).select("unique_id", "model").unique().iter_rows())
    assert chosen["all_null"] == chosen["rejected"] == "none"


def test_series_without_any_value_has_rows_without_values(odd_run: OneShot) -> None:
    for name in ("all_null", "rejected"):
        assert served(odd_run).filter(unique_id=name)["forecast"].null_count() == HORIZON


def test_series_with_values_has_finite_quantiles_that_rise(odd_run: OneShot) -> None:
    rows = served(odd_run).filter(~pl.col("unique_id").is_in(["all_null", "rejected"]))
    quantiles = rows.select("^q\\d.*$").to_numpy()
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=1) >= 0).all()
    assert rows["forecast"].equals(rows["q50"].alias("forecast"))


def test_gappy_series_has_networks_that_could_be_compared(odd_run: OneShot) -> None:
    models = odd_run.backtests.filter(unique_id="gappy")["model"].unique().to_list()
    assert {"lstm", "gru", "seasonal_naive_6"} <= set(models)
    assert odd_run.champions.filter(unique_id="gappy")["is_fallback"].to_list() == [False]


def test_series_that_lags_forecasts_from_the_runs_cutoff_with_gaps_before_it(odd_run: OneShot) -> None:
    ended = served(odd_run).filter(unique_id="ended").sort("ds")
    last = START + timedelta(hours=NUM_POINTS - 1)
    assert odd_run.features.filter(unique_id="ended").sort("ds")["y"].is_null().sum() == NUM_POINTS - 60
    assert ended["cutoff"].unique().to_list() == [last]
    assert ended["ds"].to_list() == [last + timedelta(hours=step) for step in range(1, HORIZON + 1)]


def test_wholly_rejected_series_forecasts_from_the_runs_cutoff(odd_run: OneShot) -> None:
    rejected = served(odd_run).filter(unique_id="rejected")
    assert rejected["cutoff"].unique().to_list() == [START + timedelta(hours=NUM_POINTS - 1)]
    assert odd_run.rejects.filter(unique_id="rejected")["reason"].sort().to_list() == [
        "y is NaN",
        "y is NaN",
        "y is infinite",
    ]


def test_integer_clock_continues_by_its_step(spec_of: Callable[..., Spec]) -> None:
    steps = list(range(0, 5 * NUM_POINTS, 5))
    rows = frame_of({"a": (steps, wave(1)), "b": (steps[:30], wave(2, 30))})
    spec = spec_of(rows, freq=5)
    spec = spec.model_copy(update={"source": spec.source.model_copy(update={"ended": "forecast"})})
    rows = served(forecast(spec))
    assert rows.schema["ds"] == rows.schema["cutoff"] == pl.Int64()
    assert rows.filter(unique_id="b").sort("ds")["ds"].to_list() == [150, 155, 160, 165]


def test_month_ends_continue_as_month_ends(spec_of: Callable[..., Spec]) -> None:
    ends = pl.date_range(date(2015, 1, 1), date(2021, 1, 1), "1mo", eager=True).dt.month_end().cast(pl.Datetime("us"))
    spec = spec_of(
        frame_of({"a": (ends.to_list(), wave(1, len(ends)))}), freq="1mo", season_lengths=[12], models=["gru"]
    )
    following = served(forecast(spec)).sort("ds")["ds"].dt.date().to_list()
    assert following == [date(2021, 2, 28), date(2021, 3, 31), date(2021, 4, 30), date(2021, 5, 31)]


def test_second_run_gives_equal_values(spec_of: Callable[..., Spec], odd_run: OneShot) -> None:
    again = forecast(spec_of(odd_fleet()))
    for name in ("forecasts", "backtests", "champions"):
        assert getattr(again, name).equals(getattr(odd_run, name))


def test_order_of_input_rows_does_not_matter(spec_of: Callable[..., Spec], odd_run: OneShot) -> None:
    shuffled = forecast(spec_of(odd_fleet().sample(fraction=1.0, shuffle=True, seed=3)))
    assert shuffled.forecasts.equals(odd_run.forecasts)
    assert shuffled.champions.equals(odd_run.champions)


def test_shard_size_changes_no_value_beyond_rounding(spec_of: Callable[..., Spec], odd_run: OneShot) -> None:
    alone = forecast(spec_of(odd_fleet()), shard_size=1)
    keys = ["unique_id", "model", "ds"]
    assert alone.forecasts.select(keys).equals(odd_run.forecasts.select(keys))
    here, there = (values_of(run, unique_id="plain") for run in (alone, odd_run))
    scale = np.abs(np.diff(np.array(wave(1)))).mean()
    assert np.abs(here - there).max() <= 1e-5 * scale


def test_seed_changes_the_networks_forecasts(spec_of: Callable[..., Spec], odd_run: OneShot) -> None:
    other = forecast(spec_of(odd_fleet(), seed=1))
    assert not np.allclose(values_of(other, model="gru"), values_of(odd_run, model="gru"))


def test_nothing_after_the_cutoff_matters(spec_of: Callable[..., Spec]) -> None:
    cutoff = START + timedelta(hours=60)
    rows = odd_fleet()
    garbage = rows.with_columns(
        y=pl.when(pl.col("ds") > cutoff).then(-1e9).otherwise("y"),
        ds=pl.when(pl.col("ds") > cutoff).then(pl.col("ds") + timedelta(minutes=7)).otherwise("ds"),
    )
    truth, altered = (forecast(spec_of(known), cutoff=cutoff) for known in (rows, garbage))
    for name in ("forecasts", "backtests", "champions"):
        assert getattr(truth, name).equals(getattr(altered, name))
    assert truth.forecasts["cutoff"].max() == cutoff


@pytest.mark.filterwarnings("ignore:253 of 326 measurements are not whole numbers")
def test_counts_are_forecast_in_whole_numbers_by_every_model(spec_of: Callable[..., Spec]) -> None:
    rows = odd_fleet()
    free, whole = (forecast(spec_of(rows, integer_valued=flag)).forecasts for flag in (False, True))
    columns = [name for name in whole.columns if name.startswith("q")] + ["forecast"]
    rounded = free.select(pl.col(columns).round(mode="half_to_even"))
    assert not free.select(columns).equals(rounded)
    # Intervals of counts have a calibration of their own; medians have none.
    assert whole.select("forecast", "q50").equals(rounded.select("forecast", "q50"))
    values = whole.select(columns).drop_nulls().to_numpy()
    assert (values == np.rint(values)).all()


def test_lower_bound_holds_for_every_model_and_quantile(spec_of: Callable[..., Spec]) -> None:
    sparse = [float(max(0.0, value - 22)) for value in wave(1) if value is not None]
    rows = frame_of({"sparse": (hours(NUM_POINTS), sparse), "short": (hours(8), sparse[:8])})
    free, bound = (forecast(spec_of(rows, lower_bound=lower)) for lower in (None, 0.0))
    assert values_of(free).min() < 0
    assert values_of(bound).min() == 0


@pytest.mark.parametrize("network", ["lstm", "gru"])
def test_the_only_requested_network_is_champion(spec_of: Callable[..., Spec], network: str) -> None:
    outcome = forecast(spec_of(odd_fleet(), models=[network]))
    models = dict(served(outcome).select("unique_id", "model").unique().iter_rows())
    assert {models[name] for name in ("plain", "plain_too", "gappy", "ended")} == {network}
    assert served(outcome).filter(unique_id="plain")["reason"].null_count() == HORIZON
    assert models["too_short"] == network, "the prior serves what is too short to learn from"
    fallback = served(outcome).filter(unique_id="constant")
    assert "is constant" in fallback["reason"][0]
    assert fallback["model"][0] == "seasonal_naive_6"


def test_seasonal_naive_is_champion_where_networks_must_be_far_better(spec_of: Callable[..., Spec]) -> None:
    outcome = forecast(spec_of(odd_fleet(), backtest={"margin": 0.99}))
    assert served(outcome).filter(unique_id="plain")["model"].unique().to_list() == ["seasonal_naive_6"]


def test_progress_reports_the_series_that_are_done_and_all_series(spec_of: Callable[..., Spec]) -> None:
    counts: list[tuple[int, int]] = []
    forecast(spec_of(odd_fleet()), shard_size=4, on_shard=lambda done, total: counts.append((done, total)))
    assert counts == [(0, 9), (4, 9), (8, 9), (9, 9)]


def test_suitable_size_keeps_workers_busy_and_memory_bounded(
    spec_of: Callable[..., Spec], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(odd_fleet())
    features = ingest(spec).features
    sizes = {num: one_shot.suitable_size(spec, features, num_workers=num) for num in (1, 2, 100)}
    assert sizes == {1: 8, 2: 4, 100: 1}  # one of the nine has no features
    monkeypatch.setattr(one_shot, "MOST_BYTES", 0)
    assert one_shot.suitable_size(spec, features) == 1


def test_given_runner_gets_every_panel_once(spec_of: Callable[..., Spec], odd_run: OneShot) -> None:
    sizes: list[int] = []

    def backwards(task: Any, panels: Any, on_shard: Any) -> list[Any]:
        sizes.extend(len(panel.unique_ids) for panel in panels)
        return [task(panel) for panel in reversed(panels)][::-1]

    outcome = forecast(spec_of(odd_fleet()), shard_size=4, run_shards=backwards)
    assert sizes == [4, 4, 1]
    assert (
        outcome.forecasts["unique_id"].unique(maintain_order=True).to_list()
        == odd_run.forecasts["unique_id"].unique().sort().to_list()
    )


def test_few_series_that_processes_share_by_member_have_the_same_forecasts(spec_of: Callable[..., Spec]) -> None:
    members = [{}, {"start": "prior"}]
    spec = spec_of(odd_fleet(), overrides=QUICK | {"members": members, "prior_steps": 20, "tuning_steps": 4})
    keeps = Keeps(correlations=True, networks=True)
    whole = forecast(spec, keeps=keeps, shard_size=9)
    with Crew(2) as crew:
        crew.start("networks")
        shared = forecast(spec, keeps=keeps, crew=crew)
    for name in ("forecasts", "backtests", "champions", "factors", "correlations"):
        assert_frame_equal(getattr(shared, name), getattr(whole, name))
    assert (shared.fitted, shared.priors) == (whole.fitted, whole.priors)


def test_processes_are_started_for_few_series_only_if_the_work_is_worth_it(
    spec_of: Callable[..., Spec], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(odd_fleet(), recipe="fast", models=["gru"], statistics=[])
    with Crew(2) as crew:
        forecast(spec, crew=crew)
        assert not crew.has_started
    monkeypatch.setattr(one_shot, "WORTH_PROCESSES", 0)
    with Crew(2) as crew:
        forecast(spec, crew=crew)
        assert crew.has_started


def test_source_without_a_measurement_is_refused(spec_of: Callable[..., Spec]) -> None:
    with pytest.raises(SourceError, match="no accepted observation"):
        forecast(spec_of(frame_of({"a": (hours(3), [None, math.nan, None])})))


def test_cutoff_before_every_row_is_refused(spec_of: Callable[..., Spec]) -> None:
    with pytest.raises(SourceError, match="names no series at or before 2020"):
        forecast(spec_of(odd_fleet()), cutoff=datetime(2020, 1, 1))


def test_ingest_takes_the_newest_observation_not_after_a_time(spec_of: Callable[..., Spec]) -> None:
    spec = spec_of(odd_fleet())
    assert ingest(spec).cutoff == START + timedelta(hours=NUM_POINTS - 1)
    ingested = ingest(spec, as_of=START + timedelta(hours=51))  # when the hour from 50 on is over
    assert ingested.cutoff == START + timedelta(hours=50)
    assert ingested.features["ds"].max() == ingested.cutoff


def test_ingest_keeps_the_requested_series(spec_of: Callable[..., Spec]) -> None:
    spec = spec_of(odd_fleet())
    assert ingest(spec, series=["plain", "rejected"]).unique_ids == ["plain", "rejected"]
    with pytest.raises(UserError, match="is it 'plain'"):
        ingest(spec, series=["plian"])


def test_rows_without_a_name_make_no_series(spec_of: Callable[..., Spec]) -> None:
    nameless = frame_of({"  ": (hours(3), [1.0, 2.0, 3.0]), "": (hours(1), [1.0]), "a": (hours(30), wave(1, 30))})
    ingested = ingest(spec_of(nameless))
    assert ingested.unique_ids == ["a"]
    assert ingested.rejects.height == 4


@pytest.fixture(scope="module")
def trained(spec_of: Callable[..., Spec]) -> Any:
    spec = spec_of(odd_fleet(), models=["gru"])
    ingested = ingest(spec)
    panel = panel_of(ingested.features, spec, ingested.unique_ids, run_cutoff=ingested.cutoff)
    return spec, panel, train_shard(panel, spec, networks=["gru"])


def test_registry_has_a_row_per_series_and_role_trained_or_not(trained: Any) -> None:
    _, panel, fleets = trained
    for fleet in fleets:
        rows = registry_rows(fleet, panel)
        assert rows["unique_id"].to_list() == sorted(panel.unique_ids)
        status = dict(rows.select("unique_id", "status").iter_rows())
        assert status["plain"] == "trained"
        assert status["too_short"] == status["one_point"] == "too_short"
        assert status["constant"] == "constant"
        assert status["all_null"] == status["rejected"] == "empty"
        refused = rows.filter(pl.col("status") != "trained")
        assert refused["reason"].null_count() == 0
        assert refused["version"].null_count() == refused.height


def test_versions_of_the_registry_are_not_computed_again(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, panel, fleets = trained
    serving = [fleet for fleet in fleets if fleet.role == "serving"]
    champions = backtest_shard(panel, spec, fleets[:1], networks=["gru"]).champions
    computed = predict_shard(panel, spec, serving, champions, networks=["gru"])
    registry = join_versions(pl.concat(registry_rows(fleet, panel) for fleet in serving))
    monkeypatch.setattr(FittedFleet, "versions", None)
    looked_up = predict_shard(panel, spec, serving, champions, networks=["gru"], versions=registry)
    assert looked_up.equals(computed)
    of_networks = looked_up.filter(pl.col("model").is_in(["gru", "combination"]))
    assert of_networks["model_version"].null_count() == 0
    assert looked_up["model_version"].null_count() == looked_up.height - of_networks.height


def test_fleet_that_is_fitted_leaves_no_optimiser_in_memory(
    spec_of: Callable[..., Spec], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(odd_fleet(), models=["gru"])
    ingested = ingest(spec)
    panel = panel_of(ingested.features, spec, ingested.unique_ids, run_cutoff=ingested.cutoff)
    members = members_with_prior(spec, ["gru"])
    priors = {member: own for member in members if (own := train_priors(panel, spec, *member))}
    alive: WeakSet[FleetModule] = WeakSet()
    seen: list[int] = []
    start = FleetModule.__init__

    def watched(module: FleetModule, *arguments: Any, **options: Any) -> None:
        seen.append(len(alive))
        start(module, *arguments, **options)
        alive.add(module)

    monkeypatch.setattr(FleetModule, "__init__", watched)
    gc.collect()
    gc.disable()
    try:
        for _ in train_network(panel, spec, "gru", priors=priors):
            pass
    finally:
        gc.enable()
    assert seen == [0] * 2 * len(configure(spec).members)
    assert not alive


def test_candidate_never_sees_what_lies_after_its_first_origin(trained: Any) -> None:
    spec, panel, fleets = trained
    num_held = origins_of(panel, spec).max(1)
    altered = panel.y_SN.copy()
    for row, held in enumerate(num_held):
        if held:
            altered[row, -held:] = 1e6
    again = train_shard(replace(panel, y_SN=altered), spec, networks=["gru"])
    before, after = (next(fleet for fleet in run if fleet.role == "candidate") for run in (fleets, again))
    assert num_held.max() > 0
    for name, weight in before.weights.items():
        assert torch.equal(weight, after.weights[name])


MEMBERS = [{"transform": "none"}, {"transform": "log", "context_segments": 2}, {"transform": "none"}]


@pytest.fixture(scope="module")
def ensembles(spec_of: Callable[..., Spec]) -> Any:
    """Three members of one network, candidates and serving."""
    spec = spec_of(odd_fleet(), models=["gru"], overrides={"members": MEMBERS})
    ingested = ingest(spec)
    panel = panel_of(ingested.features, spec, ingested.unique_ids, run_cutoff=ingested.cutoff)
    fleets = train_shard(panel, spec, networks=["gru"])
    return spec, panel, fleets, [fleet for fleet in fleets if fleet.role == "serving"]


def test_forecast_of_a_network_is_the_median_of_its_members(ensembles: Any) -> None:
    spec, panel, fleets, serving = ensembles
    champions = backtest_shard(panel, spec, [f for f in fleets if f.role == "candidate"], networks=["gru"]).champions
    made = predict_shard(panel, spec, serving, champions, networks=["gru"]).filter(unique_id="plain", model="gru")
    row = panel.unique_ids.index("plain")
    member_KFQ = np.stack([predict(fleet, panel)[row] for fleet in serving])
    assert np.allclose(made.select(spec.quantile_columns).to_numpy(), np.median(member_KFQ, axis=0))
    assert len({fleet.versions()[fleet.unique_ids.index("plain")] for fleet in serving}) == 3
    versions = [fleet.versions()[fleet.unique_ids.index("plain")] for fleet in serving]
    assert made["model_version"].unique().to_list() == ["+".join(versions)]


def test_a_member_without_a_forecast_of_a_series_does_not_count_there(ensembles: Any) -> None:
    _, panel, _, serving = ensembles
    row = panel.unique_ids.index("plain")
    others = [name for name in serving[0].unique_ids if name != "plain"]
    parts = [serving[0].select(others), serving[1].select(["plain"]), serving[1].select(others), serving[2]]
    members = {key: forecaster(panel) for key, forecaster in shards._members(parts, "auto").items()}
    median_SFQ = shards._median(list(members.values()))
    assert np.allclose(median_SFQ[row], np.median([predict(fleet, panel)[row] for fleet in serving[1:]], axis=0))
    empty = panel.unique_ids.index("all_null")
    assert np.isnan(median_SFQ[empty]).all()


def test_members_are_combined_in_the_order_of_their_names_as_text() -> None:
    fleets: Any = [SimpleNamespace(model=model, member=number) for model in ("lstm", "gru") for number in (2, 10, 0)]
    names = [str(key) for key in shards._members(fleets, "auto")]
    assert names == ["gru/0", "gru/10", "gru/2", "lstm/0", "lstm/10", "lstm/2"]


def test_registry_has_a_row_per_member(ensembles: Any) -> None:
    _, panel, fleets, _ = ensembles
    rows = pl.concat(registry_rows(fleet, panel) for fleet in fleets).filter(unique_id="plain", status="trained")
    assert sorted(rows.select("member", "role").rows()) == [
        (member, role) for member in range(3) for role in ("candidate", "serving")
    ]


def season_and_demand() -> pl.DataFrame:
    """A trend, which no seasonal naive follows; a demand; a series too short for a network."""
    rng = np.random.default_rng(1)
    trend = (np.arange(NUM_POINTS) * 2.0 + rng.normal(0, 0.1, NUM_POINTS)).tolist()
    demand = ((rng.random(NUM_POINTS) < 0.3) * rng.integers(1, 5, NUM_POINTS)).astype(float).tolist()
    return frame_of(
        {"demand": (hours(NUM_POINTS), demand), "short": (hours(9), wave(3, 9)), "trend": (hours(NUM_POINTS), trend)}
    )


@pytest.fixture(scope="module")
def statistics_run(spec_of: Callable[..., Spec]) -> OneShot:
    return forecast(spec_of(season_and_demand(), models=["lstm", "gru"], statistics=["theta", "tsb"]))


def test_statistical_models_are_backtested_and_forecast_the_series_of_their_kind(statistics_run: OneShot) -> None:
    for rows in (statistics_run.backtests, statistics_run.forecasts):
        kinds = rows.filter(pl.col("model").is_in(["theta", "tsb"])).select("unique_id", "model").unique()
        assert {("demand", "tsb"), ("trend", "theta")} <= set(kinds.rows())
        assert not {("demand", "theta"), ("trend", "tsb")} & set(kinds.rows())
    origins = statistics_run.backtests.group_by("unique_id", "model").agg(pl.col("origin").n_unique())
    assert origins.filter(unique_id="trend")["origin"].unique().to_list() == [3]


def test_combination_of_networks_and_statistical_models_is_champion_with_its_reason(statistics_run: OneShot) -> None:
    champion = statistics_run.champions.row(by_predicate=pl.col("unique_id") == "trend", named=True)
    assert champion["model"] == "combination"
    assert re.match(r"combination: MASE \S+ % below seasonal_naive_6 over 3 origins", champion["reason"])
    rows = served(statistics_run).filter(unique_id="trend")
    assert rows["model"].unique().to_list() == ["combination"]
    assert rows["reason"].null_count() == HORIZON
    versions = dict(statistics_run.forecasts.filter(unique_id="trend").select("model", "model_version").unique().rows())
    assert versions["combination"] == f"{versions['gru']}+{versions['lstm']}"
    assert versions["theta"] is None


def test_combination_is_the_weighted_median_of_members_statistics_and_naives(ensembles: Any) -> None:
    spec, panel, _, serving = ensembles
    makers = {**shards._members(serving, "auto"), **shards._baselines(spec)}
    quantiles = {key: forecaster(panel) for key, forecaster in makers.items()}
    row = panel.unique_ids.index("plain")
    combined = shards._assemble(spec, spec.models, quantiles)["combination"][row, 0, 6]
    values = [(each[row, 0, 6], 0.6 / 3 if isinstance(key, MemberKey) else 0.4) for key, each in quantiles.items()]
    below = sum(weight for value, weight in values if value < combined)
    above = sum(weight for value, weight in values if value > combined)
    assert max(below, above) <= 0.5 + 1e-9


def test_series_of_naives_alone_has_no_combination(odd_run: OneShot) -> None:
    combined = odd_run.forecasts.filter(model="combination")["unique_id"].unique().to_list()
    assert {"plain", "gappy", "too_short"} <= set(combined)
    assert not {"constant", "one_point", "all_null", "rejected"} & set(combined)


def test_champion_of_a_series_too_short_for_a_backtest_is_the_combination(statistics_run: OneShot) -> None:
    assert served(statistics_run).filter(unique_id="short")["model"].unique().to_list() == ["combination"]


def test_statistical_models_do_not_change_other_models(statistics_run: OneShot, spec_of: Callable[..., Spec]) -> None:
    without = forecast(spec_of(season_and_demand(), statistics=[]))
    others = ~pl.col("model").is_in(["theta", "tsb", "combination"])
    marks = ("is_champion", "reason")
    assert without.forecasts.filter(others).drop(marks).equals(statistics_run.forecasts.filter(others).drop(marks))
    assert without.backtests.filter(others).equals(statistics_run.backtests.filter(others))


def test_champion_is_forecast_though_other_statistical_models_are_chosen_by_now(spec_of: Callable[..., Spec]) -> None:
    spec = spec_of(season_and_demand(), statistics=[])
    ingested = ingest(spec)
    panel = panel_of(ingested.features, spec, ingested.unique_ids, run_cutoff=ingested.cutoff)
    champions = backtest_shard(panel, spec, [], networks=[]).champions
    altered = champions.with_columns(
        model=pl.when(pl.col("unique_id") == "trend").then(pl.lit("theta")).otherwise("model")
    )
    rows = predict_shard(panel, spec, [], altered, networks=[]).filter(model="theta")
    assert rows["unique_id"].unique().to_list() == ["trend"]
    assert rows["is_champion"].all()


def test_the_only_requested_network_is_champion_beside_statistical_models(spec_of: Callable[..., Spec]) -> None:
    outcome = forecast(spec_of(season_and_demand(), statistics=["theta"], models=["gru"]))
    assert served(outcome).filter(unique_id="trend")["model"].unique().to_list() == ["gru"]
    assert "theta" in outcome.forecasts["model"].to_list()
