"""The exit code of a command, and its last line on stderr."""

import sys
from collections.abc import Callable

from forecasting.errors import FleetcastError

INTERRUPTED = 130
"""128 and the number of SIGINT, as shells report it."""


def exit_code_of(command: Callable[[], int | None]) -> int:
    """Run a command; an error of Fleetcast becomes one line on stderr.

    Args:
        command: The command; it returns its own exit code, or None for success.

    Returns:
        The exit code of the command, of the error, or of an interrupt.
    """
    try:
        return command() or 0
    except FleetcastError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
