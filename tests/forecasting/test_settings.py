"""Settings: the environment overrides the file, the file the defaults, and refused settings are named."""

import traceback
from pathlib import Path

import pytest

from forecasting.errors import SpecError
from forecasting.settings import FleetSettings, Settings


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SETTINGS", "STORE", "STORAGE_OPTIONS", "PROCESSES", "KERNEL"):
        monkeypatch.delenv(f"FLEETCAST_{name}", raising=False)


@pytest.fixture
def settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "settings.toml"
    monkeypatch.setenv("FLEETCAST_SETTINGS", str(path))
    return path


def test_defaults_need_neither_file_nor_environment() -> None:
    assert Settings.load() == Settings(store=".fleetcast/store", storage_options={}, processes=None)


def test_file_gives_its_section_and_other_sections_are_ignored(settings_file: Path) -> None:
    settings_file.write_text('[store]\nstore = "s3://b/p"\nstorage_options = {a = "1"}\n[workers]\nshard_size = 3\n')
    settings = Settings.load()
    assert (settings.store, settings.storage_options) == ("s3://b/p", {"a": "1"})


def test_environment_overrides_the_file(settings_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings_file.write_text('[store]\nstore = "from_file"\nprocesses = 3\n')
    monkeypatch.setenv("FLEETCAST_STORE", "from_environment")
    settings = Settings.load()
    assert (settings.store, settings.processes) == ("from_environment", 3)


def test_all_refused_settings_are_reported_with_the_file(settings_file: Path) -> None:
    settings_file.write_text('[store]\nprocesses = 0\ncolour = "red"\n')
    with pytest.raises(SpecError) as refused:
        Settings.load()
    assert str(settings_file) in refused.value.subject
    assert sorted(problem.split(" ")[0] for problem in refused.value.problems) == ["colour", "processes"]


def test_unknown_setting_is_refused_by_name(settings_file: Path) -> None:
    settings_file.write_text("[store]\nthreads = 2\n")
    with pytest.raises(SpecError, match="threads"):
        Settings.load()


def test_refused_variable_is_reported_with_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETCAST_PROCESSES", "many")
    with pytest.raises(SpecError, match="processes = 'many'"):
        Settings.load()


@pytest.mark.parametrize("text", ["nojson", "{'key': 1}", "a secret {"])
def test_variable_that_is_not_json_is_reported_without_its_value(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("FLEETCAST_STORAGE_OPTIONS", text)
    with pytest.raises(SpecError) as refused:
        Settings.load()
    (problem,) = refused.value.problems
    assert problem.startswith("FLEETCAST_STORAGE_OPTIONS must be a JSON object")
    assert text not in problem


@pytest.mark.parametrize("text", ['["hunter2"]', '"hunter2"', '{"key": ["hunter2"]}', '{"key": {"hunter2": 1}}'])
def test_storage_options_of_a_wrong_type_are_reported_without_their_values(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("FLEETCAST_STORAGE_OPTIONS", text)
    with pytest.raises(
        SpecError, match=r"storage_options(\.key)?: must be (text|a table of names and values)"
    ) as refused:
        Settings.load()
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize("line", ['aws_secret_access_key = "hunter2"', 'storage_option = {key = "hunter2"}'])
def test_misplaced_storage_options_are_reported_without_their_values(settings_file: Path, line: str) -> None:
    settings_file.write_text(f"[store]\n{line}\n")
    with pytest.raises(SpecError, match="is not a known field") as refused:
        Settings.load()
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(("content", "expected"), [("[store", "is not TOML"), (None, "cannot be read")])
def test_file_that_cannot_be_read_is_reported(settings_file: Path, content: str | None, expected: str) -> None:
    if content is not None:
        settings_file.write_text(content)
    with pytest.raises(SpecError, match=expected):
        Settings.load()


def test_unknown_kernel_is_refused(settings_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings_file.write_text('[fleet]\nkernel = "reference"\n')
    assert FleetSettings.load().kernel == "reference"
    monkeypatch.setenv("FLEETCAST_KERNEL", "cuda")
    with pytest.raises(SpecError, match="kernel = 'cuda'"):
        FleetSettings.load()
