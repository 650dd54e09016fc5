"""The backtest job: which rows a filtered run replaces."""

from typing import Any

import pytest

from workers.jobs.backtest import backtest
from workers.jobs.features import write_features
from workers.jobs.predict import predict


def models_of(small: Any, table: str) -> list[tuple[str, str]]:
    rows = small.store.scan(table, "timestamp").select("unique_id", "model").unique()
    return sorted(rows.collect().rows())


@pytest.mark.parametrize(("job", "table"), [(backtest, "backtests"), (predict, "forecasts")])
def test_filtered_run_replaces_statistics_as_it_does_naives(small: Any, serial: Any, job: Any, table: str) -> None:
    small.write(a=40, b=40)
    write_features(small.run("features", 39, cutoff="given"))
    name = job.__name__
    small.spec = small.spec.model_copy(update={"statistics": ("theta", "mstl")})
    job(small.run(name, 39))
    both = [(series, model) for series in "ab" for model in ("combination", "mstl", "seasonal_naive_4", "theta")]
    assert models_of(small, table) == both
    small.spec = small.spec.model_copy(update={"statistics": ("theta",)})
    job(small.run(name, 39, models=["lstm"], series=["a"]))
    assert models_of(small, table) == [row for row in both if row != ("a", "mstl")]


def test_message_reports_how_many_champions_changed(small: Any, serial: Any) -> None:
    small.write(a=60, b=60)
    small.spec = small.spec.model_copy(update={"statistics": ()})
    write_features(small.run("features", 39, cutoff="given"))
    assert "changed" not in backtest(small.run("backtest", 39)).message
    write_features(small.run("features", 43, cutoff="given"))
    assert "; 0 of 2 champions changed;" in backtest(small.run("backtest", 43)).message
    small.store.open("champions", "timestamp").update(updates={"model": "'theta'"}, predicate="unique_id = 'a'")
    write_features(small.run("features", 47, cutoff="given"))
    assert "; 0 of 2 champions changed;" not in backtest(small.run("backtest", 47)).message
    small.store.open("champions", "timestamp").update(updates={"model": "'theta'"}, predicate="unique_id = 'a'")
    assert "; 1 of 2 champions changed;" in backtest(small.run("backtest", 47)).message
