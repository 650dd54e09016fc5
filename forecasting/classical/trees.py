"""Gradient-boosted trees over a whole fleet (LightGBM, Ke et al., 2017): one model forecasts all series and all steps.

The model is fitted once to all series (`forecasting.classical.tree_fit`) and then given, as a prior is: a series'
forecast depends on no other series. `forecasting.classical.tree_inputs` has its inputs. LightGBM is optional, the extra
`trees`.
"""

# S series · N grid points · F horizon steps · R rows · Q quantiles · B buckets of steps

import ctypes
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from forecasting.classical.combination import Quantiles
from forecasting.classical.ridge import bounds_of
from forecasting.classical.tree_inputs import Known
from forecasting.classical.tree_meaning import Meaning, Places, Rows, Values
from forecasting.errors import NothingStored, SpecError
from forecasting.series.panel import Panel

MOST_BUCKETS = 200
"""Groups of neighbouring steps whose errors are counted together."""
_ROWS_AT_ONCE = 200_000
NAME = "lightgbm"


@dataclass(frozen=True)
class Trees:
    """A fitted model.

    Attributes:
        meaning: What its inputs mean.
        fits: Each fit, as LightGBM's text.
        offset_BQ: Quantiles of the errors on parts left out, less their median, in units of series, by bucket of steps.
        num_series: Series that it was fitted to.
        num_rows: Rows that it was fitted to.
        error: Mean absolute error on parts left out, in units of series.
        trained_until: Latest grid point of any series that it may have read: a step, or microseconds since 1970.
    """

    meaning: Meaning
    fits: tuple[str, ...]
    offset_BQ: Values = field(repr=False)
    num_series: int
    num_rows: int
    error: float
    trained_until: int

    @property
    def num_trees(self) -> int:
        """Trees of all fits."""
        return sum(fit.count("\nTree=") for fit in self.fits)

    @cached_property
    def version(self) -> str:
        """A hash of the file."""
        return version_of(self.to_bytes())

    @cached_property
    def boosters(self) -> list[Any]:
        """The fits, as LightGBM reads them."""
        import lightgbm

        return [lightgbm.Booster(model_str=fit) for fit in self.fits]

    def to_bytes(self) -> bytes:
        """Return the model as a file: a line of JSON, and LightGBM's text of each fit."""
        described = {
            "meaning": self.meaning.describe(),
            "lengths": [len(fit) for fit in self.fits],
            "offsets": self.offset_BQ.tolist(),
            **{name: getattr(self, name) for name in ("num_series", "num_rows", "error", "trained_until")},
        }
        return "\n".join([json.dumps(described), "".join(self.fits)]).encode()

    @classmethod
    def from_bytes(cls, content: bytes, *, name: str = "a file of trees", version: str | None = None) -> Self:
        """Read the file that `to_bytes` returned.

        Args:
            content: Content of the file.
            name: Name of the file in errors.
            version: Version that the file must have; any where None.

        Returns:
            The model.

        Raises:
            NothingStored: The content is damaged or has another format.
        """
        if version is not None and version_of(content) != version:
            raise NothingStored(f"{name} is not the file that was stored: its digest is not {version}; train again")
        try:
            line, _, text = content.decode().partition("\n")
            described = json.loads(line)
            ends = np.cumsum(described.pop("lengths")).tolist()
            fits = tuple(text[begin:end] for begin, end in zip([0, *ends], ends, strict=False))
            meaning = Meaning.read(described.pop("meaning"))
            return cls(meaning, fits, np.array(described.pop("offsets"), dtype=np.float64), **described)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NothingStored(f"{name} is damaged or not a file of trees; train again") from error

    def can_forecast(self, panel: Panel) -> npt.NDArray[np.bool_]:
        """Mark the series that have enough grid points up to the cutoff, (S,)."""
        return np.asarray(panel.length_S >= least_points(self.meaning.season_lengths))


def version_of(content: bytes) -> str:
    """Return the version of a file of trees: the beginning of its SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


def least_points(season_lengths: Sequence[int]) -> int:
    """Return the fewest grid points of a series that can be forecast: two seasons and two points."""
    return 2 * season_lengths[0] + 2


def check_installed(subject: str) -> None:
    """Refuse trees where LightGBM is not installed, or cannot be loaded.

    Args:
        subject: What asks for it, such as `spec sales`.

    Raises:
        SpecError: LightGBM, or the library of the system that it needs, is not installed.
    """
    if find_spec("lightgbm") is None:
        needs = "needs LightGBM, which is not installed: pip install 'fleetcast[trees]', or leave lightgbm out"
        raise SpecError(subject, [f'regressions = ["lightgbm"] {needs}'])
    if sys.platform == "linux":
        try:
            ctypes.CDLL("libgomp.so.1")
        except OSError as error:
            needs = "needs the system's libgomp, in Debian the package libgomp1; install it, or leave lightgbm out"
            raise SpecError(subject, [f'regressions = ["lightgbm"] {needs} ({error})']) from error


def forecast_trees(panel: Panel, *, trees: Trees, quantiles: Sequence[float]) -> Quantiles:
    """Forecast every series by a model that is given.

    Args:
        panel: The series, in units of y.
        trees: The model.
        quantiles: Levels, as in the fit.

    Returns:
        Quantiles (S, F, Q) in units of y, within the range of the series extended by half of it on both sides, and not
        negative where the series never is. NaN for a series with fewer than `least_points` points.
    """
    num_series, horizon = len(panel.unique_ids), panel.horizon
    result_SFQ = np.full((num_series, horizon, len(quantiles)), np.nan)
    able = np.flatnonzero(trees.can_forecast(panel) & np.isfinite(panel.y_SN).any(1))
    size = max(_ROWS_AT_ONCE // horizon, 1)
    for begin in range(0, len(able), size):
        part = able[begin : begin + size]
        result_SFQ[part] = _forecast(panel.select(part), trees)
    return result_SFQ


def _forecast(panel: Panel, trees: Trees) -> Quantiles:
    num_series, horizon, last = len(panel.unique_ids), panel.horizon, panel.y_SN.shape[1] - 1
    known = Known.of(panel, trees.meaning, np.full(num_series, last))
    rows = Rows(
        np.repeat(np.arange(num_series), horizon),
        np.full(num_series * horizon, last),
        np.tile(np.arange(1, horizon + 1), num_series),
    )
    input_RP = known.inputs(rows)
    change_R = np.mean([booster.predict(input_RP, num_threads=1) for booster in trees.boosters], axis=0)
    effect_R = known.effect_ST[rows.series_R, rows.target]
    z_SF = (known.reference(rows) + effect_R + change_R).reshape(num_series, horizon)
    offset_FQ = trees.offset_BQ[buckets_of(np.arange(1, horizon + 1), horizon)]
    z_SFQ = z_SF[:, :, None] + offset_FQ
    forecast_SFQ: Quantiles = z_SFQ * known.spread_S[:, None, None] + known.centre_S[:, None, None]
    for row, first in enumerate(known.first_S):
        y_N = panel.y_SN[row, first:]
        forecast_SFQ[row] = np.clip(forecast_SFQ[row], *bounds_of(y_N[np.isfinite(y_N)]))
    return forecast_SFQ


def buckets_of(step_R: Places, horizon: int) -> Places:
    """Return the bucket of each step: its own, or one of neighbours where the horizon is long."""
    return (step_R - 1) * min(horizon, MOST_BUCKETS) // horizon
