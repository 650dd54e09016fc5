"""The bearer token of Ray's Jobs API, read from Ray's own settings: environment variables and a token file."""

import os
from collections.abc import Mapping
from pathlib import Path

from forecasting.errors import UserError

TOKEN_VARIABLE = "RAY_AUTH_TOKEN"
TOKEN_PATH_VARIABLE = "RAY_AUTH_TOKEN_PATH"
MODE_VARIABLE = "RAY_AUTH_MODE"


def read_token(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the token that Ray's own clients would send, without importing Ray.

    The rules are those of Ray 2.60: the variable RAY_AUTH_TOKEN, else the file that RAY_AUTH_TOKEN_PATH names, else
    `~/.ray/auth_token`, which a local Ray writes when it starts. An empty variable counts as unset. With
    RAY_AUTH_MODE=disabled no token is sent.

    Args:
        environment: The environment variables.

    Returns:
        The token, or None where no token is to be sent.

    Raises:
        UserError: A named file has no token, or RAY_AUTH_MODE=token requires one and none is found.
    """
    mode = environment.get(MODE_VARIABLE, "").lower()
    if mode == "disabled":
        return None
    if token := environment.get(TOKEN_VARIABLE, "").strip():
        return token
    if named := environment.get(TOKEN_PATH_VARIABLE, ""):
        if token := _read_file(Path(named)):
            return token
        raise UserError(f"{TOKEN_PATH_VARIABLE} names '{named}', which cannot be read or is empty; it needs a token")
    default = Path(environment.get("HOME") or Path.home()) / ".ray" / "auth_token"
    if token := _read_file(default):
        return token
    if mode == "token":
        raise UserError(
            f"{MODE_VARIABLE} is 'token' but no token was found: set {TOKEN_VARIABLE} or {TOKEN_PATH_VARIABLE}, "
            f"or write it to {default}"
        )
    return None


def _read_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
