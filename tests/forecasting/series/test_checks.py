"""Checks of measurements: each kind, what follows a failure, and which series and points they are of."""

from datetime import datetime, timedelta
from itertools import groupby, pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.errors import CheckFailed
from forecasting.series.checks import Checked, check_measurements
from forecasting.series.ingest import Ingested, ingest
from forecasting.series.verdicts import count_verdicts, describe_warnings, find_set_aside
from forecasting.spec.spec import Spec, make_spec

BEGIN = datetime(2024, 1, 1)
NOW = datetime(2024, 6, 1)
GAP = None


def spec_of(*checks: Any, source: Any = None, **fields: Any) -> Spec:
    described = {"name": "x", "source": {"uri": "/x.csv"} | (source or {}), "freq": "1h", "season_lengths": [3]}
    return make_spec(described | {"horizon": 2, "checks": list(checks)} | fields, subject="x")


def rows_of(make_rows: Any, spec: Spec, series: Any) -> pl.LazyFrame:
    """Return rows of series of values from the beginning on; a gap has no row."""
    is_step = spec.clock == "step"
    times = [step if is_step else BEGIN + timedelta(hours=step) for step in range(60)]
    rows: pl.LazyFrame = make_rows(
        [
            (name, time, float(y))
            for name, ys in series.items()
            for time, y in zip(times, ys, strict=False)
            if y is not GAP
        ]
    )
    return rows


def check(make_rows: Any, spec: Spec, *, is_filtered: bool = False, **series: Any) -> Checked:
    ingested = ingest(spec, rows=rows_of(make_rows, spec, series), now=NOW)
    return check_measurements(ingested, spec, moment=BEGIN, is_filtered=is_filtered)


def failing(checked: Checked) -> dict[str, tuple[float, float, str]]:
    rows = checked.verdicts.filter(pl.col("unique_id").is_not_null())
    return {name: tuple(found) for name, *found in rows.select("unique_id", "found", "bound", "message").iter_rows()}  # type: ignore[misc]


def whole(checked: Checked) -> dict[str, Any]:
    (row,) = checked.verdicts.filter(pl.col("unique_id").is_null()).iter_rows(named=True)
    return row


def test_range_shows_the_measurement_farthest_outside(make_rows: Any) -> None:
    spec = spec_of({"kind": "range", "min": 0, "max": 10})
    checked = check(make_rows, spec, a=[1, -3, 12, 5], b=[0, 10, 4, 3], c=[1, 11, 2.5, 1])
    assert failing(checked) == {
        "a": (-3, 0, "y is -3 at 2024-01-01 01:00:00, below min = 0"),
        "c": (11, 10, "y is 11 at 2024-01-01 01:00:00, above max = 10"),
    }
    assert whole(checked)["message"].startswith("2 of 3 series fail, such as 'a': y is -3 at")
    assert (whole(checked)["verdict"], whole(checked)["found"]) == ("fail", 2)


def test_monotone_series_may_fall_by_as_much_as_max_and_gaps_do_not_matter(make_rows: Any) -> None:
    readings = {"a": [1, 2, GAP, 1.5, 3], "b": [3, 3, 4, 5, 5], "c": [9, 9, 8, 1, 1]}
    up = check(make_rows, spec_of({"kind": "monotone"}), **readings)
    assert failing(up)["a"] == (0.5, 0, "y falls from 2 to 1.5 at 2024-01-01 03:00:00")
    assert set(failing(up)) == {"a", "c"}
    down = check(make_rows, spec_of({"kind": "monotone", "direction": "down"}), **readings)
    assert set(failing(down)) == {"a", "b"}
    lenient = check(make_rows, spec_of({"kind": "monotone", "max": 0.5}), **readings)
    assert failing(lenient) == {"c": (7, 0.5, "y falls from 8 to 1 at 2024-01-01 03:00:00, more than max = 0.5")}


def test_share_of_gaps_is_of_the_newest_points_or_of_all(make_rows: Any) -> None:
    series = {"a": [1, GAP, GAP, GAP, 1, 1, 1, 1], "b": [1, 2, 1, 2, 1, GAP, GAP, 1]}
    assert set(failing(check(make_rows, spec_of({"kind": "missing_share", "max": 0.3}), **series))) == {"a"}
    newest = check(make_rows, spec_of({"kind": "missing_share", "max": 0.3, "points": 4}), **series)
    assert failing(newest) == {"b": (0.5, 0.3, "2 of its 4 newest grid points are gaps, more than max = 0.3")}


def test_lagging_series_misses_its_newest_points(make_rows: Any) -> None:
    spec = spec_of({"kind": "missing_share", "max": 0.0, "points": 2})
    assert set(failing(check(make_rows, spec, a=[1] * 9, b=[1] * 9, c=[1] * 8))) == {"c"}


