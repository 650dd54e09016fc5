"""Sample paths of forecasts: their rows, and the coverage of sums over the horizon."""

from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from forecasting.errors import DataWarning
from forecasting.evaluate.conformal import find_factors
from forecasting.evaluate.dependence import CORRELATIONS, find_correlations
from forecasting.fleet.options import FitOptions
from forecasting.flow import one_shot
from forecasting.flow import sample_paths as module
from forecasting.flow.admissible import calibrate
from forecasting.flow.sample_paths import find_demands, no_paths, sample_paths
from forecasting.flow.shards import backtest_shard, predict_shard
from forecasting.series.panel import Panel
from forecasting.spec.spec import Spec

HORIZON = 4
START = datetime(2024, 1, 1)
QUANTILES = (0.1, 0.5, 0.9)


def spec_of(**fields: Any) -> Spec:
    named = {"name": "small", "source": {"uri": "/source.csv"}, "freq": "1h", "season_lengths": (4,)}
    return Spec(**named | {"horizon": HORIZON, "quantiles": QUANTILES, "paths": 50} | fields)


def forecasts_of(*names: str, model: str = "combination", low: float = 1.0) -> pl.DataFrame:
    steps = pl.DataFrame({"step": range(1, HORIZON + 1)})
    rows = pl.DataFrame({"unique_id": names}, schema={"unique_id": pl.String()}).join(steps, how="cross")
    return rows.select(
        "unique_id",
        pl.lit(START).alias("cutoff"),
        (pl.lit(START) + pl.duration(hours=pl.col("step"))).alias("ds"),
        model=pl.lit(model),
        is_champion=pl.lit(True),
        q10=low + pl.col("step"),
        q50=low + pl.col("step") + 2.0,
        q90=low + pl.col("step") + 6.0,
    )


def correlations_of(**shares: float) -> pl.DataFrame:
    lag = np.abs(np.subtract.outer(np.arange(HORIZON), np.arange(HORIZON)))
    rows = [
        (model, step + 1, (share**lag)[step].tolist(), 9, 0.5)
        for model, share in shares.items()
        for step in range(HORIZON)
    ]
    return pl.DataFrame(rows, schema=CORRELATIONS, orient="row")


def draw(forecasts: pl.DataFrame, correlations: pl.DataFrame | None = None, **fields: Any) -> pl.DataFrame:
    matrices = correlations_of(combination=0.7) if correlations is None else correlations
    return pl.concat([no_paths(forecasts), *sample_paths(forecasts, matrices, spec_of(**fields), demands={})])


def test_every_series_has_the_requested_paths_over_its_whole_horizon_sorted() -> None:
    forecasts = forecasts_of("b", "a")
    paths = draw(forecasts)
    assert paths.columns == ["unique_id", "model", "cutoff", "ds", "path", "y"]
    assert paths.height == 2 * 50 * HORIZON
    assert paths.sort("unique_id", "path", "ds").equals(paths)
    assert paths.group_by("unique_id", "path").agg(pl.col("ds").sort()).select("ds").n_unique() == 1
    assert set(paths["path"]) == set(range(1, 51))
    assert paths["ds"].unique().sort().equals(forecasts["ds"].unique().sort())


def test_only_champions_with_a_forecast_have_paths() -> None:
    other = forecasts_of("a", model="lstm", low=100.0).with_columns(is_champion=pl.lit(False))
    none = forecasts_of("none", model="none").with_columns(pl.lit(None, pl.Float64).alias(name) for name in ("q50",))
    paths = draw(pl.concat([other, none, forecasts_of("a")]))
    assert set(paths["unique_id"]) == {"a"}
    assert paths["y"].max() < 50  # type: ignore[operator]
    assert draw(none).is_empty()
    assert draw(none).schema == paths.schema


def test_series_are_drawn_some_at_a_time_with_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    forecasts = forecasts_of(*"abcdefg")
    whole = draw(forecasts)
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 2 * 50 * HORIZON)
    parts = list(sample_paths(forecasts, correlations_of(combination=0.7), spec_of(), demands={}))
    assert [part["unique_id"].n_unique() for part in parts] == [2, 2, 2, 1]
    assert pl.concat(parts).equals(whole)
    assert draw(forecasts_of("c")).equals(whole.filter(unique_id="c"))


def test_dtypes_of_names_and_times_do_not_change_paths() -> None:
    forecasts = forecasts_of("10", "9")
    native = forecasts.with_columns(pl.col("unique_id").cast(pl.Int32), pl.col("ds").cast(pl.Datetime("ms")))
    paths = draw(native)
    assert paths["unique_id"].unique(maintain_order=True).to_list() == [9, 10]
    assert paths.schema["ds"] == pl.Datetime("ms")
    text = draw(forecasts)
    for name in ("9", "10"):
        assert paths.filter(unique_id=int(name))["y"].equals(text.filter(unique_id=name)["y"])


