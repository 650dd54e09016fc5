import os
import subprocess
import sys
from pathlib import Path

import pytest

from forecasting.errors import UserError
from workers.airflow.ray_token import read_token


def write_default_token(home: Path, token: str = "default\n") -> None:
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text(token)


def test_no_token_anywhere_means_none(tmp_path: Path) -> None:
    assert read_token({"HOME": str(tmp_path)}) is None


def test_disabled_authentication_sends_no_token(tmp_path: Path) -> None:
    assert read_token({"HOME": str(tmp_path), "RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "variable"}) is None


def test_named_file_without_a_token_is_refused_by_name(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    write_default_token(tmp_path)
    with pytest.raises(UserError, match="missing"):
        read_token({"HOME": str(tmp_path), "RAY_AUTH_TOKEN_PATH": missing})


def test_required_token_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="RAY_AUTH_TOKEN_PATH"):
        read_token({"HOME": str(tmp_path), "RAY_AUTH_MODE": "token"})


RAYS_OWN = """
from ray._raylet import AuthenticationTokenLoader
print(AuthenticationTokenLoader.instance().get_token_for_http_header().get("authorization", ""))
"""


@pytest.mark.ray
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"RAY_AUTH_TOKEN": " variable \n"},
        {"RAY_AUTH_TOKEN": "variable", "RAY_AUTH_TOKEN_PATH": "{file}"},
        {"RAY_AUTH_TOKEN": "", "RAY_AUTH_TOKEN_PATH": "{file}"},
        {"RAY_AUTH_TOKEN_PATH": ""},
    ],
)
def test_token_is_the_one_that_rays_own_clients_send(settings: dict[str, str], tmp_path: Path) -> None:
    write_default_token(tmp_path)
    (tmp_path / "token").write_text("\tfile \n")
    named = {name: value.format(file=tmp_path / "token") for name, value in settings.items()}
    environment = {"HOME": str(tmp_path), "RAY_AUTH_MODE": "token", **named}
    rays = subprocess.run(
        [sys.executable, "-c", RAYS_OWN],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert f"Bearer {read_token(environment)}" == rays.stdout.strip()
