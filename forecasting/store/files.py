"""Bytes under the store root: relative paths go in, whole files come out, on a local disk and on S3 alike.

Delta tables do their own reading and writing; this is for what lies beside them (staged files, weights).
"""

import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.fs as arrow_fs

from forecasting.errors import NothingStored, SpecError, StoreError, first_line

_TEMPORARY = ".tmp"


@dataclass(frozen=True)
class StoredFile:
    path: str
    num_bytes: int
    modified: datetime


class Files:
    """Files below one root, a local folder or `s3://bucket/prefix`; a path is relative and has no `..`.

    Raises SpecError for a root of another kind; StoreError where the disk or the object store fails.
    """

    def __init__(self, root: str, storage_options: Mapping[str, str]) -> None:
        self.root = root
        self.is_local = "://" not in root
        self.filesystem = _open_filesystem(root, storage_options)

    def uri(self, path: str) -> str:
        """Return where a file lies, in the form that Polars and Delta Lake take."""
        return f"{self.root}/{_check_path(path)}"

    def read_bytes(self, path: str) -> bytes:
        """Read a whole file; raises NothingStored where there is none."""
        try:
            with self.filesystem.open_input_file(_check_path(path)) as stream:
                return bytes(stream.read())
        except FileNotFoundError as error:
            raise NothingStored(f"the store {self.root} holds no file '{path}'") from error
        except OSError as error:
            raise StoreError(f"file '{path}' of store {self.root} could not be read: {first_line(error)}") from error

    def write_bytes(self, path: str, content: bytes) -> None:
        """Write a whole file, replacing one of that name; readers see the old content or the new, never a part."""
        try:
            if self.is_local:
                _write_and_rename(Path(self.root) / _check_path(path), content)
            else:  # an object appears when its upload is complete
                with self.filesystem.open_output_stream(_check_path(path)) as stream:
                    stream.write(content)
        except OSError as error:
            raise StoreError(f"file '{path}' of store {self.root} could not be written: {first_line(error)}") from error

    def find(self, folder: str) -> list[StoredFile]:
        """Return every file below a folder, sorted by path; half-written ones are left out."""
        return [file for file in self.find_all(folder) if not file.path.endswith(_TEMPORARY)]

    def find_all(self, folder: str) -> list[StoredFile]:
        """Return every file below a folder, also what a killed writer left half-written."""
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
        """Delete a file; one that is already gone is no error."""
        try:
            self.filesystem.delete_file(_check_path(path))
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"file '{path}' of store {self.root} could not be deleted: {first_line(error)}") from error

    def delete_folder(self, folder: str) -> None:
        """Delete a folder with all that is in it; one that is already gone is no error."""
        try:
            self.filesystem.delete_dir(_check_path(folder))
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(
                f"folder '{folder}' of store {self.root} could not be deleted: {first_line(error)}"
            ) from error


def s3_arguments(storage_options: Mapping[str, str]) -> dict[str, object]:
    """Translate the object store options that deltalake takes into those of pyarrow's S3 file system."""
    options = {re.sub("^aws_", "", name.lower()): value for name, value in storage_options.items()}
    arguments: dict[str, object] = {}
    for name, spellings in {
        "access_key": ("access_key_id",),
        "secret_key": ("secret_access_key",),
        "session_token": ("session_token", "token"),
        "region": ("region", "default_region"),
        "endpoint_override": ("endpoint_url", "endpoint"),
    }.items():
        values = [options[spelling] for spelling in spellings if options.get(spelling)]
        if values:
            arguments[name] = values[0]
    if str(arguments.get("endpoint_override", "")).startswith("http://"):
        arguments["scheme"] = "http"
    if options.get("virtual_hosted_style_request", "").lower() == "true":
        arguments["force_virtual_addressing"] = True
    if options.get("skip_signature", "").lower() == "true":
        arguments["anonymous"] = True
    return arguments


def _open_filesystem(root: str, storage_options: Mapping[str, str]) -> arrow_fs.FileSystem:
    if "://" not in root:
        if Path(root).is_file():
            raise SpecError("store root", [f"'{root}' is a file; it must be a folder, or the name of a new one"])
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
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}{_TEMPORARY}")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())  # a rename that outlives a power cut must not name an empty file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
