"""Build a spec from the options of `fleetcast forecast`, with the checks of a spec file."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from forecasting.errors import SpecError
from forecasting.spec.defaults import make_inferred_spec
from forecasting.spec.place import PLACE, Scope
from forecasting.spec.problems import relabel
from forecasting.spec.recipes import configure
from forecasting.spec.source import Source, as_uri
from forecasting.spec.spec import ONE_SHOT, Spec, read_spec, static_columns_of

_NUMBERS = ("quantiles", "overrides.", "holidays.window")
"""Fields of numbers, which options have as text."""
_LABELS = {
    "source.uri": "INPUT",
    "source.connection": "--connection",
    "source.table": "--table",
    "source.query": "--query",
    "source.id": "--id",
    "source.time": "--time",
    "source.time_format": "--time-format",
    "source.target": "--target",
    "source.missing_rows": "--missing-rows",
    "source.duplicates": "--duplicates",
    "source.open": "--open",
    "source.closed_holidays": "--closed-holidays",
    "source.ignore": "--ignore",
    "source.unfinished": "--unfinished",
    "source.ended": "--ended",
    "source.ended_after": "--ended-after",
    "source.csv.separator": "--csv-separator",
    "source.csv.decimal": "--csv-decimal",
    "source.csv.thousands": "--csv-thousands",
    "source.csv.encoding": "--csv-encoding",
    "source.csv.quote": "--csv-quote",
    "source.csv.null": "--csv-null",
    "source.allow_rejects": "--allow-rejects",
    "source.timezone": "--timezone",
    "source": "--id, --time, --target",
    "freq": "--freq",
    "season_lengths": "--season-length",
    "horizon": "--horizon",
    "quantiles": "--quantiles",
    "paths": "--paths",
    "models": "--models",
    "statistics": "--statistics",
    "regressions": "--regressions",
    "lower_bound": "--lower-bound",
    "upper_bound": "--upper-bound",
    "integer_valued": "--integer-valued",
    "seed": "--seed",
    "recipe": "--recipe",
    "backtest.margin": "--margin",
    "categories.static": "--static",
    "categories.calendar": "--calendar",
    "categories.country": "--country",
    "categories": "--static, --calendar, --country",
    "holidays.country": "--holidays",
    "holidays.by": "--holidays-by",
    "holidays.window": "--holiday-window",
    "holidays.bridge_days": "--bridge-days",
    "holidays": "--holidays, --holidays-by, --holiday-window, --bridge-days",
    "events": "--events",
    "covariates.future": "--known-ahead",
    "covariates.past": "--past",
    "covariates.static": "--static-covariates",
    "covariates.future_missing": "--future-missing",
    "covariates.categories": "--covariate-categories",
    "covariates.tables": "--covariates",
    "covariates": "--known-ahead, --past, --covariate-categories, --future-missing",
}


def spec_from_options(
    inputs: Sequence[str],
    options: Mapping[str, Any],
    *,
    spec_path: Path | None = None,
    storage_options: Mapping[str, str] | None = None,
    on_note: Callable[[str], None] = lambda _: None,
    subject: str = "forecast",
    has_season: bool = True,
) -> Spec:
    """Build a spec from inputs and options, which take precedence over the spec of a file.

    Args:
        inputs: Paths or URIs of files, folders and globs; paths are relative to the working directory.
        options: Spec fields by dotted name (`source.id`, `backtest.margin`, `overrides.max_steps`); None sets none.
        spec_path: The spec's file.
        storage_options: Options of an object store that holds the files.
        on_note: Called with a line for each field that is not given and is inferred from the data.
        subject: The command, with which errors begin.
        has_season: Whether a frequency without customary seasons needs some; otherwise it has none.

    Returns:
        The spec.

    Raises:
        SpecError: Options are refused; the error lists all of them, as they were typed.
    """
    fields: dict[str, Any] = {"name": ONE_SHOT}
    if spec_path is not None:
        fields = read_spec(spec_path).model_dump(exclude_unset=True)
    for dotted, value in options.items():
        if value is not None:
            _put(fields, dotted.split("."), _read_numbers(value) if dotted.startswith(_NUMBERS) else value)
    if inputs:
        uris = [as_uri(one) for one in inputs]
        _put(fields, ["source", "uri"], uris[0] if len(uris) == 1 else uris)
    elif spec_path is None:
        _put(fields, ["source", "uri"], None)

    with suppress(ValidationError):  # of the source, whose problems are reported with all others
        _complete_tables(fields, storage_options, subject)

    def infer() -> tuple[str | int, float]:
        from forecasting.series.infer import infer_frequency  # loads Polars
        from forecasting.series.inputs import Input

        by = [table.get("by") for table in fields.get("covariates", {}).get("tables") or ()]
        joining = [name for name in by if name not in (None, "id", "all")]
        scope = Scope((*static_columns_of(fields), *joining))
        return infer_frequency(Input(Source(**fields["source"]).within(scope), None, storage_options or {}))

    try:
        spec, notes = make_inferred_spec(fields, infer, subject=subject, has_season=has_season)
        configure(spec)  # refuses static categories that no member can learn
    except SpecError as error:
        raise SpecError(subject, [_relabel(problem) for problem in error.problems]) from error
    for note in notes:
        on_note(note)
    return spec


def _complete_tables(fields: dict[str, Any], storage_options: Mapping[str, str] | None, subject: str) -> None:
    """Name all columns of tables of covariates that options name without their columns."""
    tables = fields.get("covariates", {}).get("tables") or ()
    if all("future" in table or "past" in table for table in tables):
        return
    from forecasting.series.table_inputs import complete_table  # loads Polars

    reading = {name: value for name, value in fields["source"].items() if name not in ("uri", *PLACE)}
    source = Source(**reading, uri="source.parquet")
    fields["covariates"]["tables"] = [
        complete_table(table, source, subject=subject, storage_options=storage_options) for table in tables
    ]


_PAIR = r"""[a-z_]+(?:\.[a-z_]+)?=(?:"[^"]*"|'[^']*'|\S+)"""
_OF_SEVERAL = ("future", "past", "id")
"""Fields of a table that may have several columns."""


