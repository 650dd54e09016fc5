"""The wheel as a user gets it: built from the source archive, and installed where no compiler is."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.packaging.build import build, unpack

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("forecast_from_wheel.py")

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(900)]


def test_wheel_belongs_to_a_platform_and_to_no_cpython_version(wheel: Path) -> None:
    _, _, python, abi, platform = wheel.stem.split("-")
    assert (python, abi) == ("py3", "none")
    assert platform != "any"


def test_wheel_has_every_file_of_both_packages_and_the_engine(wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "forecasting", "workers"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    expected = {*listed.stdout.split(), "forecasting/fleet/native/_engine.so"}
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == expected


def test_wheel_without_a_compiler_is_refused(archive: Path, tmp_path: Path) -> None:
    done = build("wheel", unpack(archive, tmp_path / "source"), tmp_path / "wheel", CC="missing-cc")
    assert done.returncode != 0
    assert "a wheel needs the CPU engine, which a C compiler builds" in done.stdout + done.stderr
    assert list(tmp_path.rglob("*.whl")) == []


def test_wheel_forecasts_with_the_engine_where_no_compiler_is(wheel: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(wheel), str(ROOT / "constraints.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
