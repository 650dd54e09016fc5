"""The last good version of each spec file, of which its DAGs are made while the file is broken.

DAG processors write here; workers, which read the DAGs for each task, only read. A file appears whole or not at all.
A version that was read before its file changed again is not written.
"""

import contextlib
import hashlib
import logging
import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from forecasting.errors import SpecError
from forecasting.spec.spec import Spec
from forecasting.spec.toml_file import MOST_BYTES

log = logging.getLogger(__name__)

MOST_STEM = 100
"""Characters of a spec file's name that names of files here begin with."""


@dataclass(frozen=True)
class Seen:
    """A spec file at the moment before it was read.

    Attributes:
        path: The file.
        status: Its inode, size, and times of the last changes of content and of inode, in nanoseconds; zeros where the
            system does not say.
    """

    path: Path
    status: tuple[int, int, int, int]

    @classmethod
    def now(cls, path: Path) -> "Seen | None":
        """Return a file as it is now; None where it is gone."""
        try:
            try:
                status = path.stat()
            except OSError:
                status = path.lstat()  # of a link whose target is missing
        except FileNotFoundError:
            return None
        except OSError:
            return cls(path, (0, 0, 0, 0))
        return cls(path, (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))

    @property
    def changed_at(self) -> datetime:
        """When the file was last changed; an impossible time of its content does not count."""
        _, _, of_content, of_inode = self.status
        changed = of_content if 0 <= of_content <= time.time_ns() else of_inode
        return datetime.fromtimestamp(changed // 10**9, UTC)


@dataclass(frozen=True)
class Version:
    """A version of a spec.

    Attributes:
        spec: The spec.
        changed_at: When its file was last changed.
    """

    spec: Spec
    changed_at: datetime


class LastGood:
    """A folder with the last good version of each spec file of another folder."""

    def __init__(self, folder: Path) -> None:
        """Take a folder, which need not exist.

        Args:
            folder: The folder, of one folder of specs. All processes of Airflow that read the DAGs share it.
        """
        self.folder = folder

    def keep(self, seen: Seen, spec: Spec) -> None:
        """Keep the spec of a file as its last good version; a failure is only logged.

        Args:
            seen: The file before it was read.
            spec: What was read.
        """
        target = self._place(seen.path, ".json")
        text = spec.model_dump_json(exclude_unset=True)  # a field of its own may mean something else than its default
        if Seen.now(seen.path) != seen:
            return
        try:
            if (marks := self._place(seen.path, ".broken")).exists():
                shutil.rmtree(marks, ignore_errors=True)
            if target.exists() and target.read_text(encoding="utf-8") == text:
                return
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=".", dir=self.folder)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(text)
                os.utime(temporary, (seen.changed_at.timestamp(),) * 2)
                if Seen.now(seen.path) == seen:
                    os.replace(temporary, target)
            finally:
                Path(temporary).unlink(missing_ok=True)
        except OSError as error:
            log.warning("the last good version of %s is not kept in %s: %s", seen.path, self.folder, error)

    def find(self, path: Path) -> Version | None:
        """Return the last good version of a file; None where none can be read."""
        place = self._place(path, ".json")
        try:
            spec = Spec.model_validate_json(place.read_text(encoding="utf-8"))
            return Version(spec, datetime.fromtimestamp(int(place.stat().st_mtime), UTC))
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:  # another version of Fleetcast may have written it
            log.warning("the last good version of %s in %s cannot be used: %s", path, place, type(error).__name__)
            return None

    def broken_since(self, path: Path, error: SpecError) -> datetime | None:
        """Return when a file was first found broken with its present content.

        The time of a file that is created once is the same for all processes, which a hash of the content would be too,
        but a hash does not grow with time, and Airflow would not run a DAG at a time before its last run.

        Args:
            path: The file.
            error: What is wrong with it.

        Returns:
            The time, to the second; None where it cannot be kept.
        """
        mark = self._place(path, ".broken") / _digest(_content(path), *map(_bytes, error.problems))
        try:
            mark.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):  # of another process, or an earlier time
                mark.touch(exist_ok=False)
            return datetime.fromtimestamp(int(mark.stat().st_mtime), UTC)
        except OSError as failure:
            log.warning("%s cannot be marked as broken in %s: %s", path, self.folder, failure)
            return None

    def _place(self, path: Path, suffix: str) -> Path:
        stem = re.sub(r"[^A-Za-z0-9_\-]+", "-", path.stem)[:MOST_STEM]
        return self.folder / f"{stem}.{_digest(os.fsencode(path.name))}{suffix}"


def _content(path: Path) -> bytes:
    """Return the content of a regular file, as far as a spec may be long; nothing where it cannot be read."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except (OSError, ValueError):
        return b""


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]
