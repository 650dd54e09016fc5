from datetime import timedelta

import pytest

from forecasting.store.maintenance import maintain
from workers.jobs.features import write_features
from workers.jobs.plan import pinned_version
from workers.jobs.predict import predict


@pytest.fixture
def broken_off(small, serial):
    """A forecast of three series that ended after the first shard."""
    small.write(a=12, b=12, c=12)
    write_features(small.run("features", 11, cutoff="given"))
    serial.fail_after = 1
    with pytest.raises(KeyboardInterrupt):
        predict(small.run("predict", 11, run_id="retried"))
    serial.fail_after = None
    return small


def publish_for_another_spec(small):
    write_features(small.run("features", 11, cutoff="given", spec=small.spec_of("other")))


def test_retry_goes_on_although_another_spec_has_published(broken_off, serial):
    publish_for_another_spec(broken_off)
    predict(broken_off.run("predict", 11, run_id="retried"))
    assert serial.computed == [("a",), ("b",), ("c",)]


def test_retry_with_other_workers_keeps_what_is_staged(broken_off, serial):
    serial.num_workers = 2
    predict(broken_off.run("predict", 11, run_id="retried", shard_size=2))
    assert serial.computed == [("a",), ("b",), ("c",)]


def test_retry_reads_the_version_of_the_first_try(broken_off):
    first = broken_off.store.version("features", "timestamp")
    publish_for_another_spec(broken_off)
    assert pinned_version(broken_off.run("predict", 11, run_id="retried")) == first
    assert pinned_version(broken_off.run("predict", 11)) == first + 1


def test_first_try_reads_what_the_features_job_of_its_cutoff_has_published(small, capsys):
    small.write(a=12)
    small.read(9)
    of_cutoff = small.store.version("features", "timestamp")
    small.read(11)
    assert pinned_version(small.run("predict", 9)) == of_cutoff
    assert pinned_version(small.run("predict", 11)) == of_cutoff + 1
    small.read(9)
    assert pinned_version(small.run("predict", 9)) == of_cutoff + 2
    assert pinned_version(small.run("predict", 10)) == of_cutoff + 2  # no features job has this cutoff
    maintain(small.store, keep=timedelta(0))
    assert pinned_version(small.run("predict", 11)) > of_cutoff + 1
    assert f"version {of_cutoff + 1} of features is no longer kept" in capsys.readouterr().out


@pytest.mark.parametrize("change", [{"generation": 1}, {"series": ("a", "b", "c")}])
def test_run_with_other_arguments_starts_from_scratch(broken_off, serial, change):
    predict(broken_off.run("predict", 11, run_id="retried", **change))
    assert serial.computed == [("a",), ("a",), ("b",), ("c",)]


def test_run_with_another_cutoff_starts_from_scratch(broken_off, serial):
    predict(broken_off.run("predict", 10, run_id="retried"))
    assert serial.computed == [("a",), ("a",), ("b",), ("c",)]


def test_run_with_another_code_version_starts_from_scratch(broken_off, serial, monkeypatch):
    monkeypatch.setattr("workers.jobs.plan.code_version", lambda: "another")
    predict(broken_off.run("predict", 11, run_id="retried"))
    assert serial.computed == [("a",), ("a",), ("b",), ("c",)]


def test_run_that_is_done_leaves_no_plan(broken_off):
    predict(broken_off.run("predict", 11, run_id="retried"))
    assert broken_off.store.files.find("staging") == []
    served = broken_off.store.scan("forecasts", "timestamp").filter("is_champion").collect()
    assert dict(served.group_by("unique_id").len().iter_rows()) == {"a": 4, "b": 4, "c": 4}
