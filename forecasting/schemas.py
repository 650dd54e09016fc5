"""Every table of the store: its columns, dtypes, key, partitions and meaning, declared once.

Each table exists once per clock. Specs whose `ds` are timestamps share `forecasts`; specs whose `ds` are integer steps
share `forecasts_by_step`, because Delta Lake would silently cast one to the other. Only `runs` holds rows of both.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import polars as pl

from forecasting.errors import NothingStored
from forecasting.spec.frequency import Clock
from forecasting.spec.quantiles import DEFAULT_QUANTILES, quantile_column

TIMESTAMP = pl.Datetime("us")
STEP = pl.Int64()
COVARIATES = pl.List(pl.Float64())
COVARIATES_AHEAD = pl.List(COVARIATES)
CATEGORIES = pl.List(pl.Struct({"name": pl.String(), "value": pl.String()}))
KEYS = pl.List(pl.Struct({"name": pl.String(), "value": pl.String(), "type": pl.String()}))
BOOKKEEPING = ("spec", "cutoff_date", "run_cutoff", "data_version", "run_id")
"""Columns that `forecasting.store.stamp` adds to the rows of a run."""
WITH_QUANTILES = ("forecasts", "scenarios")
"""Tables that have a spec's further quantiles."""
_ON_CLOCK = pl.Object()
"""Placeholder for the dtype of `ds`, which depends on the clock."""


def ds_dtype(clock: Clock) -> pl.DataType:
    """Return the dtype of times on a clock: of `ds`, origins and cutoffs."""
    return TIMESTAMP if clock == "timestamp" else STEP


@dataclass(frozen=True)
class Column:
    """One column's declaration; `meaning` is what `fleetcast tables` shows."""

    name: str
    dtype: pl.DataType
    meaning: str


@dataclass(frozen=True)
class Table:
    """One table's declaration.

    Attributes:
        name: The table's name; `stored_as` is the name in the store.
        meaning: What `fleetcast tables` shows.
        key: Columns whose values together are unique.
        null_in_key: Those of them that may be null.
        columns: The declared columns in order; a spec's further quantiles follow them.
        is_dated: Whether rows belong to a run cutoff; they are then partitioned by its date.
        has_clock: Whether timestamps and integer steps have a table each.
    """

    name: str
    meaning: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    is_dated: bool = False
    has_clock: bool = True
    null_in_key: tuple[str, ...] = ()

    def stored_as(self, clock: Clock) -> str:
        """Return the name that the table has in the store."""
        return self.name if clock == "timestamp" or not self.has_clock else f"{self.name}_by_step"

    def partition_by(self, clock: Clock) -> tuple[str, ...]:
        """Return the columns by which Delta Lake partitions the stored table."""
        if not self.has_clock:
            return ()
        return ("spec", "cutoff_date") if self.is_dated and clock == "timestamp" else ("spec",)

    def schema(self, clock: Clock, quantile_columns: Sequence[str] = ()) -> pl.Schema:
        """Return the names and dtypes of all columns.

        Args:
            clock: The clock, which decides the dtype of times.
            quantile_columns: The spec's quantile columns. Those that are not declared are added at the end.

        Returns:
            The columns in order.
        """
        schema = pl.Schema({c.name: ds_dtype(clock) if c.dtype == _ON_CLOCK else c.dtype for c in self.columns})
        if clock == "step":
            for name in ("cutoff_date", "zone"):
                schema.pop(name, None)
        for name in quantile_columns:
            schema.setdefault(name, pl.Float64())
        return schema

    def row_schema(self, clock: Clock, *, without: Collection[str] = ()) -> pl.Schema:
        """Return the columns and dtypes of rows that are not stamped yet, in order.

        Args:
            clock: The clock, which decides the dtype of times.
            without: Further columns to leave out, which the job adds.

        Returns:
            The schema without `BOOKKEEPING` and `without`.
        """
        left_out = {*BOOKKEEPING, *without}
        return pl.Schema({name: dtype for name, dtype in self.schema(clock).items() if name not in left_out})