def test_flatline_is_of_the_newest_measurements(make_rows: Any) -> None:
    spec = spec_of({"kind": "flatline", "max": 3})
    checked = check(make_rows, spec, a=[1, 5, 5, GAP, 5, 5], b=[5, 5, 5, 5, 5, 1], c=[2, 2, 2, 1, 1, 1])
    assert failing(checked) == {"a": (4, 3, "its 4 newest measurements are all 5; max = 3")}


def test_names_are_those_that_are_allowed_and_expected(make_rows: Any) -> None:
    spec = spec_of({"kind": "ids", "allowed": ["a*", "b"], "expected": ["a1", "c"]})
    checked = check(make_rows, spec, a1=[1, 2], b=[1, 2], d=[1, 2])
    assert {name: found[2] for name, found in failing(checked).items()} == {
        "c": "it is expected, but the source has no row of it",
        "d": "it is not among the allowed names",
    }


@pytest.mark.parametrize(("bounds", "verdict"), [({"min": 3}, "fail"), ({"max": 1}, "fail"), ({"min": 2}, "pass")])
def test_number_of_series_is_of_the_whole_source(make_rows: Any, bounds: Any, verdict: str) -> None:
    found = whole(check(make_rows, spec_of({"kind": "num_series", **bounds}), a=[1, 2], b=[1, 2]))
    assert (found["verdict"], found["found"]) == (verdict, 2)
    of_one = whole(check(make_rows, spec_of({"kind": "num_series", "max": 1, "series": "a"}), a=[1, 2], b=[1, 2]))
    assert of_one["verdict"] == "pass"


def test_failure_stops_the_run_with_all_checks_that_fail(make_rows: Any) -> None:
    spec = spec_of({"kind": "range", "min": 2}, {"kind": "num_series", "min": 5}, {"kind": "flatline", "max": 9})
    checked = check(make_rows, spec, a=[1, 2], b=[3, 2])
    with pytest.raises(CheckFailed) as failed:
        checked.refuse()
    assert str(failed.value).startswith('2 checks fail; on_failure = "fail" of [[checks]] stops the run:\n  - check')
    assert "check 'range' fails: 1 of 2 series fail, such as 'a': y is 1 at" in str(failed.value)
    assert (failed.value.exit_code, failed.value.verdicts.height) == (2, 4)
    assert count_verdicts(checked.verdicts) == "1 pass · 2 fail (fail)"


def test_warning_and_pass_do_not_stop_the_run(make_rows: Any) -> None:
    checked = check(make_rows, spec_of({"kind": "range", "min": 2, "on_failure": "warn"}), a=[1, 2], b=[3, 2])
    checked.refuse()
    assert not checked.ingested.set_aside
    (warning,) = describe_warnings(checked.verdicts)
    assert warning.startswith("check 'range' fails: 1 of 2 series fail, such as 'a': y is 1 at")


def test_series_that_is_set_aside_has_no_features_and_all_reasons(make_rows: Any) -> None:
    fields = {"on_failure": "set_aside"}
    spec = spec_of({"kind": "range", "min": 2, **fields}, {"kind": "monotone", "direction": "down", **fields})
    checked = check(make_rows, spec, a=[1, 2], b=[3, 2])
    checked.refuse()
    assert checked.ingested.set_aside == {
        "a": "set aside: check 'range' fails: y is 1 at 2024-01-01 00:00:00, below min = 2;"
        " check 'monotone' fails: y rises from 1 to 2 at 2024-01-01 01:00:00"
    }
    assert checked.ingested.features["unique_id"].unique().to_list() == ["b"]
    assert checked.ingested.unique_ids == ["a", "b"]
    assert [note for note in describe_warnings(checked.verdicts) if note.endswith("; these series get no forecast")]


def test_run_without_a_series_that_is_left_stops(make_rows: Any) -> None:
    spec = spec_of({"kind": "range", "min": 9, "on_failure": "set_aside"})
    with pytest.raises(CheckFailed, match="no series is left to forecast; 'a' is set aside: check 'range' fails"):
        check(make_rows, spec, a=[1, 2]).refuse()


def test_check_is_of_the_series_that_it_names_and_fails_where_none_matches(make_rows: Any) -> None:
    spec = spec_of({"kind": "range", "min": 2, "series": ["a*"], "on_failure": "warn"})
    assert set(failing(check(make_rows, spec, a1=[1, 2], b=[1, 2]))) == {"a1"}
    none = check(make_rows, spec, b=[1, 2])
    assert (whole(none)["verdict"], whole(none)["message"]) == ("fail", "the source has no series that matches 'a*'")
    assert whole(check(make_rows, spec, is_filtered=True, b=[1, 2]))["verdict"] == "skipped"


