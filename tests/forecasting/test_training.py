"""A configuration and its overrides have the same fields and the same bounds."""

import pytest
from pydantic import ValidationError

from forecasting.training import RecipeOverrides, TrainingConfig, apply_overrides


def test_overrides_know_every_field_and_set_none_of_them() -> None:
    assert set(RecipeOverrides.model_fields) == set(TrainingConfig.model_fields)
    assert apply_overrides(TrainingConfig(), RecipeOverrides()) == TrainingConfig()


@pytest.mark.parametrize("model", [TrainingConfig, RecipeOverrides])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_size", 0),
        ("max_steps", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("gradient_clip", -1.0),
        ("weight_average", 1.0),
        ("depth", 2),
    ],
)
def test_value_out_of_bounds_is_refused_in_both(model: type[TrainingConfig], field: str, value: float) -> None:
    with pytest.raises(ValidationError, match=field):
        model.model_validate({field: value})


def test_configuration_survives_json_and_cannot_be_changed() -> None:
    config = TrainingConfig(max_steps=3)
    assert TrainingConfig.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ValidationError, match="frozen"):
        config.max_steps = 4  # type: ignore[misc]


def test_overridden_zero_counts_as_set() -> None:
    config = TrainingConfig(weight_average=0.9)
    assert apply_overrides(config, RecipeOverrides(weight_average=0.0)).weight_average == 0.0  # type: ignore[call-arg]