_SPEC = Column("spec", pl.String(), "name of the spec")
_ID = Column("unique_id", pl.String(), "name of the series")
_RUN_ID = Column("run_id", pl.String(), "the run that wrote the row")
_CUTOFF_DATE = Column("cutoff_date", pl.Date(), "date of run_cutoff; the partition")
_RUN_CUTOFF = Column("run_cutoff", _ON_CLOCK, "the last ds that the run may read")
_CUTOFF = Column("cutoff", _ON_CLOCK, "the series' last ds at or before run_cutoff")
_MODEL = Column("model", pl.String(), "lstm, gru, seasonal_naive_24, naive, none, …")
_NETWORK = Column("model", pl.String(), "kind of network: lstm, gru, elman, …")
_ROLE = Column("role", pl.String(), "candidate: reads up to the first backtest origin; serving: up to the cutoff")
_WEIGHTS_URI = Column("weights_uri", pl.String(), "safetensors file, relative to the store root")
_ARCHITECTURE = Column(
    "architecture", pl.String(), "frequency, horizon, quantiles, seasons, categories and covariates, JSON"
)
_SEED = Column("seed", pl.Int64(), "seed of the random numbers")
_KERNEL = Column("kernel", pl.String(), "implementation of the recurrence that trained it")
_DATA_VERSION = Column("data_version", pl.Int64(), "version of the features table that was read")
_FIRST_VERSION = Column(
    "data_version", pl.Int64(), "version of the features table that first had this value; null if it is not known"
)
_CODE_VERSION = Column("code_version", pl.String(), "version of Fleetcast")
_FORECAST_DS = Column("ds", _ON_CLOCK, "time of the forecast value")
_STEP_AHEAD = Column("step", pl.Int32(), "steps ahead of cutoff, from 1")
_MODEL_VERSION = Column(
    "model_version",
    pl.String(),
    "version in `models`, or in `priors` if the series has no network of its own yet; the versions of members are"
    " joined by +; null for models without training",
)
_TRAINING_CUTOFF = Column(
    "training_cutoff",
    _ON_CLOCK,
    "run cutoff of the training that its networks come from, the oldest of several; null for models without training",
)
_QUANTILES = tuple(Column(quantile_column(q), pl.Float64(), f"the {q * 100:g} % quantile") for q in DEFAULT_QUANTILES)
_ZONE = Column("zone", pl.String(), "zone of the source, in which ds is UTC; null if ds is on a wall clock")
_CATEGORIES = Column(
    "categories",
    CATEGORIES,
    "the series' values of the spec's static categories, each a name and a value; null if the spec has none",
)
SCORES = (
    Column("num_points", pl.Int32(), "observed points that were scored"),
    Column("mae", pl.Float64(), "mean absolute error, in units of y"),
    Column("mase", pl.Float64(), "mae divided by the in-sample mae of the seasonal naive of the first season length"),
    Column(
        "scaled_by_step",
        pl.Boolean(),
        "whether the series is too short for that season, so that the in-sample mae is that of one step",
    ),
    Column("smape", pl.Float64(), "symmetric mean absolute percentage error as in M4, 0 to 200"),
    Column("bias", pl.Float64(), "mean of forecast minus actual, in units of y"),
    Column(
        "quantile_loss_sum",
        pl.Float64(),
        "twice the pinball loss, averaged over the nine deciles (over all quantiles if a decile is missing) and summed"
        " over points",
    ),
    Column("abs_y_sum", pl.Float64(), "sum of the absolute actuals"),
    Column("wql", pl.Float64(), "weighted quantile loss as in GIFT-Eval: quantile_loss_sum divided by abs_y_sum"),
    Column("msis", pl.Float64(), "mean scaled interval score of q02_5 and q97_5 as in M4, scaled like mase"),
    Column("coverage_80", pl.Float64(), "share of actuals between q10 and q90"),
    Column("coverage_95", pl.Float64(), "share of actuals between q02_5 and q97_5"),
    Column(
        "naive2_mase",
        pl.Float64(),
        "mase of M4's Naive2 at the same points, for the OWA; null if a gap precedes them",
    ),
    Column(
        "naive2_smape",
        pl.Float64(),
        "smape of M4's Naive2 at the same points, for the OWA; null if a gap precedes them",
    ),
)

