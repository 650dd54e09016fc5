"""The source archive and the wheel of the checkout, built once."""

from pathlib import Path

import pytest

from tests.packaging.build import build, unpack

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the source archive of the checkout."""
    folder = tmp_path_factory.mktemp("archive")
    done = build("sdist", ROOT, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.tar.gz")
    return built


@pytest.fixture(scope="session")
def wheel(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel of the source archive."""
    folder = tmp_path_factory.mktemp("wheel")
    done = build("wheel", unpack(archive, tmp_path_factory.mktemp("source")), folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built
