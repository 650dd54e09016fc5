"""Read M4 Hourly from the folder of benchmark data, and score forecasts of it.

Scores are the product's own (`forecasting.evaluate`): means over series of sMAPE and MASE, and the OWA, which divides
them by those of Naive2, 18.383 and 2.395 over all series.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from forecasting.evaluate.metrics import overall_weighted_average, score_forecasts
from forecasting.evaluate.yardstick import yardsticks
from forecasting.series.ingest import ingest, panel_of
from forecasting.spec.spec import Spec, make_spec

FROM_OWN_END = {"ended": "forecast", "ended_after": 0}
"""Fields of the source of a published set: each series has a test part of its own, which follows its own end."""
DATA_VARIABLE = "FLEETCAST_BENCHMARK_DATA"
SEASON_LENGTHS = (24, 168)
HORIZON = 48
_FILES = ("m4_hourly.parquet", "m4_hourly_test.parquet")
_POINT = ["unique_id", "ds"]


class DataMissing(Exception):
    """The message names what is missing, and the folder that was searched."""


@dataclass(frozen=True)
class Accuracy:
    """Means over series, as in M4."""

    smape: float
    mase: float
    owa: float

    def __str__(self) -> str:
        return f"OWA {self.owa:.3f}, MASE {self.mase:.3f}, sMAPE {self.smape:.2f}"


class M4Hourly:
    """The training part as a file, and the actuals after it.

    Raises DataMissing if the environment does not name a folder with the files.
    """

    def __init__(self) -> None:
        root = os.environ.get(DATA_VARIABLE)
        if not root:
            raise DataMissing(f"{DATA_VARIABLE} does not name a folder with benchmark data")
        self.path, self._actuals = (Path(root) / "m4_hourly" / name for name in _FILES)
        for path in (self.path, self._actuals):
            if not path.is_file():
                raise DataMissing(f"{DATA_VARIABLE} holds no {path.relative_to(root)}")

    @property
    def spec(self) -> Spec:
        return make_m4_spec(self.path)

    @cached_property
    def unique_ids(self) -> list[str]:
        return self._points["unique_id"].unique(maintain_order=True).to_list()

    def judge(self, forecasts: pl.DataFrame) -> Accuracy:
        """Score forecasts, and Naive2 at the same points.

        Args:
            forecasts: Rows with unique_id, ds and forecast, of some series or of all.

        Returns:
            The scores of both.

        Raises:
            ValueError: A point of these series has no forecast.
        """
        points = self._points.join(forecasts.select("unique_id").unique(), on="unique_id", how="semi").join(
            forecasts.select("unique_id", pl.col("ds").cast(pl.Int64), pl.col("forecast").cast(pl.Float64)),
            on=_POINT,
            how="left",
        )
        num_missing = points["forecast"].is_finite().fill_null(value=False).not_().sum()
        if num_missing or points.height != forecasts.height:
            raise ValueError(f"{forecasts.height} forecasts for {points.height} points, {num_missing} without any")
        comparison = points.with_columns(pl.lit("any").alias("model"), pl.col("forecast").alias("q50"))
        scores = score_forecasts(comparison, quantiles=[0.5])
        mean = scores.select(pl.col("smape", "mase", "naive2_smape", "naive2_mase").mean()).row(0, named=True)
        return Accuracy(mean["smape"], mean["mase"], overall_weighted_average(**mean))

    @cached_property
    def _points(self) -> pl.DataFrame:
        """Return the actuals after each series, with its scale and Naive2: `unique_id, ds, y, scale, naive2`."""
        known = ingest(self.spec)
        panel = panel_of(known.features, self.spec, known.unique_ids, run_cutoff=known.cutoff)
        actuals = pl.read_parquet(self._actuals).with_columns(pl.col("ds").cast(pl.Int64))
        return yardsticks(panel, season_length=SEASON_LENGTHS[0]).join(actuals, on=_POINT, maintain_order="left")


def make_m4_spec(path: Path) -> Spec:
    fields = {
        "name": "m4_hourly",
        "source": {"uri": str(path), **FROM_OWN_END},
        "freq": 1,
        "season_lengths": SEASON_LENGTHS,
        "horizon": HORIZON,
    }
    return make_spec(fields, subject="M4 Hourly")
