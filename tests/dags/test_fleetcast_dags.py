import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NUM_SPECS = 20
SECONDS_ALLOWED = 1.0

PARSE = """
import json, sys, time
import airflow.sdk
from airflow.sdk import DAG
begin = time.process_time()  # not of other work on the machine
import runpy
names = runpy.run_path(sys.argv[1])
seconds = time.process_time() - begin
dags = [name for name, dag in names.items() if isinstance(dag, DAG)]
heavy = [name for name in ("ray", "torch", "polars", "numpy", "pandas", "deltalake") if name in sys.modules]
ours = sorted(name for name in sys.modules if name.split(".")[0] in ("forecasting", "workers"))
print(json.dumps({"seconds": seconds, "dags": dags, "heavy": heavy, "ours": ours}))
"""


def parse(dag_file: Path, home: Path) -> dict:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "AIRFLOW_HOME": str(home), "PYTHONPATH": path}
    printed = subprocess.run(
        [sys.executable, "-c", PARSE, str(dag_file)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    return json.loads(printed.splitlines()[-1])


def test_shipped_specs_make_their_dags(tmp_path: Path) -> None:
    parsed = parse(ROOT / "dags" / "fleetcast_dags.py", tmp_path)
    stems = [path.stem for path in (ROOT / "dags" / "specs").glob("*.toml")]
    assert "nyc_departures" in stems
    of_specs = [f"{stem}__{flow}" for stem in stems for flow in ("train", "forecast")]
    assert sorted(parsed["dags"]) == sorted([*of_specs, "delete_run"])


def test_parsing_twenty_specs_takes_under_a_second_and_imports_nothing_heavy(tmp_path: Path) -> None:
    shutil.copy(ROOT / "dags" / "fleetcast_dags.py", tmp_path)
    (tmp_path / "specs").mkdir()
    text = (ROOT / "dags" / "specs" / "nyc_departures.toml").read_text()
    for number in range(NUM_SPECS):
        (tmp_path / "specs" / f"s{number}.toml").write_text(text.replace('"nyc_departures"', f'"s{number}"'))
    parse(tmp_path / "fleetcast_dags.py", tmp_path)  # writes Airflow's configuration and the byte code
    parsed = parse(tmp_path / "fleetcast_dags.py", tmp_path)
    print(f"{NUM_SPECS} specs parsed in {parsed['seconds']:.3f} s beyond `import airflow.sdk`")
    assert len(parsed["dags"]) == 2 * NUM_SPECS + 1
    assert parsed["heavy"] == []
    # Airflow itself reads the provider's description, where the installed package has its entry point.
    assert set(parsed["ours"]) - {"workers.airflow.provider"} == {
        "forecasting",
        "forecasting.spec.airflow",
        "forecasting.spec.checks",
        "forecasting.spec.connection",
        "forecasting.spec.cron",
        "forecasting.spec.dialect",
        "forecasting.spec.ended",
        "forecasting.spec.ignore",
        "forecasting.spec.modified",
        "forecasting.spec.notify",
        "forecasting.spec.opening",
        "forecasting.spec.scenario",
        "forecasting.spec.schedule",
        "forecasting.spec.time_format",
        "forecasting.spec.timezone",
        "forecasting.spec.toml_file",
        "forecasting.errors",
        "forecasting.spec.events",
        "forecasting.spec.frequency",
        "forecasting.spec.holidays",
        "forecasting.spec.place",
        "forecasting.spec.problems",
        "forecasting.spec.publish",
        "forecasting.settings",
        "forecasting.spec",
        "forecasting.spec.spec",
        "forecasting.spec.categories",
        "forecasting.spec.covariate_table",
        "forecasting.spec.covariates",
        "forecasting.spec.quantiles",
        "forecasting.spec.source",
        "forecasting.spec.training",
        "workers",
        "workers.airflow",
        "workers.airflow.assets",
        "workers.airflow.client",
        "workers.airflow.cluster",
        "workers.airflow.delete_run",
        "workers.airflow.factory",
        "workers.airflow.form",
        "workers.airflow.hook",
        "workers.airflow.last_good",
        "workers.airflow.lineage",
        "workers.airflow.links",
        "workers.airflow.notifications",
        "workers.airflow.operator",
        "workers.airflow.ray_token",
        "workers.airflow.runs",
        "workers.airflow.schedules",
        "workers.airflow.trigger",
        "workers.arguments",
        "workers.deletion",
        "workers.log_lines",
        "workers.settings",
        "workers.steps",
    }
    assert parsed["seconds"] < SECONDS_ALLOWED
