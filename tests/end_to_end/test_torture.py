"""A file of awkward series and rows, through `fc.forecast` and the command."""

import csv
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import forecasting as fc
from forecasting.cli import main
from tests import torture

OPTIONS: dict[str, Any] = {
    "freq": "1d",
    "season_lengths": [torture.SEASON],
    "horizon": torture.HORIZON,
    "id": "item",
    "time": "day",
    "target": "sold",
    "recipe": "fast",
    "overrides": {"max_steps": 20, "hidden_size": 8},
    "source": {"allow_rejects": 0.5},
    "progress": False,
    "processes": 1,
}


@dataclass(frozen=True)
class Run:
    """A forecast of the file, the sentences that came with it, and the rows of the file."""

    result: fc.Result
    notes: list[str]
    path: Path
    num_rows: int


@contextmanager
def only_data_warnings() -> Iterator[list[str]]:
    """Collect warnings about the data; any other warning is an error."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield notes
    for one in caught:
        assert issubclass(one.category, fc.DataWarning), one
        notes.append(str(one.message))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All cases in one file, forecast once."""
    path = tmp_path_factory.mktemp("torture") / "awkward.csv"
    num_rows = torture.write_csv(path)
    with only_data_warnings() as notes:
        result = fc.forecast(path, **OPTIONS)
    return Run(result, notes, path, num_rows)


def test_file_has_at_least_eighty_kinds() -> None:
    assert len(torture.CASES) >= 80


def test_every_row_is_accepted_or_refused_or_waits(run: Run) -> None:
    with run.path.open(newline="", encoding="utf-8") as file:
        assert sum(1 for _ in csv.reader(file)) - 1 == run.num_rows
    counts = run.result.outcome.counts
    assert counts is not None
    assert counts.read == run.num_rows
    assert counts.used + counts.after_cutoff + run.result.rejects.height == run.num_rows


def test_forecasts_are_finite_and_ordered_or_null_with_a_reason(run: Run) -> None:
    columns = run.result.spec.quantile_columns
    for row in run.result.outcome.forecasts.iter_rows(named=True):
        values = [row[column] for column in columns]
        if None in values or row["forecast"] is None:
            assert values == [None] * len(columns), row
            assert row["reason"], row
        else:
            assert np.isfinite(values).all(), row
            assert values == sorted(values), row


def test_every_series_of_the_file_has_a_forecast_or_a_reason(run: Run) -> None:
    served = run.result.forecasts
    names = {torture.name_of(label) for label, case in torture.CASES.items() if case.rows}
    assert set(served["item"].unique()) == {name for name in names if name.strip()}
    assert served.group_by("item").len()["len"].unique().to_list() == [torture.HORIZON]


@pytest.mark.parametrize("label", [label for label, case in torture.CASES.items() if case.is_special])
def test_what_is_treated_specially_has_a_reason(run: Run, label: str) -> None:
    case, name = torture.CASES[label], torture.name_of(label)
    if case.lines:
        (line,) = case.lines
        texts = run.result.rejects.select(pl.concat_str("item", "day", "sold", separator="|", ignore_nulls=True))
        assert any(line.split(",")[0] in text for text in texts.to_series())
        return
    reasons = run.result.reasons.filter(pl.col("item") == name)
    refused = run.result.rejects.filter(pl.col("item").fill_null("").str.strip_chars() == name.strip())
    said = any(shown in note for note in run.notes for shown in (f"'{name}'", ascii(name)))
    assert refused.height or reasons.height or said, run.notes


def test_series_without_peculiarities_do_not_depend_on_the_others(run: Run, tmp_path: Path) -> None:
    """Recipe `fast` shares nothing but the calibration of intervals, which leaves medians as they are."""
    path = tmp_path / "good.csv"
    torture.write_csv(path, torture.GOOD)
    alone = fc.forecast(path, **OPTIONS).forecasts
    beside = run.result.forecasts.filter(pl.col("item").is_in(list(torture.GOOD)))
    assert alone.height == len(torture.GOOD) * torture.HORIZON
    columns = ["item", "day", "model", "forecast"]
    assert beside.select(columns).equals(alone.select(columns))


def test_the_command_writes_the_same_and_names_every_kind(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, rejects, reasons = (tmp_path / name for name in ("out.parquet", "rejects.parquet", "reasons.parquet"))
    words = ["forecast", str(run.path), "--id", "item", "--time", "day", "--target", "sold", "--freq", "1d"]
    words += ["--season-length", str(torture.SEASON), "--horizon", str(torture.HORIZON), "--recipe", "fast"]
    words += ["--set", "max_steps=20", "--set", "hidden_size=8", "--allow-rejects", "0.5"]
    words += ["--out", str(out), "--rejects", str(rejects), "--reasons", str(reasons)]
    assert main(words) == 0
    printed = "".join(capsys.readouterr())
    assert "Traceback" not in printed
    assert "RuntimeWarning" not in printed
    assert pl.read_parquet(out).rename({"unique_id": "item", "ds": "day"}).equals(run.result.forecasts)
    assert pl.read_parquet(rejects).height == run.result.rejects.height
    assert pl.read_parquet(reasons).height == run.result.reasons.height
    assert f"{run.num_rows:,} rows read" in printed
    for reason in run.result.rejects["reason"].unique():
        assert reason in printed


def test_the_refusal_budget_stops_the_command_before_it_trains(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.csv"
    words = ["forecast", str(run.path), "--id", "item", "--time", "day", "--target", "sold", "--freq", "1d"]
    assert main([*words, "--season-length", "7", "--horizon", "7", "--out", str(out)]) == 2
    assert "--allow-rejects" in capsys.readouterr().err
    assert not out.exists()
