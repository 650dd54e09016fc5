"""`fleetcast forecast`: write the forecasts of files to a file, and print a summary on stderr."""

import contextlib
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, NamedTuple, TextIO

import typer

from forecasting.cli.effects import effects_file, write_effects
from forecasting.cli.reading import Reading, with_reading
from forecasting.cli.scenario import Planned, describe_scenario, plan_scenario, refuse_unreadable, write_scenario
from forecasting.errors import CheckFailed, DataWarning, SpecError

if TYPE_CHECKING:
    from forecasting.flow.processes import Crew
    from forecasting.flow.results import Evaluation, Result
    from forecasting.settings import Settings
    from forecasting.spec.spec import Spec
    from forecasting.spec.training import KernelName

NUM_SHOWN = 3
"""Values of each kind that the summary names; the rest are counted."""


@with_reading
def forecast(
    out: Annotated[Path, typer.Option(help="File to write, .parquet or .csv.")],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT…", help="Parquet or CSV files, folders or globs of one layout, Delta tables, or a database."
        ),
    ] = None,
    spec: Annotated[Path | None, typer.Option(help="Spec file; other options take precedence over it.")] = None,
    reading: Reading = MappingProxyType({}),
    recipe: Annotated[str | None, typer.Option(help="How to train: fast, standard or accurate.")] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(help="Networks, such as lstm,gru,elman; one alone is the champion wherever it has a forecast."),
    ] = None,
    statistics: Annotated[
        list[str] | None,
        typer.Option(show_default="the recipe's", help="Statistical models beside them: theta, ets, … or none."),
    ] = None,
    regressions: Annotated[
        list[str] | None,
        typer.Option(
            show_default="ridge where there are covariates", help="Regressions beside them: ridge, lightgbm or none."
        ),
    ] = None,
    all_models: Annotated[bool, typer.Option("--all-models", help="Write every candidate, champions marked.")] = False,
    cutoff: Annotated[
        str | None, typer.Option(show_default="the newest period of most series", help="Last time that may be known.")
    ] = None,
    quantiles: Annotated[list[str] | None, typer.Option(show_default="thirteen", help="Such as 0.1,0.5,0.9.")] = None,
    lower_bound: Annotated[float | None, typer.Option(help="No forecast is below it; 0 for counts.")] = None,
    upper_bound: Annotated[float | None, typer.Option(help="No forecast is above it; 1 for shares.")] = None,
    integer_valued: Annotated[
        bool, typer.Option("--integer-valued", help="Forecasts are whole numbers, because y counts things.")
    ] = False,
    margin: Annotated[
        float | None,
        typer.Option(
            show_default="-1",
            help="Share by which the serving model must beat the best naive; below 0, it may be worse.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(show_default="0", help="Seed of the random numbers.")] = None,
    static: Annotated[
        list[str] | None, typer.Option(help="Columns that class series, such as store,product; networks learn them.")
    ] = None,
    calendar: Annotated[
        list[str] | None, typer.Option(help="Categories of times to learn: hour, weekday, month, holiday.")
    ] = None,
    country: Annotated[str | None, typer.Option(help="Country of these holidays, such as US.")] = None,
    holidays: Annotated[
        str | None, typer.Option(metavar="CODE", help="Whose holidays are covariates: US, DE-BY, XNYS …")
    ] = None,
    holidays_by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column that has such a code for each series.")
    ] = None,
    holiday_window: Annotated[
        list[str] | None,
        typer.Option(metavar="FIRST,LAST", help="Days around a holiday that are covariates, such as -1,1."),
    ] = None,
    bridge_days: Annotated[
        bool, typer.Option("--bridge-days", help="Working days between a holiday and a weekend are a covariate.")
    ] = False,
    events: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="File of named days that are known ahead: event, date, maybe the series."),
    ] = None,
    known_ahead: Annotated[
        list[str] | None,
        typer.Option(help="Columns of covariates that rows after the cutoff have too, such as price,promotion."),
    ] = None,
    past: Annotated[
        list[str] | None, typer.Option(help="Columns of covariates that are known up to the cutoff alone.")
    ] = None,
    static_covariates: Annotated[
        list[str] | None, typer.Option(help="Columns of numbers that are constant in each series.")
    ] = None,
    covariates: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TABLE [FIELD=VALUE…]",
            help="Table of covariates known ahead, such as weather.csv or 'weather.csv by=station'; may be repeated.",
        ),
    ] = None,
    covariate_categories: Annotated[
        list[str] | None,
        typer.Option(show_default="those without numbers", help="Those of them whose values are names."),
    ] = None,
    future_missing: Annotated[
        str | None,
        typer.Option(show_default="error", help="Where such a value is missing ahead: error, hold or drop_column."),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Part of the recipe, such as max_steps=200.")
    ] = None,
    future: Annotated[
        str | None,
        typer.Option(metavar="PLAN", help="File with other values of covariates after the cutoff: a scenario."),
    ] = None,
    scenario: Annotated[
        str | None, typer.Option(metavar="NAME", show_default="that of PLAN", help="Name of the scenario.")
    ] = None,
    scenario_out: Annotated[
        Path | None,
        typer.Option(show_default="--out, with .NAME before its suffix", help="File for it, .parquet or .csv."),
    ] = None,
    effects: Annotated[
        list[str] | None,
        typer.Option(show_default="none", help="Covariates, such as price, to move over their range: mean responses."),
    ] = None,
    effects_out: Annotated[
        Path | None,
        typer.Option(show_default="--out, with .effects before its suffix", help="File for them, .parquet or .csv."),
    ] = None,
    paths: Annotated[
        int | None,
        typer.Option(show_default="none", help="Sample paths of each series, 10 to 10,000, for quantiles of sums."),
    ] = None,
    paths_out: Annotated[
        Path | None,
        typer.Option(show_default="--out, with .paths before its suffix", help="File for them, .parquet or .csv."),
    ] = None,
    rejects: Annotated[Path | None, typer.Option(help="File for refused rows, .parquet or .csv.")] = None,
    reasons: Annotated[
        Path | None, typer.Option(help="File that says why a series has a simpler model, .parquet or .csv.")
    ] = None,
    checks: Annotated[
        Path | None, typer.Option(help="File for the verdicts of the spec's checks, .parquet or .csv.")
    ] = None,
    evaluate: Annotated[
        str | None, typer.Option(metavar="ACTUALS", help="Score the forecast by the actuals of these files.")
    ] = None,
    scores: Annotated[Path | None, typer.Option(help="File for every series' scores, .parquet or .csv.")] = None,
    use_ray: Annotated[bool, typer.Option("--ray", help="Spread the work over RAY_ADDRESS, or a local Ray.")] = False,
) -> None:
    """Forecast every series of some files: train, backtest, choose champions and predict, all at once.

    Writes unique_id, ds, cutoff, model, forecast and a column per quantile; one row per series and step.
    """
    from forecasting.cli.options import parse_pairs, parse_tables, spec_from_options, split_commas, split_statistics
    from forecasting.settings import Settings
    from forecasting.spec.source import as_uri

    settings = Settings.load()
    if settings.processes is not None:
        os.environ.setdefault("POLARS_MAX_THREADS", str(settings.processes))  # read once, when Polars loads
    named = {
        **reading,
        "recipe": recipe,
        "models": split_commas(models),
        "statistics": split_statistics(statistics),
        "regressions": split_statistics(regressions),
        "quantiles": split_commas(quantiles),
        "paths": paths,
        "lower_bound": lower_bound,
        "upper_bound": upper_bound,
        "integer_valued": integer_valued or None,
        "backtest.margin": margin,
        "seed": seed,
        "categories.static": split_commas(static),
        "categories.calendar": split_commas(calendar),
        "categories.country": country,
        "holidays.country": holidays,
        "holidays.by": holidays_by,
        "holidays.window": split_commas(holiday_window),
        "holidays.bridge_days": bridge_days or None,
        "events": None if events is None else [{"uri": as_uri(file)} for file in events],
        "covariates.future": split_commas(known_ahead),
        "covariates.past": split_commas(past),
        "covariates.static": split_commas(static_covariates),
        "covariates.tables": parse_tables(covariates),
        "covariates.categories": split_commas(covariate_categories),
        "covariates.future_missing": future_missing,
        **parse_pairs(overrides, option="--set", table="overrides", example="max_steps=200"),
    }
    wanted = spec_from_options(
        inputs or [],
        named,
        spec_path=spec,
        storage_options=settings.storage_options,
        on_note=lambda note: print(note, file=sys.stderr),
    )
    if scores is not None and evaluate is None:
        raise SpecError("--scores", [f"'{scores}' needs --evaluate and the actuals to score the forecast by"])
    if checks is not None and not wanted.checks:
        raise SpecError("--checks", [f"'{checks}' needs --spec and a spec with [[checks]]"])
    if paths_out is not None and not wanted.paths:
        raise SpecError("--paths-out", [f"'{paths_out}' needs --paths and the number of paths"])
    if wanted.paths and paths_out is None:
        paths_out = out.with_suffix(f".paths{out.suffix}")
    planned = plan_scenario(future, scenario, scenario_out, out=out)
    moved = tuple(split_commas(effects) or ())
    effects_out = effects_file(moved, effects_out, spec=wanted, out=out)
    files = _Files(out, paths_out, rejects, reasons, checks, scores, planned and planned.out, effects_out)
    _forecast(
        wanted,
        planned=planned,
        moved=moved,
        cutoff=cutoff,
        files=files,
        actuals=evaluate,
        all_models=all_models,
        use_ray=use_ray,
    )


