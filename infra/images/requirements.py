"""Print the requirements of an extra, so that an image installs them in a layer of their own, before the code.

python3 requirements.py worker     those of the project with its extra `worker`
python3 requirements.py --build    those of its build
"""

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


def build_requirements_of(project: Path) -> list[str]:
    """Return what the build of the project needs."""
    return list(tomllib.loads(project.read_text(encoding="utf-8"))["build-system"]["requires"])


if __name__ == "__main__":
    given, declared_in = sys.argv[1], Path("pyproject.toml")
    found = build_requirements_of(declared_in) if given == "--build" else requirements_of(given, declared_in)
    print("\n".join(found))
