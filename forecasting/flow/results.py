"""Results of a forecast for users: frames of the kind of the input, scores, sample paths and pictures."""

import base64
import html
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import polars as pl

from forecasting.errors import SpecError
from forecasting.evaluate.leaderboard import CHAMPION, leaderboard
from forecasting.flow.actuals import Actuals, leave_out_parts, read_actuals
from forecasting.flow.ends import describe_series
from forecasting.flow.explain import explain_panel
from forecasting.flow.holdout import evaluate
from forecasting.flow.one_shot import OneShot
from forecasting.flow.predict import Trained, forecasters_of
from forecasting.flow.sample_paths import find_demands, no_paths, sample_paths
from forecasting.series.frames import NativeFrames
from forecasting.series.inputs import as_paths, read_input
from forecasting.series.native import NativeTypes
from forecasting.series.once import reading_once
from forecasting.series.read import require_series
from forecasting.series.verdicts import count_verdicts
from forecasting.spec.problems import relabel
from forecasting.spec.spec import Spec, make_spec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS_SHOWN = 8
"""Rows of a result that a notebook shows."""
MOST_PANELS = 4
"""Series that `Result.plot` draws where none is named."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of forecasts by actuals.

    Attributes:
        scores: One row per series and model, in the columns of the table `scores`.
        leaderboard: One row per model, and one for the champions, best first; see `fleetcast leaderboard`.
        num_compared: Actuals that were compared with a forecast.
        notes: Sentences about actuals without a forecast and forecasts without an actual.
    """

    scores: Any
    leaderboard: Any
    num_compared: int
    notes: tuple[str, ...]

    def _repr_html_(self) -> str:
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        return f"<p>{self.num_compared:,} actuals compared</p>{_table(self.leaderboard)}<ul>{notes}</ul>"


