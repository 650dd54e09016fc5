"""The command `fleetcast`: arguments go in; tables, files and an exit code come out."""

import sys
from collections.abc import Sequence

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; Ctrl-C ends it with one line, while it still loads too."""
    try:
        from forecasting.cli.app import run

        exit_code = run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        exit_code = INTERRUPTED
    if exit_code == INTERRUPTED:
        print("error: interrupted", file=sys.stderr, flush=True)
    return exit_code
