"""What a run says about its covariates."""

import pytest

from forecasting.classical.covariate_effect import least_points
from forecasting.flow.covariate_use import describe_short, describe_use
from forecasting.spec.spec import Spec


def spec_of(*future: str) -> Spec:
    return Spec(
        name="small",
        source={"uri": "x.csv"},
        freq="1d",
        season_lengths=(7,),
        horizon=14,
        covariates={"future": future},
    )


def test_models_that_read_them_and_what_backtests_assume() -> None:
    assert describe_use(spec_of()) == ""
    said = describe_use(spec_of("price", "promotion"))
    assert said.startswith("covariates: price, promotion; all forecasts but those of naives depend on them, and")


def test_covariates_of_the_past_say_where_they_are_read() -> None:
    spec = spec_of("price")
    covariates = spec.covariates.model_copy(update={"past": ("visits",)})
    said = describe_use(spec.model_copy(update={"covariates": covariates}))
    assert "backtests assume that the values of price were known ahead" in said
    assert said.endswith("visits are read at their values 14 steps before")


def test_backtests_assume_nothing_of_covariates_with_vintages() -> None:
    table = {"uri": "weather.csv", "future": ["rain"], "available_at": "published"}
    fields = spec_of("price").model_dump(exclude_unset=True)
    both = Spec(**fields | {"covariates": {"future": ["price"], "tables": [table]}})
    assert describe_use(both).endswith(
        "depend on them, and backtests assume that the values of price were known ahead as now"
    )
    alone = Spec(**fields | {"covariates": {"tables": [table]}})
    assert describe_use(alone) == "covariates: rain; all forecasts but those of naives depend on them"


def test_trees_need_fewer_points() -> None:
    spec = spec_of("price").model_copy(update={"regressions": ("ridge", "lightgbm")})
    (said,) = describe_short(spec, {"a": 15, "b": 16})
    assert said.startswith("1 of 2 series has fewer than the 16 grid points that models with covariates need,")


@pytest.mark.parametrize("num_lacking", [0, 1])
def test_series_that_are_too_short_for_effects(num_lacking: int) -> None:
    needed = least_points(season_lengths=(7,))
    lengths = {"a": needed - num_lacking, "b": needed}
    found = list(describe_short(spec_of("price"), lengths))
    assert len(found) == num_lacking
    assert all(note.startswith(f"1 of 2 series has fewer than the {needed} grid points") for note in found)
    assert not list(describe_short(spec_of(), lengths))
