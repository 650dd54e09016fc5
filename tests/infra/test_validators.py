"""Each file of the deployment and of continuous integration has a validator, which refuses a broken one."""

import fnmatch
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SCHEMA = [str(BIN / "check-jsonschema"), "--builtin-schema"]
YAMLLINT = [str(BIN / "yamllint"), "--strict", "--config-file", str(ROOT / ".yamllint.yml")]
SHELLCHECK = [str(BIN / "shellcheck"), "--shell=bash"]
ACTIONLINT = [str(BIN / "actionlint"), f"-shellcheck={BIN / 'shellcheck'}"]
WORKFLOW = """
on: push
jobs:
  one:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@v5
      - run: cp "$HOME/one" "${{ runner.temp }}"
"""
BROKEN_WORKFLOW = WORKFLOW.replace("runner.temp", "runner.tmp")

COMMANDS: dict[str, tuple[list[str], str, str]] = {
    "yamllint": (YAMLLINT, "restart: always\n", "restart: always\nrestart: never\n"),
    "shellcheck": (SHELLCHECK, 'cp "$1" "$2"\n', "cp $1 $2\n"),
    "actionlint": (ACTIONLINT, "", BROKEN_WORKFLOW),
    "issue form schema": ([*SCHEMA, "vendor.github-issue-forms"], "", "name: one\n"),
    "issue configuration schema": ([*SCHEMA, "vendor.github-issue-config"], "", "blank_issues: true\n"),
    "JSON schema": ([str(BIN / "check-jsonschema"), "--check-metaschema"], "", '{"type": "objekt"}'),
    "make": (["make", "--dry-run", "--warn-undefined-variables", "help", "-f"], "", "help\n\techo\n"),
}
"""Validators that are one command: the command, a file that it accepts if no real one is, and one that it refuses."""

ELSEWHERE = {
    "compose schema": "test_compose.py",
    "hadolint": "test_images.py",
    "helm, kubernetes-validate": "test_chart.py",
    "promtool": "test_monitoring.py",
    "settings": "test_settings.py",
    "ruff": None,  # make lint
    "documents": None,  # tests/contracts
}
"""Validators with tests of their own, in this folder where a file is named."""

FILES: dict[str, tuple[str, ...]] = {
    ".ci/run": ("shellcheck",),
    ".github/workflows/*.yml": ("yamllint", "actionlint"),
    ".github/ISSUE_TEMPLATE/config.yml": ("yamllint", "issue configuration schema"),
    ".github/ISSUE_TEMPLATE/[!c]*.yml": ("yamllint", "issue form schema"),
    ".pre-commit-config.yaml": ("yamllint",),
    ".yamllint.yml": ("yamllint",),
    "Makefile": ("make",),
    "infra/*.md": ("documents",),
    "infra/*.py": ("ruff",),
    "infra/chart/templates/*": ("helm, kubernetes-validate",),
    "infra/chart/[Cv]*.yaml": ("yamllint", "helm, kubernetes-validate"),
    "infra/chart/rules.yml": ("yamllint", "promtool"),
    "infra/chart/values.schema.json": ("JSON schema",),
    "infra/compose/compose.yaml": ("yamllint", "compose schema"),
    "infra/images/*.Dockerfile": ("hadolint",),
    "infra/images/.hadolint.yaml": ("yamllint",),
    "infra/monitoring/*.yml": ("yamllint",),
    "infra/monitoring/[pr]*.yml": ("promtool",),
    "infra/monitoring/grafana/dashboards/*.json": ("promtool",),
    "infra/settings/*.toml": ("settings",),
}
"""Patterns of paths, and their validators."""

UNVALIDATED = {
    ".dockerignore": "a list of paths; tests/infra/test_images.py compares it with what images copy",
    ".github/PULL_REQUEST_TEMPLATE.md": "text that a person edits",
    "infra/chart/.helmignore": "a list of patterns",
    "infra/compose/.gitignore": "a list of patterns",
}


def files() -> list[str]:
    places = ["infra", ".github", ".ci", "Makefile", ".dockerignore", ".pre-commit-config.yaml", ".yamllint.yml"]
    listed = subprocess.run(["git", "ls-files", "--", *places], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("the checkout has no git")
    return listed.stdout.splitlines()


def matching(pattern: str, paths: list[str]) -> list[str]:
    return [path for path in paths if fnmatch.fnmatch(path, pattern)]


def test_every_file_has_a_validator_or_a_reason_to_have_none():
    paths = files()
    validated = {path for pattern in FILES for path in matching(pattern, paths)}
    assert sorted(set(paths) - validated) == sorted(UNVALIDATED)
    assert [pattern for pattern in FILES if not matching(pattern, paths)] == []
    named = {name for names in FILES.values() for name in names}
    assert named == set(COMMANDS) | set(ELSEWHERE)
    assert [name for name in ELSEWHERE.values() if name and not Path(__file__).with_name(name).exists()] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_files_pass_their_validator_and_a_broken_one_is_refused(name, tmp_path):
    command, good, bad = COMMANDS[name]
    paths = [ROOT / path for pattern, names in FILES.items() if name in names for path in matching(pattern, files())]
    assert paths
    if good:
        (tmp_path / "good").write_text(good)
        paths.append(tmp_path / "good")
    checked = subprocess.run([*command, *paths], cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    suffix = paths[0].suffix or ".txt"
    (tmp_path / f"bad{suffix}").write_text(bad)
    refused = subprocess.run([*command, tmp_path / f"bad{suffix}"], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode != 0


@pytest.mark.parametrize(
    ("right", "wrong", "rule"),
    [
        ("", "", None),
        ("runs-on", "runs_on", "[syntax-check]"),
        ("runner.temp", "runner.tmp", "[expression]"),
        ("ubuntu-24.04", "ubuntu-4", "[runner-label]"),
        ("checkout@v5", "checkout@v4", "[action]"),
        ('"$HOME/one"', "$HOME/one", "[shellcheck]"),
    ],
)
def test_actionlint_refuses_a_workflow_by_the_rule_that_it_breaks(right, wrong, rule):
    checked = subprocess.run([*ACTIONLINT, "-"], input=WORKFLOW.replace(right, wrong), capture_output=True, text=True)
    assert (checked.returncode == 0) == (rule is None), checked.stdout
    assert rule is None or rule in checked.stdout
