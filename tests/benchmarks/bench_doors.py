"""Compare what goes in and out with the least that the same rows cost: reading, checking and publishing.

Reading validates the rows of a file and puts them on their grids, as the features job does; its peer scans and writes
the same file with Polars. It is measured without and with writing its two tables, which Polars alone scans and writes
as well. `fleetcast check` has the same peer. Publishing replaces a spec's rows of a table of PostgreSQL; its peer
copies the same rows into an empty table without keys. The sides run in turn, each in a process of its own with all
cores. A figure is the median of the rounds. Limits are of memory and of CPU seconds, which depend less on other work.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from forecasting.schemas import table
from infra.local.postgres import find_programs
from tests.benchmarks.figures import Figure, describe_machine, median_ratio, rounded
from tests.postgres import serve_postgres

NUM_POINTS, HORIZON = 200, 14
SHORT, FULL = 5_000, 100_000
ROUNDS = 3
MOST_TIMES, MOST_MIB = "<=3", "<=2048"
BOTH = "Polars scans and writes both tables"
"""The least that reading could cost; it has no limit of its own."""
SPEC = {"name": "x", "freq": "1d", "season_lengths": [7], "horizon": HORIZON}
MEASURE = """
    import pathlib, time
    began, began_cpu = time.perf_counter(), time.process_time()
    {work}
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - began_cpu
    peak = pathlib.Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    print(seconds, cpu_seconds, int(peak) / 1024)
"""
_INGEST = (
    "from forecasting.series.ingest import ingest; from forecasting.series.once import reading_once;"
    " from forecasting.spec.spec import make_spec"
)
_READING: Mapping[str, tuple[str, str]] = {
    "reading without writing": (_INGEST, "with reading_once(): ingest(make_spec({spec}, subject='x'))"),
    "reading": (
        _INGEST,
        "with reading_once(): read = ingest(make_spec({spec}, subject='x'));"
        " read.observed.sink_parquet('{file}.observed'); read.points.sink_parquet('{file}.points')",
    ),
}
READING: Mapping[str, tuple[str, str]] = {
    "bare": ("import polars as pl", "pl.scan_parquet('{file}').sink_parquet('{file}.out')"),
    **_READING,
    BOTH: (
        "import polars as pl",
        "[pl.scan_parquet('{file}' + table).sink_parquet('{file}.out') for table in ('.observed', '.points')]",
    ),
    "fleetcast check": (
        "from forecasting.flow.profile import make_profile; from forecasting.series.once import reading_once;"
        " from forecasting.spec.spec import make_spec",
        "with reading_once(): make_profile(make_spec({spec}, subject='x'))",
    ),
}
READING_CSV: Mapping[str, tuple[str, str]] = {
    "bare": ("import polars as pl", "pl.scan_csv('{file}').sink_csv('{file}.out')"),
    **_READING,
}
PUBLISHING: Mapping[str, tuple[str, str]] = {
    "bare": (
        "import polars as pl; from adbc_driver_postgresql import dbapi; from forecasting.sinks.rows import flatten",
        "connection = dbapi.connect('{uri}');"
        " connection.cursor().adbc_ingest('bare', flatten(pl.read_parquet('{file}')).to_arrow(), mode='replace');"
        " connection.commit(); connection.close()",
    ),
    "publishing": (
        "import polars as pl; from forecasting.sinks.postgres import replace_rows",
        "replace_rows(pl.read_parquet('{file}'), uri='{uri}', spec='x', table='forecasts')",
    ),
}


def main(arguments: list[str]) -> int:
    """Print figures of seconds and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help=f"{FULL:,} series instead of {SHORT:,}")
    num_series = FULL if parser.parse_args(arguments).full else SHORT
    print(describe_machine())
    with tempfile.TemporaryDirectory(prefix="fleetcast-bench-") as folder:
        file = Path(folder) / "rows.parquet"
        make_rows(num_series).write_parquet(file)
        spec = SPEC | {"source": {"uri": str(file)}}
        setting = f"{num_series:,} series of {NUM_POINTS} points"
        _compare(READING, setting, "Polars scans and writes the file", {"file": str(file), "spec": repr(spec)})
        csv = file.with_suffix(".csv")
        pl.scan_parquet(file).sink_csv(csv)
        spec = SPEC | {"source": {"uri": str(csv)}}
        peer = "Polars scans and writes the CSV file"
        _compare(READING_CSV, f"{setting}, CSV", peer, {"file": str(csv), "spec": repr(spec)})
        programs = find_programs()
        if programs is None:
            print("PostgreSQL is not installed; publishing is not measured")
            return 0
        make_forecasts(num_series).write_parquet(file)
        setting = f"{num_series:,} series, {HORIZON} steps"
        with serve_postgres(programs) as server:
            _compare(PUBLISHING, setting, "bare COPY", {"file": str(file), "uri": server.secret_uri}, most=None)
    return 0


