"""Every table of the store: columns, dtypes, key, partitions and meaning, declared once.

A table exists for each clock: specs whose `ds` are timestamps share `forecasts`, specs whose `ds` are integer steps
share `forecasts_by_step`, because Delta Lake would cast one into the other without a word. `runs` serves both.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import polars as pl

from forecasting.errors import NothingStored
from forecasting.spec.spec import DEFAULT_QUANTILES, Clock, quantile_column

TIMESTAMP = pl.Datetime("us")
STEP = pl.Int64()
CATEGORIES = pl.List(pl.Struct({"name": pl.String(), "value": pl.String()}))
BOOKKEEPING = ("spec", "cutoff_date", "run_cutoff", "run_id")
"""Columns that `forecasting.store.stamp` adds to the rows of a run."""
_ON_CLOCK = pl.Object()
"""Stands for the dtype of `ds`, which the clock decides."""


@dataclass(frozen=True)
class Column:
    name: str
    dtype: pl.DataType
    meaning: str


@dataclass(frozen=True)
class Table:
    """One table's declaration; `key` is unique within it, `partition_by` is how Delta Lake lays it out."""

    name: str
    meaning: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    is_dated: bool = False
    """Whether rows belong to a run cutoff and are partitioned by its date."""
    has_clock: bool = True

    def stored_as(self, clock: Clock) -> str:
        return self.name if clock == "timestamp" or not self.has_clock else f"{self.name}_by_step"

    def partition_by(self, clock: Clock) -> tuple[str, ...]:
        if not self.has_clock:
            return ()
        return ("spec", "cutoff_date") if self.is_dated and clock == "timestamp" else ("spec",)

    def schema(self, clock: Clock, quantile_columns: Sequence[str] = ()) -> pl.Schema:
        """Return column names and dtypes in order, `quantile_columns` beyond the default ones last."""
        on_clock = TIMESTAMP if clock == "timestamp" else STEP
        schema = pl.Schema({c.name: on_clock if c.dtype == _ON_CLOCK else c.dtype for c in self.columns})
        if clock == "step":
            schema.pop("cutoff_date", None)
        for name in quantile_columns:
            schema.setdefault(name, pl.Float64())
        return schema

    def row_schema(self, clock: Clock, *, without: Collection[str] = ()) -> pl.Schema:
        """Return the columns and dtypes of rows that are not stamped yet, in order.

        Args:
            clock: decides the dtype of times; any will do for a table whose rows hold none.
            without: further columns to leave out, which the caller's job adds.

        Returns:
            The schema without `BOOKKEEPING` and `without`.
        """
        left_out = {*BOOKKEEPING, *without}
        return pl.Schema({name: dtype for name, dtype in self.schema(clock).items() if name not in left_out})


