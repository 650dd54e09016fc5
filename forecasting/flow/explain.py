"""Attributions: how much of a forecast's difference from its seasonal reference each covariate makes, and the rest.

A covariate is absent where its values over the horizon are those at the references, so that it makes no difference; the
calendar, with its holidays, likewise. What each makes is its Shapley value among these. The past is the
rest: the difference from the reference of the forecast in which all of them are absent. All models of a forecast take
part as they are.
"""

# S series · N grid points · F horizon steps · K covariates · R rows of the forecast · G players

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.classical.baselines import naive, seasonal_naive
from forecasting.classical.combination import Quantiles
from forecasting.classical.shapley import shapley_values
from forecasting.flow.points_ahead import points_ahead
from forecasting.flow.variants import PanelForecast, Variants
from forecasting.series.panel import Panel
from forecasting.spec.events import SLOTS
from forecasting.spec.spec import Spec

REFERENCE, PAST, CALENDAR, COVARIATE = "reference", "past", "calendar", "covariate"
KINDS = (REFERENCE, PAST, CALENDAR, COVARIATE)
Values = npt.NDArray[np.float64]


def explain_panel(panel: Panel, spec: Spec, champions: pl.DataFrame, *, forecast: PanelForecast) -> pl.DataFrame:
    """Attribute the forecasts of a panel's serving models.

    The reference is the seasonal naive that is the baseline of the series, else that of the first season, else the last
    value. A covariate that is missing there has its last known value.

    Args:
        panel: The series, up to the cutoff.
        spec: What is forecast.
        champions: Rows of the table `champions`; series may be missing.
        forecast: Forecasts the panel, or a variant of it.

    Returns:
        Rows with unique_id, ds, step, cutoff, model, kind, component and contribution, one for each part of a forecast:
        the reference, the past, the calendar where it makes a difference to the series, and each covariate. Their sum
        is the forecast. Series without a forecast have no rows.
    """
    reference = _find_reference(panel, spec, champions)
    variants = Variants(panel, spec, forecast)
    served = variants.served
    whole = served["forecast"].to_numpy()
    players = _find_players(panel, spec, reference)
    if None in players.names:
        (without,) = variants.forecast([players.without(panel, [None])])
        if np.array_equal(whole, without):  # no model reads the calendar of the horizon
            players = replace(players, names=players.names[:-1])

    def worth(masks: Sequence[int]) -> Mapping[int, Values]:
        found = variants.forecast(players.keep(panel, mask) for mask in masks)
        return dict(zip(masks, found, strict=True))

    shares_GR = shapley_values(len(players.names), worth, seed=spec.seed)
    share_of = dict(zip(players.names, shares_GR, strict=True))
    laid = points_ahead(panel, spec).lay_out(_with_quantiles(reference.y_SF, spec), np.arange(len(panel.unique_ids)))
    row_of = {name: row for row, name in enumerate(panel.unique_ids)}
    rows_R = np.array([row_of[name] for name in served["unique_id"]], dtype=np.int64)
    reference_R = laid[rows_R, served["step"].to_numpy() - 1, 0]
    parts = [(REFERENCE, REFERENCE, reference_R)]
    parts += [(CALENDAR, CALENDAR, share_of[None])] if None in share_of else []
    parts += [(COVARIATE, name, share_of.get(name, np.zeros_like(whole))) for name in _varying(spec)]
    rest = whole - np.sum([values_R for _, _, values_R in parts], axis=0)
    parts.insert(1, (PAST, PAST, rest))
    frames = [
        served.select(
            pl.exclude("forecast"),
            pl.lit(kind, pl.String).alias("kind"),
            pl.lit(component, pl.String).alias("component"),
            pl.Series("contribution", values_R, dtype=pl.Float64),
            pl.lit(place, pl.Int32).alias("place"),
        )
        for place, (kind, component, values_R) in enumerate(parts)
    ]
    rows = pl.concat(frames).sort("unique_id", "ds", "place").drop("place")
    is_unread = (pl.col("kind") == CALENDAR) & (pl.col("contribution") == 0).all().over("unique_id", "kind")
    return rows.filter(~is_unread)


