"""Fit gradient-boosted trees to a fleet: the rows that they read, and their errors on parts that are left out."""

# S series · N grid points · F horizon steps · R rows · Q quantiles · B buckets of steps

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from forecasting.classical.baselines import centred_quantiles
from forecasting.classical.tree_inputs import Known
from forecasting.classical.tree_meaning import Meaning, Places, Rows, Values
from forecasting.classical.trees import MOST_BUCKETS, Trees, buckets_of
from forecasting.series.panel import Panel

PARAMETERS: Mapping[str, Any] = {
    "objective": "regression_l1",
    "learning_rate": 0.1,
    "num_leaves": 31,
    "min_data_in_leaf": 40,
    "feature_fraction": 0.6,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "cat_smooth": 20.0,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}
"""Of LightGBM. One thread, because the bits of a fit depend on their number, and the cores belong to other workers."""
NUM_PARTS = 4
"""Parts of the rows; a model is the mean of as many fits, each without one part."""
MOST_TREES, PATIENCE = 400, 20
"""Trees of a fit, which ends where the error on the part left out has not fallen for `PATIENCE` of them."""
MOST_ROWS = 80_000
FEW_ROWS = 5_000
"""Rows, a season apart, up to which a fit reads every origin instead."""
MOST_SEASONS = 1460
"""Newest seasons of a series that are read, or as many points as if a shorter season had `SHORTEST_SEASON`."""
FEWEST_ROWS = 200
ROWS_AT_ONCE, FEWEST_ORIGINS = 400_000, 50
"""Rows that are drawn from, as whole origins, of which there are at least so many."""
SHORTEST_SEASON = 8
"""Shortest season, in grid points, whose origins lie a season apart."""


