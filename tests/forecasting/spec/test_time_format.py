"""Formats of times that are accepted, and those that are refused with what they need."""

import pytest

from forecasting.spec.time_format import KINDS, STEPS, check_time_format


@pytest.mark.parametrize("form", [*KINDS, STEPS, "%d.%m.%Y", "%b %y", "%G-W%V", "%F %T.%f", "100%% %Y", "%-d.%-m.%Y"])
def test_kinds_and_patterns_with_a_year_are_formats(form: str) -> None:
    assert check_time_format(form) == form


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ("yyyy-mm", "must be epoch_s, .* or a pattern such as '%d.%m.%Y'"),
        ("", "must be epoch_s"),
        ("%d.%m", "needs a year"),
        ("%Y %Q", "has %Q, which is not a known directive"),
        ("%Y %Z", "has %Z, .*offsets such as .* are %z"),
        ("%Y %", "has %, which is not a known directive"),
        ("%Y%f", "must have the fraction of a second after its point"),
        ("%G-%m", "needs the ISO week"),
    ],
)
def test_other_texts_are_refused_with_what_they_need(form: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        check_time_format(form)
