"""The command `fleetcast`."""

import sys
from collections.abc import Sequence

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Ctrl-C ends it with one line, even while modules are being imported.

    Args:
        arguments: The words after `fleetcast`; None takes those of the process.

    Returns:
        The exit code.
    """
    try:
        from forecasting.cli.app import run

        exit_code = run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        exit_code = INTERRUPTED
    if exit_code == INTERRUPTED:
        print("error: interrupted", file=sys.stderr, flush=True)
    return exit_code