def fit_trees(
    panel: Panel, *, season_lengths: Sequence[int], quantiles: Sequence[float], dropped_S: Places, seed: int
) -> Trees | None:
    """Fit a model to all series of a panel.

    The target of a row is the difference from its reference, in units of its series, and the loss its mean absolute
    error. Rows are divided into `NUM_PARTS` parts by time, in turns; each fit leaves one of them out, which ends the
    fit early. The errors on the parts left out give the quantiles.

    Args:
        panel: The series, up to the run's cutoff.
        season_lengths: Grid points of each season.
        quantiles: Levels, ascending.
        dropped_S: Grid points at each series' end that the model must not read.
        seed: Seed of the sample of rows, and of LightGBM.

    Returns:
        The model; None where the series have fewer than `FEWEST_ROWS` rows together.
    """
    end_S = panel.y_SN.shape[1] - 1 - np.asarray(dropped_S, dtype=np.int64)
    known = Known.of(panel, Meaning.of(panel, season_lengths, end_S), end_S)
    rows = _choose_rows(known, panel.y_SN, end_S, seed)
    if len(rows.series_R) < FEWEST_ROWS:
        return None
    input_RP = known.inputs(rows)
    target_R = _scaled(known, rows, panel.y_SN) - known.reference(rows)
    turn = max(panel.horizon, known.meaning.season_lengths[-1])
    part_R = (rows.target // turn) % NUM_PARTS
    fits, error_R = [], np.full(len(target_R), np.nan)
    for part in range(NUM_PARTS):
        is_out_R = part_R == part
        if not is_out_R.any() or is_out_R.all():
            continue
        fit = _boost(input_RP, target_R, is_out_R, categorical=known.categorical(), seed=seed + part)
        error_R[is_out_R] = target_R[is_out_R] - fit.predict(input_RP[is_out_R], num_threads=1)
        fits.append(fit.model_to_string())
    if not fits:
        return None
    last_S = panel.ds_SN[np.arange(len(end_S)), np.maximum(end_S, 0)].astype(np.int64)
    return Trees(
        known.meaning,
        tuple(fits),
        _offsets(error_R, rows.step_R, panel.horizon, np.asarray(quantiles, dtype=np.float64)),
        num_series=len(np.unique(rows.series_R)),
        num_rows=len(rows.series_R),
        error=float(np.nanmean(np.abs(error_R))),
        trained_until=int(last_S[np.unique(rows.series_R)].max()),
    )


def _choose_rows(known: Known, y_SN: Values, end_S: Places, seed: int) -> Rows:
    """Choose the rows to fit to: the newest origins of each series, and of more than `MOST_ROWS` an even sample."""
    season = known.meaning.season_lengths[0]
    stride = season if season >= SHORTEST_SEASON else 1
    rows = _rows(known, y_SN, end_S, stride, seed)
    if stride > 1 and len(rows.series_R) < FEW_ROWS:
        rows = _rows(known, y_SN, end_S, 1, seed)
    return rows.part(_sample(len(rows.series_R), MOST_ROWS, seed))


def _rows(known: Known, y_SN: Values, end_S: Places, stride: int, seed: int) -> Rows:
    """Return rows whose origins lie `stride` points apart back from the end, and whose target is measured."""
    season, horizon = known.meaning.season_lengths[0], known.horizon
    most = MOST_SEASONS * max(season, SHORTEST_SEASON) // stride
    series, origins = [], []
    for row, (first, end) in enumerate(zip(known.first_S.tolist(), end_S.tolist(), strict=True)):
        # An origin has a season and a half of values, and a step after it.
        origin_O = np.arange(end - min(stride, horizon), first + season + season // 2 - 1, -stride)[:most]
        origins.append(origin_O)
        series.append(np.full(len(origin_O), row))
    series_O, origin_O = np.concatenate(series), np.concatenate(origins)
    # Rows of all origins of a large fleet would not fit into memory.
    chosen = _sample(len(origin_O), max(ROWS_AT_ONCE // horizon, FEWEST_ORIGINS), seed)
    series_O, origin_O = series_O[chosen], origin_O[chosen]
    steps_F = np.arange(1, horizon + 1)
    rows = Rows(np.repeat(series_O, horizon), np.repeat(origin_O, horizon), np.tile(steps_F, len(origin_O)))
    is_within_R = rows.target <= end_S[rows.series_R]
    rows = rows.part(is_within_R)
    return rows.part(np.isfinite(y_SN[rows.series_R, rows.target]))


def _sample(num: int, most: int, seed: int) -> Places:
    """Return at most so many of the numbers below `num`, rising; the same for the same seed."""
    if num <= most:
        return np.arange(num)
    return np.sort(np.random.default_rng(seed).choice(num, size=most, replace=False, shuffle=False))


def _scaled(known: Known, rows: Rows, y_SN: Values) -> Values:
    series_R = rows.series_R
    scaled_R: Values = (y_SN[series_R, rows.target] - known.centre_S[series_R]) / known.spread_S[series_R]
    return scaled_R - known.effect_ST[series_R, rows.target]


def _boost(
    input_RP: npt.NDArray[np.float32],
    target_R: Values,
    is_out_R: npt.NDArray[np.bool_],
    *,
    categorical: list[int],
    seed: int,
) -> Any:
    """Fit LightGBM to all rows but those left out, which end it."""
    import lightgbm

    parameters = {**PARAMETERS, "seed": seed}
    inside = lightgbm.Dataset(
        input_RP[~is_out_R], target_R[~is_out_R], categorical_feature=categorical, params=parameters, free_raw_data=True
    )
    outside = lightgbm.Dataset(input_RP[is_out_R], target_R[is_out_R], reference=inside, params=parameters)
    return lightgbm.train(
        parameters,
        inside,
        num_boost_round=MOST_TREES,
        valid_sets=[outside],
        callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
    )


def _offsets(error_R: Values, step_R: Places, horizon: int, quantiles_Q: Values) -> Values:
    """Return the quantiles of errors less their median, by bucket of steps, (B, Q)."""
    bucket_R = buckets_of(step_R, horizon)
    offsets = [
        centred_quantiles(error_R[(bucket_R == bucket) & np.isfinite(error_R)], quantiles_Q)[0]
        for bucket in range(min(horizon, MOST_BUCKETS))
    ]
    return np.array(offsets)