class Result:
    """Forecasts of every series, with the backtests, champions and refused rows behind them.

    Frames are of the kind of the input, with its names and dtypes for series and time. Files give Polars frames. Each
    frame is made when it is first read.
    """

    def __init__(
        self, spec: Spec, outcome: OneShot, types: NativeTypes, frames: NativeFrames, *, has_zone: bool
    ) -> None:
        """Wrap the outcome of a forecast; called by this library alone.

        Args:
            spec: What was forecast.
            outcome: The forecasts on the clock of the pipeline.
            types: Dtypes of ids and times in the input.
            frames: The kind of frame that results come back as.
            has_zone: Whether times of the input have a time zone or an offset.
        """
        self.spec = spec
        self._outcome, self._types, self._frames, self._has_zone = outcome, types, frames, has_zone

    @property
    def cutoff(self) -> datetime | int:
        """The last time that the forecast knows, in the input's own zone; an integer step where times are steps."""
        value: datetime | int = self._restore(pl.DataFrame({"cutoff": [self._outcome.cutoff]}))["cutoff"][0]
        return value

    @cached_property
    def forecasts(self) -> Any:
        """Forecasts of the serving models: series, time, cutoff, model, forecast (the median) and the quantiles.

        One row per series and step of the horizon, sorted by series and time.
        """
        champions = self._candidates.filter("is_champion").drop("is_champion")
        return self._native(champions)

    @cached_property
    def candidates(self) -> Any:
        """Forecasts of every model, with `is_champion`; sorted by series, model and time."""
        return self._native(self._candidates)

    @cached_property
    def backtests(self) -> Any:
        """Scores of every model at every rolling origin, in the columns of the table `backtests`."""
        return self._native(self._restore(self._outcome.backtests))

    @cached_property
    def champions(self) -> Any:
        """The serving model of each series, with its backtest error and the reason."""
        return self._native(self._restore(self._outcome.champions))

    @cached_property
    def rejects(self) -> Any:
        """Refused rows as text, each with its file (`<frame>` of a frame), its row from 1 and the reason."""
        return self._native(self._types.unfold(self._outcome.rejects))

    @cached_property
    def reasons(self) -> Any:
        """Series whose serving model is simpler than those requested: series, model and reason."""
        return self._native(self._restore(self.fallbacks).sort("unique_id"))

    @cached_property
    def checks(self) -> Any:
        """Verdicts of the spec's checks, names of series as text: one row per check, and one per series that fails."""
        return self._native(self._types.unfold(self._outcome.checks))

    @property
    def fallbacks(self) -> pl.DataFrame:
        """Series with a simpler serving model, as a Polars frame: unique_id (text), model and reason."""
        served = self._outcome.forecasts.filter(pl.col("is_champion") & pl.col("reason").is_not_null())
        return served.select("unique_id", "model", "reason").unique("unique_id", keep="first", maintain_order=True)

    @property
    def outcome(self) -> OneShot:
        """The same on the clock of the pipeline: naive times, text ids, in the columns of the tables."""
        return self._outcome

    def as_polars(self) -> "Result":
        """Return the same result as Polars frames with the names unique_id, ds and y."""
        return Result(self.spec, self._outcome, self._types, NativeFrames(), has_zone=self._has_zone)

    def evaluate(self, actuals: Any, *, all_models: bool = False) -> Evaluation:
        """Score the forecasts against actuals.

        The scales of MASE and MSIS, and Naive2, use only data up to the cutoff. Actuals of periods that are not over,
        or that have only a part of the rows that `source.aggregate` makes one of, are left out and noted.

        Args:
            actuals: A frame or paths of files with the columns of the input; rows up to the cutoff are ignored.
            all_models: Whether every model is scored, or the champions alone.

        Returns:
            Scores by series and by model.

        Raises:
            SourceError: No actual matches a forecast, or the actuals cannot be read.
        """
        if not isinstance(actuals, Actuals):
            actuals = self.read_actuals(actuals)
        forecasts = self._outcome.forecasts if all_models else self._outcome.forecasts.filter("is_champion")
        outcome = self._outcome
        actuals = leave_out_parts(actuals, self.spec, usual=outcome.usual_rows)
        evaluation = evaluate(forecasts, actuals, self.spec, features=outcome.features, cutoff=outcome.cutoff)
        board = leaderboard(evaluation.scores, None)
        if not all_models:
            board = board.filter(pl.col("model") == CHAMPION)
        scores = self._restore(evaluation.scores).sort("unique_id", "model")
        return Evaluation(self._native(scores), self._native(board), evaluation.num_compared, evaluation.notes)

    def read_actuals(self, actuals: Any) -> Actuals:
        """Read actuals to score by, as `evaluate` does.

        Args:
            actuals: A frame or paths of files with the columns of the input.

        Returns:
            The measurements on the clock of the pipeline.

        Raises:
            SourceError: They cannot be read.
        """
        with reading_once():
            given, _ = read_input(actuals, self._frames.named_in(self.spec.source.reading_of(as_paths(actuals))))
            return read_actuals(given, self.spec, has_zone=self._has_zone)

    def sample_paths(self, num_paths: int = 200) -> Any:
        """Draw joint paths over the horizon, with the correlations between steps that backtest errors had.

        Sums, maxima and so on of each path give the quantiles of the sum or the maximum.

        Args:
            num_paths: Paths of each series, 10 to 10,000.

        Returns:
            One row per series, path and time: series, time, path (from 1) and the target.

        Raises:
            SpecError: The horizon has more than 1,000 steps, there are too many points, or no quantile but the median.
        """
        return self._native(pl.concat(self.iter_sample_paths(num_paths)))

    def iter_sample_paths(self, num_paths: int = 200) -> Iterator[pl.DataFrame]:
        """Draw the paths of `sample_paths` some series at a time.

        Args:
            num_paths: Paths of each series, 10 to 10,000.

        Yields:
            Polars frames of unique_id, ds, path and y; the first one has no rows.

        Raises:
            SpecError: As `sample_paths`.
        """
        if not isinstance(num_paths, (int, np.integer)) or not 10 <= num_paths <= 10_000:
            raise SpecError("sample_paths", [f"num_paths = {num_paths!r}: must be 10 to 10,000"])
        try:
            spec = make_spec(
                self.spec.model_dump(exclude_unset=True) | {"paths": int(num_paths)}, subject="sample_paths"
            )
        except SpecError as error:
            raise SpecError(
                error.subject, [relabel(each, {"paths": "num_paths"}) for each in error.problems]
            ) from error
        native = self._restore(self._outcome.forecasts)
        columns = ("unique_id", "ds", "path", "y")
        yield self._types.unfold(no_paths(native).select(columns))
        demands = find_demands(self._outcome.features)
        for rows in sample_paths(native, self._outcome.correlations, spec, demands=demands):
            yield self._types.unfold(rows.select(columns))

    def plot(self, *series: Any, history: int | None = None) -> "Figure":
        """Draw history and forecast of some series: median, 50, 80 and 95 % bands.

        Args:
            *series: Names of series, or a list of them, a panel each; the first four where none is given.
            history: Grid points before the cutoff; two horizons, but at least 24, where not given.

        Returns:
            A Matplotlib figure; notebooks show it.

        Raises:
            UserError: A series was not forecast.
            SpecError: `history` is not a whole number of 1 or more.
        """
        from forecasting.plots import fan_chart

        champions = self._candidates.filter("is_champion").with_columns(pl.col("unique_id").cast(pl.String))
        known = champions["unique_id"].unique(maintain_order=True).to_list()
        given = [name for each in series for name in (each if isinstance(each, (list, tuple)) else [each])]
        names = [str(name) for name in given] or known[:MOST_PANELS]
        if history is not None and (not isinstance(history, (int, np.integer)) or history < 1):
            raise SpecError("plot", [f"history = {history!r}: must be a whole number of 1 or more"])
        require_series(champions.lazy(), names)
        drawn = champions.filter(pl.col("unique_id").is_in(names))
        order = pl.DataFrame({"unique_id": list(dict.fromkeys(names))}, schema={"unique_id": pl.String})
        forecasts = order.join(drawn.sort("ds"), on="unique_id", how="inner", maintain_order="left_right")
        past = self._outcome.features.filter(pl.col("unique_id").is_in(names)).select("unique_id", "ds", "y")
        tail = past.sort("unique_id", "ds").group_by("unique_id", maintain_order=True)
        shown = tail.tail(history or max(2 * self.spec.horizon, 24))
        times = replace(self._types, unique_id=pl.String(), id_columns={}).restore(shown)
        return fan_chart(_on_wall_clock(times), _on_wall_clock(forecasts))

    def explain(self, *series: Any) -> Any:
        """Attribute the forecasts of some series: to their seasonal reference, the past, the calendar and covariates.

        The effect of a covariate is that of its values over the horizon instead of those at the reference, a season
        before: its Shapley value among the covariates and the calendar. The past is the rest. With up to six of these
        that change, all combinations are forecast; with more, 32 sampled orders of them are.

        Args:
            *series: Names of series, or a list of them; all series where none is given.

        Returns:
            One row for each part of a forecast: series, time, step, cutoff, model, kind (reference, past, calendar or
            covariate), component (the covariate's name, else the kind) and contribution, in units of the target. The
            contributions of a time sum to its forecast. `calendar` is left out where it makes no difference to a
            series, as where no model reads that of the horizon.

        Raises:
            UserError: A series was not forecast.
            SpecError: The networks of the forecast were not kept; those of a fleet are, and of forecasts with
                covariates.
        """
        outcome = self._outcome
        if not outcome.fitted:
            raise SpecError(
                "explain", ["the networks of this forecast were not kept; use forecasting.fit(…).predict().explain()"]
            )
        champions = outcome.forecasts.filter("is_champion")
        known = champions["unique_id"].unique(maintain_order=True).to_list()
        given = [name for each in series for name in (each if isinstance(each, (list, tuple)) else [each])]
        names = [str(name) for name in given] or known
        require_series(champions.lazy(), names)
        trained = Trained(outcome.fitted, outcome.priors, outcome.champions, outcome.factors, outcome.trees)
        wanted = list(dict.fromkeys(names))
        shards = forecasters_of(self.spec, trained, outcome.features, wanted, cutoff=outcome.cutoff)
        rows = pl.concat(explain_panel(panel, self.spec, own, forecast=each) for panel, own, each in shards)
        served = champions.filter(pl.col("forecast").is_not_null()).select("unique_id", "ds")
        rows = rows.join(served, on=["unique_id", "ds"], how="semi", maintain_order="left")
        return self._native(self._restore(rows.drop("zone", strict=False)))

    def __repr__(self) -> str:
        return f"<forecasting.Result: {'; '.join(self._facts())}>"

    def _repr_html_(self) -> str:
        import warnings

        shown = self._candidates.filter("is_champion").select("unique_id", "ds", "model", "forecast", *self._ends())
        names = {"ds": self._frames.time} | ({"unique_id": id} if isinstance(id := self._frames.id, str) else {})
        picture = io.BytesIO()
        with warnings.catch_warnings():
            # A character that no installed font has is drawn as a box.
            warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from", category=UserWarning)
            first = shown["unique_id"].head(1).to_list()
            self.plot(*first).savefig(picture, format="png")
        image = base64.b64encode(picture.getvalue()).decode()
        facts = "".join(f"<li>{html.escape(fact)}</li>" for fact in self._facts())
        table = _table(shown.head(ROWS_SHOWN).rename(names))
        more = f"<p>… {shown.height:,} rows in <code>.forecasts</code></p>" if shown.height > ROWS_SHOWN else ""
        return f'<ul>{facts}</ul>{table}{more}<img style="max-width:100%" src="data:image/png;base64,{image}">'

    def _ends(self) -> Sequence[str]:
        return (self.spec.quantile_columns[0], self.spec.quantile_columns[-1])

    def _facts(self) -> Iterator[str]:
        served = self._outcome.forecasts.filter("is_champion").unique("unique_id", keep="first", maintain_order=True)
        yield f"{served['forecast'].count()} series, {self.spec.horizon} steps of {self.spec.freq} after {self.cutoff}"
        yield "champions: " + ", ".join(f"{name} {count}" for name, count in counted(served["model"]))
        if self._outcome.counts is not None:
            yield str(self._outcome.counts)
        if self._outcome.rejects.height:
            yield f"{self._outcome.rejects.height} rows refused; .rejects has the reasons"
        if self._outcome.checks.height:
            yield f"checks: {count_verdicts(self._outcome.checks)}; .checks has the verdicts"
        unserved = len(self._outcome.set_aside) + len(self._outcome.ended)
        yield f"series: {describe_series(self._outcome)}" + ("; .reasons has the reasons" if unserved else "")
        if self.fallbacks.height:
            yield f"{self.fallbacks.height} series with a simpler model than requested; .reasons has the reasons"

    @cached_property
    def _candidates(self) -> pl.DataFrame:
        columns = ["unique_id", "ds", "cutoff", "model", "is_champion", "forecast", *self.spec.quantile_columns]
        return self._restore(self._outcome.forecasts.select(columns)).sort("unique_id", "model", "ds")

    def _restore(self, rows: pl.DataFrame) -> pl.DataFrame:
        return self._types.restore(rows)

    def _native(self, rows: pl.DataFrame) -> Any:
        return self._frames.restore(rows)


def counted(values: pl.Series) -> list[tuple[str, int]]:
    """Count values, most frequent first."""
    counts = values.value_counts().sort(["count", values.name], descending=[True, False])
    return list(counts.iter_rows())


def _table(rows: Any) -> str:
    """Return a frame of any library as a small table of HTML."""
    frame: pl.DataFrame = nw.from_native(rows).lazy().collect("polars").to_native()
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in frame.columns)
    lines = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(value))}</td>" for value in row) + "</tr>"
        for row in frame.iter_rows()
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _on_wall_clock(rows: pl.DataFrame) -> pl.DataFrame:
    times = [name for name in ("ds", "cutoff") if name in rows.columns]
    zoned = [name for name in times if getattr(rows.schema[name], "time_zone", None)]
    dates = [name for name in times if rows.schema[name] == pl.Date]
    return rows.with_columns(
        *(pl.col(name).dt.replace_time_zone(None) for name in zoned),
        *(pl.col(name).cast(pl.Datetime("us")) for name in dates),
    )
