"""Recipes return complete configurations whose windows match the spec."""

from typing import Any, get_args

import pytest

from forecasting.spec.recipes import RECIPES, configure
from forecasting.spec.spec import RecipeName, Spec, make_spec


def spec_of(**fields: Any) -> Spec:
    base = {"name": "a", "source": {"uri": "a.csv"}, "freq": "1h", "season_lengths": [24, 168], "horizon": 48}
    return make_spec(base | fields, subject="spec")


def test_every_name_that_a_spec_may_have_is_a_recipe() -> None:
    assert set(RECIPES) == set(get_args(RecipeName))


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("season_lengths", [[1], [7], [12], [24, 168], [168, 24], [1, 7]])
def test_window_reads_whole_short_seasons_and_reaches_over_the_longest(recipe: str, season_lengths: list[int]) -> None:
    config = configure(spec_of(recipe=recipe, season_lengths=season_lengths))
    longer = [length for length in season_lengths if length > 1]
    assert config.segment_length == min(longer, default=1)
    assert 4 <= config.context_segments <= 48
    assert config.segment_length * config.context_segments >= max(longer, default=1)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    ("season_lengths", "segment", "context"),
    [
        ([52], 4, 13),  # a year of weeks in months
        ([168], 12, 14),
        ([24], 24, 4),
        ([24, 168], 24, 14),
        ([26], 12, 4),  # neither 4 … 12 divides it
        ([28], 7, 4),
        ([29], 12, 4),
        ([365], 5, 28),
        ([1], 1, 48),
    ],
)
def test_segments_are_a_short_season_or_an_even_part_of_a_long_one(
    recipe: str, season_lengths: list[int], segment: int, context: int
) -> None:
    config = configure(spec_of(recipe=recipe, season_lengths=season_lengths))
    assert (config.segment_length, config.context_segments) == (segment, context)


def test_fast_takes_fewer_steps_than_standard() -> None:
    assert configure(spec_of(recipe="fast")).max_steps < configure(spec_of(recipe="standard")).max_steps


def test_overrides_lie_over_the_recipe_and_leave_the_rest() -> None:
    plain, changed = configure(spec_of()), configure(spec_of(overrides={"max_steps": 3, "weight_average": 0.5}))
    assert changed == plain.model_copy(update={"max_steps": 3, "weight_average": 0.5})


@pytest.mark.parametrize("recipe", ["standard", "accurate"])
@pytest.mark.parametrize("season_lengths", [[1], [7], [24, 168]])
def test_members_differ_in_what_they_see_and_how_far_they_look_back(recipe: str, season_lengths: list[int]) -> None:
    config = configure(spec_of(recipe=recipe, season_lengths=season_lengths))
    assert {member.transform for member in config.member_configs} == {"none", "log"}
    assert len({member.context_segments for member in config.member_configs}) > 1


def test_a_dearer_recipe_has_more_members() -> None:
    numbers = [len(configure(spec_of(recipe=recipe)).members) for recipe in ("fast", "standard", "accurate")]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 1
