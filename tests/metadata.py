"""The metadata that pip would install: Airflow finds providers by the entry points of installed distributions."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def write_metadata(folder: Path) -> Path:
    """Write the entry points of pyproject.toml for processes whose PYTHONPATH has the folder, and return the folder."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    written = folder / f"{project['name']}-{project['version']}.dist-info"
    written.mkdir(parents=True)
    (written / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = project["entry-points"].items()
    lines = [f"[{group}]\n" + "".join(f"{name} = {path}\n" for name, path in given.items()) for group, given in groups]
    (written / "entry_points.txt").write_text("\n".join(lines))
    return folder