_SPEC = Column("spec", pl.String(), "name of the spec")
_ID = Column("unique_id", pl.String(), "name of the series")
_RUN_ID = Column("run_id", pl.String(), "the run that wrote the row")
_CUTOFF_DATE = Column("cutoff_date", pl.Date(), "date of run_cutoff; the partition")
_RUN_CUTOFF = Column("run_cutoff", _ON_CLOCK, "the last ds that the run may know")
_CUTOFF = Column("cutoff", _ON_CLOCK, "the series' own last ds that the row knows")
_MODEL = Column("model", pl.String(), "lstm, gru, seasonal_naive_24, naive, none, …")
_CATEGORIES = Column(
    "categories",
    CATEGORIES,
    "what the spec's static categories say of the series: a name and a value each; null without them",
)
SCORES = (
    Column("num_points", pl.Int32(), "observed points that were compared"),
    Column("mae", pl.Float64(), "mean absolute error, in units of y"),
    Column("mase", pl.Float64(), "mae over the in-sample mae of the seasonal naive of the first season length"),
    Column("smape", pl.Float64(), "symmetric mean absolute percentage error as in M4, 0 to 200"),
    Column("bias", pl.Float64(), "mean of forecast minus actual, in units of y"),
    Column(
        "quantile_loss_sum",
        pl.Float64(),
        "twice the pinball loss, mean over the nine deciles (all quantiles, where a decile is missing), summed over "
        "points",
    ),
    Column("abs_y_sum", pl.Float64(), "sum of absolute actuals"),
    Column("wql", pl.Float64(), "weighted quantile loss as in GIFT-Eval: quantile_loss_sum over abs_y_sum"),
    Column("msis", pl.Float64(), "mean scaled interval score of q02_5 and q97_5 as in M4, over the scale of mase"),
    Column("coverage_80", pl.Float64(), "share of actuals between q10 and q90"),
    Column("coverage_95", pl.Float64(), "share of actuals between q02_5 and q97_5"),
    Column(
        "naive2_mase", pl.Float64(), "mase of M4's Naive2 at the same points, for the OWA; null where a gap came before"
    ),
    Column(
        "naive2_smape",
        pl.Float64(),
        "smape of M4's Naive2 at the same points, for the OWA; null where a gap came before",
    ),
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "observations",
            "accepted rows of the source, as they came",
            ("spec", "unique_id", "ds"),
            (
                _SPEC,
                _ID,
                Column("ds", _ON_CLOCK, "timestamp on the source's clock, or integer step"),
                Column("y", pl.Float64(), "measurement; null where the source says nothing"),
                _CATEGORIES,
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
                Column("source_file", pl.String(), "file that holds the row"),
                Column("source_row", pl.Int64(), "number of the row in its file, from 1"),
                Column("unique_id", pl.String(), "name of the series, where there is one"),
                Column("ds", pl.String(), "time as the source has it"),
                Column("y", pl.String(), "measurement as the source has it"),
                Column("reason", pl.String(), "why the row was refused"),
                _RUN_ID,
            ),
            is_dated=True,
        ),
        Table(
            "features",
            "every series on its even grid, gaps null and marked, with calendar features",
            ("spec", "unique_id", "ds"),
            (
                _SPEC,
                _ID,
                Column("ds", _ON_CLOCK, "grid point"),
                Column("y", pl.Float64(), "measurement; null in a gap"),
                Column("is_observed", pl.Boolean(), "whether the source measured this grid point"),
                *(
                    Column(
                        f"{phase}_{wave}", pl.Float32(), f"{wave} of the phase within the {phase}; null where unsuited"
                    )
                    for phase in ("hour", "day", "week", "year")
                    for wave in ("sin", "cos")
                ),
                _CATEGORIES,
                _RUN_ID,
            ),
        ),
        Table(
            "models",
            "the registry: one row per series, network, member and role, trained or not",
            ("spec", "run_cutoff", "unique_id", "model", "member", "role"),
            (
                _SPEC,
                _CUTOFF_DATE,
                _RUN_CUTOFF,
                _ID,
                Column("model", pl.String(), "design of the network: lstm, gru, elman, …"),
                Column("member", pl.Int32(), "number of the network in the series' ensemble, from 0"),
                Column("role", pl.String(), "candidate ends before the first backtest origin, serving at the cutoff"),
                Column("version", pl.String(), "hash of the weights, the configuration and the scaling"),
                _CUTOFF,
                Column("status", pl.String(), "trained, too_short, constant, empty or broken"),
                Column(
                    "reason",
                    pl.String(),
                    "why the network was not trained or was set aside, or began anew where there were earlier weights",
                ),
                Column("num_steps", pl.Int32(), "optimiser steps, from what it began from"),
                Column("num_windows", pl.Int32(), "training windows of the series"),
                Column(
                    "validation_loss",
                    pl.Float64(),
                    "pinball loss on validation windows, scaled; null where there are none",
                ),
                Column("weights_uri", pl.String(), "safetensors file, relative to the store root"),
                Column("weights_slot", pl.Int32(), "the series' place in that file"),
                Column("config", pl.String(), "the whole training configuration, JSON"),
                Column("seed", pl.Int64(), "seed of the random numbers"),
                Column("kernel", pl.String(), "recurrence implementation that trained it"),
                Column("data_version", pl.Int64(), "version of the features table that was read"),
                Column("code_version", pl.String(), "version of Fleetcast"),
                Column("prior_version", pl.String(), "version of the prior that it began from; null without one"),
                Column("strength", pl.Float64(), "how far it went from its prior, 0 to 1; null without one"),
                Column("architecture", pl.String(), "frequency, horizon, quantiles, seasons and categories, JSON"),
                Column("trained_until", _ON_CLOCK, "the last ds of the series that its own training may have read"),
                Column(
                    "started_from",
                    pl.String(),
                    "version of the weights that it went on from; null where it began anew or from a prior",
                ),
                _RUN_ID,
            ),
            is_dated=True,
        ),
        Table(
            "priors",
            "registry: networks that all series of a spec share, from which their own begin",
            ("spec", "run_cutoff", "model", "member", "role"),
            (
                _SPEC,
                _CUTOFF_DATE,
                _RUN_CUTOFF,
                Column("model", pl.String(), "design of the network: lstm, gru, elman, …"),
                Column("member", pl.Int32(), "number of the networks in their series' ensembles, from 0"),
                Column("role", pl.String(), "candidate ends before each series' first backtest origin"),
                Column("version", pl.String(), "hash of the weights, the configuration and the gains"),
                Column("num_series", pl.Int32(), "series that it was trained on"),
                Column("num_steps", pl.Int32(), "optimiser steps"),
                Column("loss", pl.Float64(), "mean pinball loss of the last steps, in units of seasonal errors"),
                Column(
                    "gains",
                    pl.List(pl.Float64()),
                    "log of the validation loss over the prior's own, at 0, 25, … 100 % of the way to tuned networks",
                ),
                Column("weights_uri", pl.String(), "safetensors file, relative to the store root"),
                Column("config", pl.String(), "the member's training configuration, JSON"),
                Column("architecture", pl.String(), "frequency, horizon, quantiles, seasons and categories, JSON"),
                Column("seed", pl.Int64(), "seed of the random numbers"),
                Column("kernel", pl.String(), "recurrence implementation that trained it"),
                Column("data_version", pl.Int64(), "version of the features table that was read"),
                Column("code_version", pl.String(), "version of Fleetcast"),
                Column("trained_until", _ON_CLOCK, "the last ds of any series that it may have read"),
                Column("started_from", pl.String(), "version of the prior that it went on from; null where it is new"),
                Column("from_scratch", pl.Boolean(), "whether the run was asked to begin anew"),
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
                Column("origin", _ON_CLOCK, "the last ds that the backtested forecast knows"),
                *SCORES,
                *(
                    Column(
                        f"covered_{level}_by_step",
                        pl.List(pl.Boolean()),
                        f"a list over the horizon: whether the actual lay between {low} and {high}; null in a gap",
                    )
                    for level, low, high in ((80, "q10", "q90"), (95, "q02_5", "q97_5"))
                ),
                _RUN_ID,
            ),
            is_dated=True,
        ),
        Table(
            "champions",
            "the model that serves each series, and why",
            ("spec", "run_cutoff", "unique_id"),
            (
                _SPEC,
                _CUTOFF_DATE,
                _RUN_CUTOFF,
                _ID,
                _MODEL,
                Column("mase", pl.Float64(), "the champion's mean MASE over the origins"),
                Column("baseline", pl.String(), "the best seasonal naive"),
                Column("baseline_mase", pl.Float64(), "its mean MASE over the origins"),
                Column("num_origins", pl.Int32(), "origins that were scored"),
                Column("is_fallback", pl.Boolean(), "whether it only stands in because no network could be compared"),
                Column("reason", pl.String(), "why this model serves"),
                _RUN_ID,
            ),
            is_dated=True,
        ),
        Table(
            "calibrations",
            "by how much a model's intervals are stretched about the median, from the fleet's backtests",
            ("spec", "run_cutoff", "model", "quantile"),
            (
                _SPEC,
                _CUTOFF_DATE,
                _RUN_CUTOFF,
                _MODEL,
                Column("quantile", pl.Float64(), "the lower end of the central interval"),
                Column("factor", pl.Float64(), "what its width is multiplied by"),
                Column("num_points", pl.Int64(), "backtested points that say so"),
                Column("coverage", pl.Float64(), "share of their actuals that lay inside before"),
                _RUN_ID,
            ),
            is_dated=True,
        ),
        Table(
            "correlations",
            "how the errors of a model's forecast go together over the horizon, from the fleet's backtests",
            ("spec", "run_cutoff", "model", "step"),
            (
                _SPEC,
                _CUTOFF_DATE,
                _RUN_CUTOFF,
                _MODEL,
                Column("step", pl.Int32(), "steps ahead of cutoff, from 1"),
                Column(
                    "correlations",
                    pl.List(pl.Float64()),
                    "a list over the horizon: of the step's normal scores with those of each step",
                ),
                Column("num_forecasts", pl.Int64(), "backtested forecasts that say so"),
                Column("shrinkage", pl.Float64(), "share of a smooth decay in them; the rest is what was seen"),
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
                Column("ds", _ON_CLOCK, "the point that is forecast"),
                Column("step", pl.Int32(), "steps ahead of cutoff, from 1"),
                _CUTOFF,
                Column("is_champion", pl.Boolean(), "whether this model serves the series"),
                Column(
                    "reason",
                    pl.String(),
                    "why a simpler model stands in, where one does, or why one serves that was not chosen",
                ),
                Column(
                    "unseen",
                    pl.List(pl.String()),
                    "categories that its networks read without a vector of their own, because training had not seen"
                    " them or they are too rare; null where there are none",
                ),
                Column(
                    "model_version",
                    pl.String(),
                    "version in `models`, or in `priors` of a series that has no network of its own yet; those of"
                    " members joined by +; null for what was not trained",
                ),
                Column("forecast", pl.Float64(), "the median"),
                *(Column(quantile_column(q), pl.Float64(), f"the {q * 100:g} % quantile") for q in DEFAULT_QUANTILES),
                _RUN_ID,
            ),
            is_dated=True,
        ),
        Table(
            "sample_paths",
            "joint draws of what serves each series: paths over the horizon, for quantiles of sums and maxima",
            ("spec", "run_cutoff", "unique_id", "ds", "path"),
            (
                _SPEC,
                _CUTOFF_DATE,
                _RUN_CUTOFF,
                _ID,
                _MODEL,
                _CUTOFF,
                Column("ds", _ON_CLOCK, "the point that is forecast"),
                Column("path", pl.Int32(), "number of the path, from 1"),
                Column("y", pl.Float64(), "what the path says of this point"),
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
                Column("forecast_run_cutoff", _ON_CLOCK, "run cutoff of the forecast that is scored"),
                _ID,
                _MODEL,
                _CUTOFF,
                Column("is_champion", pl.Boolean(), "whether this model served the series"),
                Column(
                    "is_complete", pl.Boolean(), "whether all actuals of the horizon are in, or will not be waited for"
                ),
                *SCORES,
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
                Column("job", pl.String(), "features, train, backtest, predict or score"),
                _SPEC,
                Column("run_cutoff", pl.String(), "cutoff of the run, as text"),
                Column("generation", pl.Int64(), "a retry keeps it, a repeated run raises it"),
                Column("status", pl.String(), "success, skipped or failed"),
                Column("started_at", pl.Datetime("us", "UTC"), "when the run began"),
                Column("seconds", pl.Float64(), "how long it took"),
                Column("num_series", pl.Int64(), "series that it covered"),
                Column("num_rows", pl.Int64(), "rows that it wrote to its main table"),
                Column("num_rejects", pl.Int64(), "rows that it refused"),
                Column("versions", pl.String(), "versions of the tables that it wrote, JSON"),
                Column("arguments", pl.String(), "the arguments that it ran with, JSON"),
                Column("code_version", pl.String(), "version of Fleetcast"),
                Column("message", pl.String(), "what it has to say: a summary, or why it failed"),
            ),
            has_clock=False,
        ),
    )
}


def table(name: str) -> Table:
    """Return the declaration of a table; raises NothingStored for a name that is not one."""
    if name not in TABLES:
        raise NothingStored(f"there is no table '{name}'; there are {', '.join(TABLES)}")
    return TABLES[name]
