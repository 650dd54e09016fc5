"""What the features job learns of measurements that earlier runs stored."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from workers.jobs import features
from workers.jobs.restatements import publish_restatements

FIRST = datetime(2024, 1, 1)


def restatements(small, clock="timestamp"):
    rows = small.store.scan("restatements", clock).sort("learnt_at", "unique_id", "ds").collect()
    hours = (pl.col("ds") - FIRST).dt.total_hours() if clock == "timestamp" else pl.col("ds")
    return rows.select("unique_id", hours, "old_y", "new_y").rows()


def versions(small, name):
    """The version of each row of a series."""
    rows = small.store.scan("observations", "timestamp").filter(unique_id=name).sort("ds").collect()
    return rows["data_version"].to_list()


def test_corrected_measurement_is_kept_with_both_values(small, capsys):
    small.write(a=12, b=12)
    small.read()
    assert restatements(small) == []
    assert small.store.open("restatements", "timestamp") is None
    small.replace("b,3,40")
    before = datetime.now(UTC)
    outcome = small.read()
    assert restatements(small) == [("b", 3, 4.0, 40.0)]
    assert "; 1 measurement restated;" in outcome.message
    said = "restated 1 measurement of 1 series, 0 of them withdrawn, such as that of 2024-01-01 03:00:00 of series 'b'"
    assert f"{said} from 4 to 40" in capsys.readouterr().out
    (row,) = small.store.scan("restatements", "timestamp").collect().iter_rows(named=True)
    assert (row["spec"], row["run_id"], row["run_cutoff"]) == ("small", "features.1", FIRST + timedelta(hours=11))
    assert before <= row["learnt_at"] <= datetime.now(UTC)
    assert row["data_version"] == outcome.versions["features"]
    stored = small.store.scan("observations", "timestamp").filter(unique_id="b").sort("ds").collect()
    assert stored["y"][3] == 40
    assert restatements(small) == [("b", 3, 4.0, 40.0)]


def test_row_keeps_the_version_that_first_had_its_value(small):
    small.write(a=12, b=9)
    first = small.read().versions["features"]
    small.write(a=12, b=12)
    small.replace("b,3,40")
    second = small.read().versions["features"]
    assert versions(small, "a") == [first] * 12
    assert versions(small, "b") == [*[first] * 3, second, *[first] * 5, *[second] * 3]
    small.read()
    assert versions(small, "b") == [*[first] * 3, second, *[first] * 5, *[second] * 3]


@pytest.mark.parametrize("line", ["b,3", "b,3,", "b,3,many"])
def test_measurement_without_a_row_or_value_any_more_is_withdrawn(small, line):
    small.write(a=12, b=12)
    small.read()
    small.replace(line)
    small.read()
    assert restatements(small) == [("b", 3, 4.0, None)]


def test_measurement_that_comes_back_is_restated_again(small):
    small.write(a=12, b=12)
    small.read()
    small.replace("b,3")
    small.read()
    small.read()
    small.write(a=12, b=12)
    small.read()
    small.read()
    assert restatements(small) == [("b", 3, 4.0, None), ("b", 3, None, 4.0)]


def test_measurement_that_came_back_with_a_change_of_the_spec_is_no_restatement(small):
    small.write(a=12, b=12)
    small.read()
    small.replace("b,3")
    small.read()
    before = small.spec
    fields = small.spec.model_dump()
    small.spec = type(small.spec)(**fields | {"source": fields["source"] | {"missing_rows": "zero"}})
    small.write(a=12, b=12)
    small.read()
    small.read()
    small.spec = before
    small.read()
    small.read()
    assert restatements(small) == [("b", 3, 4.0, None)]


def test_new_and_late_rows_are_no_restatements(small):
    small.write(a=9, b=12)
    small.replace("b,3", "b,5,")
    small.read(8)
    small.write(a=12, b=12)
    small.read()
    assert restatements(small) == []


def test_rows_before_the_first_that_the_source_still_has_are_no_restatements(small, capsys):
    """A source may keep its newest rows alone, and a series may disappear."""
    small.write(a=12, b=12, c=12)
    small.read()
    small.write(a=12, b=12)
    small.replace("b,0", "b,1", "b,3")
    small.read()
    assert restatements(small) == [("b", 3, 4.0, None)]
    assert "14 stored measurements lie before the first row" in capsys.readouterr().out


def test_series_that_has_ended_is_restated_like_any_other(small):
    source = small.spec.source.model_copy(update={"ended": "skip", "ended_after": 1})
    small.spec = small.spec.model_copy(update={"source": source})
    small.write(a=12, b=6)
    small.read()
    small.replace("b,5,7")
    small.read()
    assert restatements(small) == [("b", 5, 2.0, 7.0)]


@pytest.mark.parametrize("change", [
    {"target": "other"}, {"aggregate": "sum"}, {"missing_rows": "zero"}, {"timezone": "Europe/Berlin"},
    {"open": "Mon 00:00-24:00"},
])  # fmt: skip
def test_values_that_change_with_the_spec_are_no_restatements(small, change, capsys):
    small.write(a=12, b=12)
    rows = small.source.read_text().splitlines()
    small.source.write_text("\n".join([rows[0] + ",other", *(f"{row},{len(row)}.5" for row in rows[1:])]) + "\n")
    first = small.read().versions["features"]
    fields = small.spec.model_dump()
    small.spec = type(small.spec)(**fields | {"source": fields["source"] | change})
    replaced = small.source.read_text().replace("b,2024-01-01 03:00:00,4,", "b,2024-01-01 03:00:00,5,")
    small.source.write_text(replaced)
    small.read()
    assert restatements(small) == []
    num_changed = 24 if {"target", "timezone"} & set(change) else 1
    assert f"{num_changed} stored measurements differ because the spec has changed" in capsys.readouterr().out
    assert set(versions(small, "b")) - {None} == {first}
    small.source.write_text(small.source.read_text().replace("b,2024-01-01 04:00:00,1,", "b,2024-01-01 04:00:00,9,"))
    small.read()
    assert len(restatements(small)) == ("target" not in change)


def test_fields_that_do_not_decide_values_do_not_hide_a_restatement(small):
    small.write(a=12, b=12)
    small.read()
    source = small.spec.source.model_copy(update={"allow_rejects": 0.5, "ended_after": 3})
    small.spec = small.spec.model_copy(update={"source": source})
    small.replace("b,3,40")
    small.read()
    assert restatements(small) == [("b", 3, 4.0, 40.0)]


def test_repeated_run_replaces_its_restatements_and_later_runs_add_theirs(small):
    small.write(a=12, b=12)
    small.read()
    small.replace("b,3,40", "a,5")
    small.read(run_id="again")
    before = small.store.scan("restatements", "timestamp").sort("unique_id").collect()
    small.read(run_id="again", generation=1)
    assert small.store.scan("restatements", "timestamp").sort("unique_id").collect().equals(before)
    small.replace("b,3,4", "b,4,70")
    small.read(run_id="again", generation=2)
    assert restatements(small) == [("a", 5, 2.0, None), ("b", 4, 1.0, 70.0)]
    small.replace("b,4,8")
    small.read()
    assert restatements(small) == [("a", 5, 2.0, None), ("b", 4, 1.0, 70.0), ("b", 4, 70.0, 8.0)]


def test_retry_after_a_crash_keeps_what_the_first_try_learnt(small, monkeypatch):
    small.write(a=12, b=12)
    small.read()
    small.replace("b,3,40")
    crash = pytest.MonkeyPatch()
    crash.setattr(features, "publish_restatements", lambda *rest: publish_restatements(*rest) and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        small.read(run_id="again")
    crash.undo()
    small.replace("b,3,41", "a,2,9")  # the source has changed again in the meantime
    small.read(run_id="again")
    assert restatements(small) == [("a", 2, 3.0, 9.0), ("b", 3, 4.0, 41.0)]
    assert small.store.scan("observations", "timestamp").filter(y=41).collect().height == 1


def test_retry_after_its_observations_are_stored_learns_nothing_else(small, monkeypatch):
    small.write(a=12, b=12)
    small.read()
    small.replace("b,3,40")
    with monkeypatch.context() as patch:
        patch.setattr(features, "add_set_aside", lambda *_: 1 / 0)  # the rejects are written last
        with pytest.raises(ZeroDivisionError):
            small.read(run_id="again")
    small.replace("b,3,41", "a,2,9")
    small.read(run_id="again")
    assert restatements(small) == [("b", 3, 4.0, 40.0)]
    small.read()
    assert restatements(small)[1:] == [("a", 2, 3.0, 9.0), ("b", 3, 40.0, 41.0)]


def test_run_of_some_series_or_of_an_early_cutoff_restates_these_alone(small):
    small.write(a=12, b=12)
    small.read()
    small.replace("a,3,30", "b,3,40", "b,9,90")
    small.read(series=("b",), hours=6)
    assert restatements(small) == [("b", 3, 4.0, 40.0)]
    small.read()
    assert restatements(small)[1:] == [("a", 3, 4.0, 30.0), ("b", 9, 2.0, 90.0)]


def test_specs_that_share_the_tables_do_not_restate_each_other(small):
    small.write(a=12, b=12)
    small.read()
    other = small.spec_of("other")
    small.read(spec=other)
    small.replace("b,3,40")
    small.read(spec=other)
    assert small.store.scan("restatements", "timestamp").collect()["spec"].to_list() == ["other"]
    small.read()
    assert small.store.scan("restatements", "timestamp").collect()["spec"].sort().to_list() == ["other", "small"]


def test_integer_steps_are_restated_in_a_table_of_their_own(small):
    spec = type(small.spec)(**small.spec.model_dump() | {"freq": 1})
    small.spec = spec

    def write(y):
        small.source.write_text("\n".join(["unique_id,ds,y", *(f"a,{n},{y if n == 5 else n % 4}" for n in range(12))]))

    write(1)
    small.read(11)
    write(7)
    small.read(11)
    assert restatements(small, "step") == [("a", 5, 1.0, 7.0)]
    assert restatements(small) == []


def test_order_of_rows_in_an_aggregate_is_no_restatement(small):
    source = small.spec.source.model_copy(update={"aggregate": "sum", "duplicates": "keep"})
    small.spec = small.spec.model_copy(update={"source": source})
    parts = ["0.1", "0.2", "0.3"]
    for order in (parts, parts[::-1]):
        rows = [f"a,2024-01-01 {hour:02d}:00:00,{part}" for hour in range(12) for part in order]
        small.source.write_text("\n".join(["unique_id,ds,y", *rows]) + "\n")
        small.read()
    assert sum(float(part) for part in parts) != sum(float(part) for part in reversed(parts))
    assert restatements(small) == []