def make_rows(num_series: int) -> pl.DataFrame:
    """Return daily measurements of each series."""
    days = pl.datetime_range(
        datetime(2024, 1, 1), datetime(2024, 1, 1) + timedelta(days=NUM_POINTS - 1), "1d", eager=True
    )
    y = np.round(np.random.default_rng(0).gamma(2, 10, num_series * NUM_POINTS), 2)
    names = pl.DataFrame({"unique_id": [f"series_{number:06d}" for number in range(num_series)]})
    return names.join(pl.DataFrame({"ds": days}), how="cross").with_columns(y=pl.Series(y))


def make_forecasts(num_series: int) -> pl.DataFrame:
    """Return rows of the table `forecasts`."""
    schema = table("forecasts").schema("timestamp")
    cutoff = datetime(2024, 7, 18)
    known = {
        "spec": pl.lit("x"),
        "unique_id": pl.col("unique_id"),
        "ds": pl.lit(cutoff) + pl.duration(days=pl.col("step")),
        "step": pl.col("step"),
        "run_cutoff": pl.lit(cutoff),
        "cutoff": pl.lit(cutoff),
        "cutoff_date": pl.lit(cutoff.date()),
        "model": pl.lit("combination"),
        "is_champion": pl.lit(True),
        "run_id": pl.lit("scheduled__2024-07-19"),
    }
    others = {name: dtype for name, dtype in schema.items() if name not in known}
    absent = {name: pl.lit(12.5 if dtype == pl.Float64 else None) for name, dtype in others.items()}
    names = pl.DataFrame({"unique_id": [f"series_{number:06d}" for number in range(num_series)]})
    rows = names.join(pl.DataFrame({"step": range(1, HORIZON + 1)}), how="cross").select(**known, **absent)
    return rows.select(pl.col(name).cast(dtype) for name, dtype in schema.items())


def _compare(
    sides: Mapping[str, tuple[str, str]],
    setting: str,
    peer: str,
    places: Mapping[str, str],
    *,
    most: str | None = MOST_TIMES,
) -> None:
    """Run the sides in turn and print figures of all but the first, their peer."""
    measured: dict[str, list[tuple[float, float, float]]] = {side: [] for side in sides}
    for _ in range(ROUNDS):
        for side, (imports, work) in sides.items():
            measured[side].append(_run(imports, work.format(**places)))
    bare, *_ = measured.values()
    for side in list(sides)[1:]:
        limit = None if side == BOTH else most
        limit_of = {"s": None, "CPU s": limit}
        for place, unit in enumerate(("s", "CPU s")):
            ours, theirs = ([each[place] for each in of_side] for of_side in (measured[side], bare))
            figures = [rounded(statistics.median(each)) for each in (ours, theirs)]
            ratio = rounded(median_ratio(ours, theirs))
            Figure("doors", f"{side}: {setting}", figures[0], unit, peer, figures[1], ratio, limit_of[unit]).print()
        memory = rounded(max(mib for _, _, mib in measured[side]))
        if limit is not None:
            Figure("doors", f"{side}: {setting}", memory, "MiB", "limit", None, memory, MOST_MIB).print()


def _run(imports: str, work: str) -> tuple[float, float, float]:
    """Return seconds and CPU seconds of the work, without imports, and the peak of the process' memory in MiB."""
    program = imports + "\n" + textwrap.dedent(MEASURE).format(work=work)
    ended = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True)
    seconds, cpu_seconds, mib = ended.stdout.split()[-3:]
    return float(seconds), float(cpu_seconds), float(mib)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
