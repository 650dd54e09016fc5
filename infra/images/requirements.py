"""Print the requirements of an extra, so that an image installs them in a layer of their own, before the code."""

import re
import sys
import tomllib
from pathlib import Path


def requirements_of(extra: str, project: Path) -> list[str]:
    """Return what the project and one of its extras need, with the extras that this one names."""
    declared = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    found = list(declared["dependencies"])
    waiting = [extra]
    while waiting:
        for requirement in declared["optional-dependencies"][waiting.pop()]:
            own = re.fullmatch(rf"{re.escape(declared['name'])}\[(.+)\]", requirement)
            if own:
                waiting += own[1].split(",")
            else:
                found.append(requirement)
    return sorted(set(found))


if __name__ == "__main__":
    print("\n".join(requirements_of(sys.argv[1], Path("pyproject.toml"))))
