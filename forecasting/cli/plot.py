"""`fleetcast plot`: names of series go in; a picture of their history and forecasts comes out."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecasting.errors import SpecError
from forecasting.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(
    series: Annotated[list[str], typer.Argument(metavar="SERIES…", help="Names of series, a panel each.")],
    spec: Annotated[str | None, typer.Option(help="Whose forecasts, where several specs have such series.")] = None,
    out: Annotated[Path, typer.Option(help="File to write, .png or .svg.")] = Path("fan.png"),
    history: Annotated[int | None, typer.Option(min=1, help="Points before the cutoff. [two horizons]")] = None,
    cutoff: Annotated[str | None, typer.Option(help="Run cutoff of an earlier forecast. [the newest]")] = None,
    forecasts: Annotated[
        Path | None, typer.Option(help="A file of `fleetcast forecast`, instead of the store.")
    ] = None,
    attention: Annotated[
        bool, typer.Option("--attention", help="How networks with attention weigh the past, instead of a forecast.")
    ] = False,
    actuals: Annotated[str | None, typer.Option(help="With --forecasts: the measurements, before and since.")] = None,
    id_column: Annotated[str, typer.Option("--id", help="Column of --actuals that names the series.")] = "unique_id",
    time_column: Annotated[str, typer.Option("--time", help="Column of --actuals with times or steps.")] = "ds",
    target_column: Annotated[str, typer.Option("--target", help="Column of --actuals with measurements.")] = "y",
) -> None:
    """Draw history and forecast of some series: median, 50, 80 and 95 % bands, and what has really come since."""
    from forecasting.cli.fans import fans_of_files, fans_of_store
    from forecasting.cli.files import refuse_path
    from forecasting.cli.options import source_from_options
    from forecasting.cli.tables import open_store
    from forecasting.plots import fan_chart

    refuse_path(out, option="--out", suffixes=(".png", ".svg"))
    if actuals is not None and forecasts is None:
        raise SpecError("plot", ["--actuals needs --forecasts; without them the store has both"])
    if cutoff is not None and forecasts is not None:
        raise SpecError("plot", ["--cutoff chooses among the store's forecasts; a file of --forecasts has its own"])
    if attention:
        if forecasts is not None:
            raise SpecError("plot", ["--attention reads networks from the store, which a file of --forecasts has not"])
        from forecasting.cli.attention import attention_of_store
        from forecasting.plots import attention_chart

        _save(attention_chart(attention_of_store(open_store(), series, spec=spec, cutoff=cutoff)), out)
        return
    if forecasts is None:
        fans = fans_of_store(open_store(), series, spec=spec, cutoff=cutoff)
    else:
        source = None if actuals is None else source_from_options(actuals, id_column, time_column, target_column)
        fans = fans_of_files(forecasts, source, series, storage_options=Settings.load().storage_options)
    horizon = fans.forecasts.group_by("unique_id").len()["len"].max()
    assert isinstance(horizon, int)
    fans = fans.shorten(history or max(2 * horizon, 24))
    _save(fan_chart(fans.history, fans.forecasts), out)


def _save(figure: "Figure", out: Path) -> None:
    from forecasting.cli.files import whole_file

    with warnings.catch_warnings(), whole_file(out) as temporary:
        # Every installed font was asked; a character that none has is drawn as a box.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from", category=UserWarning)
        figure.savefig(temporary, metadata={"Date": None} if out.suffix == ".svg" else None)
    print(out)
