"""Options that say how a command reads its inputs, which `forecast` and `check` have in common."""

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

_FIELDS: Mapping[str, Any] = {
    "freq": Annotated[
        str | None,
        typer.Option(
            "--freq", show_default="inferred", help="Step of the grid: 1h, 15m, 1d, 1mo …, or 1 for integers."
        ),
    ],
    "season_lengths": Annotated[
        list[int] | None,
        typer.Option(
            "--season-length", show_default="customary at --freq", help="Grid points in a season; may be repeated."
        ),
    ],
    "horizon": Annotated[int | None, typer.Option("--horizon", help="Steps ahead.")],
    "source.table": Annotated[
        str | None,
        typer.Option("--table", show_default="none", help="Table or view of a database, such as sales.orders."),
    ],
    "source.query": Annotated[
        str | None,
        typer.Option("--query", metavar="SELECT", show_default="none", help="Query of a database, in its place."),
    ],
    "source.connection": Annotated[
        str | None,
        typer.Option(
            "--connection",
            metavar="NAME",
            show_default="none",
            help="Connection that has the keys of an object store, or a database.",
        ),
    ],
    "source.id": Annotated[
        list[str] | None,
        typer.Option("--id", show_default="unique_id", help="Column that names the series, or several: store,item."),
    ],
    "source.time": Annotated[
        str | None, typer.Option("--time", show_default="ds", help="Column of timestamps or steps.")
    ],
    "source.time_format": Annotated[
        str | None,
        typer.Option(
            "--time-format",
            show_default="ISO 8601",
            help="Format of times: %d.%m.%Y, yyyymm, iso_week, epoch_s, excel …",
        ),
    ],
    "source.target": Annotated[str | None, typer.Option("--target", show_default="y", help="Column of measurements.")],
    "source.missing_rows": Annotated[
        str | None,
        typer.Option(
            "--missing-rows",
            show_default="gap, with a warning",
            help="What an absent row means: gap (unknown) or zero.",
        ),
    ],
    "source.duplicates": Annotated[
        str | None,
        typer.Option(
            "--duplicates",
            show_default="refuse",
            help="Of rows with one id and time: refuse all but the first, last, or keep.",
        ),
    ],
    "source.open": Annotated[
        str | None,
        typer.Option("--open", show_default="always", help="Open days and hours: Mon-Sat, 'Mon-Fri 08:00-18:00' …"),
    ],
    "source.closed_holidays": Annotated[
        str | None,
        typer.Option(
            "--closed-holidays",
            metavar="COUNTRY",
            show_default="none",
            help="Whose holidays are closed: DE, DE-BY, XNYS …",
        ),
    ],
    "source.ignore": Annotated[
        list[str] | None,
        typer.Option(
            "--ignore",
            metavar="FROM..TO[=SERIES]",
            help="Period that nothing learns from, such as 2020-03..2020-06.",
        ),
    ],
    "source.unfinished": Annotated[
        str | None,
        typer.Option(
            "--unfinished", show_default="wait", help="Rows of a period that is not over: they wait, or use them."
        ),
    ],
    "source.ended": Annotated[
        str | None,
        typer.Option(
            "--ended", show_default="skip", help="Series that have ended: skip them, or forecast from their own ends."
        ),
    ],
    "source.ended_after": Annotated[
        str | None,
        typer.Option(
            "--ended-after",
            show_default="two horizons or seasons",
            help="Longest time without a measurement of a series that has not ended: 90d, or steps; 0 is any lag.",
        ),
    ],
    "source.csv.separator": Annotated[
        str | None,
        typer.Option(
            "--csv-separator", show_default=",", help="Character between fields of CSV files, such as ; or tab."
        ),
    ],
    "source.csv.decimal": Annotated[
        str | None, typer.Option("--csv-decimal", show_default=".", help="Decimal sign of measurements in CSV files.")
    ],
    "source.csv.thousands": Annotated[
        str | None,
        typer.Option("--csv-thousands", show_default="none", help="Thousands sign of them: . , ' _ or space."),
    ],
    "source.csv.encoding": Annotated[
        str | None,
        typer.Option("--csv-encoding", show_default="utf-8", help="Encoding of CSV files, such as cp1252 or utf-16."),
    ],
    "source.csv.quote": Annotated[
        str | None,
        typer.Option("--csv-quote", show_default='"', help="Character around fields of CSV files, or none."),
    ],
    "source.csv.null": Annotated[
        list[str] | None,
        typer.Option("--csv-null", help="Words in CSV files that mean an unknown measurement, such as NA."),
    ],
    "source.timezone": Annotated[
        str | None,
        typer.Option("--timezone", show_default="that of the times", help="Zone of the data, such as Europe/Berlin."),
    ],
    "source.allow_rejects": Annotated[
        float | None,
        typer.Option(
            "--allow-rejects",
            metavar="SHARE",
            show_default="0.01",
            help="Share of rows that may be refused; 1 for any.",
        ),
    ],
}
"""Options by the field of a spec that each gives."""
_OF_SEVERAL = ("source.id", "source.csv.null")
"""Fields whose option may hold several values, separated by commas."""
_SOURCE = Annotated[
    list[str] | None,
    typer.Option("--source", metavar="KEY=VALUE", help="Field of a spec's source, which says how rows are read."),
]


Reading = Mapping[str, Any]
"""Fields of a spec that the options give, by dotted name; None where they give none."""


def with_reading(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options to a command.

    Args:
        command: A command with an argument `reading`. The options take its place in the help.

    Returns:
        The command, for Typer.
    """
    names = {re.sub(r"\W", "_", field): field for field in _FIELDS}

    @functools.wraps(command)
    def read(**given: Any) -> None:
        options, pairs = {field: given.pop(name) for name, field in names.items()}, given.pop("source")
        command(**given, reading=_as_fields(options, pairs))

    own = inspect.signature(command, eval_str=True)
    added = [_make_parameter(name, _FIELDS[field]) for name, field in names.items()]
    added.append(_make_parameter("source", _SOURCE))
    parameters: list[inspect.Parameter] = []
    for each in own.parameters.values():
        parameters += added if each.name == "reading" else [each]
    read.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return read


def _make_parameter(name: str, option: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=option)


def _as_fields(options: Mapping[str, Any], pairs: list[str] | None) -> Reading:
    """Return fields by dotted name, of the options and of `--source`, which must not both give one."""
    from forecasting.cli.options import parse_pairs, refuse_twice, split_commas

    fields = {
        field: split_commas(value) if field in _OF_SEVERAL else None if value == [] else value
        for field, value in options.items()
    }
    of_source = parse_pairs(pairs, option="--source", table="source", example="time=day")
    refuse_twice(fields, of_source)
    return fields | of_source
