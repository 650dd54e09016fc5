"""`fleetcast forecast`: inputs and options go in; a file of forecasts, and on stderr a summary, come out."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.metadata import entry_points
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from forecasting.cli.options import (
    parse_overrides,
    source_from_options,
    spec_from_options,
    split_commas,
    split_statistics,
)
from forecasting.errors import ClusterError, SpecError
from forecasting.settings import FleetSettings, Settings
from forecasting.spec.source import Source
from forecasting.spec.spec import Spec

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl

    from forecasting.fleet.options import FitOptions
    from forecasting.flow.one_shot import OneShot
    from forecasting.series.native import NativeTypes

RUNNERS = "fleetcast.runners"
"""Entry points that run a forecast elsewhere: `name(spec, *, cutoff, options) -> OneShot`."""
NUM_SHOWN = 3
"""Reasons that are told of each kind; the rest are counted."""


def forecast(
    out: Annotated[Path, typer.Option(help="File to write, .parquet or .csv.")],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT…", help="Parquet or CSV files, folders or globs of the same layout."),
    ] = None,
    spec: Annotated[Path | None, typer.Option(help="Spec file to start from; other options lie over it.")] = None,
    freq: Annotated[str | None, typer.Option(help="Step of the grid: 1h, 15m, 1d, 1mo …, or 1 for integers.")] = None,
    season_length: Annotated[list[int] | None, typer.Option(help="Grid points in a season; may be repeated.")] = None,
    horizon: Annotated[int | None, typer.Option(help="Steps ahead.")] = None,
    recipe: Annotated[str | None, typer.Option(help="How to train: fast, standard or accurate.")] = None,
    models: Annotated[
        list[str] | None, typer.Option(help="Networks, such as lstm,gru,elman; one alone serves alone.")
    ] = None,
    statistics: Annotated[
        list[str] | None, typer.Option(help="Statistical models beside them: theta, ets, … or none. [the recipe's]")
    ] = None,
    all_models: Annotated[bool, typer.Option("--all-models", help="Write every candidate, champions marked.")] = False,
    id_column: Annotated[str | None, typer.Option("--id", help="Column that names the series. [unique_id]")] = None,
    time_column: Annotated[str | None, typer.Option("--time", help="Column of timestamps or steps. [ds]")] = None,
    target_column: Annotated[str | None, typer.Option("--target", help="Column of measurements. [y]")] = None,
    cutoff: Annotated[str | None, typer.Option(help="Last time that may be known. [the newest observation]")] = None,
    quantiles: Annotated[list[str] | None, typer.Option(help="Such as 0.1,0.5,0.9. [thirteen]")] = None,
    lower_bound: Annotated[float | None, typer.Option(help="No forecast is below it; 0 for counts.")] = None,
    integer_valued: Annotated[
        bool, typer.Option("--integer-valued", help="Forecasts are whole numbers, because y counts things.")
    ] = False,
    margin: Annotated[
        float | None,
        typer.Option(help="Share by which what serves must beat the best naive; below 0, may be worse. [-1]"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the random numbers. [0]")] = None,
    static: Annotated[
        list[str] | None, typer.Option(help="Columns that class series, such as store,product; networks learn them.")
    ] = None,
    calendar: Annotated[
        list[str] | None, typer.Option(help="Categories of times to learn: hour, weekday, month, holiday.")
    ] = None,
    country: Annotated[str | None, typer.Option(help="Whose holidays, such as US.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Part of the recipe, such as max_steps=200.")
    ] = None,
    paths: Annotated[
        int | None, typer.Option(help="Sample paths of each series, 10 to 10,000, for quantiles of sums. [none]")
    ] = None,
    paths_out: Annotated[
        Path | None, typer.Option(help="File for them, .parquet or .csv. [--out, with .paths before its suffix]")
    ] = None,
    rejects: Annotated[Path | None, typer.Option(help="File for refused rows, .parquet or .csv.")] = None,
    reasons: Annotated[
        Path | None, typer.Option(help="File that says why a series has a simpler model, .parquet or .csv.")
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
    wanted = spec_from_options(
        inputs or [],
        {
            "freq": freq,
            "season_lengths": season_length or None,
            "horizon": horizon,
            "recipe": recipe,
            "models": split_commas(models),
            "statistics": split_statistics(statistics),
            "source.id": id_column,
            "source.time": time_column,
            "source.target": target_column,
            "quantiles": split_commas(quantiles),
            "paths": paths,
            "lower_bound": lower_bound,
            "integer_valued": integer_valued or None,
            "backtest.margin": margin,
            "seed": seed,
            "categories.static": split_commas(static),
            "categories.calendar": split_commas(calendar),
            "categories.country": country,
            **parse_overrides(overrides),
        },
        spec_path=spec,
    )
    if scores is not None and evaluate is None:
        raise SpecError("--scores", [f"'{scores}' needs --evaluate and the actuals to score the forecast by"])
    if paths_out is not None and not wanted.paths:
        raise SpecError("--paths-out", [f"'{paths_out}' needs --paths and the number of paths"])
    if wanted.paths and paths_out is None:
        paths_out = out.with_suffix(f".paths{out.suffix}")
    columns = wanted.source
    actuals = (
        source_from_options(evaluate, columns.id, columns.time, columns.target, option="--evaluate")
        if evaluate is not None
        else None
    )
    files = _Files(out, paths_out, rejects, reasons, scores)
    _forecast(wanted, cutoff_text=cutoff, files=files, actuals=actuals, all_models=all_models, use_ray=use_ray)


class _Files(NamedTuple):
    """What is written; what is None was not asked for."""

    out: Path
    paths_out: Path | None
    rejects: Path | None
    reasons: Path | None
    scores: Path | None

    def refuse(self, inputs: Sequence[str]) -> None:
        """Raise SpecError for a file that cannot be written, is an input, or is meant by two options."""
        from forecasting.cli.files import refuse_path

        options: dict[Path, str] = {}
        for name, path in self._asdict().items():
            if path is None:
                continue
            option = f"--{name.replace('_', '-')}"
            refuse_path(path, option=option)
            if str(path.resolve()) in inputs:
                raise SpecError(option, [f"'{path}' is one of the inputs"])
            other = options.setdefault(path.resolve(), option)
            if other != option:
                raise SpecError(option, [f"'{path}' is also {other}"])


def _forecast(
    spec: Spec,
    *,
    cutoff_text: str | None,
    files: _Files,
    actuals: Source | None,
    all_models: bool,
    use_ray: bool,
) -> None:
    began = time.monotonic()
    settings, kernel = Settings.load(), FleetSettings.load().kernel
    processes, storage_options = settings.processes, settings.storage_options
    if processes is not None:
        os.environ.setdefault("POLARS_MAX_THREADS", str(processes))  # read once, when Polars loads

    from forecasting.cli.evaluation import evaluate_outcome, print_evaluation
    from forecasting.cli.files import write_frame, write_frames
    from forecasting.fleet.options import FitOptions
    from forecasting.flow.holdout import read_actuals
    from forecasting.flow.sample_paths import no_paths, sample_paths
    from forecasting.series.inputs import Input
    from forecasting.series.native import native_types

    inputs = [Input(source, None, storage_options) for source in [spec.source, *([actuals] if actuals else [])]]
    files.refuse([file for each in inputs for file in each.files()])
    types = native_types(inputs[0], spec.clock, spec.freq)
    cutoff = None if cutoff_text is None else types.parse_cutoff(cutoff_text, spec.clock)
    held_out = None if actuals is None else read_actuals(actuals, spec, storage_options=storage_options)

    run = _on_ray if use_ray else _here
    outcome = run(spec, cutoff, FitOptions(kernel=kernel), settings)
    write_frame(_output(outcome.forecasts, spec, types, all_models=all_models), files.out)
    if files.paths_out is not None:
        native = types.restore(outcome.forecasts)
        drawn = chain([no_paths(native)], sample_paths(native, outcome.correlations, spec))
        write_frames((rows.select("unique_id", "ds", "path", "y") for rows in drawn), files.paths_out)
    stand_ins = _stand_ins(outcome.forecasts)
    if files.rejects is not None:
        write_frame(outcome.rejects, files.rejects)
    if files.reasons is not None:
        write_frame(types.restore(stand_ins).sort("unique_id"), files.reasons)
    for line in _summary(outcome, stand_ins, spec, seconds=time.monotonic() - began, files=files):
        print(line, file=sys.stderr)
    if held_out is not None:
        evaluation = evaluate_outcome(outcome, held_out, spec, all_models=all_models)
        if files.scores is not None:
            write_frame(types.restore(evaluation.scores).sort("unique_id", "model"), files.scores)
        print_evaluation(evaluation, files.scores, all_models=all_models)


def _here(spec: Spec, cutoff: "datetime | int | None", options: "FitOptions", settings: Settings) -> "OneShot":
    from forecasting.flow.progress import FitProgress

    with FitProgress() as progress:
        from forecasting.flow import one_shot
        from forecasting.flow.processes import call_on_processes, run_on_processes
        from forecasting.spec.recipes import configure

        num_processes, config = settings.processes or os.cpu_count() or 1, configure(spec)

        def run(task: Any, panels: Any, on_shard: Any) -> Any:
            num_series = sum(len(panel.unique_ids) for panel in panels)
            progress.expect(
                shard_size=-(-num_series // max(len(panels), num_processes)),
                num_fits=2 * len(spec.models) * len(config.members),
                max_steps=config.max_steps,
            )
            return run_on_processes(
                task,
                panels,
                on_shard,
                num_processes=num_processes,
                on_validation=progress.on_validation,
                on_end=progress.on_end,
            )

        return one_shot.forecast(
            spec,
            cutoff=cutoff,
            num_workers=num_processes,
            options=options,
            on_shard=progress.on_shard,
            run_shards=run,
            run_calls=partial(call_on_processes, num_processes=num_processes, on_done=progress.on_prior),
            storage_options=settings.storage_options,
        )


def _on_ray(spec: Spec, cutoff: "datetime | int | None", options: "FitOptions", settings: Settings) -> "OneShot":
    found = entry_points(group=RUNNERS, name="ray")
    if not found:
        raise ClusterError("--ray needs Fleetcast's workers, which are not installed; pip install 'fleetcast[worker]'")
    try:
        run: Any = next(iter(found)).load()
    except ImportError as error:
        raise ClusterError(
            f"--ray needs Ray, which is not installed ({error}); pip install 'fleetcast[worker]'"
        ) from error
    # The pool prints its own progress; stdout stays free for what a script may read.
    with contextlib.redirect_stdout(sys.stderr):
        outcome: OneShot = run(spec, cutoff=cutoff, options=options, storage_options=settings.storage_options)
    return outcome


def _output(forecasts: "pl.DataFrame", spec: Spec, types: "NativeTypes", *, all_models: bool) -> "pl.DataFrame":
    """Return the columns and rows that were asked for, in the input's own types, sorted."""
    import polars as pl

    marks = ["is_champion"] if all_models else []
    kept = forecasts if all_models else forecasts.filter("is_champion")
    columns = ["unique_id", "ds", "cutoff", "model", *marks, "forecast", *spec.quantile_columns]
    return types.restore(kept.select(pl.col(name) for name in columns)).sort("unique_id", "model", "ds")


