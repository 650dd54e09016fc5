"""Settings from TOML and the environment: where tables are stored, which resources are used, and how fleets run.

The environment (`FLEETCAST_STORE`, …) takes precedence over the file that `FLEETCAST_SETTINGS` names, and the file over
the defaults. Only entry points load settings; library functions take what they need as arguments.
"""

import os
import re
import tomllib
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from forecasting.errors import SpecError
from forecasting.spec.problems import describe_problems
from forecasting.spec.training import KernelName

SETTINGS_FILE_VARIABLE = "FLEETCAST_SETTINGS"
SECRETS = frozenset({"storage_options"})
"""Settings whose values no message repeats."""
DRIVER_SECONDS, DRIVER_BYTES = 5.0, 1 << 30
"""Predicted work, and memory, up to which a job of the cluster computes in its own process, by default."""
WORKER_BYTES = 2 << 30
"""Memory of a worker where neither a setting nor its node grants more."""


class SettingsSection(BaseSettings):
    """One section of the settings file; the variable `FLEETCAST_<FIELD>` overrides each of its fields."""

    model_config = SettingsConfigDict(env_prefix="FLEETCAST_", frozen=True, extra="forbid", hide_input_in_errors=True)
    section: ClassVar[str]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment override the file, which `load` passes as initial values; see pydantic-settings.

        Args:
            settings_cls: The section's class.
            init_settings: The values of the file.
            env_settings: The values of the environment.
            dotenv_settings: Not used.
            file_secret_settings: Not used.

        Returns:
            The sources that are used, highest precedence first.
        """
        return env_settings, init_settings

    @classmethod
    def load(cls) -> Self:
        """Read this section from the environment and the settings file.

        Returns:
            The section's settings.

        Raises:
            SpecError: The file cannot be read, or settings are refused; the error lists all of them.
        """
        path = os.environ.get(SETTINGS_FILE_VARIABLE)
        try:
            return cls(**(_read_file(Path(path)).get(cls.section, {}) if path else {}))
        except ValidationError as error:
            subject = f"settings [{cls.section}]" + (f" of {path}" if path else "")
            # An unknown setting may be a key of an object store in the wrong place.
            unknown = {str(each["loc"][0]) for each in error.errors() if each["type"] == "extra_forbidden"}
            raise SpecError(subject, describe_problems(error, secrets=SECRETS | unknown)) from error
        except SettingsError as error:
            # Only the field's name is taken from the message, because the value may contain secrets.
            found = re.search(r'field "(\w+)"', str(error))
            variable = f"{cls.model_config['env_prefix']}{found[1] if found else '…'}".upper()
            problem = f'{variable} must be a JSON object such as {{"aws_region": "eu-central-1"}}'
            raise SpecError(f"settings [{cls.section}]", [problem]) from error


class Settings(SettingsSection):
    """Where tables are stored and which resources a process uses."""

    section = "store"

    store: str = Field(".fleetcast/store", min_length=1, description="root of all tables: a folder or an s3:// URI")
    storage_options: dict[str, str] = Field(
        default_factory=dict, description="options of the object store, as deltalake takes them"
    )
    connections: str | None = Field(
        None, min_length=1, description="folder with one file per connection, such as mounted secrets"
    )
    processes: int | None = Field(
        None,
        ge=1,
        description="processes of `fleetcast forecast`, each with one thread of torch; also the threads of Polars in"
        " the process that starts them; one per core if unset",
    )


class FleetSettings(SettingsSection):
    """How fleets of networks run, on any machine."""

    section = "fleet"

    kernel: KernelName = Field(
        "auto", description="implementation of the recurrence; auto selects the fastest one that can run"
    )


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"settings file {path}", [f"cannot be read: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"settings file {path}", [f"is not TOML: {error}"]) from error
