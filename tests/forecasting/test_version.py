"""The recorded version changes with every file that decides a result, and with no other file."""

import shutil
from pathlib import Path

import pytest

from forecasting.version import PACKAGES, code_version, hash_source

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copies(tmp_path):
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.so", "*.parquet"))
    return [tmp_path / name for name in PACKAGES]


def test_code_version_names_the_source_that_runs(copies):
    assert code_version().endswith(f"+{hash_source(copies)}")


@pytest.mark.parametrize(
    "edited", ["workers/jobs/train.py", "forecasting/flow/shards.py", "forecasting/fleet/native/train.h"]
)
def test_an_edited_file_changes_the_version(copies, tmp_path, edited):
    before = hash_source(copies)
    with (tmp_path / edited).open("a") as file:
        file.write("\n")
    assert hash_source(copies) != before


def test_files_that_are_not_source_do_not_change_the_version(copies, tmp_path):
    before = hash_source(copies)
    (tmp_path / "workers" / "__pycache__").mkdir(exist_ok=True)
    (tmp_path / "workers" / "__pycache__" / "train.pyc").write_bytes(b"anything")
    assert hash_source(copies) == before