def parse_tables(texts: Sequence[str] | None) -> list[dict[str, Any]] | None:
    """Read tables of covariates, each a place and perhaps fields.

    Args:
        texts: The values of `--covariates`.

    Returns:
        Fields of tables; None where there are none.

    Raises:
        SpecError: A text names no place, or a field twice.

    >>> parse_tables(["weather.csv by=station csv.separator=;"])[0] | {"uri": ...}
    {'uri': Ellipsis, 'by': 'station', 'csv': {'separator': ';'}}
    """
    if not texts:
        return None
    tables = []
    for text in texts:
        match = re.fullmatch(rf"(.*?)((?:(?:^|\s+){_PAIR})*)\s*", text.strip(), re.DOTALL)
        assert match is not None, "any text matches"
        pairs = [pair.strip() for pair in re.findall(_PAIR, match[2])]
        fields: dict[str, Any] = {"uri": as_uri(match[1].strip())} if match[1].strip() else {}
        read = parse_pairs(pairs, option="--covariates", table="table", example="by=station")
        for dotted, value in read.items():
            value = value.strip("\"'") if value[0] in "\"'" and value[0] == value[-1] and len(value) > 1 else value
            path = dotted.split(".")[1:]
            _put(fields, path, split_commas([value]) if path[0] in _OF_SEVERAL else _read_numbers(value))
        if not {"uri", "connection"} & set(fields):
            raise SpecError(
                "forecast", [f"--covariates {text!r} names no table: begin with a file, folder or database"]
            )
        tables.append(fields)
    return tables


