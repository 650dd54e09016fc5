"""Temporary folders: which of them the next process removes, and which it must not."""

import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from forecasting import temporary
from forecasting.series.once import reading_once
from forecasting.temporary import remove_leftovers, temporary_folder

OWNER = """
import sys
from forecasting.temporary import temporary_folder
with temporary_folder() as folder:
    (folder / "rows.parquet").write_bytes(b"rows")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


@contextmanager
def owner() -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """Run a process that has a temporary folder with a file in it."""
    words = [sys.executable, "-c", OWNER]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


@pytest.fixture
def leftover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an owner that no longer exists."""
    with monkeypatch.context() as patch, temporary_folder() as folder:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
    return folder


def test_folder_of_a_killed_process_is_removed_by_the_next_one_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    with owner() as (living, kept), owner() as (killed, left):
        with reading_once():
            assert kept.exists()
            assert left.exists()
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        with reading_once():
            assert list(tmp_path.iterdir()) == [kept]
        assert (kept / "rows.parquet").exists()
        living.communicate()  # the end of its input ends it
    assert list(tmp_path.iterdir()) == []


def test_folder_of_another_host_stays(leftover: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(platform, "node", lambda: "another")
        remove_leftovers()
    assert leftover.exists()
    remove_leftovers()
    assert not leftover.exists()


def test_folder_of_another_user_stays(leftover: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: user + 1)
    remove_leftovers()
    assert leftover.exists()


def test_folder_that_something_else_uses_stays(leftover: Path) -> None:
    remove_leftovers(is_used=lambda folder: folder == leftover)
    assert leftover.exists()


def test_names_of_others_and_links_stay(leftover: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    leftover.rename(target)
    leftover.symlink_to(target)
    others = [tmp_path / name for name in ("fleetcast-", f"{leftover.name}x", leftover.name.replace("-", "-ray-", 1))]
    for other in others:
        other.mkdir()
    remove_leftovers()
    assert sorted(tmp_path.iterdir()) == sorted([target, leftover, *others])


@pytest.mark.parametrize("name", ["open", "flock"])
def test_folder_that_is_removed_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    module = os if name == "open" else temporary.fcntl
    call, removed = getattr(module, name), []

    def overtaken(*given: object) -> object:
        if not removed and (folders := list(tmp_path.iterdir())):
            folders[0].rmdir()
            removed.extend(folders)
        return call(*given)

    monkeypatch.setattr(module, name, overtaken)
    with temporary_folder() as folder:
        assert len(removed) == 1
        assert list(tmp_path.iterdir()) == [folder]