def test_paths_keep_the_lower_bound_and_whole_numbers() -> None:
    paths = draw(forecasts_of("a", low=-1.0), lower_bound=0.5, integer_valued=True)["y"]
    assert paths.min() == 1
    assert (paths == paths.round()).all()
    assert draw(forecasts_of("a", low=-1.0))["y"].min() < 0  # type: ignore[operator]


def test_only_intermittent_series_have_demands() -> None:
    measured = {
        "slow": [0, 0, 0, 4, None],
        "steady": [0, 2, 3, 4, 5],
        "signed": [0, 0, 0, 4, -1],
        "none": [0, 0, 0, 0, 0],
    }
    history = pl.DataFrame([{"unique_id": name, "y": y} for name, y in measured.items()]).explode("y")
    demands = find_demands(history)
    assert list(demands) == ["slow"]
    assert (demands["slow"].sizes.tolist(), demands["slow"].share) == ([4.0], 0.25)


def test_past_demands_reach_the_paths_of_their_series_alone() -> None:
    zeros = forecasts_of("1", "2").with_columns(q10=pl.lit(0.0), q50=pl.lit(0.0), q90=pl.lit(0.0))
    native = zeros.with_columns(pl.col("unique_id").cast(pl.Int32))
    demands = find_demands(pl.DataFrame({"unique_id": [1] * 20, "y": [0.0] * 19 + [7.0]}))
    paths = pl.concat(sample_paths(native, correlations_of(combination=0.7), spec_of(paths=200), demands=demands))
    of_one, of_two = (paths.filter(unique_id=name)["y"] for name in (1, 2))
    assert of_one.mean() == pytest.approx(7 / 20)
    assert of_two.max() == 0


def crossings(paths: pl.DataFrame) -> int:
    """Count pairs of a path and a step at which its rank among all paths differs from that at the first step."""
    places = paths.with_columns(place=pl.col("y").rank().over("ds")).sort("path", "ds")
    return int((places["place"] != places.select(pl.col("place").first().over("path"))["place"]).sum())


def test_a_model_without_correlations_takes_the_mean_of_the_others_or_fully_correlated_steps() -> None:
    forecasts = forecasts_of("a", model="naive")
    mean = correlations_of(lstm=0.0, gru=0.8)
    halves = mean.group_by("step", maintain_order=True).agg(pl.col("correlations").list.to_array(HORIZON).alias("both"))
    expected = np.array(halves["both"].to_list()).mean(1)
    own = correlations_of(naive=0.0).with_columns(correlations=pl.Series(expected.tolist()))
    assert draw(forecasts, mean).equals(draw(forecasts, own))
    assert crossings(draw(forecasts, own)) > 0
    assert crossings(draw(forecasts, mean.clear())) == 0


def test_correlations_of_another_horizon_are_ignored() -> None:
    stored = correlations_of(combination=0.7)
    assert crossings(draw(forecasts_of("a"), stored)) > 0
    longer = stored.with_columns(pl.col("correlations").list.concat([pl.lit([0.5])]))
    assert crossings(draw(forecasts_of("a"), longer)) == 0


SERIES, POINTS, SUMMED = 400, 160, 12


@pytest.fixture(scope="module")
def wandering() -> tuple[Spec, pl.DataFrame, pl.DataFrame, np.ndarray]:
    """Calibrated forecasts of AR(1) series with coefficient 0.6, their correlations, and the actuals."""
    rng = np.random.default_rng(0)
    y_SN = rng.normal(size=(SERIES, POINTS + SUMMED))
    for point in range(1, POINTS + SUMMED):
        y_SN[:, point] += 0.6 * y_SN[:, point - 1]
    hours = np.datetime64("2024-01-01", "us") + np.arange(POINTS + SUMMED) * np.timedelta64(1, "h")
    panel = Panel(
        tuple(f"s{row:03d}" for row in range(SERIES)),
        y_SN[:, :POINTS],
        np.full(SERIES, POINTS),
        np.zeros((SERIES, POINTS + SUMMED, 0), dtype=np.float32),
        np.tile(hours, (SERIES, 1)),
        horizon=SUMMED,
    )
    fields = {"horizon": SUMMED, "season_lengths": (1,), "statistics": ("ces",), "paths": 200, "models": ("gru",)}
    spec = spec_of(**fields, quantiles=(0.025, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.975))
    backtested = backtest_shard(panel, spec, [], networks=spec.models)
    forecasts = predict_shard(panel, spec, [], backtested.champions, networks=spec.models)
    forecasts = calibrate(forecasts, find_factors(backtested.ratios, horizon=SUMMED), spec)
    correlations = find_correlations([backtested.products], horizon=SUMMED)
    return spec, forecasts.filter("is_champion"), correlations, y_SN[:, POINTS:]