def split_commas(texts: Sequence[str] | None) -> list[str] | None:
    """Read an option that may hold several values, and may be given several times.

    >>> split_commas(["lstm, gru", "naive"])
    ['lstm', 'gru', 'naive']
    """
    return [part.strip() for text in texts for part in text.split(",") if part.strip()] if texts else None


def split_statistics(texts: Sequence[str] | None) -> list[str] | None:
    """Read names of statistical models as `split_commas` does; `none` alone means none of them.

    >>> split_statistics(["theta,ets"]), split_statistics(["none"]), split_statistics(None)
    (['theta', 'ets'], [], None)
    """
    names = split_commas(texts)
    return [] if names == ["none"] else names


def parse_pairs(texts: Sequence[str] | None, *, option: str, table: str, example: str) -> dict[str, str]:
    """Read `KEY=VALUE` pairs into fields of a table of a spec.

    Args:
        texts: The pairs.
        option: The option that has them.
        table: The table.
        example: A pair that errors show.

    Returns:
        Values by dotted name.

    Raises:
        SpecError: A text is not such a pair, or a key is given twice.

    >>> parse_pairs(["max_steps=20"], option="--set", table="overrides", example="max_steps=200")
    {'overrides.max_steps': '20'}
    """
    pairs = [text.partition("=") for text in texts or ()]
    wrong = [
        f"{option} {key!r} must be KEY=VALUE, such as {example}"
        for key, sign, value in pairs
        if not (key and sign and value)
    ]
    counts = Counter(key.strip() for key, _, _ in pairs)
    wrong += [
        f"{option} {key} is given {count} times; it takes one value" for key, count in counts.items() if count > 1
    ]
    if wrong:
        raise SpecError("forecast", wrong)
    return {f"{table}.{key.strip()}": value.strip() or value for key, _, value in pairs}


def refuse_twice(named: Mapping[str, Any], of_source: Mapping[str, Any]) -> None:
    """Refuse fields of the source that an option of their own and `--source` both give.

    Args:
        named: Fields by dotted name that options of their own give; None where not given.
        of_source: Fields by dotted name that `--source` gives.

    Raises:
        SpecError: Both give a field; the error names all such fields.
    """
    twice = [field for field in of_source if named.get(field) is not None]
    if twice:
        problems = [f"{_LABELS[field]} is given by --source {field.removeprefix('source.')} as well" for field in twice]
        raise SpecError("forecast", problems)


def source_fields(texts: Sequence[str] | None) -> dict[str, Any]:
    """Read pairs of `--source` into fields of a source.

    Args:
        texts: The pairs.

    Returns:
        The fields by name.

    Raises:
        SpecError: A text is not a pair.

    >>> source_fields(["time=day", "csv.separator=;"])
    {'time': 'day', 'csv': {'separator': ';'}}
    """
    fields: dict[str, Any] = {"source": {}}
    for dotted, value in parse_pairs(texts, option="--source", table="source", example="time=day").items():
        _put(fields, dotted.split("."), value)
    nested: dict[str, Any] = fields["source"]
    return nested


def _put(fields: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        fields = fields.setdefault(name, {})
    fields[path[-1]] = value


def _read_numbers(value: Any) -> Any:
    """Convert texts that are numbers, true or false; the spec refuses others where it needs numbers."""
    if isinstance(value, list):
        return [_read_numbers(one) for one in value]
    if not isinstance(value, str):
        return value
    if value in ("true", "false"):
        return value == "true"
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def _relabel(problem: str) -> str:
    if problem.startswith("source.uri is missing"):
        return "INPUT is missing: name at least one parquet or CSV file, folder or glob, a Delta table or a database"
    if problem.startswith("overrides."):
        return f"--set {problem.removeprefix('overrides.')}"
    if problem.startswith("source.") and problem.split(" ")[0] not in _LABELS:
        return f"--source {problem.removeprefix('source.')}"
    if problem.startswith("source: ") and "three columns" not in problem:
        return problem.removeprefix("source: ")
    return relabel(problem, _LABELS)