@dataclass(frozen=True)
class _Reference:
    """The reference of each step: its value, and the column of the panel that it is, (S, F)."""

    y_SF: Values
    column_SF: npt.NDArray[np.int64]


def _find_reference(panel: Panel, spec: Spec, champions: pl.DataFrame) -> _Reference:
    """Find the reference of each series and step."""
    num_series, width = panel.y_SN.shape
    baseline_of = dict(champions.select("unique_id", "baseline").iter_rows())
    usual = spec.season_lengths[0]
    season_S = np.array([_season_of(baseline_of.get(name), spec, usual) for name in panel.unique_ids])
    y_SF = np.full((num_series, panel.horizon), np.nan)
    column_SF = np.zeros((num_series, panel.horizon), dtype=np.int64)
    steps_F = np.arange(1, panel.horizon + 1)
    for season in np.unique(season_S):
        rows = np.flatnonzero(season_S == season)
        some = panel.select(rows)
        y_SF[rows] = seasonal_naive(some, season_length=int(season), quantiles=(0.5,))[:, :, 0]
        column_SF[rows] = _newest_of_phase(some.y_SN, width - 1 + steps_F - -(-steps_F // season) * season, int(season))
    young = np.flatnonzero(np.isnan(y_SF[:, 0]))
    if young.size:
        some = panel.select(young)
        y_SF[young] = naive(some, quantiles=(0.5,))[:, :, 0]
        is_known_RN = np.isfinite(some.y_SN)
        column_SF[young] = np.where(is_known_RN.any(1), width - 1 - np.argmax(is_known_RN[:, ::-1], axis=1), 0)[:, None]
    return _Reference(y_SF, np.maximum(column_SF, 0))


def _season_of(baseline: str | None, spec: Spec, usual: int) -> int:
    length = (baseline or "").rpartition("_")[2]
    return int(length) if length.isdigit() and int(length) in spec.season_lengths else usual


def _newest_of_phase(y_SN: Values, first_F: npt.NDArray[np.int64], season: int) -> npt.NDArray[np.int64]:
    """Return the newest column with a measurement, seasons before each step; the first one where there is none."""
    column_SF = np.broadcast_to(first_F, (len(y_SN), len(first_F))).copy()
    rows_S1 = np.arange(len(y_SN))[:, None]
    tried_SF = column_SF.copy()
    is_found_SF = np.isfinite(y_SN[rows_S1, np.maximum(tried_SF, 0)]) & (tried_SF >= 0)
    while (~is_found_SF & (tried_SF >= season)).any():
        tried_SF = np.where(is_found_SF, tried_SF, tried_SF - season)
        is_new_SF = ~is_found_SF & (tried_SF >= 0) & np.isfinite(y_SN[rows_S1, np.maximum(tried_SF, 0)])
        column_SF = np.where(is_new_SF, tried_SF, column_SF)
        is_found_SF |= is_new_SF
    return column_SF


def _with_quantiles(y_SF: Values, spec: Spec) -> Quantiles:
    return np.repeat(y_SF[:, :, None], len(spec.quantiles), axis=2)


@dataclass(frozen=True)
class _Players:
    """What takes part: covariates by name, and None for the calendar with holidays and events.

    Attributes:
        names: The players, whose absence makes a difference to the inputs of some series.
        places_of: The places of each player among the covariates of the panel.
        reference: The references.
        absent_SFK: Values of the covariates where they are absent.
    """

    names: tuple[str | None, ...]
    places_of: Mapping[str | None, Sequence[int]]
    reference: _Reference
    absent_SFK: Values | None

    def keep(self, panel: Panel, mask: int) -> Panel:
        """Return the panel in which the players outside of a coalition are absent."""
        return self.without(panel, [name for place, name in enumerate(self.names) if not mask >> place & 1])

    def without(self, panel: Panel, absent: Sequence[str | None]) -> Panel:
        """Return the panel in which some players are absent."""
        places = [place for name in absent for place in self.places_of[name]]
        if places and panel.covariate_SNK is not None and self.absent_SFK is not None:
            covariate_SNK = panel.covariate_SNK.copy()
            covariate_SNK[:, -panel.horizon :, places] = self.absent_SFK[:, :, places]
            panel = replace(panel, covariate_SNK=covariate_SNK)
        return _without_calendar(panel, self.reference) if None in absent else panel


def _find_players(panel: Panel, spec: Spec, reference: _Reference) -> _Players:
    """Return the players; the calendar is among them where it differs, although no model may read it."""
    names = spec.covariate_names
    places_of: dict[str | None, Sequence[int]] = {name: [names.index(name)] for name in _varying(spec)}
    if spec.events:
        places_of[SLOTS[0]] = [names.index(slot) for slot in SLOTS]
    places_of[None] = [names.index(name) for name in spec.holidays.covariates(spec.freq)]
    if panel.covariate_SNK is None:
        players = _Players((), places_of, reference, None)
    else:
        absent_SFK = _at_references(panel.covariate_SNK, panel.horizon, reference.column_SF)
        ahead_SFK = panel.covariate_SNK[:, -panel.horizon :]
        is_other_K = ((absent_SFK != ahead_SFK) & ~(np.isnan(absent_SFK) & np.isnan(ahead_SFK))).any((0, 1))
        moving = tuple(name for name in _varying(spec) if is_other_K[places_of[name]].any())
        players = _Players(moving, places_of, reference, absent_SFK)
    is_other = _differs(panel, players.without(panel, [None]))
    return replace(players, names=(*players.names, None)) if is_other else players


def _varying(spec: Spec) -> tuple[str, ...]:
    """Return the covariates that may differ between a step and its reference, without those of the calendar.

    Events are one of them, although they have several columns.
    """
    return (*spec.covariates.known_ahead, *spec.covariates.of_past, *(SLOTS[:1] if spec.events else ()))


def _at_references(covariate_SNK: Values, horizon: int, column_SF: npt.NDArray[np.int64]) -> Values:
    """Return the values of covariates at the references, else the last known ones before, else those of the step."""
    width = covariate_SNK.shape[1] - horizon
    is_known_SNK = np.isfinite(covariate_SNK[:, :width])
    last_SNK = np.maximum.accumulate(np.where(is_known_SNK, np.arange(width)[None, :, None], -1), axis=1)
    rows_S1 = np.arange(len(covariate_SNK))[:, None]
    last_SFK = last_SNK[rows_S1, column_SF]
    found_SFK = np.take_along_axis(covariate_SNK[:, :width], np.maximum(last_SFK, 0), axis=1)
    result: Values = np.where(last_SFK >= 0, found_SFK, covariate_SNK[:, width:])
    return result


def _without_calendar(panel: Panel, reference: _Reference) -> Panel:
    """Return a panel whose horizon has the calendar of the references."""
    rows_S1, horizon = np.arange(len(panel.unique_ids))[:, None], panel.horizon
    calendar_SNC = panel.calendar_SNC.copy()
    calendar_SNC[:, -horizon:] = panel.calendar_SNC[rows_S1, reference.column_SF]
    coded = panel.coded
    if coded is not None:
        code_SNK = coded.code_SNK.copy()
        code_SNK[:, -horizon:] = coded.code_SNK[rows_S1, reference.column_SF]  # static ones are the same everywhere
        coded = replace(coded, code_SNK=code_SNK)
    return replace(panel, calendar_SNC=calendar_SNC, coded=coded)


def _differs(panel: Panel, other: Panel) -> bool:
    """Return whether two panels differ in the calendar or in covariates."""
    pairs: list[tuple[npt.NDArray[Any] | None, npt.NDArray[Any] | None]] = [
        (panel.calendar_SNC, other.calendar_SNC),
        (panel.covariate_SNK, other.covariate_SNK),
    ]
    if panel.coded is not None and other.coded is not None:
        pairs.append((panel.coded.code_SNK, other.coded.code_SNK))
    return any(
        one is not None and two is not None and not np.array_equal(one, two, equal_nan=True) for one, two in pairs
    )
