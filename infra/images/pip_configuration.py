"""pip's configuration of this machine, as the builds of images need it: a secret file, and the places that it names."""

import ast
import configparser
import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

IN_BUILD = "/run/pip"
"""Folder of a build in which the places have numbers as names."""


@contextmanager
def pip_options() -> Iterator[list[str]]:
    """Write the secret that the Dockerfiles name `pip`.

    Yields:
        Options of a build: the secret, and a volume for each file and folder that the configuration names. Neither
        becomes part of an image.
    """
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    text, places = translate(listed)
    with TemporaryDirectory() as folder:
        secret = Path(folder) / "pip.conf"
        secret.write_text(text, encoding="utf-8")
        volumes = [option for there, here in places.items() for option in ("--volume", f"{here}:{there}:ro")]
        yield ["--secret", f"id=pip,src={secret}", *volumes]


def translate(listed: str) -> tuple[str, dict[str, Path]]:
    """Translate pip's configuration for a build.

    Args:
        listed: What `pip config list` prints. An environment variable counts before all files.

    Returns:
        A configuration file with paths of the build, and the file or folder of this machine at each of these paths.
    """
    places: dict[str, Path] = {}
    parser = configparser.RawConfigParser()
    parser.read_dict({"global": {}})
    lines = [line.partition("=") for line in listed.splitlines()]
    for variable in (False, True):
        for name, _, value in lines:
            section, _, option = name.removeprefix(":env:.").rpartition(".")
            if name.startswith(":env:.") is variable and option != "config-file":
                words = [_translate_word(word, places) for word in ast.literal_eval(value).split()]
                for each in parser.sections() if variable else [section]:
                    parser.read_dict({each: {option: "\n".join(words)}})
    written = io.StringIO()
    parser.write(written)
    return written.getvalue(), places


def _translate_word(word: str, places: dict[str, Path]) -> str:
    """Replace a path, or a URL of a file, by that of a build."""
    if word.startswith("file://"):
        folder = Path(unquote(urlsplit(word).path))
        # An index may name its files relative to itself, and so may lie beside them.
        return f"file://{_place_of(folder.parent, places)}/{folder.name}"
    return _place_of(Path(word), places) if word.startswith("/") and Path(word).exists() else word


def _place_of(path: Path, places: dict[str, Path]) -> str:
    for there, here in places.items():
        if here == path:
            return there
    there = f"{IN_BUILD}/{len(places)}"
    places[there] = path
    return there
