"""Draw sample paths of each series' champion, for `fleetcast forecast --paths` and the predict job."""

# S series · N paths · F horizon steps · Q quantiles

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.evaluate.demand_paths import Demands
from forecasting.evaluate.paths import draw_paths
from forecasting.flow.admissible import admissible
from forecasting.series.intermittent import INTERMITTENT_SHARE
from forecasting.spec.spec import Spec

ROWS_AT_ONCE = 2_000_000

Floats = npt.NDArray[np.float64]


def sample_paths(
    forecasts: pl.DataFrame, correlations: pl.DataFrame, spec: Spec, *, demands: Mapping[str, Demands]
) -> Iterator[pl.DataFrame]:
    """Draw `spec.paths` paths of every series whose champion has a forecast.

    A model without correlations takes the mean of the other models'. Without any, steps are fully correlated, which
    makes sums too wide rather than too narrow. Paths do not depend on the dtypes, nor on other series.

    Args:
        forecasts: Calibrated rows of the table `forecasts`; `unique_id`, `ds` and `cutoff` may have any dtype.
        correlations: Rows of the table `correlations`.
        spec: Has the number of paths, the horizon, the quantiles and the seed.
        demands: Past demands of the intermittent series, as `find_demands` returns them.

    Yields:
        Rows of some series (unique_id, model, cutoff, ds, path, y), sorted by series, path and time.
    """
    is_served = pl.col("is_champion") & pl.all_horizontal(pl.col(name).is_finite() for name in spec.quantile_columns)
    served = forecasts.filter(is_served).sort("unique_id", "ds")
    matrices = _matrices(correlations, spec.horizon)
    num_at_once = max(1, ROWS_AT_ONCE // max(1, spec.paths * spec.horizon)) * spec.horizon
    for first in range(0, served.height, num_at_once):
        yield _draw(served[first : first + num_at_once], matrices, spec, demands)


def no_paths(forecasts: pl.DataFrame) -> pl.DataFrame:
    """Return a frame with the columns and dtypes of paths, without rows."""
    return _lay_out(forecasts.clear(), np.empty((0, 0, 1)))


def find_demands(history: pl.DataFrame) -> dict[str, Demands]:
    """Return the past demands of each intermittent series that has any.

    Args:
        history: Rows of unique_id and y; null where there is no measurement.

    Returns:
        Demands by the series' name.
    """
    known = history.select(pl.col("unique_id").cast(pl.String), "y").filter(pl.col("y").is_finite())
    is_zero, is_demand = pl.col("y") == 0, pl.col("y") > 0
    kinds = known.group_by("unique_id").agg(
        share=is_demand.mean(), zeros=is_zero.mean(), least=pl.col("y").min(), sizes=pl.col("y").filter(is_demand)
    )
    found = kinds.filter(pl.col("zeros") > INTERMITTENT_SHARE, pl.col("least") >= 0, pl.col("share") > 0)
    return {
        name: Demands(sizes.to_numpy(), share)
        for name, sizes, share in zip(found["unique_id"], found["sizes"], found["share"], strict=True)
    }


def _draw(
    served: pl.DataFrame, matrices: Mapping[str, Floats], spec: Spec, demands: Mapping[str, Demands]
) -> pl.DataFrame:
    quantiles_SFQ = np.stack(
        [served[name].to_numpy().reshape(-1, spec.horizon) for name in spec.quantile_columns], axis=-1
    )
    labels = served[:: spec.horizon].select(pl.col("unique_id").cast(pl.String), "model")
    path_SNF = np.empty((labels.height, spec.paths, spec.horizon))
    for model in labels["model"].unique():
        rows = np.flatnonzero((labels["model"] == model).to_numpy())
        path_SNF[rows] = draw_paths(
            quantiles_SFQ[rows],
            matrices.get(model, _mean(matrices, spec.horizon)),
            unique_ids=labels["unique_id"].gather(rows).to_list(),
            quantiles=spec.quantiles,
            num_paths=spec.paths,
            seed=spec.seed,
            demands=demands,
        )
    return _lay_out(served, admissible(path_SNF, spec))


def _lay_out(served: pl.DataFrame, path_SNF: Floats) -> pl.DataFrame:
    num_series, num_paths, horizon = path_SNF.shape
    rows_SNF = np.arange(num_series * horizon).reshape(num_series, 1, horizon)
    numbers_SNF = np.arange(1, num_paths + 1, dtype=np.int32)[:, None]
    return served.select("unique_id", "model", "cutoff", "ds")[
        np.broadcast_to(rows_SNF, path_SNF.shape).reshape(-1)
    ].with_columns(
        path=pl.Series(np.broadcast_to(numbers_SNF, path_SNF.shape).reshape(-1), dtype=pl.Int32),
        y=pl.Series(path_SNF.reshape(-1), dtype=pl.Float64),
    )


def _matrices(correlations: pl.DataFrame, horizon: int) -> dict[str, Floats]:
    """Return the matrix of each model, without those that were stored for another horizon."""
    found = {}
    for (model,), rows in correlations.sort("model", "step").group_by("model", maintain_order=True):
        if rows.height == horizon and (rows["correlations"].list.len() == horizon).all():
            found[str(model)] = rows["correlations"].explode().to_numpy().reshape(horizon, horizon)
    return found


def _mean(matrices: Mapping[str, Floats], horizon: int) -> Floats:
    return np.mean(list(matrices.values()), axis=0) if matrices else np.ones((horizon, horizon))
