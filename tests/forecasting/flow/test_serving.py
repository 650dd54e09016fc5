"""The serving model of each series: champions, the only requested network, new series and fallbacks."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from forecasting.flow.admissible import admissible
from forecasting.flow.serving import choose_serving_models, combinable, join_versions
from forecasting.series.panel import Panel
from forecasting.spec.spec import Spec, make_spec

NETWORKS = ("lstm", "gru")
MODELS = (*NETWORKS, "theta", "seasonal_naive_4", "combination")


def spec_of(**fields: Any) -> Spec:
    defaults = {"name": "a", "source": {"uri": "/a.csv"}, "freq": 1, "season_lengths": [4], "horizon": 3}
    return make_spec(defaults | {"models": list(NETWORKS)} | fields, subject="the test's spec")


@pytest.fixture
def panel(make_panel: Any) -> Panel:
    return make_panel([np.sin(np.arange(60.0)).tolist(), [1.0, 2.0]], horizon=3, unique_ids=["long", "short"])


def champions_of(**models: str) -> pl.DataFrame:
    rows = [(name, model, "seasonal_naive_4", False, f"{model}: why") for name, model in models.items()]
    schema = {"unique_id": pl.String, "model": pl.String, "baseline": pl.String, "is_fallback": pl.Boolean}
    return pl.DataFrame(rows, schema=schema | {"reason": pl.String}, orient="row")


def choose(
    panel: Panel, champions: pl.DataFrame, *, without: tuple[str, ...] = (), networks: Any = NETWORKS, **options: Any
) -> tuple[list[tuple[str, str | None]], dict[str, list[int]]]:
    """Return model and reason of each series, and the rows of each fallback; the long series has all forecasts."""
    able = {model: np.array([model not in without, False]) for model in MODELS}
    spec = spec_of(**options.pop("fields", {}))
    served, fallbacks = choose_serving_models(panel, spec, champions, able, networks, **options)
    return served.rows(), {block.model: block.rows_R.tolist() for block in fallbacks if len(block.rows_R)}


def test_champion_with_a_forecast_is_the_serving_model_without_a_reason(panel: Panel) -> None:
    (long, short), fallbacks = choose(panel, champions_of(long="theta", short="naive"))
    assert long == ("theta", None)
    assert short == ("naive", "series has 2 observed points; seasonal_naive_4 needs 5; naive: why")
    assert fallbacks == {"naive": [1]}


def test_champion_that_is_a_fallback_keeps_its_reason(panel: Panel) -> None:
    champions = champions_of(long="theta").with_columns(is_fallback=True)
    assert choose(panel, champions)[0][0] == ("theta", "theta: why")


def test_the_only_requested_network_is_the_serving_model_where_it_has_a_forecast(panel: Panel) -> None:
    champions = champions_of(long="theta")
    assert choose(panel, champions, networks=("gru",))[0][0] == ("gru", None)
    assert choose(panel, champions, networks=("gru",), without=("gru",))[0][0] == ("theta", "theta: why")
    model, reason = choose(panel, champions, networks=("gru",), direct_ids={"long"})[0][0]
    assert model == "gru"
    assert reason is not None
    assert reason.startswith("the series has no network of its own yet")


def test_baseline_is_the_fallback_of_a_champion_without_a_forecast(panel: Panel) -> None:
    (long, _), fallbacks = choose(panel, champions_of(long="gru"), without=("gru",))
    assert long == (
        "seasonal_naive_4",
        "seasonal_naive_4 as fallback: champion gru has no usable forecast (gru: why)",
    )
    assert 0 not in fallbacks.get("seasonal_naive_4", []), "it is among the forecasts already"


def test_combination_is_the_serving_model_of_a_series_without_a_champion(panel: Panel) -> None:
    (long, short), _ = choose(panel, champions_of())
    assert long[0] == "combination"
    assert long[1] is not None
    assert long[1].startswith("the series has no champion yet; the combination")
    assert short == ("naive", "naive as fallback: the series has no champion yet; train first")


@pytest.mark.parametrize(
    "options", [{"without": ("lstm",)}, {"fields": {"backtest": {"margin": 0.0}}}], ids=["no forecast", "margin"]
)
def test_combination_needs_all_networks_and_a_negative_margin(panel: Panel, options: dict[str, Any]) -> None:
    long = choose(panel, champions_of(), **options)[0][0]
    assert long == ("seasonal_naive_4", "seasonal_naive_4 as fallback: the series has no champion yet; train first")


def test_combination_needs_a_long_series_that_varies_and_every_network_of_the_spec(make_panel: Any) -> None:
    series = [np.sin(np.arange(60.0)).tolist(), [7.0] * 60, [1.0, 2.0]]
    panel = make_panel(series, horizon=3, unique_ids=["long", "constant", "short"])
    assert combinable(panel, spec_of(), NETWORKS) == {"long"}
    assert combinable(panel, spec_of(), ("gru",)) == set()


def test_versions_of_members_are_joined_in_their_order() -> None:
    rows = [
        ("a", "gru", 10, "k"),
        ("a", "gru", 2, "c"),
        ("a", "gru", 2, "d"),
        ("a", "gru", 0, None),
        ("b", "gru", 0, "z"),
    ]
    versions = pl.DataFrame(rows, schema=["unique_id", "model", "member", "version"], orient="row")
    assert join_versions(versions).rows() == [("a", "gru", "d+k"), ("b", "gru", "z")]


def test_admissible_values_are_whole_and_not_below_the_bound() -> None:
    values = np.array([-1.4, 0.6, 2.5])
    assert admissible(values, spec_of()).tolist() == values.tolist()
    assert admissible(values, spec_of(lower_bound=0.2)).tolist() == [0.2, 0.6, 2.5]
    assert admissible(values, spec_of(lower_bound=0.2, integer_valued=True)).tolist() == [1.0, 1.0, 2.0]
