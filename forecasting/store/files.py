"""Whole files below the root of a store, on a local disk or in S3: staged rows and weights.

Delta tables read and write their own files.
"""

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.fs as arrow_fs

from forecasting.errors import NothingStored, SpecError, StoreError, first_line
from forecasting.series.objects import s3_arguments

TEMPORARY = ".tmp"
"""What the names of partial files end in."""


@dataclass(frozen=True)
class StoredFile:
    """One file: its path relative to the root, its size in bytes, and when it was last modified (UTC)."""

    path: str
    num_bytes: int
    modified: datetime


class Files:
    """Files below one root; all paths are relative to it and have no `..`.

    Args:
        root: A local folder or `s3://bucket/prefix`.
        storage_options: Options of the object store, as deltalake takes them.

    Raises:
        SpecError: The root is of another kind, or is a file.
        StoreError: Raised by all methods if the disk or the object store fails.
    """

    def __init__(self, root: str, storage_options: Mapping[str, str]) -> None:
        self.root = root
        self.is_local = "://" not in root
        self.filesystem = _open_filesystem(root, storage_options)

    def uri(self, path: str) -> str:
        """Return the path or URI of a file, as Polars and Delta Lake take it."""
        return f"{self.root}/{_check_path(path)}"

    def read_bytes(self, path: str) -> bytes:
        """Read a whole file.

        Args:
            path: The file.

        Returns:
            Its content.

        Raises:
            NothingStored: The file does not exist.
            StoreError: The file could not be read.
        """
        try:
            with self.filesystem.open_input_file(_check_path(path)) as stream:
                return bytes(stream.read())
        except FileNotFoundError as error:
            raise NothingStored(f"the store {self.root} has no file '{path}'") from error
        except OSError as error:
            raise StoreError(f"file '{path}' of store {self.root} could not be read: {first_line(error)}") from error

    def write_bytes(self, path: str, content: bytes) -> None:
        """Write a whole file, or replace it. Readers see the old or the new content, never a part of it.

        Args:
            path: The file.
            content: Its content.

        Raises:
            StoreError: The file could not be written.
        """
        try:
            if self.is_local:
                _write_and_rename(Path(self.root) / _check_path(path), content)
            else:  # an object becomes visible when its upload is complete
                with self.filesystem.open_output_stream(_check_path(path)) as stream:
                    stream.write(content)
        except OSError as error:
            raise StoreError(f"file '{path}' of store {self.root} could not be written: {first_line(error)}") from error

    def find(self, folder: str) -> list[StoredFile]:
        """Return all complete files below a folder, sorted by path; an absent folder has none."""
        return [file for file in self.find_all(folder) if not file.path.endswith(TEMPORARY)]

    def find_all(self, folder: str) -> list[StoredFile]:
        """Return all files below a folder, sorted by path, including partial files of writers that were killed."""
        selector = arrow_fs.FileSelector(_check_path(folder), allow_not_found=True, recursive=True)
        try:
            found = self.filesystem.get_file_info(selector)
        except OSError as error:
            raise StoreError(
                f"folder '{folder}' of store {self.root} could not be listed: {first_line(error)}"
            ) from error
        return sorted(
            (
                StoredFile(info.path, info.size, info.mtime or datetime.now(UTC))
                for info in found
                if info.type == arrow_fs.FileType.File
            ),
            key=lambda file: file.path,
        )

    def delete(self, path: str) -> None:
        """Delete a file, if it exists."""
        try:
            self.filesystem.delete_file(_check_path(path))
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"file '{path}' of store {self.root} could not be deleted: {first_line(error)}") from error

    def delete_folder(self, folder: str) -> None:
        """Delete a folder and everything in it, if it exists."""
        try:
            self.filesystem.delete_dir(_check_path(folder))
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(
                f"folder '{folder}' of store {self.root} could not be deleted: {first_line(error)}"
            ) from error


def _open_filesystem(root: str, storage_options: Mapping[str, str]) -> arrow_fs.FileSystem:
    if "://" not in root:
        if Path(root).is_file():
            raise SpecError("store root", [f"'{root}' is a file; it must be a folder, which need not exist yet"])
        return arrow_fs.SubTreeFileSystem(root, arrow_fs.LocalFileSystem())
    scheme, _, place = root.partition("://")
    if scheme not in ("s3", "s3a") or not place:
        raise SpecError("store root", [f"'{root}' must be a local folder or an s3:// URI with a bucket"])
    return arrow_fs.SubTreeFileSystem(place, arrow_fs.S3FileSystem(**s3_arguments(storage_options)))


def _check_path(path: str) -> str:
    if not path or path.startswith("/") or "\\" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise StoreError(f"'{path}' is not a relative path below the store root")
    return path


def _write_and_rename(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}{TEMPORARY}")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())  # after a power cut, the renamed file must not be empty
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
