"""A configuration and its overrides have the same fields and the same bounds."""

import pytest
from pydantic import ValidationError

from forecasting.spec.training import (
    Member,
    MemberConfig,
    RecipeOverrides,
    TrainingConfig,
    apply_overrides,
    member_seed,
)


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
        ("members", []),
        ("members", [{"transform": "square"}]),
        ("members", [{"context_segments": 0}]),
    ],
)
def test_value_out_of_bounds_is_refused_in_both(model: type[TrainingConfig], field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        model.model_validate({field: value})


def test_configuration_survives_json_and_cannot_be_changed() -> None:
    config = TrainingConfig(max_steps=3, members=(Member(), Member(transform="log", context_segments=5)))
    assert TrainingConfig.model_validate_json(config.model_dump_json()) == config
    member = config.of_member(1)
    assert MemberConfig.model_validate_json(member.model_dump_json()) == member
    with pytest.raises(ValidationError, match="frozen"):
        config.max_steps = 4  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        member.start = "prior"  # type: ignore[misc]


def test_overridden_zero_counts_as_set() -> None:
    config = TrainingConfig(weight_average=0.9)
    assert apply_overrides(config, RecipeOverrides(weight_average=0.0)).weight_average == 0.0  # type: ignore[call-arg]


def test_a_member_alone_has_its_own_context_and_all_else_of_the_whole() -> None:
    members = (Member(transform="log"), Member(context_segments=5))
    config = TrainingConfig(max_steps=3, context_segments=9, members=members)
    first, second = config.of_member(0), config.of_member(1)
    assert (first.transform, first.context_segments) == ("log", 9)
    assert (second.transform, second.context_segments) == ("none", 5)
    assert first == MemberConfig(max_steps=3, context_segments=9, transform="log")
    assert config.member_configs == (first, second)


def test_a_members_references_are_the_seasons_and_the_last_value_unless_it_has_none() -> None:
    with_last, without = MemberConfig(), MemberConfig(last_value=False)
    assert with_last.references((24, 168)) == (24, 168, 1)
    assert with_last.references((1, 7)) == without.references((1, 7)) == (1, 7)
    assert without.references((24, 168)) == (24, 168)


def test_members_have_seeds_of_their_own_and_the_first_that_of_the_whole() -> None:
    seeds = {member_seed(seed, number) for seed in range(20) for number in range(32)}
    assert len(seeds) == 20 * 32
    assert member_seed(11, 0) == 11
    assert all(0 <= member_seed(2**31 - 1, number) < 2**31 for number in range(32))


def test_overridden_members_stay_members() -> None:
    overrides = RecipeOverrides(members=[{"transform": "log"}])  # type: ignore[call-arg]
    assert apply_overrides(TrainingConfig(), overrides).members == (Member(transform="log"),)


def test_a_smoothed_member_has_its_seasons_its_level_as_a_reference_and_no_prior() -> None:
    smoothed = MemberConfig(smoothing="level_season")
    assert smoothed.smoothed((1, 24, 168)) == (24, 168)
    assert smoothed.smoothed((1,)) == ()
    assert MemberConfig().smoothed((24,)) is None
    assert smoothed.num_references((24,)) == MemberConfig().num_references((24,)) + 1
    overrides = RecipeOverrides.model_validate({"members": [{"smoothing": "level_season"}]})
    assert apply_overrides(TrainingConfig(), overrides).member_configs == (smoothed,)
    both = {"smoothing": "level_season", "start": "prior"}
    with pytest.raises(ValidationError, match=r"smoothing 'level_season' .* start must be 'random'"):
        MemberConfig(**both)
    with pytest.raises(ValidationError, match=r"smoothing 'level_season' .* start must be 'random'"):
        RecipeOverrides.model_validate({"members": [both]})
