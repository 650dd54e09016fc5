"""The images: linted, not root, without secrets, and made of what the project has."""

import fnmatch
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGES = {"worker": "worker", "airflow": "airflow-postgres"}
"""The extra that each image installs."""
HADOLINT = [str(Path(sys.executable).with_name("hadolint")), "--config", str(ROOT / "infra/images/.hadolint.yaml")]
images = pytest.mark.parametrize("image", IMAGES)


def read(image: str) -> str:
    return (ROOT / "infra" / "images" / f"{image}.Dockerfile").read_text()


def instructions(image: str, name: str) -> list[str]:
    """The arguments of each instruction of a kind, on one line."""
    return re.findall(rf"^{name} (.+)$", read(image).replace("\\\n", " "), flags=re.MULTILINE)


def test_every_image_is_tested():
    assert {path.name for path in (ROOT / "infra" / "images").glob("*Dockerfile")} == {
        f"{n}.Dockerfile" for n in IMAGES
    }


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (("", ""), None),
        (("USER 1000:1000", "USER root"), "DL3002"),
        (("--no-install-recommends ", ""), "DL3015"),
        (("HEALTHCHECK", "HEALTHCHECK CMD true\nHEALTHCHECK"), "DL3012"),
    ],
)
@images
def test_hadolint_accepts_an_image_and_refuses_a_broken_one(image, change, rule):
    linted = subprocess.run([*HADOLINT, "-"], input=read(image).replace(*change), capture_output=True, text=True)
    assert (linted.returncode == 0) == (rule is None), linted.stdout
    assert rule is None or rule in linted.stdout


@images
def test_image_is_not_root_and_has_a_health_check(image):
    last_stage = read(image).rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.+)$", last_stage, flags=re.MULTILINE) == ["1000:1000"]
    assert "\nHEALTHCHECK " in last_stage


@images
def test_image_has_no_secret_and_no_package_host(image):
    given = re.findall(r"(\w+)=", " ".join(instructions(image, "ENV") + instructions(image, "ARG")))
    assert given
    assert [name for name in given if re.search("TOKEN|PASSWORD|SECRET|KEY|CREDENTIAL", name)] == []
    assert re.findall(r"https?://(?!127\.0\.0\.1)\S+", read(image)) == []


@images
def test_image_installs_an_extra_of_the_project_with_pinned_versions(image):
    assert f"requirements.py {IMAGES[image]} >" in read(image)
    installs = [line for line in instructions(image, "RUN") if "pip install" in line or "pip wheel" in line]
    assert len(installs) == 3
    assert all(re.search(r"--constraint \S*constraints\.txt|--no-deps --no-index", line) for line in installs)


@pytest.mark.parametrize(("extra", "has"), [("worker", "torch"), ("airflow-postgres", "apache-airflow")])
def test_requirements_are_those_of_an_extra_and_of_the_extras_that_it_names(extra, has):
    found = runpy.run_path(str(ROOT / "infra/images/requirements.py"))["requirements_of"](
        extra, ROOT / "pyproject.toml"
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["dependencies"]) < set(found)
    assert any(requirement.startswith(has) for requirement in found)
    assert not any(requirement.startswith(("fleetcast", "pytest")) for requirement in found)
    assert any(requirement.startswith("torch") for requirement in found) == (extra == "worker")


def test_requirements_of_the_build_are_those_of_the_build_system():
    program = [sys.executable, "infra/images/requirements.py", "--build"]
    printed = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]


@images
def test_only_the_last_layer_has_code(image):
    copies = [line for line in instructions(image, "COPY") if line.startswith("--from=package")]
    assert copies == ["--from=package /installed /"]
    assert read(image).endswith(f"COPY {copies[0]}\n")


@images
def test_what_is_copied_exists_and_passes_the_list_of_the_build_context(image):
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert ignored[0] == "*"
    allowed = [line[1:] for line in ignored if line.startswith("!")]
    copied = {source for line in instructions(image, "COPY") if "--from" not in line for source in line.split()[:-1]}
    assert [path for path in copied if not any(f"{path}/".startswith(f"{each}/") for each in allowed)] == []
    assert [path for path in allowed if not (ROOT / path).exists()] == []
    for private in ("infra/compose/secrets", ".git", ".fleetcast", ".venv", "tests", "dags/specs"):
        assert not any(fnmatch.fnmatch(private, path) or f"{private}/".startswith(f"{path}/") for path in allowed)
