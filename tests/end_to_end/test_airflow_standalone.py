"""The whole way once: a CSV file, a spec, Airflow's REST API, jobs on Ray, tables, SQL; then the same again."""

import math
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forecasting.store.query import query
from forecasting.store.tables import Store
from tests.end_to_end.service import Airflow

pytestmark = [pytest.mark.ray, pytest.mark.airflow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
NUM_DAYS, HORIZON = 40, 24
BEGIN = datetime(2024, 1, 1)
END = BEGIN + timedelta(days=NUM_DAYS) - timedelta(hours=1)
CUTOFF = (END - timedelta(hours=HORIZON)).isoformat()
SERIES = ("depot north", "depot $south", "depot 'east'")

SPEC = f"""
name = "depots"
description = "Parcels per hour of three depots"
freq = "1h"
season_lengths = [24]
horizon = {HORIZON}
lower_bound = 0
recipe = "fast"

[source]
uri = "../../parcels.csv"
id = "depot"
time = "hour"
target = "parcels"

[overrides]
max_steps = 40
hidden_size = 8

[schedule]
timezone = "Europe/Berlin"

[backtest]
origins = 2
"""


def write_parcels(path: Path) -> None:
    """Three series with a daily season and one row whose number is none."""
    rows = ["depot,hour,parcels"]
    for number, depot in enumerate(SERIES):
        for hour in range(24 * NUM_DAYS):
            level = 50 + 30 * number + 20 * math.sin(2 * math.pi * hour / 24) + (hour * 7919 + number * 104729) % 11
            rows.append(f"{depot},{(BEGIN + timedelta(hours=hour)).isoformat()},{level:.3f}")
    rows.append(f"{SERIES[0]},{(BEGIN + timedelta(hours=5)).isoformat()},many")
    path.write_text("\n".join(rows) + "\n")


def lay_dags(root: Path) -> None:
    """Write the real DAG file, one spec and its data into a checkout, before Airflow starts there."""
    (root / "dags" / "specs").mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "dags" / "fleetcast_dags.py", root / "dags")
    (root / "dags" / "specs" / "depots.toml").write_text(SPEC)
    write_parcels(root / "parcels.csv")


@pytest.fixture(scope="module")
def airflow(running_airflow: Any) -> Airflow:
    airflow = Airflow(running_airflow.http)
    airflow.wait_for_dags("depots__train", "depots__forecast")
    return airflow


@pytest.fixture(scope="module")
def root(running_airflow: Any) -> Path:
    return Path(running_airflow.root)


def ask(root: Path, sql: str) -> pl.DataFrame:
    return query(Store(root / "store"), sql)


def test_observations_become_forecasts_through_airflow_and_ray_and_stay_the_same_when_both_run_again_at_once(
    airflow: Airflow, root: Path
) -> None:
    done = airflow.run_to_the_end("depots__train", cutoff=CUTOFF)
    assert done == {"features": "success", "train": "success", "backtest": "success"}
    rejects = ask(root, "SELECT unique_id, y, reason FROM rejects")
    assert rejects.rows()[0][:2] == (SERIES[0], "many")
    assert rejects.height == 1
    assert set(ask(root, "SELECT unique_id FROM champions")["unique_id"]) == set(SERIES)

    done = airflow.run_to_the_end("depots__forecast", cutoff=CUTOFF)
    assert (done["features"], done["predict"]) == ("success", "success")
    latest = ask(root, "SELECT * FROM latest_forecasts ORDER BY unique_id, ds")
    assert latest.group_by("unique_id", maintain_order=True).len().rows() == [(name, 24) for name in sorted(SERIES)]
    assert latest["ds"].min() == END - timedelta(hours=HORIZON - 1)
    assert latest["ds"].max() == END
    assert latest["forecast"].is_between(0, 200).all()
    assert (latest["q10"] <= latest["q90"]).all()

    tables = ("forecasts", "champions", "backtests", "models", "rejects")
    # Which run wrote a row, and after how many commits of its features, is not what it is.
    values = "SELECT * EXCLUDE ({}) FROM {} ORDER BY ALL"
    others = {table: "run_id" if table in ("backtests", "rejects") else "run_id, data_version" for table in tables}
    before = {table: ask(root, values.format(others[table], table)) for table in tables}
    assert set(before["forecasts"]["model"]) >= {"lstm", "gru"}
    both = ("depots__train", "depots__forecast")
    paths = [airflow.trigger(dag_id, cutoff=CUTOFF) for dag_id in both]
    for dag_id, path in zip(both, paths, strict=True):
        airflow.wait_for_success(dag_id, path)
    for table, rows in before.items():
        again = ask(root, values.format(others[table], table))
        if table == "models":  # where the weights lie is not what they are
            rows, again = (frame.drop("weights_uri") for frame in (rows, again))
        assert again.equals(rows), f"{table} changed when the same cutoff was run again"


def test_held_back_day_is_scored_when_its_actuals_are_in(airflow: Airflow, root: Path) -> None:
    """Follows the test above: a later run scores the forecast that it left."""
    done = airflow.run_to_the_end("depots__forecast", cutoff=END.isoformat())
    assert done == {"features": "success", "predict": "success", "score": "success"}
    scores = ask(root, "SELECT unique_id, is_complete, num_points, mase FROM scores WHERE is_champion")
    assert set(scores["unique_id"]) == set(SERIES)
    assert scores["is_complete"].all()
    assert set(scores["num_points"]) == {HORIZON}
    assert scores["mase"].is_between(0, 10).all()


def test_run_without_new_data_skips(airflow: Airflow) -> None:
    """Follows the tests above: the newest observation has been forecast already."""
    assert set(airflow.run_to_the_end("depots__forecast").values()) == {"skipped"}
