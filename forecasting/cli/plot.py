"""`fleetcast plot`: draw history and forecasts of some series, what forecasts come from, or attention of networks."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecasting.errors import SpecError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(
    series: Annotated[list[str], typer.Argument(metavar="SERIES…", help="Names of series; each one gets a panel.")],
    spec: Annotated[str | None, typer.Option(help="Spec of the forecasts, if several have such series.")] = None,
    out: Annotated[Path, typer.Option(help="File to write, .png or .svg.")] = Path("fan.png"),
    history: Annotated[
        int | None, typer.Option(min=1, show_default="two horizons", help="Grid points to show before the cutoff.")
    ] = None,
    cutoff: Annotated[str | None, typer.Option(show_default="the newest", help="Run cutoff of the forecast.")] = None,
    forecasts: Annotated[
        Path | None, typer.Option(help="A file that `fleetcast forecast` wrote, instead of the store.")
    ] = None,
    attention: Annotated[bool, typer.Option("--attention", help="Draw how attention networks weigh the past.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Draw what makes the forecasts, of a spec with attributions.")
    ] = False,
    actuals: Annotated[
        str | None, typer.Option(help="With --forecasts: the measurements before and after the cutoff.")
    ] = None,
    id_columns: Annotated[
        list[str] | None,
        typer.Option(
            "--id", show_default="unique_id", help="Column of --actuals with the names of series, or several."
        ),
    ] = None,
    time_column: Annotated[str, typer.Option("--time", help="Column of --actuals with times or steps.")] = "ds",
    target_column: Annotated[str, typer.Option("--target", help="Column of --actuals with measurements.")] = "y",
    source_pairs: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="KEY=VALUE", help="How --actuals is read, such as csv.separator=tab."),
    ] = None,
) -> None:
    """Draw history and forecast of some series: median, 50, 80 and 95 % bands, and the actuals since then."""
    from forecasting.cli.fans import fans_of_files, fans_of_store
    from forecasting.cli.files import refuse_path
    from forecasting.cli.options import source_fields, split_commas
    from forecasting.cli.tables import open_store
    from forecasting.plots import fan_chart
    from forecasting.spec.source import make_source

    refuse_path(out, option="--out", suffixes=(".png", ".svg"))
    if actuals is not None and forecasts is None:
        raise SpecError("plot", ["--actuals needs --forecasts; without --forecasts, the store has both"])
    if cutoff is not None and forecasts is not None:
        raise SpecError("plot", ["--cutoff selects forecasts of the store and cannot be combined with --forecasts"])
    if explain and (attention or forecasts is not None):
        other = "--attention" if attention else "--forecasts"
        raise SpecError("plot", [f"--explain reads attributions of the store and cannot be combined with {other}"])
    if explain:
        from forecasting.cli.attributions import attributions_of_store
        from forecasting.plots import attribution_chart

        _save(attribution_chart(attributions_of_store(open_store(), series, spec=spec, cutoff=cutoff)), out)
        return
    if attention:
        if forecasts is not None:
            raise SpecError("plot", ["--attention reads networks of the store and cannot be combined with --forecasts"])
        from forecasting.cli.attention import attention_of_store
        from forecasting.plots import attention_chart

        _save(attention_chart(attention_of_store(open_store(), series, spec=spec, cutoff=cutoff)), out)
        return
    if forecasts is None:
        fans = fans_of_store(open_store(), series, spec=spec, cutoff=cutoff)
    else:
        from forecasting.settings import Settings

        columns = {
            "id": split_commas(id_columns) or "unique_id",
            "time": time_column,
            "target": target_column,
        } | source_fields(source_pairs)
        source = None if actuals is None else make_source([actuals], columns, subject="--actuals")
        fans = fans_of_files(forecasts, source, series, storage_options=Settings.load().storage_options)
    horizon = fans.forecasts.group_by("unique_id").len()["len"].max()
    assert isinstance(horizon, int)
    fans = fans.shorten(history or max(2 * horizon, 24))
    _save(fan_chart(fans.history, fans.forecasts), out)


def _save(figure: "Figure", out: Path) -> None:
    from forecasting.cli.files import whole_file

    with warnings.catch_warnings(), whole_file(out) as temporary:
        # A character that no installed font has is drawn as a box.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from", category=UserWarning)
        figure.savefig(temporary, metadata={"Date": None} if out.suffix == ".svg" else None)
    print(out)
