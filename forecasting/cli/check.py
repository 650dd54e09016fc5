"""`fleetcast check`: read and validate an input without training, and print what a run would use of it."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecasting.cli.reading import Reading, with_reading

if TYPE_CHECKING:
    import polars as pl

    from forecasting.flow.profile import Profile
    from forecasting.series.seasons import Season

NUM_EXAMPLES = 3
"""Refused rows, and series without a forecast, that are shown."""
STOPPED = 2
"""Exit code where a run would stop before it trains."""


@with_reading
def check(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SPEC | INPUT…", help="A spec file, or files, folders, globs, Delta tables, or a database."
        ),
    ] = None,
    reading: Reading = MappingProxyType({}),
    known_ahead: Annotated[
        list[str] | None, typer.Option(help="Columns of covariates that rows after the cutoff have too.")
    ] = None,
    past: Annotated[
        list[str] | None, typer.Option(help="Columns of covariates that are known up to the cutoff alone.")
    ] = None,
    covariates: Annotated[
        list[str] | None,
        typer.Option(metavar="TABLE [FIELD=VALUE…]", help="Table of covariates known ahead; may be repeated."),
    ] = None,
    cutoff: Annotated[
        str | None, typer.Option(show_default="the newest period of most series", help="Last time that may be known.")
    ] = None,
    series: Annotated[Path | None, typer.Option(help="File for one row per series, .parquet or .csv.")] = None,
    rejects: Annotated[Path | None, typer.Option(help="File for refused rows, .parquet or .csv.")] = None,
) -> None:
    """Read and validate an input as a run does, without training, and print a profile.

    The exit code is 2 where a run would stop because of its data. The last lines are those of a spec.
    """
    from forecasting.api import Request
    from forecasting.cli.files import refuse_files, write_frame
    from forecasting.cli.options import parse_tables, spec_from_options, split_commas
    from forecasting.flow.profile import make_profile
    from forecasting.series.inputs import Input
    from forecasting.series.once import reading_once
    from forecasting.settings import Settings

    settings, given = Settings.load(), inputs or []
    notes: list[str] = []
    is_spec = len(given) == 1 and given[0].endswith(".toml")
    fields = {
        **reading,
        "covariates.future": split_commas(known_ahead),
        "covariates.past": split_commas(past),
        "covariates.tables": parse_tables(covariates),
    }
    if not is_spec and fields["horizon"] is None:
        fields["horizon"] = 1  # says nothing about the data but how long series must be
    spec = spec_from_options(
        [] if is_spec else given,
        fields,
        spec_path=Path(given[0]) if is_spec else None,
        storage_options=settings.storage_options,
        on_note=notes.append,
        subject="check",
        has_season=False,
    )
    spec = spec.within(cutoff)
    read = Input(spec.source, None, settings.storage_options)
    tables = read.table_files(spec.covariates.tables)
    refuse_files({"--series": series, "--rejects": rejects}, inputs=[*read.files(), *tables])
    request = Request.of(spec, read)
    until = request.parse_cutoff(cutoff, subject="--cutoff")
    with reading_once():  # large sources are kept in its temporary folder
        profile = make_profile(spec, cutoff=until, storage_options=settings.storage_options)
        for name, texts in _describe(profile, notes):
            for number, text in enumerate(texts):
                print(f"{'' if number else name:<11}{text}")
    if series is not None:
        write_frame(profile.series, series)
    if rejects is not None:
        write_frame(profile.ingested.rejects, rejects)
    if not is_spec:
        print("\n" + "\n".join(_as_spec(profile, reading)))
    for reason in profile.stops:
        print(f"error: {reason}", file=sys.stderr)
    if profile.stops:
        raise typer.Exit(STOPPED)


def _describe(profile: "Profile", inferred: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the sections of the profile, each a name and its lines."""
    spec, ingested = profile.spec, profile.ingested
    yield "source", [str(spec.source)]
    if profile.unread:
        names = ", ".join(profile.unread)
        hint = "--known-ahead (covariates.future) reads those that are known for the horizon"
        yield "columns", [f"not read: {names}; {hint}"]
    yield "times", list(_describe_times(profile, inferred))
    yield "rows", list(_describe_rows(profile))
    yield "series", list(_describe_status(profile))
    yield "values", list(_describe_values(profile.series))
    yield "seasons", list(_describe_seasons(profile, inferred))
    if spec.covariates.names:
        yield "covariates", list(_describe_covariates(profile))
    if profile.checks.height:
        yield "checks", list(_describe_checks(profile.checks))
    if noted := [*ingested.unused, *ingested.notes]:
        yield "notes", noted