class _Files(NamedTuple):
    """Files to write; None for those that were not requested."""

    out: Path
    paths_out: Path | None
    rejects: Path | None
    reasons: Path | None
    checks: Path | None
    scores: Path | None
    scenario_out: Path | None
    effects_out: Path | None

    def refuse(self, inputs: Sequence[str]) -> None:
        """Raise SpecError for a file that cannot be written, is an input, or is meant by two options."""
        from forecasting.cli.files import refuse_files

        options = {f"--{name.replace('_', '-')}": path for name, path in self._asdict().items()}
        refuse_files(options, inputs=inputs)


def _forecast(
    spec: "Spec",
    *,
    planned: Planned | None,
    moved: Sequence[str],
    cutoff: str | None,
    files: _Files,
    actuals: str | None,
    all_models: bool,
    use_ray: bool,
) -> None:
    from forecasting.flow.processes import start_crew
    from forecasting.settings import FleetSettings, Settings

    began = time.monotonic()
    settings, kernel = Settings.load(), FleetSettings.load().kernel
    crews = contextlib.nullcontext() if use_ray else start_crew(spec, settings.processes)
    with _printing_warnings(), crews as crew:
        result, evaluation, said = _run(
            spec,
            settings,
            kernel,
            crew,
            cutoff=cutoff,
            files=files,
            actuals=actuals,
            all_models=all_models,
            planned=planned,
            moved=moved,
        )
    for line in (*_summary(result, seconds=time.monotonic() - began, files=files), *said):
        print(line, file=sys.stderr)
    if evaluation is not None:
        from forecasting.cli.evaluation import print_evaluation

        print_evaluation(evaluation, files.scores)