_DECLARED = (
    Table(
        "observations",
        "accepted rows of the source",
        ("spec", "unique_id", "ds"),
        (
            _SPEC,
            _ID,
            Column("ds", _ON_CLOCK, "timestamp, in UTC where zone is set; or integer step"),
            Column("y", pl.Float64(), "measurement; null if the source has none"),
            _CATEGORIES,
            _ZONE,
            _FIRST_VERSION,
            _RUN_ID,
        ),
    ),
    Table(
        "rejects",
        "refused rows of the source, each with its reason",
        ("spec", "run_cutoff", "source_file", "source_row"),
        (
            _SPEC,
            _CUTOFF_DATE,
            _RUN_CUTOFF,
            Column("source_file", pl.String(), "file with the row"),
            Column(
                "source_row", pl.Int64(), "number of the row in its file, from 1; of a CSV row, its first line less one"
            ),
            Column("unique_id", pl.String(), "name of the series; null if it is missing"),
            Column("ds", pl.String(), "time as text, as the source has it"),
            Column("y", pl.String(), "measurement as text, as the source has it"),
            Column("reason", pl.String(), "why the row was refused"),
            Column("set_aside", pl.String(), "why the row's series gets no forecast; null if it is not set aside"),
            _RUN_ID,
        ),
        is_dated=True,
    ),
    Table(
        "restatements",
        "measurements that the source has corrected or withdrawn since an earlier run read them",
        ("spec", "run_id", "unique_id", "ds"),
        (
            _SPEC,
            _RUN_CUTOFF,
            _ID,
            Column("ds", _ON_CLOCK, "time of the measurement"),
            Column("old_y", pl.Float64(), "the measurement before; null if an earlier restatement withdrew it"),
            Column("new_y", pl.Float64(), "the measurement now; null if the source no longer has it"),
            Column("learnt_at", pl.Datetime("us", "UTC"), "when the run read the source"),
            _ZONE,
            _FIRST_VERSION,
            _RUN_ID,
        ),
    ),
    Table(
        "features",
        "every series on its even grid, with gaps as null and calendar features",
        ("spec", "unique_id", "ds"),
        (
            _SPEC,
            _ID,
            Column("ds", _ON_CLOCK, "grid point"),
            Column("y", pl.Float64(), "measurement, or 0 of an absent row that means zero; null in a gap"),
            Column("is_observed", pl.Boolean(), "whether the source has a measurement at this grid point"),
            *(
                Column(
                    f"{phase}_{wave}",
                    pl.Float32(),
                    f"{wave} of the phase within the {phase}; null if constant at the spec's frequency",
                )
                for phase in ("hour", "day", "week", "year")
                for wave in ("sin", "cos")
            ),
            _CATEGORIES,
            _ZONE,
            Column(
                "covariates",
                COVARIATES,
                "values of the spec's covariates in their order, columns of the source before holidays; each null where"
                " the source has none; null without any",
            ),
            Column(
                "covariates_ahead",
                COVARIATES_AHEAD,
                "of a series' last grid point, the covariates of each step of the horizon; of others null, or what had"
                " been published of them by then",
            ),
            _RUN_ID,
        ),
    ),
    Table(
        "checks",
        "verdicts of a spec's checks: one row per check, and one per series that fails",
        ("spec", "run_cutoff", "job", "check_name", "unique_id"),
        (
            _SPEC,
            _CUTOFF_DATE,
            _RUN_CUTOFF,
            Column("job", pl.String(), "features: checked the measurements; predict: checked the forecasts"),
            Column("check_name", pl.String(), "name of the check"),
            Column("check_kind", pl.String(), "kind of the check: range, freshness, forecast_jump, …"),
            Column("unique_id", pl.String(), "series that fails; null for the check as a whole"),
            Column("verdict", pl.String(), "pass, fail, or skipped where it could not be checked"),
            Column("on_failure", pl.String(), "what a failure does: warn, set_aside, hold or fail"),
            Column("found", pl.Float64(), "value that was found; of a check of each series, how many of them fail"),
            Column("bound", pl.Float64(), "bound that it is compared with; null where there is none"),
            Column("message", pl.String(), "what was found, in words"),
            _RUN_ID,
        ),
        is_dated=True,
        null_in_key=("unique_id",),
    ),
    Table(
        "names",
        "values of the columns that name each series, of specs with several such columns",
        ("spec", "unique_id"),
        (
            _SPEC,
            _ID,
            Column(
                "keys",
                KEYS,
                "the columns in order, each with its name, its value as text and its type, integer or text",
            ),
            _RUN_ID,
        ),
    ),
    Table(
        "models",
        "registry of networks: one row per series, network, member and role, trained or not",
        ("spec", "run_cutoff", "unique_id", "model", "member", "role"),
        (
            _SPEC,
            _CUTOFF_DATE,
            _RUN_CUTOFF,
            _ID,
            _NETWORK,
            Column("member", pl.Int32(), "number of the network in the ensemble of its series, from 0"),
            _ROLE,
            Column("version", pl.String(), "hash of the weights, the configuration and the scaling"),
            _CUTOFF,
            Column("status", pl.String(), "trained, too_short, constant, empty, broken or ended"),
            Column(
                "reason",
                pl.String(),
                "why the network was not trained or was set aside, or why it did not continue from earlier weights",
            ),
            Column("num_steps", pl.Int32(), "optimiser steps since the weights that it started from"),
            Column("num_windows", pl.Int32(), "training windows of the series"),
            Column(
                "validation_loss",
                pl.Float64(),
                "pinball loss on the validation windows, scaled; null without such windows",
            ),
            _WEIGHTS_URI,
            Column("weights_slot", pl.Int32(), "index of the series in that file"),
            Column("config", pl.String(), "complete training configuration, JSON"),
            _SEED,
            _KERNEL,
            _DATA_VERSION,
            _CODE_VERSION,
            Column("prior_version", pl.String(), "version of the prior that it started from; null without a prior"),
            Column("strength", pl.Float64(), "how far its weights moved from the prior, 0 to 1; null without a prior"),
            _ARCHITECTURE,
            Column(
                "trained_until",
                _ON_CLOCK,
                "last ds of the series that its training could read; on the wall clock of the source's zone",
            ),
            Column(
                "started_from",
                pl.String(),
                "version of the earlier weights that it continued from; null from scratch or a prior",
            ),
            _RUN_ID,
        ),
        is_dated=True,
    ),
    Table(
        "priors",
        "registry of models of a whole fleet: priors, from which each series' own network starts, and trees (lightgbm)",
        ("spec", "run_cutoff", "model", "member", "role"),
        (
            _SPEC,
            _CUTOFF_DATE,
            _RUN_CUTOFF,
            _NETWORK,
            Column("member", pl.Int32(), "number of the networks in the ensembles of their series, from 0"),
            _ROLE,
            Column("version", pl.String(), "hash of the weights, the configuration and the gains"),
            Column("num_series", pl.Int32(), "series that it was trained on"),
            Column("num_steps", pl.Int32(), "optimiser steps, or number of trees"),
            Column(
                "loss",
                pl.Float64(),
                "mean pinball loss of the last steps, in units of seasonal errors; of trees, the mean absolute error of"
                " parts left out",
            ),
            Column(
                "gains",
                pl.List(pl.Float64()),
                "log of validation loss divided by the prior's, at 0, 25, … 100 % of the way to the tuned networks",
            ),
            _WEIGHTS_URI,
            Column("config", pl.String(), "training configuration of the member, JSON"),
            _ARCHITECTURE,
            _SEED,
            _KERNEL,
            _DATA_VERSION,
            _CODE_VERSION,
            Column(
                "trained_until",
                _ON_CLOCK,
                "last ds of any series that its training could read; on the wall clock of the source's zone",
            ),
            Column(
                "started_from",
                pl.String(),
                "version of the earlier prior that it continued from; null from scratch",
            ),
            Column("from_scratch", pl.Boolean(), "whether the run requested training from scratch"),
            _RUN_ID,
        ),
        is_dated=True,
    ),
    Table(
        "backtests",
        "errors of every candidate at every rolling origin",
        ("spec", "run_cutoff", "unique_id", "model", "origin"),
        (
            _SPEC,
            _CUTOFF_DATE,
            _RUN_CUTOFF,
            _ID,
            _MODEL,
            Column("origin", _ON_CLOCK, "last ds that the backtested forecast could read"),
            *SCORES,
            *(
                Column(
                    f"covered_{level}_by_step",
                    pl.List(pl.Boolean()),
                    f"by step of the horizon, whether the actual lies between {low} and {high}; null in a gap",
                )
                for level, low, high in ((80, "q10", "q90"), (95, "q02_5", "q97_5"))
            ),
            _RUN_ID,
        ),
        is_dated=True,
    ),
    Table(
        "champions",
        "the champion of each series, and the reason",
        ("spec", "run_cutoff", "unique_id"),
        (
            _SPEC,
            _CUTOFF_DATE,
            _RUN_CUTOFF,
            _ID,
            _MODEL,
            Column("mase", pl.Float64(), "the champion's mean MASE over the origins"),
            Column("baseline", pl.String(), "the best seasonal naive"),
            Column("baseline_mase", pl.Float64(), "the baseline's mean MASE over the origins"),
            Column("num_origins", pl.Int32(), "origins that were scored"),
            Column("is_fallback", pl.Boolean(), "whether it is a fallback because no network could be compared"),
            Column("reason", pl.String(), "why this model is the champion"),
            Column(
                "regression_share",
                pl.Float64(),
                "share of the regressions in the combination, by the series' backtests; null without regressions",
            ),
            _DATA_VERSION,
            _RUN_ID,
        ),
        is_dated=True,
    ),
    Table(
        "calibrations",
        "factors that widen or narrow a model's intervals around the median, from the fleet's backtests",
        ("spec", "run_cutoff", "model", "quantile"),
        (
            _SPEC,
            _CUTOFF_DATE,
            _RUN_CUTOFF,
            _MODEL,
            Column("quantile", pl.Float64(), "level of the lower end of the central interval"),
            Column("factor", pl.Float64(), "factor by which the interval's width is multiplied"),
            Column("num_points", pl.Int64(), "backtested points behind the factor"),
            Column("coverage", pl.Float64(), "share of their actuals inside the interval before it is multiplied"),
            _RUN_ID,
        ),
        is_dated=True,
    ),
    Table(
        "correlations",
        "correlations of a model's errors between steps of the horizon, from the fleet's backtests",
        ("spec", "run_cutoff", "model", "step"),
        (
            _SPEC,
            _CUTOFF_DATE,
            _RUN_CUTOFF,
            _MODEL,
            _STEP_AHEAD,
            Column(
                "correlations",
                pl.List(pl.Float64()),
                "by step of the horizon, the correlation of the two steps' normal scores",
            ),
            Column("num_forecasts", pl.Int64(), "backtested forecasts behind the correlations"),
            Column("shrinkage", pl.Float64(), "share of a smooth decay in them; the rest is the sample's"),
            _RUN_ID,
        ),
        is_dated=True,
    ),
    Table(
        "forecasts",
        "forecasts of every requested model, with quantiles",
        ("spec", "run_cutoff", "unique_id", "model", "ds"),
        (
            _SPEC,
            _CUTOFF_DATE,
            _RUN_CUTOFF,
            _ID,
            _MODEL,
            _FORECAST_DS,
            _STEP_AHEAD,
            _CUTOFF,
            Column("is_champion", pl.Boolean(), "whether this model is the champion of the series"),
            Column(
                "reason",
                pl.String(),
                "why a fallback forecasts instead of this model, or why the champion differs from the chosen one",
            ),
            Column(
                "held",
                pl.String(),
                "checks that this forecast fails, so that it is not the current one; in latest_forecasts, those that a"
                " newer forecast fails, in whose place this one is",
            ),
            Column(
                "unseen",
                pl.List(pl.String()),
                "values of categories that have no vector of their own, because they are new or too rare; null if"
                " every value has one",
            ),
            _MODEL_VERSION,
            _TRAINING_CUTOFF,
            Column("forecast", pl.Float64(), "the median"),
            *_QUANTILES,
            _ZONE,
            _DATA_VERSION,
            _RUN_ID,
        ),
        is_dated=True,
    ),
    Table(
        "scenarios",
        "forecasts with other values of the covariates, as a plan has them; never served as the forecast",
        ("spec", "run_cutoff", "scenario", "unique_id", "ds"),
        (
            _SPEC,
            _CUTOFF_DATE,
            _RUN_CUTOFF,
            Column("scenario", pl.String(), "name of the scenario; the row of `runs` has its plan"),
            _ID,
            _MODEL,
            _FORECAST_DS,
            _STEP_AHEAD,
            _CUTOFF,
            Column("reason", pl.String(), "why a fallback forecasts instead of the champion"),
            _MODEL_VERSION,
            _TRAINING_CUTOFF,
            Column("forecast", pl.Float64(), "the median"),
            *_QUANTILES,
            _ZONE,
            _DATA_VERSION,
            _RUN_ID,
        ),
        is_dated=True,
    ),
    Table(
        "attributions",
        "parts of each forecast: its seasonal reference, the past, the calendar and each covariate; they sum to it",
        ("spec", "run_cutoff", "unique_id", "ds", "kind", "component"),
        (
            _SPEC,
            _CUTOFF_DATE,
            _RUN_CUTOFF,
            _ID,
            _FORECAST_DS,
            _STEP_AHEAD,
            _CUTOFF,
            _MODEL,
            Column("kind", pl.String(), "reference, past, calendar or covariate"),
            Column("component", pl.String(), "name of the covariate; otherwise the kind"),
            Column("contribution", pl.Float64(), "share of the forecast, in units of y"),
            _ZONE,
            _RUN_ID,
        ),
        is_dated=True,
    ),
    Table(
        "sample_paths",
        "joint draws of each series' forecast over the horizon, for quantiles of sums and maxima",
        ("spec", "run_cutoff", "unique_id", "ds", "path"),
        (
            _SPEC,
            _CUTOFF_DATE,
            _RUN_CUTOFF,
            _ID,
            _MODEL,
            _CUTOFF,
            _FORECAST_DS,
            Column("path", pl.Int32(), "number of the path, from 1"),
            Column("y", pl.Float64(), "value of the path at this time"),
            _ZONE,
            _RUN_ID,
        ),
        is_dated=True,
    ),
    Table(
        "scores",
        "errors of past forecasts whose actuals have arrived",
        ("spec", "run_cutoff", "forecast_run_cutoff", "unique_id", "model"),
        (
            _SPEC,
            _CUTOFF_DATE,
            _RUN_CUTOFF,
            Column("forecast_run_cutoff", _ON_CLOCK, "run cutoff of the scored forecast"),
            Column("forecast_run_id", pl.String(), "run that made the scored forecast"),
            _ID,
            _MODEL,
            _CUTOFF,
            Column("is_champion", pl.Boolean(), "whether this model was the champion of the series"),
            Column("is_complete", pl.Boolean(), "whether all actuals have arrived or are no longer expected"),
            *SCORES,
            _DATA_VERSION,
            _RUN_ID,
        ),
        is_dated=True,
    ),
    Table(
        "runs",
        "one row per run of a job",
        ("run_id",),
        (
            _RUN_ID,
            Column("job", pl.String(), "features, train, backtest, predict, scenario, score, publish or delete"),
            _SPEC,
            Column("run_cutoff", pl.String(), "cutoff of the run, as text"),
            Column("generation", pl.Int64(), "count of repeated runs; a retry has the same generation"),
            Column("status", pl.String(), "success, skipped, failed or deleted"),
            Column("started_at", pl.Datetime("us", "UTC"), "when the run began"),
            Column("seconds", pl.Float64(), "duration"),
            Column("num_series", pl.Int64(), "series of the run"),
            Column("num_rows", pl.Int64(), "rows written to the job's main table"),
            Column("num_rejects", pl.Int64(), "rows of the source that were refused"),
            Column("versions", pl.String(), "versions of the written tables, JSON"),
            Column("arguments", pl.String(), "arguments of the run, JSON"),
            _CODE_VERSION,
            Column("message", pl.String(), "summary of the run, or why it failed"),
        ),
        has_clock=False,
    ),
)

TABLES: dict[str, Table] = {declared.name: declared for declared in _DECLARED}


def table(name: str) -> Table:
    """Return the declaration of a table.

    Args:
        name: The table's name, without a suffix for its clock.

    Returns:
        The declaration.

    Raises:
        NothingStored: No table has this name.
    """
    if name not in TABLES:
        raise NothingStored(f"table '{name}' does not exist; the tables are {', '.join(TABLES)}")
    return TABLES[name]
