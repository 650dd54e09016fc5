"""The wheel as a user gets it: built from the source archive, and installed where no compiler is."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("forecast_from_wheel.py")

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(900)]


def build(kind: str, source: Path, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Build the source archive or the wheel of a tree into a folder."""
    command = [sys.executable, "-m", "build", f"--{kind}", "--outdir", str(folder), str(source)]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack the source archive and return its root: no earlier build has left anything there."""
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the source archive of the checkout."""
    folder = tmp_path_factory.mktemp("archive")
    done = build("sdist", ROOT, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.tar.gz")
    return built


@pytest.fixture(scope="module")
def wheel(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel of the source archive."""
    folder = tmp_path_factory.mktemp("wheel")
    done = build("wheel", unpack(archive, tmp_path_factory.mktemp("source")), folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


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