@contextlib.contextmanager
def _printing_warnings() -> Iterator[None]:
    """Print what a run says of its data, before it trains, as lines of the command; each once."""
    said: set[str] = set()
    with warnings.catch_warnings():
        show_other = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, DataWarning):
                if str(message) not in said:
                    print(f"warning: {message}", file=sys.stderr, flush=True)
                said.add(str(message))
            else:
                show_other(message, category, filename, lineno, file, line)

        warnings.simplefilter("always", DataWarning)
        warnings.showwarning = show
        yield


def _run(
    spec: "Spec",
    settings: "Settings",
    kernel: "KernelName",
    crew: "Crew | None",
    *,
    cutoff: str | None,
    files: _Files,
    actuals: str | None,
    all_models: bool,
    planned: Planned | None,
    moved: Sequence[str],
) -> tuple["Result", "Evaluation | None", list[str]]:
    """Forecast, write all files, and return the result, its evaluation and further lines; no crew means Ray."""
    from forecasting import api
    from forecasting.cli.files import write_frame, write_frames
    from forecasting.series.inputs import Input, read_input

    spec = spec.within(cutoff)
    columns, storage_options = spec.source, settings.storage_options
    inputs = [Input(columns, None, storage_options)]
    if actuals is not None:
        given, _ = read_input(
            actuals, columns.reading_of([actuals]), storage_options=storage_options, subject="--evaluate"
        )
        inputs.append(given)
    files.refuse([*(file for each in inputs for file in each.files()), *inputs[0].table_files(spec.covariates.tables)])
    request = api.Request.of(spec, inputs[0])
    until = request.parse_cutoff(cutoff, subject="--cutoff")
    if planned is not None:
        refuse_unreadable(planned, request)
    held_out = None if actuals is None else request.read_actuals(inputs[1])

    try:
        result = request.forecast(
            cutoff=until,
            processes=settings.processes,
            kernel=kernel,
            ray=crew is None,
            progress=True,
            crew=crew,
            networks=planned is not None,
        ).as_polars()
    except CheckFailed as error:
        if files.checks is not None:
            write_frame(request.types.unfold(error.verdicts), files.checks)
        raise
    write_frame(result.candidates if all_models else result.forecasts, files.out)
    if files.paths_out is not None:
        write_frames(result.iter_sample_paths(spec.paths), files.paths_out)
    if files.rejects is not None:
        write_frame(result.rejects, files.rejects)
    if files.reasons is not None:
        write_frame(result.reasons, files.reasons)
    if files.checks is not None:
        write_frame(result.checks, files.checks)
    evaluation = None
    if held_out is not None:
        evaluation = result.evaluate(held_out, all_models=all_models)
        if files.scores is not None:
            write_frame(evaluation.scores, files.scores)
    said: list[str] = []
    if planned is not None:
        other = write_scenario(planned, request, result, settings=settings, kernel=kernel)
        said.append(describe_scenario(planned, other, result))
    if files.effects_out is not None:
        said += write_effects(moved, files.effects_out, request, result)
    return result, evaluation, said


