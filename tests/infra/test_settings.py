"""The settings that are shipped for each environment are what the code reads."""

import tomllib
from pathlib import Path

import pytest

from forecasting.errors import SpecError
from forecasting.settings import SETTINGS_FILE_VARIABLE, FleetSettings, Settings
from workers.settings import WorkerSettings

FOLDER = Path(__file__).parents[2] / "infra" / "settings"
SECTIONS = {section.section: section for section in (Settings, WorkerSettings, FleetSettings)}
ENVIRONMENTS = ("local", "ci", "compose", "production.example")


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch):
    for section in SECTIONS.values():
        for name in section.model_fields:
            monkeypatch.delenv(f"FLEETCAST_{name.upper()}", raising=False)


def test_every_environment_is_listed_here():
    assert {path.name.removesuffix(".toml") for path in FOLDER.glob("*.toml")} == set(ENVIRONMENTS)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_value_of_a_shipped_file_is_read(environment, monkeypatch):
    path = FOLDER / f"{environment}.toml"
    monkeypatch.setenv(SETTINGS_FILE_VARIABLE, str(path))
    written = tomllib.loads(path.read_text())
    assert set(written) == set(SECTIONS)
    for name, values in written.items():
        loaded = SECTIONS[name].load()
        assert {field: getattr(loaded, field) for field in values} == values


def test_production_shares_gpus_and_keeps_tables_in_an_object_store(monkeypatch):
    monkeypatch.setenv(SETTINGS_FILE_VARIABLE, str(FOLDER / "production.example.toml"))
    assert Settings.load().store.startswith("s3://")
    assert 0 < WorkerSettings.load().gpus_per_worker < 1


def test_the_environment_overrides_the_file(monkeypatch):
    monkeypatch.setenv(SETTINGS_FILE_VARIABLE, str(FOLDER / "ci.toml"))
    monkeypatch.setenv("FLEETCAST_SHARD_SIZE", "3")
    assert WorkerSettings.load().shard_size == 3
    assert WorkerSettings.load().num_workers == 2


def test_a_misspelt_setting_is_refused_by_name(tmp_path, monkeypatch):
    path = tmp_path / "settings.toml"
    path.write_text("[workers]\nshard_sise = 3\ncpus_per_worker = 0\n")
    monkeypatch.setenv(SETTINGS_FILE_VARIABLE, str(path))
    with pytest.raises(SpecError, match="shard_sise") as refusal:
        WorkerSettings.load()
    assert "cpus_per_worker" in str(refusal.value)