def test_sums_of_paths_are_calibrated_where_sums_of_quantiles_are_not(wandering: Any) -> None:
    spec, forecasts, correlations, later_SF = wandering
    total_S = later_SF.sum(1)

    def held(low: pl.Series, high: pl.Series) -> float:
        return float(((total_S >= low.to_numpy()) & (total_S <= high.to_numpy())).mean())

    def held_by_paths(correlations: pl.DataFrame) -> float:
        sums = (
            pl.concat(sample_paths(forecasts, correlations, spec, demands={}))
            .group_by("unique_id", "path")
            .agg(pl.col("y").sum())
        )
        ends = (pl.col("y").quantile(level, "linear").alias(name) for level, name in ((0.1, "low"), (0.9, "high")))
        by_series = sums.group_by("unique_id").agg(ends).sort("unique_id")
        return held(by_series["low"], by_series["high"])

    of_quantiles = forecasts.group_by("unique_id").agg(pl.col("q10", "q90").sum()).sort("unique_id")
    independent = correlations.with_columns(correlations=pl.Series(np.eye(SUMMED)[correlations["step"] - 1].tolist()))
    assert held_by_paths(correlations) == pytest.approx(0.8, abs=0.04)
    assert held(of_quantiles["q10"], of_quantiles["q90"]) > 0.9
    assert held_by_paths(independent) < 0.7


def test_steps_of_paths_have_the_published_quantiles(wandering: Any) -> None:
    spec, forecasts, correlations, _ = wandering
    paths = (
        pl.concat(sample_paths(forecasts, correlations, spec, demands={}))
        .group_by("unique_id", "ds")
        .agg(
            **{
                name: pl.col("y").quantile(level, "linear")
                for name, level in (("p10", 0.1), ("p50", 0.5), ("p90", 0.9))
            }
        )
    )
    both = forecasts.join(paths, on=["unique_id", "ds"])
    for mine, published in (("p10", "q10"), ("p50", "q50"), ("p90", "q90")):
        width = both["q90"] - both["q10"]
        assert ((both[mine] - both[published]).abs() / width).max() < 0.01  # type: ignore[operator]


def test_sums_of_paths_of_an_intermittent_demand_have_its_mean_and_spread(tmp_path: Path) -> None:
    """Demand of 6 to 14 pieces on one day of five: 56 in four weeks, in 80 % of cases 29 to 84."""
    rng = np.random.default_rng(3)
    days = pl.DataFrame({"ds": pl.date_range(date(2023, 1, 2), date(2024, 6, 24), eager=True)})
    parts = [
        days.with_columns(unique_id=pl.lit(f"item {item}"), y=(rng.random(540) < 0.2) * rng.integers(6, 15, 540) * 1.0)
        for item in range(6)
    ]
    pl.concat(parts).write_parquet(tmp_path / "demand.parquet")
    source = {"uri": str(tmp_path / "demand.parquet")}
    spec = Spec(
        name="slow",
        source=source,
        freq="1d",
        season_lengths=(7,),
        horizon=28,
        recipe="fast",
        models=("gru",),
        paths=200,
        lower_bound=0,
    )
    note = "6 of 6 series, such as 'item 0', are forecast 0 at every step: .* the sums of sample paths is$"
    with pytest.warns(DataWarning, match=note):
        outcome = one_shot.forecast(spec, options=FitOptions(show_progress=False))
    served = outcome.forecasts.filter("is_champion")
    assert served["q50"].max() == 0
    assert served["q70"].mean() < 0.5 < 5 < served["q90"].mean()  # type: ignore[operator]
    demands = find_demands(outcome.features)
    paths = pl.concat(sample_paths(outcome.forecasts, outcome.correlations, spec, demands=demands))
    sums = paths.group_by("unique_id", "path").agg(pl.col("y").sum())
    assert sums["y"].mean() == pytest.approx(56, rel=0.15)
    ends = sums.group_by("unique_id").agg(low=pl.col("y").quantile(0.1), high=pl.col("y").quantile(0.9))
    assert (ends["low"].mean(), ends["high"].mean()) == (pytest.approx(29, abs=8), pytest.approx(84, abs=12))