def _summary(result: "Result", *, seconds: float, files: _Files) -> Iterator[str]:
    import polars as pl

    from forecasting.flow.covariate_use import describe_use
    from forecasting.flow.ends import describe_series
    from forecasting.flow.results import counted
    from forecasting.series.reasons import UNREAD
    from forecasting.series.verdicts import count_verdicts

    outcome, spec = result.outcome, result.spec
    served = outcome.forecasts.filter("is_champion").unique("unique_id", keep="first", maintain_order=True)
    num_forecast = served["forecast"].count()
    yield f"{num_forecast} series forecast in {seconds:.1f} s; {files.out}"
    yield "champions: " + " · ".join(f"{name} {count}" for name, count in counted(served["model"]))
    if files.paths_out is not None:
        yield f"paths: {spec.paths} of each series; {files.paths_out}"
        if outcome.correlations.is_empty():
            yield "  no backtest shows how their steps go together; they are taken to be fully correlated"
    unseen = served["unseen"].drop_nulls()
    if len(unseen):
        values = counted(unseen.explode())
        shown = " · ".join(f"{value} {count}" for value, count in values[:NUM_SHOWN])
        more = f" · and {len(values) - NUM_SHOWN} more" if len(values) > NUM_SHOWN else ""
        yield f"categories without a vector of their own, new or rare: in {len(unseen)} series, {shown}{more}"
    if use := describe_use(spec):
        yield use
    for line in outcome.joined:
        yield f"  {line}"
    if outcome.counts is not None:
        yield str(outcome.counts)
    yield f"series: {describe_series(outcome)}"
    if outcome.checks.height:
        has_failed = outcome.checks["verdict"].eq("fail").any()
        written = f"; {files.checks or '--checks FILE writes them'}" if files.checks or has_failed else ""
        yield f"checks: {count_verdicts(outcome.checks)}{written}"
    if outcome.rejects.height:
        yield f"rejects: {outcome.rejects.height} rows; {files.rejects or '--rejects FILE writes them'}"
        unread = dict(outcome.rejects.filter(pl.col("reason").is_in(UNREAD)).select("reason", "ds").iter_rows())
        for reason, count in counted(outcome.rejects["reason"]):
            yield f"  {count} × {reason}" + (f", such as '{unread[reason]}'" if reason in unread else "")
    fallbacks = result.fallbacks
    if fallbacks.height:
        where = files.reasons or "--reasons FILE writes why"
        yield f"a simpler model than requested for {fallbacks.height} series; {where}"
        for unique_id, reason in fallbacks.select("unique_id", "reason").head(NUM_SHOWN).iter_rows():
            yield f"  {unique_id}: {reason}"
        if fallbacks.height > NUM_SHOWN:
            yield f"  and {fallbacks.height - NUM_SHOWN} more"