def _describe_times(profile: "Profile", inferred: list[str]) -> Iterator[str]:
    import polars as pl

    from forecasting.spec.frequency import DAY, fixed_width

    spec, series = profile.spec, profile.series.filter(pl.col("num_points") > 0)
    zones = [spec.source.timezone] if spec.source.timezone else []
    if spec.clock == "timestamp":
        zone = profile.ingested.observed.select("zone").head(1).collect()["zone"]
        zones = zone.drop_nulls().to_list() or zones
    clock = "integer steps" if spec.clock == "step" else f"in {zones[0]}" if zones else "without a zone"
    width = None if spec.clock == "step" else fixed_width(spec.freq)
    of_utc = " (UTC)" if zones and zones[0] != "UTC" and width is not None and width < DAY else ""
    if series.is_empty():
        yield clock
        return
    points, share_S = pl.col("num_points"), 1 - pl.col("num_observed") / pl.col("num_points")
    totals = series.select(
        pl.col("first").min(),
        pl.col("last").max(),
        shortest=points.min(),
        longest=points.max(),
        median=points.median(),
        num_short=(points < profile.needed).sum(),
        num_points=points.sum(),
        num_gaps=(points - pl.col("num_observed")).sum(),
        worst=pl.col("unique_id").sort_by(share_S).last(),
        worst_share=share_S.max(),
    ).row(0, named=True)
    yield f"{clock}, from {totals['first']} to {totals['last']}; cutoff {profile.ingested.cutoff}{of_utc}"
    yield next((note for note in inferred if note.startswith("frequency")), f"frequency {spec.freq}")
    shown = f"{totals['shortest']:,}" + (
        f" to {totals['longest']:,} grid points a series, {totals['median']:,.0f} in the median"
        if totals["longest"] > totals["shortest"]
        else " grid points a series"
    )
    short = f"; series with fewer than the {profile.needed:,} that networks need: {totals['num_short']:,}"
    yield shown + (short if totals["num_short"] else "")
    gaps = (
        f"{totals['num_gaps']:,} of {totals['num_points']:,} grid points are gaps"
        f" ({totals['num_gaps'] / totals['num_points']:.1%}); most in '{totals['worst']}' ({totals['worst_share']:.0%})"
    )
    yield gaps if totals["num_gaps"] else "no gaps"


def _describe_rows(profile: "Profile") -> Iterator[str]:
    from forecasting.series.files import name_row

    yield str(profile.ingested.counts)
    rejects = profile.ingested.rejects
    for reason, num in rejects["reason"].value_counts(sort=True).iter_rows():
        yield f"  {num:,} × {reason}"
        columns = ("source_file", "source_row", "unique_id", "ds", "y")
        for file, row, *texts in rejects.filter(reason=reason).select(columns).head(NUM_EXAMPLES).iter_rows():
            yield f"    {name_row(file, row)}: {', '.join(text or '' for text in texts)}"


def _describe_status(profile: "Profile") -> Iterator[str]:
    kinds = ("forecast", "lagging", "ended", "set aside")
    numbers = " · ".join(f"{profile.count(kind):,} {kind}" for kind in kinds if profile.count(kind))
    yield f"{profile.series.height:,}: {numbers}"
    without = profile.series.drop_nulls("reason")
    for name, reason in without.select("unique_id", "reason").head(NUM_EXAMPLES).iter_rows():
        yield f"  '{name}' {reason}"
    if without.height > NUM_EXAMPLES:
        yield f"  and {without.height - NUM_EXAMPLES:,} more; --series FILE writes all"