def _stand_ins(forecasts: "pl.DataFrame") -> "pl.DataFrame":
    """Return the series that a simpler model serves than was asked for: unique_id, model and reason."""
    import polars as pl

    served = forecasts.filter(pl.col("is_champion") & pl.col("reason").is_not_null())
    return served.select("unique_id", "model", "reason").unique("unique_id", keep="first", maintain_order=True)


def _summary(
    outcome: "OneShot", stand_ins: "pl.DataFrame", spec: Spec, *, seconds: float, files: _Files
) -> Iterator[str]:
    served = outcome.forecasts.filter("is_champion").unique("unique_id", keep="first", maintain_order=True)
    yield f"{served.height} series forecast in {seconds:.1f} s; {files.out}"
    yield "champions: " + _counted(served["model"])
    if files.paths_out is not None:
        yield f"paths: {spec.paths} of each series; {files.paths_out}"
        if outcome.correlations.is_empty():
            yield "  no backtest tells how their steps go together: they are taken to do so entirely"
    unseen = served["unseen"].drop_nulls()
    if len(unseen):
        values = unseen.explode().value_counts().sort(["count", "unseen"], descending=[True, False])
        told = " · ".join(f"{value} {count}" for value, count in values.head(NUM_SHOWN).iter_rows())
        more = f" · and {values.height - NUM_SHOWN} more" if values.height > NUM_SHOWN else ""
        yield f"categories without a vector of their own, new or rare: in {len(unseen)} series, {told}{more}"
    if outcome.rejects.height:
        yield f"rejects: {outcome.rejects.height} rows; {files.rejects or '--rejects FILE writes them'}"
        yield from _listed(outcome.rejects["reason"])
    if stand_ins.height:
        where = files.reasons or "--reasons FILE writes why"
        yield f"served by a simpler model than asked for: {stand_ins.height} series; {where}"
        for unique_id, reason in stand_ins.select("unique_id", "reason").head(NUM_SHOWN).iter_rows():
            yield f"  {unique_id}: {reason}"
        if stand_ins.height > NUM_SHOWN:
            yield f"  and {stand_ins.height - NUM_SHOWN} more"


def _counted(values: "pl.Series") -> str:
    counts = values.value_counts(sort=True).sort(["count", values.name], descending=[True, False])
    return " · ".join(f"{name} {count}" for name, count in counts.iter_rows())


def _listed(reasons: "pl.Series") -> Iterator[str]:
    counts = reasons.value_counts().sort(["count", reasons.name], descending=[True, False])
    for reason, count in counts.iter_rows():
        yield f"  {count} × {reason}"
