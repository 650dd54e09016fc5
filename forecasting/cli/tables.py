"""`fleetcast query`, `tables` and `leaderboard`: print the tables of a store."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecasting.cli.formats import Format

if TYPE_CHECKING:
    from forecasting.store.tables import Store


FormatOption = Annotated[Format, typer.Option("--format", help="Output format.")]
LimitOption = Annotated[
    int | None,
    typer.Option(min=0, show_default="100 as a table, all as csv or json", help="Rows to print, 0 for all."),
]


def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help='One SELECT, such as "SELECT * FROM latest_forecasts".')],
    output: FormatOption = Format.TABLE,
    limit: LimitOption = None,
) -> None:
    """Run one SELECT over the tables and views; `fleetcast tables` lists them."""
    from forecasting.cli.show import show
    from forecasting.store.query import query as answer

    show(answer(open_store(), sql), output, limit=limit)


def tables(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A table or view, to list its columns.")] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """List the tables and views with their meanings, or the columns of one of them."""
    import polars as pl

    from forecasting.cli.show import show
    from forecasting.errors import NothingStored
    from forecasting.store.query import describe_tables

    described = describe_tables(open_store())
    if name is None:
        summary = described.group_by("table", maintain_order=True).agg(
            pl.col("rows").first(), columns=pl.len(), meaning=pl.col("meaning").first()
        )
        return show(summary, output, limit=0)
    columns = described.filter(pl.col("table") == name)
    if columns.is_empty():
        known = ", ".join(described["table"].unique(maintain_order=True))
        raise NothingStored(f"table '{name}' does not exist; the tables and views are {known}")
    title = f"{name}: {columns['meaning'][0]}"
    return show(columns.select("column", "dtype", meaning="column_meaning"), output, limit=0, title=title)


def leaderboard(
    spec: Annotated[str | None, typer.Option(help="Only this spec.")] = None,
    scores: Annotated[bool, typer.Option("--scores", help="Use realised errors instead of backtests.")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Rank the models of each spec by mean MASE, with standard errors; served is the share of series won."""
    import polars as pl

    from forecasting.cli.board_table import print_board
    from forecasting.cli.boards import read_boards
    from forecasting.cli.show import open_console, show

    boards = read_boards(open_store(), kind="scores" if scores else "backtests", spec=spec)
    if output is not Format.TABLE:
        labelled = [
            board.rows.select(pl.lit(board.spec).alias("spec"), pl.lit(board.cutoff).alias("cutoff"), pl.all())
            for board in boards
        ]
        return show(pl.concat(labelled), output)
    for board in boards:
        print_board(board.rows, open_console(sys.stdout), title=board.title)
    return None


def open_store() -> "Store":
    """Return the store of the settings, with a note on stderr if it does not exist yet."""
    from forecasting.settings import Settings
    from forecasting.store.tables import Store

    settings = Settings.load()
    store = Store(settings.store, settings.storage_options)
    if "://" not in store.root and not Path(store.root).is_dir():
        print(
            f"store {store.root} does not exist yet, so every table is empty; FLEETCAST_STORE sets another store",
            file=sys.stderr,
        )
    return store
