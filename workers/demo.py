"""The demo that `make demo` runs: the whole way once on real data, and a summary of its results.

Airflow itself runs the DAGs (`airflow dags test`, which needs no scheduler, so that little can fail), Ray trains on
this machine, and all files are kept under `.fleetcast/`. Networks train on flights up to 17 December 2013. The fourteen
days after it are then forecast from seven cutoffs, two days at a time, as if the data came in day by day, and scored.
At last, rentals of bikes are forecast with and without covariates (`workers.demo_covariates`). A step that is done
already is not repeated, unless the environment has FRESH=1.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table as RichTable

from forecasting.cli.board_table import print_board
from forecasting.errors import ServiceError, UserError
from forecasting.evaluate.leaderboard import leaderboard
from forecasting.settings import Settings
from forecasting.spec.spec import read_spec
from forecasting.store.query import query
from forecasting.store.tables import Store
from forecasting.version import code_version
from workers.airflow.standalone import airflow_environment
from workers.arguments import FLOWS, Flow, find_progress
from workers.cluster.ray_head import ray_head
from workers.commands import INTERRUPTED, exit_code_of
from workers.demo_covariates import describe_gain, forecast_bikes, keep_forecasts, read_forecasts, score_gains

SPEC = "nyc_departures"
TRAINED = "2013-12-17T23:00:00"
CUTOFFS = tuple(f"2013-12-{day}T23:00:00" for day in range(17, 31, 2))
"""Cutoffs from which the days that are held back are forecast; the horizon is two days."""
END = "2013-12-31T23:00:00"
FRESH_VARIABLE = "FRESH"
QUESTION = (
    "SELECT unique_id, strftime(ds, '%d %b %H:00') AS hour, model, round(forecast, 1) AS departures, "
    "round(q10, 1) AS low, round(q90, 1) AS high FROM latest_forecasts "
    f"WHERE spec = '{SPEC}' AND unique_id IN ('NYC', 'to LAX') "
    "AND ds BETWEEN '2014-01-01 08:00' AND '2014-01-01 10:00' "
    "ORDER BY unique_id, ds"
)


@dataclass(frozen=True)
class Phase:
    """Runs of one DAG.

    Attributes:
        flow: The DAG's flow.
        cutoffs: The cutoff of each run.
        what: What they do, for people.
    """

    flow: Flow
    cutoffs: tuple[str, ...]
    what: str


PHASES = (
    Phase("train", (TRAINED,), "features, training and backtest, knowing nothing after 17 December"),
    Phase("forecast", CUTOFFS, "18 to 31 December, two days at a time; each run scores the one before"),
    Phase("forecast", (END,), "the last days have arrived: scores, and forecasts of 1 and 2 January"),
)
NUM_PARTS = len(PHASES) + 1
"""The phases, and the forecasts with covariates."""


def main() -> int:
    """Run the demo in the working directory, the root of a checkout; return the exit code."""
    code = exit_code_of(_run_demo)
    if code == INTERRUPTED:
        print("interrupted; `make demo` goes on from what is already published", file=sys.stderr)
    return code


def _run_demo() -> None:
    console = Console(highlight=False, width=max(Console().width, 100))
    seconds = _install_seconds()
    _run_dags(console, Path.cwd(), seconds)
    _report(console, seconds, _forecast_bikes(console, Path.cwd(), seconds))


def _install_seconds() -> dict[str, float]:
    mark = Path(".venv/runtime")
    return {"install (once)": float(mark.read_text())} if mark.exists() else {}


def _run_dags(console: Console, root: Path, seconds: dict[str, float]) -> None:
    if not (root / "dags" / "specs" / f"{SPEC}.toml").exists():
        raise UserError(f"{root} has no dags/specs/{SPEC}.toml; run the demo in the root of a checkout")
    logs = root / ".fleetcast" / "demo"
    logs.mkdir(parents=True, exist_ok=True)
    steps = [(number, phase, cutoff) for number, phase in enumerate(PHASES, start=1) for cutoff in phase.cutoffs]
    num_done = 0 if os.environ.get(FRESH_VARIABLE) else _count_done(root, [(each.flow, at) for _, each, at in steps])
    if num_done:
        console.print(
            f"{num_done} of {len(steps)} DAG runs are done already, with this code and spec; {FRESH_VARIABLE}=1 repeats"
            " them"
        )
    if num_done == len(steps):
        return
    environment = {**os.environ, **airflow_environment(root)}
    with _timed(seconds, "Airflow's database"):
        _run([_command("airflow"), "db", "migrate"], environment, logs / "migrate.log")
    with ExitStack() as stack:
        with _timed(seconds, "Ray's start"):
            head = stack.enter_context(ray_head(dashboard=True))
        console.print(f"A local Ray runs at {head.address}; the logs of every step are in {logs.relative_to(root)}/")
        announced = 0
        for number, phase, cutoff in steps[num_done:]:
            dag = f"{SPEC}__{phase.flow}"
            if number != announced:
                console.print(f"\n[bold]{number} of {NUM_PARTS}: Airflow runs {dag}[/] – {phase.what}")
                announced = number
            if len(phase.cutoffs) > 1:
                console.print(f"   cutoff {cutoff}")
            with _timed(seconds, f"{number} {dag}"):
                _run(
                    [_command("airflow"), "dags", "test", dag, "--conf", json.dumps({"cutoff": cutoff})],
                    environment | head.environment,
                    logs / f"{number}-{dag}-{cutoff[:10]}.log",
                    console=console,
                )


def _forecast_bikes(console: Console, root: Path, seconds: dict[str, float]) -> pl.DataFrame:
    """Return the forecasts with and without covariates, those of an earlier run of the same code if there are any."""
    folder = root / ".fleetcast" / "demo"
    if not os.environ.get(FRESH_VARIABLE) and (known := read_forecasts(folder)) is not None:
        console.print(f"The rentals of bikes are forecast already, with this code; {FRESH_VARIABLE}=1 repeats this")
        return known
    console.print(
        f"\n[bold]{NUM_PARTS} of {NUM_PARTS}: fc.backtest forecasts rentals of bikes[/] – with weather, working days"
        " and holidays known ahead, and without"
    )
    with _timed(seconds, f"{NUM_PARTS} bikes, with covariates and without"):
        rentals = forecast_bikes()
    keep_forecasts(rentals, folder)
    return rentals


def _count_done(root: Path, steps: Sequence[tuple[Flow, str]]) -> int:
    """Count the first steps that runs of the same code and spec have done, in this order."""
    settings = Settings.load()
    last_jobs = [FLOWS[flow][-1] for flow in ("train", "forecast")]
    recorded = (
        Store(settings.store, settings.storage_options)
        .scan("runs", "timestamp")
        .filter(
            pl.col("spec") == SPEC,
            pl.col("status").is_in(["success", "skipped"]),  # the first forecast has nothing to score
            pl.col("job").is_in(last_jobs),
            pl.col("code_version") == code_version(),
        )
        .sort("started_at")
        .collect()
    )
    spec = read_spec(root / "dags" / "specs" / f"{SPEC}.toml").model_dump(mode="json")
    done = {}
    for run in recorded.iter_rows(named=True):
        if json.loads(run["arguments"])["spec"] == spec:
            done[run["job"], run["run_cutoff"]] = run["started_at"]
    num_done, newest = 0, None
    for flow, cutoff in steps:
        ended = done.get((FLOWS[flow][-1], cutoff))
        if ended is None or (newest is not None and ended < newest):
            break
        num_done, newest = num_done + 1, ended
    return num_done


def _command(name: str) -> str:
    """Return the path of a command of this virtual environment, even if it is not activated."""
    return str(Path(sys.executable).with_name(name))


@contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[phase] = seconds.get(phase, 0.0) + time.monotonic() - started


def _run(command: list[str], environment: Mapping[str, str], log: Path, *, console: Console | None = None) -> None:
    """Run a command with its output in a log, and print its lines of progress as they come."""
    is_failed = False
    with log.open("w") as copy:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                copy.write(line)
                is_failed |= "DagRun Finished" in line and "state=failed" in line
                if console is not None and (progress := find_progress(line)):
                    console.print(f"   [dim]{progress}[/]")
        finally:
            process.terminate()
            code = process.wait()
    if code or is_failed:
        last_lines = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
        raise ServiceError(f"`{' '.join(command)}` failed; the last lines of {log}:\n{last_lines}")


def _report(console: Console, seconds: Mapping[str, float], rentals: pl.DataFrame) -> None:
    settings = Settings.load()
    store = Store(settings.store, settings.storage_options)
    _print_counts(console, store)
    _print_frame(
        console,
        "Seconds",
        pl.DataFrame({"phase": list(seconds), "seconds": [round(value, 1) for value in seconds.values()]}),
    )
    _print_frame(console, "Seconds of all runs of a job", _job_seconds(store))
    backtests = query(store, f"SELECT * FROM backtests WHERE spec = '{SPEC}' AND run_cutoff = '{TRAINED}'")
    scores = query(
        store,
        f"SELECT * FROM latest_scores WHERE spec = '{SPEC}'"
        f" AND forecast_run_cutoff BETWEEN '{CUTOFFS[0]}' AND '{CUTOFFS[-1]}'",
    )
    num_origins = backtests["origin"].n_unique()
    champions = query(store, f"SELECT * FROM champions WHERE spec = '{SPEC}' AND run_cutoff = '{TRAINED}'")
    for title, board in (
        (f"Backtest: {num_origins} origins before 18 December", leaderboard(backtests, champions)),
        (f"The fourteen days that were held back, from {len(CUTOFFS)} cutoffs", leaderboard(scores, champions)),
    ):
        console.print()
        print_board(board, console, title=title)
    console.print(
        "Means over series ± one standard error. MASE and MSIS are scaled by the daily seasonal naive. Most hours of a "
        "route have no departure, so that actuals often lie on a quantile: coverage of such counts exceeds its nominal "
        "share."
    )
    _print_gains(console, rentals)
    console.print(f'\n[bold]fleetcast query "{QUESTION}"[/]', soft_wrap=True)
    _print_frame(console, None, query(store, QUESTION))
    chart = Path(".fleetcast") / "demo" / "nyc.png"
    subprocess.run(
        [_command("fleetcast"), "plot", "NYC", "JFK/B6", "to LAX", "--spec", SPEC, "--out", str(chart)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    console.print(
        f"\nThe fan chart: [bold]{chart}[/]\nNext: make up, for the Airflow UI; fleetcast --help, for the rest"
    )


def _print_gains(console: Console, rentals: pl.DataFrame) -> None:
    scores = score_gains(rentals)
    num_windows, num_hours = rentals["cutoff"].n_unique(), rentals["step"].n_unique()
    shown = scores.select(
        "forecast", MASE=pl.col("mase").round(3), **{"in 80 %": (100 * pl.col("coverage_80")).round(1)}
    )
    _print_frame(console, f"Rentals of bikes, {num_windows} windows of {num_hours} h", shown)
    console.print(describe_gain(scores))


def _print_counts(console: Console, store: Store) -> None:
    counts = query(
        store,
        f"""
        SELECT (SELECT count(DISTINCT unique_id) FROM observations WHERE spec = '{SPEC}') AS series,
               (SELECT count(*) FROM observations WHERE spec = '{SPEC}') AS observations,
               (SELECT count(*) FROM rejects WHERE spec = '{SPEC}' AND run_cutoff = '{END}') AS rejects,
               (SELECT count(*) FROM models WHERE spec = '{SPEC}' AND status = 'trained') AS networks,
               (SELECT count(*) FROM forecasts WHERE spec = '{SPEC}') AS forecast_rows
        """,
    )
    row = counts.row(0, named=True)
    console.print(
        "\n[bold]Done.[/] " + " · ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in row.items())
    )


def _job_seconds(store: Store) -> pl.DataFrame:
    return query(
        store,
        f"""
        SELECT job, count(*) AS runs, max(num_series) AS series, sum(num_rows)::BIGINT AS rows,
               round(min(seconds), 1) AS shortest, round(max(seconds), 1) AS longest, round(sum(seconds), 1) AS total
        FROM runs WHERE spec = '{SPEC}' AND status = 'success' AND job <> 'delete' GROUP BY job ORDER BY min(started_at)
        """,
    )


def _print_frame(console: Console, title: str | None, frame: pl.DataFrame) -> None:
    table = RichTable(title=title, title_justify="left", title_style="bold")
    for name, dtype in frame.schema.items():
        table.add_column(name, justify="right" if dtype.is_numeric() else "left")
    for row in frame.iter_rows():
        table.add_row(
            *("" if value is None else f"{value:,}" if isinstance(value, int) else str(value) for value in row)
        )
    console.print()
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
