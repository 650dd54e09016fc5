from typing import Any

import pytest
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import ParamValidationError

from forecasting.errors import UserError
from forecasting.spec.spec import Spec, make_spec
from workers.airflow.form import make_form, refuse_unknown_fields

IN_WORDS = {
    "1h": "'a date such as 2024-12-29, or a time such as 2024-12-29T23:00:00' was expected",
    1: "'a whole number such as 700' was expected",
}


def make(freq: str | int = "1h") -> Spec:
    fields = {"name": "small", "source": {"uri": "/tmp/small.csv"}, "freq": freq, "season_lengths": [24], "horizon": 24}
    return make_spec(fields, subject="spec")


def form(freq: str | int = "1h") -> ParamsDict:
    return ParamsDict(make_form(make(freq), "train"))


def test_no_field_is_marked_as_required_and_every_description_renders() -> None:
    """Airflow's form marks each field whose type excludes null, and renders `description_md` alone."""
    for flow in ("train", "forecast"):
        for name, field in make_form(make(), flow).items():
            assert "null" in field.schema["type"], name
            assert field.description is None, name
            assert field.schema["description_md"], name
            assert "const" not in field.schema, "the form would hide it"


def test_models_are_picked_from_a_list() -> None:
    models = make_form(make(), "train")["models"].schema
    assert {"lstm", "gru", "seq2seq"} < set(models["examples"])
    assert models["examples"] == models["items"]["enum"]


@pytest.mark.parametrize(
    ("freq", "cutoff"),
    [
        ("1h", "2024-01-05"),
        ("1h", "2024-02-29"),
        ("1h", "2024-01-05T10:00:00"),
        ("1h", "2024-01-05 10:00"),
        ("1h", "2024-01-05T10:00:00.5+02:00"),
        ("1h", "2024-01-05T10:00Z"),
        ("1h", ""),
        ("1h", None),
        (1, "700"),
        (1, " -3 "),
        (1, ""),
    ],
)
def test_cutoff_on_the_clock_of_the_source_is_accepted(freq: str | int, cutoff: str | None) -> None:
    fields = form(freq)
    fields["cutoff"] = cutoff
    assert fields.validate()["cutoff"] == cutoff


@pytest.mark.parametrize(
    ("freq", "cutoff"),
    [
        ("1h", "2013-13-45"),
        ("1h", "2023-02-29"),
        ("1h", "2023-02-30T10:00"),
        ("1h", "2024-04-31 10:00"),
        ("1h", "2024-01-05T25:00"),
        ("1h", "2024-01-05T10:00+2"),
        ("1h", "yesterday"),
        ("1h", "700"),
        (1, "2024-01-05"),
        (1, "1.5"),
    ],
)
def test_text_that_is_no_cutoff_is_refused_in_words_without_a_regular_expression(freq: str | int, cutoff: str) -> None:
    with pytest.raises(ParamValidationError, match="Invalid input for param cutoff") as refused:
        form(freq)["cutoff"] = cutoff
    assert IN_WORDS[freq] in str(refused.value)
    assert "\\d" not in str(refused.value)


def test_field_that_the_form_does_not_have_is_refused_with_the_one_that_may_be_meant() -> None:
    known = ("cutoff", "models", "series")
    refuse_unknown_fields({"cutoff": "2024-01-05", "series": []}, known)
    with pytest.raises(UserError) as refused:
        refuse_unknown_fields({"cutof": "2024-01-05", "note": ""}, known)
    assert str(refused.value) == (
        "the conf has unknown fields: 'cutof' (is 'cutoff' meant?), 'note'; it may have cutoff, models, series"
    )


@pytest.mark.parametrize("value", [True, False, None])
def test_switches_may_be_left_empty(value: Any) -> None:
    fields = form()
    fields["changed_only"] = fields["from_scratch"] = value
    assert fields.validate()["changed_only"] is value
