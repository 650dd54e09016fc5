"""What a run says of measurements that it cannot read, and when they show that it misreads others."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forecasting.errors import SourceError
from forecasting.series.budget import RowCounts
from forecasting.series.ingest import Ingested, ingest
from forecasting.spec.spec import make_spec

BEGIN = datetime(2024, 1, 1)


def read(path: Path, values: list[str], *, csv: dict[str, Any] | None = None, **source: Any) -> Ingested:
    """Read hourly measurements from a file, which is semicolon-separated if it is a CSV file."""
    times = [(BEGIN + timedelta(hours=hour)).isoformat() for hour in range(len(values))]
    rows = pl.DataFrame({"unique_id": "a", "ds": times, "y": values})
    rows.write_parquet(path) if path.suffix == ".parquet" else rows.write_csv(path, separator=";", quote_style="never")
    source |= {"uri": str(path), "csv": {"separator": ";"} | (csv or {})}
    spec = make_spec({"name": "x", "freq": "1h", "season_lengths": [3], "horizon": 2, "source": source}, subject="x")
    return ingest(spec, now=datetime(2025, 1, 1))


@pytest.mark.parametrize(
    ("usual", "proof", "csv", "option"),
    [
        ("1.012", "1.000.234", {}, "with decimal commas and thousands points: --csv-decimal ',' --csv-thousands '.'"),
        ("1.012", "1.012,5", {}, "--csv-decimal ',' --csv-thousands '.' (source.csv in a spec)"),
        ("1,012", "-1,000,234.5", {"decimal": ","}, "--csv-decimal '.' --csv-thousands ','"),
        ("12", "1'000'234", {}, """with thousands apostrophes: --csv-thousands "'" """),
        ("12", "1 000 234", {}, "with thousands blanks: --csv-thousands space"),
    ],
)  # fmt: skip
def test_one_number_that_shows_that_others_are_misread_stops_the_run(
    tmp_path: Path, usual: str, proof: str, csv: dict[str, str], option: str
) -> None:
    with pytest.raises(SourceError) as stopped:
        read(tmp_path / "x.csv", [*[usual] * 499, proof, *[usual] * 400], csv=csv, allow_rejects=1)
    assert f"x.csv, line 501: measurement '{proof}' looks like a file with" in str(stopped.value)
    assert option in str(stopped.value)


def test_numbers_that_are_read_with_the_proposed_signs_have_their_value(tmp_path: Path) -> None:
    csv = {"decimal": ",", "thousands": "."}
    ingested = read(tmp_path / "x.csv", ["1.012"] * 899 + ["1.000.234"], csv=csv)
    assert ingested.observations["y"].unique().sort().to_list() == [1012, 1000234]


@pytest.mark.parametrize(
    ("usual", "odd"),
    [("1.5", "1.000.234"), ("1.5", "1.012,5"), ("1.012", "12,5"), ("1.012", "1.2.3"), ("7", "24.12.2024")],
)
def test_one_odd_number_among_decimals_is_only_refused(tmp_path: Path, usual: str, odd: str) -> None:
    counts = read(tmp_path / "x.csv", [*[usual] * 499, odd, *[usual] * 400]).counts
    assert counts == RowCounts(900, 899, 0, {"y is not a number": 1})


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["12"] * 111 + ["12,5"] * 489, ["'12,5' looks like a file with decimal commas: --csv-decimal ','"]),
        (["12"] * 111 + ["1'012"] * 30, ["""measurement '1'012' looks like a file with thousands apostrophes"""]),
        (["1.5"] * 150 + ["NA"] * 20, ["'NA' is the measurement of 20 refused rows: --csv-null NA (source.csv.null)"]),
        (
            ["5"] * 150 + ["-", "n/a"] * 10 + ["1,5"] * 20,
            ["--csv-null - (source", "--csv-null n/a (source", "'1,5' looks like a file with decimal commas"],
        ),
        (["1.5"] * 150 + ["#N/A"] * 20, ["--csv-null '#N/A' (source.csv.null)"]),
    ],
)  # fmt: skip
def test_refused_measurements_are_shown_with_the_options_that_read_them(
    tmp_path: Path, values: list[str], says: list[str]
) -> None:
    with pytest.raises(SourceError, match=r"rows are refused .*\n") as stopped:
        read(tmp_path / "x.csv", values)
    for one in says:
        assert one in str(stopped.value)


def test_signs_that_would_read_fewer_of_all_measurements_are_not_proposed(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="rows are refused") as stopped:
        read(tmp_path / "x.csv", ["1.5"] * 150 + ["1,5"] * 20)
    assert "--csv-" not in str(stopped.value)


@pytest.mark.parametrize("text", ["$3.50", "3%"])
@pytest.mark.parametrize("name", ["x.csv", "x.parquet"])
def test_source_without_a_number_is_refused_with_a_text(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(SourceError, match=r"no accepted observation.* y is not a number.*measurement '") as stopped:
        read(tmp_path / name, [text] * 5)
    assert f"measurement '{text}'" in str(stopped.value)


def test_options_of_csv_files_are_not_proposed_for_others(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="measurement '1,5'") as stopped:
        read(tmp_path / "x.parquet", ["1,5"] * 5)
    assert "--csv" not in str(stopped.value)


def test_series_that_is_set_aside_is_shown_with_a_text_that_was_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    rows = [f"b;{(BEGIN + timedelta(hours=hour)).isoformat()};1" for hour in range(100)]
    rows += [f"a;{(BEGIN + timedelta(hours=hour)).isoformat()};{1 if hour > 2 else '3%'}" for hour in range(30)]
    path.write_text("\n".join(["unique_id;ds;y", *rows]))
    source = {"uri": str(path), "csv": {"separator": ";"}}
    spec = make_spec({"name": "x", "freq": "1h", "season_lengths": [3], "horizon": 2, "source": source}, subject="x")
    ingested = ingest(spec, now=datetime(2025, 1, 1))
    assert "(10 %, more than 5 %), such as '3%': y is not a number; a higher" in ingested.set_aside["a"]
