"""`fleetcast specs`: check spec files, or show a spec with all its defaults."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecasting.errors import FleetcastError, NothingStored, SpecError, UserError, first_line

if TYPE_CHECKING:
    from forecasting.spec.spec import Spec

NUM_CHECKED = 1000
"""Rows of a database that are read to check a spec."""
SPECS_FOLDER = Path("dags/specs")

app = typer.Typer(help="Check spec files, or show them complete.", no_args_is_help=True)


@app.command("check")
def check(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="[PATHS…]", show_default="dags/specs", help="Files or folders.")
    ] = None,
) -> None:
    """Validate spec files and check that their sources can be read; report every problem of every file."""
    from forecasting.series.read import scan_source
    from forecasting.settings import Settings
    from forecasting.spec.place import Scope
    from forecasting.spec.spec import read_spec

    storage_options = Settings.load().storage_options
    named: dict[str, Path] = {}
    worst: FleetcastError | None = None
    for path in find_specs(paths or [SPECS_FOLDER]):
        try:
            spec = read_spec(path)
            if spec.name in named:
                raise SpecError(f"spec {path}", [f"name = '{spec.name}' is already used by {named[spec.name]}"])
            named[spec.name] = path
            _refuse_schedules(spec, path)
            # The first rows of a database show its types.
            part = spec.source.within(Scope(most_rows=NUM_CHECKED))
            scan_source(part, spec.clock, storage_options=storage_options)
        except FleetcastError as error:
            print(
                f"error: {error}" if isinstance(error, SpecError) else f"error: spec {path}: {error}", file=sys.stderr
            )
            worst = error if worst is None or error.exit_code > worst.exit_code else worst
        else:
            print(f"ok: {path} ({spec.name})")
    if worst is not None:
        raise typer.Exit(worst.exit_code)


@app.command("show")
def show(
    spec: Annotated[str | None, typer.Argument(metavar="[SPEC]", help="A file, or a name in dags/specs.")] = None,
) -> None:
    """Print a spec with all its defaults and its training configuration, as JSON; without SPEC, list the specs."""
    from forecasting.spec.recipes import configure
    from forecasting.spec.spec import read_spec

    if spec is None:
        for path in find_specs([SPECS_FOLDER]):
            listed = read_spec(path)
            print(f"{listed.name}  {path}" + (f"  {listed.description}" if listed.description else ""))
        return
    found = read_spec(find_spec(spec))
    complete = found.model_dump(mode="json") | {"training": configure(found).model_dump(mode="json")}
    print(json.dumps(complete, indent=2, ensure_ascii=False))


def find_specs(paths: list[Path]) -> list[Path]:
    """List spec files.

    Args:
        paths: Files, and folders with files that end in .toml.

    Returns:
        The files, each once, in the order of `paths`.

    Raises:
        UserError: A path does not exist, or a folder has no spec file.
    """
    found: dict[Path, None] = {}
    for path in paths:
        files = sorted(path.glob("*.toml")) if path.is_dir() else [path]
        if not files:
            raise UserError(f"folder {path} has no spec file (*.toml)")
        if not path.exists():
            raise UserError(f"spec file or folder {path} does not exist")
        found |= dict.fromkeys(files)
    return list(found)


def find_spec(spec: str) -> Path:
    """Find the file of a spec.

    Args:
        spec: A file, or a name in `SPECS_FOLDER`.

    Returns:
        The file, which may not exist if it ends in .toml.

    Raises:
        NothingStored: No spec has this name.
    """
    from forecasting.spec.spec import read_spec

    if Path(spec).is_file() or spec.endswith(".toml"):
        return Path(spec)
    for path in find_specs([SPECS_FOLDER]):
        try:
            if read_spec(path).name == spec:
                return path
        except SpecError:
            continue  # a mistake in another file must not hide this spec
    raise NothingStored(f"spec '{spec}' does not exist in {SPECS_FOLDER}; fleetcast specs show lists the specs")


def _refuse_schedules(spec: "Spec", path: Path) -> None:
    """Refuse cron expressions that croniter, which Airflow uses, cannot read; without croniter, check nothing."""
    try:
        from croniter import CroniterError, croniter
    except ImportError:
        return
    from forecasting.spec.cron import PRESETS

    problems = []
    for flow in ("train", "forecast"):
        cron = spec.schedule.cron(flow)
        if cron is None or cron in PRESETS:
            continue
        try:
            croniter(cron).get_next()  # finds dates that never come
        except CroniterError as error:
            problems.append(f"schedule.{flow} = '{cron}' cannot be scheduled: {first_line(error)}")
    if problems:
        raise SpecError(f"spec {path}", problems)
