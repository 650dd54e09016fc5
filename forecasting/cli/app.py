"""The commands of `fleetcast` and their exit codes: 0 for success, 2 for user errors, 1 for failures of the system.

Commands import what they need inside their functions, so that help and commands without it start quickly.
"""

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException

from forecasting.cli import check, forecast, plan, plot, runs, specs, tables
from forecasting.cli.once import OnceCommand
from forecasting.errors import FleetcastError, first_line, naming_extras
from forecasting.series.once import reading_once

DEBUG = "--debug"

app = typer.Typer(
    name="fleetcast",
    help="Forecast fleets of time series, each with a small recurrent network of its own, and query the results.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("forecast", cls=OnceCommand)(forecast.forecast)
app.command("check", cls=OnceCommand)(check.check)
app.command("plan", cls=OnceCommand)(plan.plan)
app.command("query", cls=OnceCommand)(tables.query)
app.command("tables", cls=OnceCommand)(tables.tables)
app.add_typer(runs.app, name="runs")
app.command("leaderboard", cls=OnceCommand)(tables.leaderboard)
app.command("plot", cls=OnceCommand)(plot.plot)
app.add_typer(specs.app, name="specs")


def run(arguments: Sequence[str]) -> int:
    """Run one command. Errors are printed on stderr, in one line each; `--debug` adds the traceback.

    Args:
        arguments: The words after `fleetcast`.

    Returns:
        The exit code.

    Raises:
        KeyboardInterrupt: The user pressed Ctrl-C.
    """
    is_debugging = DEBUG in arguments
    try:
        with naming_extras(), reading_once():
            result = app([word for word in arguments if word != DEBUG], prog_name="fleetcast", standalone_mode=False)
    except SystemExit as exit_now:
        # Lightning turns Ctrl-C into SystemExit(1).
        if isinstance(exit_now.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from exit_now
        return exit_now.code if isinstance(exit_now.code, int) else int(exit_now.code is not None)
    except TyperException as error:
        message = error.format_message()
        if not message:  # the help is already printed in place of an error
            return error.exit_code
        return _fail(f"{message.rstrip('.')}; see fleetcast --help", error.exit_code)
    except FleetcastError as error:
        _trace(is_debugging)
        return _fail(str(error), error.exit_code)
    except Exception as error:
        _trace(is_debugging)
        return _fail(
            f"{type(error).__name__}: {first_line(error)} (--debug adds a traceback)", FleetcastError.exit_code
        )
    return result if isinstance(result, int) else 0


def _print_version(is_requested: bool) -> None:
    if is_requested:
        from importlib.metadata import version

        print(f"fleetcast {version('fleetcast')}")
        raise typer.Exit


@app.callback()
def _top(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option(DEBUG, help="Show the traceback of an error; at any position.")] = False,
) -> None:
    pass


def _trace(is_debugging: bool) -> None:
    if is_debugging:
        traceback.print_exc()


def _fail(message: str, exit_code: int) -> int:
    print(f"error: {message}", file=sys.stderr, flush=True)
    return exit_code
