"""The demo that `make demo` runs: the whole way once on real data, and a summary of its results.

Airflow itself runs the DAGs (`airflow dags test`, which needs no scheduler, so that little can fail), Ray trains on
this machine, and all files are kept under `.fleetcast/`. Flights of 2013 are forecast two days before the data end.
Then the two days arrive and are scored, and the next two are forecast.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table as RichTable

from forecasting.cli.board_table import print_board
from forecasting.errors import ServiceError, UserError
from forecasting.evaluate.leaderboard import leaderboard
from forecasting.settings import Settings
from forecasting.store.query import query
from forecasting.store.tables import Store
from workers.airflow.standalone import airflow_environment
from workers.arguments import find_progress
from workers.cluster.ray_head import ray_head
from workers.commands import INTERRUPTED, exit_code_of

SPEC = "nyc_departures"
CUTOFF = "2013-12-29T23:00:00"
END = "2013-12-31T23:00:00"
PHASES = (
    ("train", CUTOFF, "features, training and backtest, knowing nothing after 29 December"),
    ("forecast", CUTOFF, "features and forecasts of 30 and 31 December"),
    ("forecast", END, "the two days have arrived: features, forecasts of 1 and 2 January, scores"),
)
QUESTION = (
    "SELECT unique_id, strftime(ds, '%d %b %H:00') AS hour, model, round(forecast, 1) AS departures, "
    "round(q10, 1) AS low, round(q90, 1) AS high FROM latest_forecasts "
    f"WHERE spec = '{SPEC}' AND unique_id IN ('NYC', 'to LAX') "
    "AND ds BETWEEN '2014-01-01 08:00' AND '2014-01-01 10:00' "
    "ORDER BY unique_id, ds"
)


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
    _report(console, seconds)


def _install_seconds() -> dict[str, float]:
    mark = Path(".venv/ready")
    return {"install (once)": float(mark.read_text())} if mark.exists() else {}


def _run_dags(console: Console, root: Path, seconds: dict[str, float]) -> None:
    if not (root / "dags" / "specs" / f"{SPEC}.toml").exists():
        raise UserError(f"{root} has no dags/specs/{SPEC}.toml; run the demo in the root of a checkout")
    logs = root / ".fleetcast" / "demo"
    logs.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **airflow_environment(root)}
    with _timed(seconds, "Airflow's database"):
        _run([_command("airflow"), "db", "migrate"], environment, logs / "migrate.log")
    with ExitStack() as stack:
        with _timed(seconds, "Ray's start"):
            head = stack.enter_context(ray_head(dashboard=True))
        console.print(f"A local Ray runs at {head.address}; the logs of every step are in {logs.relative_to(root)}/")
        for number, (flow, cutoff, what) in enumerate(PHASES, start=1):
            dag = f"{SPEC}__{flow}"
            console.print(f"\n[bold]{number} of {len(PHASES)}: Airflow runs {dag}[/] – {what}")
            with _timed(seconds, f"{number} {dag}"):
                _run(
                    [_command("airflow"), "dags", "test", dag, "--conf", json.dumps({"cutoff": cutoff})],
                    environment | head.environment,
                    logs / f"{number}-{dag}.log",
                    console=console,
                )


def _command(name: str) -> str:
    """Return the path of a command of this virtual environment, even if it is not activated."""
    return str(Path(sys.executable).with_name(name))


@contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[phase] = time.monotonic() - started


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


def _report(console: Console, seconds: Mapping[str, float]) -> None:
    settings = Settings.load()
    store = Store(settings.store, settings.storage_options)
    _print_counts(console, store)
    _print_frame(
        console,
        "Seconds",
        pl.DataFrame({"phase": list(seconds), "seconds": [round(value, 1) for value in seconds.values()]}),
    )
    _print_frame(console, "Seconds of the jobs within", _job_seconds(store))
    backtests = query(store, f"SELECT * FROM backtests WHERE spec = '{SPEC}' AND run_cutoff = '{CUTOFF}'")
    scores = query(
        store,
        f"SELECT * FROM scores WHERE spec = '{SPEC}' AND run_cutoff = '{END}' AND forecast_run_cutoff = '{CUTOFF}'",
    )
    num_origins = backtests["origin"].n_unique()
    champions = query(store, f"SELECT * FROM champions WHERE spec = '{SPEC}' AND run_cutoff = '{CUTOFF}'")
    for title, board in (
        (f"Backtest: {num_origins} origins before 30 December", leaderboard(backtests, champions)),
        ("The two days that were held back", leaderboard(scores, champions)),
    ):
        console.print()
        print_board(board, console, title=title)
    console.print(
        "Means over series ± one standard error. MASE and MSIS are scaled by the daily seasonal naive. Most hours of a "
        "route have no departure, so that actuals often lie on a quantile: coverage of such counts exceeds its nominal "
        "share."
    )
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
        SELECT job, run_cutoff AS cutoff, num_series AS series, num_rows AS rows, round(seconds, 1) AS seconds
        FROM runs WHERE spec = '{SPEC}' AND status = 'success' ORDER BY started_at DESC LIMIT 9
        """,
    ).reverse()


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
