"""Archives and wheels of a tree, built as a user builds them."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path


def build(kind: str, source: Path, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Build the source archive or the wheel of a tree into a folder."""
    command = [sys.executable, "-m", "build", f"--{kind}", "--outdir", str(folder), str(source)]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack the source archive and return its root: no earlier build has left anything there."""
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")
