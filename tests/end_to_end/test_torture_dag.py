"""The file of awkward series and rows, through Airflow and Ray to the tables."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from forecasting.spec.quantiles import DEFAULT_QUANTILES, quantile_column
from forecasting.store.query import query
from forecasting.store.tables import Store
from tests import torture
from tests.end_to_end.service import Airflow

pytestmark = [pytest.mark.ray, pytest.mark.airflow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
SPEC = f"""
name = "torture"
freq = "1d"
season_lengths = [{torture.SEASON}]
horizon = {torture.HORIZON}
recipe = "fast"

[source]
uri = "../../awkward.csv"
id = "item"
time = "day"
target = "sold"
allow_rejects = 0.5

[overrides]
max_steps = 20
hidden_size = 8
"""


def lay_dags(root: Path) -> None:
    """Write the real DAG file, the spec and the awkward file into a checkout, before Airflow starts there."""
    (root / "dags" / "specs").mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "dags" / "fleetcast_dags.py", root / "dags")
    (root / "dags" / "specs" / "torture.toml").write_text(SPEC)
    torture.write_csv(root / "awkward.csv")


@pytest.fixture(scope="module")
def store(running_airflow: Any) -> Store:
    airflow = Airflow(running_airflow.http)
    airflow.wait_for_dags("torture__train", "torture__forecast")
    for dag_id in ("torture__train", "torture__forecast"):
        states = airflow.run_to_the_end(dag_id)
        assert set(states.values()) <= {"success", "skipped"}, states
        assert states["features"] == "success", states
    return Store(Path(running_airflow.root) / "store")


def ask(store: Store, what: str, table: str) -> pl.DataFrame:
    return query(store, f"SELECT {what} FROM {table} WHERE spec = 'torture'")


def test_every_row_of_the_file_is_an_observation_or_a_reject(store: Store, tmp_path: Path) -> None:
    num_rows = torture.write_csv(tmp_path / "awkward.csv")
    num_kept = ask(store, "count(*)", "observations").item()
    assert num_kept + ask(store, "count(*)", "rejects").item() == num_rows


def test_every_series_has_ordered_finite_quantiles_or_a_reason(store: Store) -> None:
    latest = ask(store, "*", "latest_forecasts")
    names = {torture.name_of(label) for label, case in torture.CASES.items() if case.rows}
    assert set(latest["unique_id"]) == {name for name in names if name.strip()}
    columns = [quantile_column(level) for level in DEFAULT_QUANTILES]
    for row in latest.iter_rows(named=True):
        values = [row[column] for column in columns if row[column] is not None]
        assert values or row["reason"], row
        assert np.isfinite(values).all(), row
        assert values == sorted(values), row
