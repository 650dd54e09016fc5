"""The effects of `fleetcast forecast --effects`: how the forecasts respond to covariates, into another file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from forecasting.errors import SpecError

if TYPE_CHECKING:
    from forecasting.api import Request
    from forecasting.flow.results import Result
    from forecasting.spec.spec import Spec


def effects_file(names: Sequence[str], file: Path | None, *, spec: "Spec", out: Path) -> Path | None:
    """Return the file for effects; without a value of `--effects-out`, one that is named after the forecast's.

    Args:
        names: Values of `--effects`.
        file: Value of `--effects-out`.
        spec: The spec of the command.
        out: File of the forecast.

    Returns:
        The file; None without names.

    Raises:
        SpecError: There is a file without names, or a name is not that of a covariate that is known ahead.
    """
    if not names:
        if file is not None:
            raise SpecError("--effects-out", [f"'{file}' needs --effects and the covariates to move"])
        return None
    known = spec.covariates.known_ahead
    if other := [name for name in names if name not in known]:
        listed = f"it must be {', '.join(known)}" if known else "--known-ahead names them"
        raise SpecError("--effects", [f"'{name}' is not a covariate that is known ahead; {listed}" for name in other])
    return file or out.with_suffix(f".effects{out.suffix}")


def write_effects(names: Sequence[str], file: Path, request: "Request", result: "Result") -> list[str]:
    """Measure how the forecasts respond to covariates, and write a row for each covariate and value.

    Args:
        names: The covariates.
        file: The file.
        request: The request of the forecast.
        result: The forecast, with its networks.

    Returns:
        Lines for the summary.
    """
    import polars as pl

    from forecasting.cli.files import write_frame

    fleet = request.fleet_of(result.outcome)
    frames, lines = [], []
    for name in names:
        try:
            found = pl.DataFrame(fleet.effects(name))
        except SpecError as error:
            lines.append(f"no effects: {'; '.join(error.problems)}")
            continue
        frames.append(found.select(pl.lit(name).alias("covariate"), pl.all()))
        last = found.row(-1, named=True)
        lines.append(
            f"effects of {name}: {last['difference']:+,.4g} at {last['value']:g} instead of {found['value'][0]:g}, with"
            f" the same sign in {last['agreeing']:.0%} of {last['num_series']} series; {file}"
        )
    if frames:
        write_frame(pl.concat(frames), file)
    return lines
