"""Names of connections, and secrets in the place of names and addresses, which a spec refuses."""

import re
from typing import Annotated

from pydantic import AfterValidator

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,199}")
_BEFORE_HOST = re.compile(r"(\b[a-z][a-z0-9+.\-]*://[^\s:/?#@]*:)\S*@", re.IGNORECASE)
_PARAMETER = re.compile(r"\b((?:ssl)?password|passwd|pwd)(\s*=\s*)\\?(?:'[^']*'|\"[^\"]*\"|[^\s&#'\"]+)", re.IGNORECASE)
"""A password in the query of a URI, or in libpq's `name = 'value'`, perhaps within a Python string."""


def check_connection_name(name: str) -> str:
    """Return the name of a connection, as a spec has it.

    Args:
        name: The name, which becomes part of a variable's name and of a path.

    Returns:
        The same name.

    Raises:
        ValueError: It has other characters, such as those of a URI.
    """
    if not _NAME.fullmatch(name):
        raise ValueError("must be the name of a connection: letters, digits, `_`, `-` and `.`")
    return name


ConnectionName = Annotated[str, AfterValidator(check_connection_name)]
"""The name of a connection, which Airflow calls its `conn_id`."""


def has_password(uri: str) -> bool:
    """Return whether a URI has a password or a secret key.

    Args:
        uri: A path or URI.

    Returns:
        Whether it has one, before the host or in its query.

    >>> has_password("postgresql://ada:x@host/db"), has_password("postgresql://host/db?password=x")
    (True, True)
    >>> has_password("postgresql://ada@host/db?sslmode=require"), has_password("sales/a:b@c.csv")
    (False, False)
    """
    return mask_passwords(uri) != uri


def mask_passwords(text: str) -> str:
    """Return a text with `***` in place of passwords that URIs in it have.

    Args:
        text: Any text, such as a value that a message repeats.

    Returns:
        The text.

    >>> mask_passwords("'postgresql://ada:x@host/db?password=y'")
    "'postgresql://ada:***@host/db?password=***'"
    >>> mask_passwords("host=db password = 'x y' user=ada")
    'host=db password = *** user=ada'
    """
    return _PARAMETER.sub(r"\1\2***", _BEFORE_HOST.sub(r"\1***@", text))
