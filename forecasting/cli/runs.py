"""`fleetcast runs`: list the recorded runs of a store, or delete one."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from forecasting.cli.formats import Format
from forecasting.cli.once import OnceCommand, OnceGroup
from forecasting.cli.tables import FormatOption, open_store

if TYPE_CHECKING:
    from forecasting.store.deletion import Deletion

app = typer.Typer(cls=OnceGroup)


@app.callback(invoke_without_command=True)
def runs(
    context: typer.Context,
    spec: Annotated[str | None, typer.Option(help="Only runs of this spec.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Runs to print, 0 for all.")] = 20,
    output: FormatOption = Format.TABLE,
) -> None:
    """List the runs of jobs, newest first, or delete one."""
    if context.invoked_subcommand is not None:
        return
    import polars as pl

    from forecasting.cli.show import show

    recorded = open_store().scan("runs", "timestamp")
    if spec is not None:
        recorded = recorded.filter(pl.col("spec") == spec)
    newest_first = recorded.sort("started_at", "run_id", descending=True)
    if output is Format.TABLE:
        newest_first = newest_first.with_columns(pl.col("started_at").dt.truncate("1s")).select(*_SHOWN_OF_A_RUN)
    show(newest_first.collect(), output, limit=limit)


@app.command("delete", cls=OnceCommand)
def delete(
    run_id: Annotated[
        str, typer.Argument(metavar="RUN", help="Run id of a job, as `fleetcast runs --format csv` lists it.")
    ],
    reason: Annotated[str, typer.Option(help="Why it is deleted, for the record.")] = "",
    with_later: Annotated[bool, typer.Option("--with-later", help="Delete later runs too that build on it.")] = False,
    without_restoring: Annotated[
        bool, typer.Option("--without-restoring", help="Delete also where replaced rows can no longer be restored.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete what a run, and the jobs of its flow after it, wrote to all tables; rows that they replaced come back."""
    from forecasting.errors import UserError
    from forecasting.store.deletion import delete_runs, plan_deletion, refuse_lost

    store = open_store()
    deletion = plan_deletion(store, run_id, with_later=with_later)
    _print(deletion)
    if not without_restoring:
        refuse_lost(deletion, run_id)
    if dry_run:
        return
    if not yes and not sys.stdin.isatty():
        raise UserError("to delete runs needs a confirmation; --yes gives it, and --dry-run changes nothing")
    if not yes:
        typer.confirm("Delete these rows?", abort=True)
    print(f"deleted; recorded as run '{delete_runs(store, deletion, reason=reason)}'")


def _print(deletion: "Deletion") -> None:
    """Print the runs and the tables of a deletion."""
    import polars as pl

    from forecasting.cli.show import show

    runs = [{name: each.row[name] for name in _SHOWN_OF_DELETED} for each in deletion.runs]
    title = f"runs of spec '{deletion.spec}' to delete"
    show(pl.DataFrame(runs).with_columns(pl.col("started_at").dt.truncate("1s")), Format.TABLE, limit=0, title=title)
    changes = [
        {
            "table": each.stored_as,
            "run_cutoff": "" if each.run_cutoff is None else str(each.run_cutoff),
            "rows to delete": each.num_deleted,
            "rows to restore": each.num_restored,
            "of version": each.version,
        }
        for each in deletion.affected
    ]
    if changes:
        show(pl.DataFrame(changes, infer_schema_length=None), Format.TABLE, limit=0, title="changes of tables")
    else:
        print("no table has rows of these runs")


_SHOWN_OF_A_RUN = (
    "started_at",
    "spec",
    "job",
    "run_cutoff",
    "status",
    "seconds",
    "num_series",
    "num_rows",
    "message",
)
_SHOWN_OF_DELETED = ("run_id", "job", "run_cutoff", "status", "started_at")