def _describe_covariates(profile: "Profile") -> Iterator[str]:
    yield from profile.ingested.joined
    for row in profile.covariates.iter_rows(named=True):
        kind = f"{row['num_names']:,} names" if row["num_names"] else f"from {row['lowest']:g} to {row['highest']:g}"
        known = kind if row["num_known"] else "no values"
        missing = f", missing at {row['num_missing']:,} grid points" if row["num_missing"] else ""
        yield f"{row['covariate']}: {known}{missing}"


def _describe_checks(verdicts: "pl.DataFrame") -> Iterator[str]:
    import polars as pl

    whole = verdicts.filter(pl.col("unique_id").is_null())
    for row in whole.iter_rows(named=True):
        consequence = f" ({row['on_failure']})" if row["verdict"] == "fail" else ""
        yield f"{row['verdict']}{consequence}: {row['check_name']}: {row['message']}"


def _describe_values(series: "pl.DataFrame") -> Iterator[str]:
    import polars as pl

    from forecasting.flow.profile import INTERMITTENT_SHARE

    measured = series.filter(pl.col("num_observed") > 0)
    if measured.is_empty():
        yield "none"
        return
    lowest, highest = measured.select(pl.col("lowest").min(), pl.col("highest").max()).row(0)
    yield f"from {lowest:g} to {highest:g}"
    is_intermittent = pl.col("num_zeros") > INTERMITTENT_SHARE * pl.col("num_observed")
    kinds = {
        "constant": pl.col("lowest") == pl.col("highest"),
        "zero in more than half of their measurements": is_intermittent,
        "with negative measurements": pl.col("lowest") < 0,
    }
    counts = measured.select(is_meant.sum().alias(words) for words, is_meant in kinds.items()).row(0, named=True)
    if any(counts.values()):
        yield "series: " + " · ".join(f"{count:,} {words}" for words, count in counts.items() if count)


def _describe_seasons(profile: "Profile", inferred: list[str]) -> Iterator[str]:
    asked = "customary" if any(note.startswith("season") for note in inferred) else "asked for"
    for season in profile.asked:
        if season.length > 1:
            yield f"{season.length} {asked}: {_correlation(season)}"
    others = [each for each in profile.found if each.length not in profile.spec.season_lengths]
    for season in others:
        yield f"{season.length} found: {_correlation(season)}; --season-length {season.length} (season_lengths) adds it"
    if not profile.found:
        yield "none found by autocorrelation"


def _correlation(season: "Season") -> str:
    if season.correlation is None:
        return "no series has three of them"
    return f"autocorrelation {season.correlation:.2f}"


def _as_spec(profile: "Profile", reading: Reading) -> Iterator[str]:
    """Yield the lines of a spec."""
    from forecasting.flow.profile import suggest_fields

    spec = profile.spec
    yield "# lines of a spec"
    yield f"freq = {_as_toml(spec.freq)}"
    yield f"season_lengths = {_as_toml(list(spec.season_lengths))}"
    if reading["horizon"] is not None:
        yield f"horizon = {spec.horizon}"
    for name, value in suggest_fields(profile):
        yield f"{name} = {_as_toml(value)}  # matches all measurements"
    yield ""
    yield "[source]"
    for name, value in spec.source.model_dump(mode="json", exclude_unset=True).items():
        yield f"{name} = {_as_toml(value)}"
    if spec.covariates.of_source:
        yield ""
        yield "[covariates]"
        for role in ("future", "past", "static"):
            if names := getattr(spec.covariates, role):
                yield f"{role} = {_as_toml(list(names))}"
    for table in spec.covariates.tables:
        yield ""
        yield "[[covariates.tables]]"
        for name, value in table.model_dump(mode="json", exclude_unset=True).items():
            yield f"{name} = {_as_toml(value)}"


def _as_toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {_as_toml(one)}" for name, one in value.items() if one is not None) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_as_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)  # a TOML basic string, number or boolean is written as in JSON
