"""Ray's own settings go in (environment, token file), the bearer token that a client must send comes out."""

import os
from collections.abc import Mapping
from pathlib import Path

from forecasting.errors import UserError

TOKEN_VARIABLE = "RAY_AUTH_TOKEN"
TOKEN_PATH_VARIABLE = "RAY_AUTH_TOKEN_PATH"
MODE_VARIABLE = "RAY_AUTH_MODE"


def read_token(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the token that Ray's own clients would send, or None where there is none to send.

    The rules are those of Ray 2.60, without an import of it: the variable RAY_AUTH_TOKEN, else the file that
    RAY_AUTH_TOKEN_PATH names, else `~/.ray/auth_token`, which a local Ray writes when it starts. An empty variable
    counts as unset. RAY_AUTH_MODE=disabled sends nothing.

    Raises UserError where a named file holds no token, and where RAY_AUTH_MODE=token asks for one that is nowhere.
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
            f"{MODE_VARIABLE} is 'token' but there is no token: set {TOKEN_VARIABLE} or {TOKEN_PATH_VARIABLE}, "
            f"or write it to {default}"
        )
    return None


def _read_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
