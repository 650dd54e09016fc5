"""Exit codes, one line per error, and no heavy imports in light commands."""

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forecasting.errors import ClusterError


def run_python(code: str, *, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    "words", [["--help"], ["forecast", "--help"], ["query", "--help"], ["--version"], ["specs", "show"]]
)
def test_light_command_imports_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    specs = tmp_path / "dags/specs"
    specs.mkdir(parents=True)
    (specs / "a.toml").write_text(
        'name = "a"\nfreq = 1\nseason_lengths = [2]\nhorizon = 1\n[source]\nuri = "a.csv"\n', encoding="utf-8"
    )
    code = f"""
    import sys
    from forecasting.cli import main
    assert main({words!r}) == 0
    heavy = {{"torch", "ray", "polars", "numpy", "duckdb", "deltalake", "matplotlib", "pytorch_lightning", "airflow"}}
    assert not heavy & set(sys.modules), heavy & set(sys.modules)
    """
    ended = run_python(code, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr


def test_query_imports_no_torch(tmp_path: Path) -> None:
    code = """
    import sys
    from forecasting.cli import main
    assert main(["query", "SELECT 1 AS one", "--format", "csv"]) == 0
    assert not {"torch", "ray", "pytorch_lightning", "matplotlib"} & set(sys.modules)
    """
    ended = run_python(code, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "one\n1\n"), ended.stderr


@pytest.mark.parametrize(
    ("processes", "heavy"),
    [("2", {"torch", "statsforecast", "pytorch_lightning"}), ("1", {"pytorch_lightning", "torch._dynamo"})],
    ids=["others train", "this process trains"],
)
def test_forecast_imports_nothing_that_it_does_not_use(processes: str, heavy: set[str], tmp_path: Path) -> None:
    """Torch's compiler and Lightning take seconds, and so does torch itself in a process that only hands out work."""
    rows = pl.DataFrame({"unique_id": "a", "ds": range(60), "y": [5.0 + step % 6 + step % 7 for step in range(60)]})
    rows.write_parquet(tmp_path / "in.parquet")
    options = [
        "--freq",
        "1",
        "--season-length",
        "6",
        "--horizon",
        "4",
        "--set",
        "prior_steps=20",
        "--set",
        "max_steps=20",
    ]
    code = f"""
    import os, sys
    os.environ["FLEETCAST_PROCESSES"] = {processes!r}
    from forecasting.cli import main
    assert main({["forecast", "in.parquet", *options, "--out", "out.parquet"]!r}) == 0
    assert not {heavy!r} & set(sys.modules), {heavy!r} & set(sys.modules)
    """
    ended = run_python(code, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert pl.read_parquet(tmp_path / "out.parquet").height == 4


@pytest.mark.parametrize(
    "words", [["query", "SELECT 1"], ["tables"], ["runs"], ["leaderboard"], ["plot", "a"], ["plot", "a", "--attention"]]
)
def test_command_that_needs_the_extra_worker_names_it(words: list[str], tmp_path: Path) -> None:
    code = f"""
    import sys
    sys.modules |= dict.fromkeys(("deltalake", "duckdb", "ray"))
    from forecasting.cli import main
    raise SystemExit(main({words!r}))
    """
    ended = run_python(code, cwd=tmp_path)
    assert ended.returncode == 2
    assert "is not installed: pip install 'fleetcast[worker]'" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("command", "default"),
    [
        (["plot"], "two horizons"),
        (["query"], "100 as a table"),
        (["specs", "check"], "dags/specs"),
        (["forecast"], "the newest"),
        (["forecast"], "thirteen"),
    ],
)
def test_help_shows_defaults_that_depend_on_other_options(
    fleetcast: Callable[..., Any], command: list[str], default: str
) -> None:
    assert f"[default: ({default}" in fleetcast(*command, "--help").out


def test_version_is_that_of_the_package(fleetcast: Callable[..., Any]) -> None:
    from importlib.metadata import version

    assert fleetcast("--version").out == f"fleetcast {version('fleetcast')}\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nope"], "No such command 'nope'"),
        (["query"], "Missing argument 'SQL'"),
        (["forecast", "a.csv"], "Missing option '--out'"),
        (["query", "SELECT 1", "--format", "xml"], "'xml' is not one of"),
        (["runs", "--limit", "-1"], "--limit"),
        (["forecast", "a.csv", "--time", "a", "--time", "b", "--out", "b.csv"], "--time is given 2 times"),
    ],
)
def test_usage_error_is_one_line_with_exit_code_2(
    fleetcast: Callable[..., Any], words: list[str], expected: str
) -> None:
    ended = fleetcast(*words)
    assert ended.exit_code == 2
    assert expected in ended.err
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1


def test_system_error_is_one_line_with_exit_code_1(
    fleetcast: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: Any) -> None:
        raise ClusterError("the cluster is gone")

    monkeypatch.setattr("forecasting.store.query.query", lose)
    ended = fleetcast("query", "SELECT 1")
    assert ended.exit_code == 1
    assert ended.err.splitlines()[-1] == "error: the cluster is gone"
    assert "Traceback" not in ended.err


def test_unexpected_error_is_one_line_and_debug_adds_its_traceback(
    fleetcast: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("surprise\nsecond line")

    monkeypatch.setattr("forecasting.store.query.query", fail)
    quiet, loud, loud_too = (
        fleetcast(*words, "SELECT 1") for words in (["query"], ["--debug", "query"], ["query", "--debug"])
    )
    assert quiet.exit_code == loud.exit_code == loud_too.exit_code == 1
    assert quiet.err.splitlines()[-1].startswith("error: KeyError: ")
    assert "Traceback" not in quiet.err
    assert "Traceback" in loud.err
    assert "Traceback" in loud_too.err


@pytest.mark.parametrize("by_lightning", [False, True])
def test_interrupted_command_has_exit_code_130(
    fleetcast: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, by_lightning: bool
) -> None:
    def interrupt(*_: Any) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            if by_lightning:
                sys.exit(1)
            raise

    monkeypatch.setattr("forecasting.store.query.query", interrupt)
    ended = fleetcast("query", "SELECT 1")
    assert (ended.exit_code, ended.err.splitlines()[-1]) == (130, "error: interrupted")


def test_ctrl_c_while_training_leaves_no_file(hourly: Callable[..., pl.DataFrame], tmp_path: Path) -> None:
    hourly().write_parquet(tmp_path / "in.parquet")
    words = ["forecast", "in.parquet", "--freq", "1h", "--season-length", "6", "--horizon", "4", "--out", "out.parquet"]
    # Training would never end, so only the signal can end it; the first line shows that it trains.
    words += ["--recipe", "fast", "--set", "max_steps=1000000", "--set", "patience=10000", "--set", "hidden_size=4"]
    code = f"""
    import sys
    from forecasting.cli import main
    from forecasting.flow import progress
    progress.SECONDS_BETWEEN_LINES = 0.0
    sys.exit(main({words!r}))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        while "series" not in running.stderr.readline():
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        last = running.stderr.read().splitlines()[-1]
    assert (running.returncode, last) == (130, "error: interrupted")
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]