def test_ended_and_set_aside_series_are_not_checked_one_by_one(make_rows: Any) -> None:
    spec = spec_of({"kind": "range", "min": 2}, source={"ended_after": 2})
    checked = check(make_rows, spec, a=[3] * 9, b=[3] * 9, gone=[1, 1], lost=[float("inf")])
    assert set(checked.ingested.unserved) == {"gone", "lost"}
    assert whole(checked)["message"] == (
        "all 2 series that were checked pass; 2 that have ended or are set aside were not checked"
    )


def test_filtered_run_says_nothing_about_names_and_numbers_of_series(make_rows: Any) -> None:
    spec = spec_of({"kind": "ids", "expected": "z"}, {"kind": "num_series", "min": 9})
    checked = check(make_rows, spec, is_filtered=True, a=[1, 2])
    checked.refuse()
    assert checked.verdicts["verdict"].to_list() == ["skipped", "skipped"]
    assert [note for note in describe_warnings(checked.verdicts) if "is not checked: the run is of some" in note]


def test_integer_steps_are_checked_and_shown(make_rows: Any) -> None:
    spec = spec_of({"kind": "range", "max": 3}, {"kind": "missing_share", "max": 0.2}, freq=1)
    checked = check(make_rows, spec, a=[1, GAP, 4, 3])
    messages = [message for _, _, message in failing(checked).values()]
    assert messages == ["1 of its 4 grid points are gaps, more than max = 0.2"]
    assert "y is 4 at 2, above max = 3" in checked.verdicts["message"].to_list()


def test_ignored_points_and_zeros_of_absent_rows_are_not_measurements(make_rows: Any) -> None:
    strike = {"from": "2024-01-01T01:00", "to": "2024-01-01T02:00"}
    spec = spec_of({"kind": "range", "min": 1}, {"kind": "missing_share", "max": 0.0}, source={"ignore": [strike]})
    checked = check(make_rows, spec, a=[1, 0, GAP, 3, 2])
    assert checked.verdicts["verdict"].to_list() == ["pass", "pass"]
    sales = spec_of({"kind": "range", "min": 1}, {"kind": "flatline", "max": 2}, source={"missing_rows": "zero"})
    assert (
        check(make_rows, sales, a=[1, 2, GAP, 4, 5], b=[1, GAP, GAP, 2, 3]).verdicts["verdict"].to_list()
        == ["pass"] * 2
    )


@given(
    st.lists(
        st.lists(st.one_of(st.none(), st.integers(-3, 3).map(float)), min_size=1, max_size=9), min_size=1, max_size=5
    ),
    st.integers(1, 6),
    st.integers(0, 3),
)
def test_verdicts_are_those_of_series_checked_one_by_one(series: Any, points: int, most: int) -> None:
    """The pass over all grid points must never mix neighbouring series."""
    checks = [
        {"kind": "range", "min": -2, "max": 2, "points": points},
        {"kind": "monotone", "max": most, "points": points},
        {"kind": "missing_share", "max": most / 6, "points": points},
        {"kind": "flatline", "max": most + 1},
    ]
    rows = [(f"s{place}", step, y, y is not None) for place, ys in enumerate(series) for step, y in enumerate(ys)]
    schema = {"unique_id": pl.String, "ds": pl.Int64, "y": pl.Float64, "is_observed": pl.Boolean}
    features = pl.DataFrame(rows, schema, orient="row")
    rejects = pl.DataFrame(schema={"unique_id": pl.String, "reason": pl.String})
    ingested = Ingested(features.lazy(), rejects, features.lazy(), 9)
    verdicts = check_measurements(ingested, spec_of(*checks, freq=1), moment=None).verdicts.drop_nulls("unique_id")
    expected: dict[str, set[str]] = {}
    for place, ys in enumerate(series):
        measured = [y for y in ys[-points:] if y is not None]
        runs = [len(list(run)) for _, run in groupby(y for y in ys if y is not None)]
        fails = {
            "range": any(not -2 <= y <= 2 for y in measured),
            "monotone": any(before - y > most for before, y in pairwise(measured)),
            "missing_share": ys[-points:].count(None) / len(ys[-points:]) > most / 6,
            "flatline": bool(runs) and runs[-1] > most + 1,
        }
        for kind in (kind for kind, has_failed in fails.items() if has_failed):
            expected.setdefault(kind, set()).add(f"s{place}")
    assert {kind: set(of_kind["unique_id"]) for (kind,), of_kind in verdicts.group_by("check_kind")} == expected


def test_nothing_is_read_where_a_spec_has_no_checks(make_rows: Any) -> None:
    checked = check(make_rows, spec_of(), a=[1, 2])
    assert checked.verdicts.is_empty()
    assert find_set_aside(checked.verdicts) == {}
