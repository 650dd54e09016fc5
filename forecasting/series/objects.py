"""List all objects of a bucket, of any suffix, with pyarrow."""

import re
from collections.abc import Mapping

_WILDCARD = re.compile(r"\*\*/?|\*|\?|\[[^\]]+\]|[^*?\[]+|\[")
_MEANINGS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def list_objects(folder: str, storage_options: Mapping[str, str]) -> list[str] | None:
    """List the objects below a folder, or below those that a glob matches.

    Args:
        folder: An `s3://` URI.
        storage_options: Options of the object store, as Polars takes them.

    Returns:
        URIs, sorted; None of another kind of object store, or where pyarrow cannot list this one.
    """
    scheme, _, place = folder.rstrip("/").partition("://")
    if scheme not in ("s3", "s3a") or not place:
        return None
    import pyarrow.fs as arrow_fs  # few sources are in an object store

    parts = re.split(r"[*?\[]", place, maxsplit=1)
    root = place if len(parts) == 1 else parts[0].rpartition("/")[0]
    try:
        filesystem = arrow_fs.S3FileSystem(**s3_arguments(storage_options))
        found = filesystem.get_file_info(arrow_fs.FileSelector(root, recursive=True, allow_not_found=True))
    except (OSError, ValueError):  # Polars may have other means to reach the store
        return None
    pattern = re.compile("".join(map(_translate, _WILDCARD.findall(place))) + "/.*", re.DOTALL)
    paths = [each.path for each in found if each.type == arrow_fs.FileType.File]
    return sorted(f"{scheme}://{path}" for path in paths if pattern.fullmatch(path))


def s3_arguments(storage_options: Mapping[str, str]) -> dict[str, object]:
    """Convert options of an object store from deltalake's names to those of pyarrow's S3 file system.

    Args:
        storage_options: Options as deltalake takes them, with or without the prefix `aws_`, in any case.

    Returns:
        Keyword arguments of `pyarrow.fs.S3FileSystem`; options that it does not have are left out.
    """
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


def _translate(part: str) -> str:
    """Return a regular expression of a part of a glob."""
    if part in _MEANINGS:
        return _MEANINGS[part]
    return part.replace("[!", "[^") if len(part) > 2 and part.startswith("[") else re.escape(part)
