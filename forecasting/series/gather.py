"""The first pass of `ingest` over a source: its rows up to the cutoff, and what became of the others."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from forecasting.series.columns import categories_of
from forecasting.series.ignored import is_ignored
from forecasting.series.judged_blocks import Block, Judging, Round
from forecasting.series.parts import Parts
from forecasting.series.place import make_placing
from forecasting.series.plain import Judged
from forecasting.series.shortfall import Shortfall, find_shortfall
from forecasting.series.spans import add_counts, count_judged
from forecasting.series.thousands import has_text_numbers, spell_points
from forecasting.series.validate import Validated, later_rejects, refused_rows, split_judged
from forecasting.spec.spec import Spec


@dataclass
class Gathering:
    """What a pass over the blocks of a source gathers.

    Attributes:
        spec: The spec.
        cutoff: The last time of observations.
        as_of: The last time of refused rows after the cutoff; None for no limit.
        is_found: Whether the cutoff was chosen from the data, so that refused rows after it are known.
        observed: Where observations go.
        is_provisional: Whether the cutoff is not known yet; `cutoff` is then the latest that it may be.
        is_beyond: Whether a row lies after the latest cutoff that may be, so that nothing holds.
        parts_of_refused: Refused rows of each block, and those after the cutoff.
        num_later: Refused rows after the cutoff.
        parts_of_kept: `Validated.kept` of each block.
        shortfall: Aggregated periods that lack rows, of each block.
        newest: The newest time of observations.
        num_rows: The number of observations.
        has_grouped: Whether a point may separate thousands in some text.
        has_decimal: Whether a point is a decimal point in some text.
    """

    spec: Spec
    cutoff: datetime | int
    as_of: datetime | int | None
    is_found: bool
    observed: Parts
    is_provisional: bool = False
    is_beyond: bool = False
    parts_of_refused: list[pl.DataFrame] = field(default_factory=list)
    num_later: int = 0
    parts_of_kept: list[pl.DataFrame] = field(default_factory=list)
    shortfall: list[Shortfall] = field(default_factory=list)
    newest: Any = None
    num_rows: int = 0
    has_grouped: bool = False
    has_decimal: bool = False
    _counts: list[pl.DataFrame] = field(default_factory=list)
    _steps: list[pl.Series] = field(default_factory=list)
    _latest: list[pl.Series] = field(default_factory=list)

    def add(self, block: Block, round: Round) -> None:
        """Take a block.

        Args:
            block: Rows of whole series.
            round: When other series live.
        """
        spec, how, schema = self.spec, block.how, block.rows.schema
        if self.is_provisional and (self.is_beyond or block.has_later(self.cutoff)):
            self.is_beyond = True
            return
        self._latest.append(block.newest)
        judged = block.judge(self.cutoff, round.lives)
        is_plain = judged.runs is not None and not block.has_unfinished and not block.has_later(self.cutoff)
        if has_text_numbers(block.rows.lazy(), spec.source) and not self.has_decimal:
            has_grouped, has_decimal = spell_points(block.rows.lazy()).collect(engine="streaming").row(0)
            self.has_grouped |= has_grouped
            self.has_decimal |= has_decimal
        if is_plain and spec.source.aggregate is None and not spec.source.ignore:
            self._add_plain(block, judged)
            return
        split = split_judged(judged.rows.lazy(), schema, freq=spec.freq, cutoff=self.cutoff, source=spec.source)
        counts = count_judged(block.alone.lazy(), cutoff=self.cutoff, not_after=self.as_of)
        plans = {"observed": observed_rows(split, spec), "refused": split.refused, "counts": counts}
        if split.counted is not None:
            plans["by_period"] = split.counted
        if self.is_found and block.has_later(self.cutoff):
            plans["later"] = self._later(block, how, schema, round)
        collected = dict(zip(plans, pl.collect_all(plans.values(), engine="streaming"), strict=True))
        refused = collected["refused"]
        if "later" in collected:
            self.num_later += collected["later"].height
            refused = pl.concat([refused, collected["later"]])
        self.parts_of_refused.append(refused)
        self._counts.append(collected["counts"])
        if "by_period" in collected:
            seasons = spec.season_lengths
            self.shortfall.append(
                find_shortfall(collected["by_period"], refused, spec.source, spec.freq, season_lengths=seasons)
            )
        self.parts_of_kept.append(_count_kept(split, collected["observed"], spec))
        self._keep(collected["observed"])

    def _add_plain(self, block: Block, judged: Judged) -> None:
        """Take a block whose rows are all observations as they are."""
        runs, rows = judged.runs, judged.rows
        assert runs is not None
        written = block.alone["written_id"].drop_nulls() if "written_id" in block.alone.columns else None
        names = pl.Series([[] if written is None else written.unique().sort().to_list()], dtype=pl.List(pl.String))
        counts = count_judged(block.alone.lazy().head(0), cutoff=self.cutoff).collect()
        num_read = pl.lit(block.alone.height, counts.schema["read"])
        self._counts.append(counts.with_columns(read=num_read, written_ids=names))
        newest = rows["ds"].gather(runs.last_S)
        nothing = pl.lit(0, pl.get_index_type())
        kept = pl.DataFrame({"unique_id": runs.names, "num_kept": runs.length_S, "newest": newest})
        kept = kept.select(
            "unique_id",
            pl.col("num_kept").cast(pl.get_index_type()),
            num_waiting=nothing,
            num_ignored=nothing,
            newest="newest",
        )
        self.parts_of_kept.append(kept)
        self.parts_of_refused.append(refused_rows(rows.lazy().head(0), block.rows.schema).collect())
        self._keep(rows.select("unique_id", "ds", "y", *categories_of(rows.lazy())))

    def _keep(self, observed: pl.DataFrame) -> None:
        spec = self.spec
        self.num_rows += observed.height
        newest: Any = observed["ds"].max()
        if newest is not None and (self.newest is None or newest > self.newest):
            self.newest = newest
        if spec.clock == "step":
            self._steps.append(observed["ds"].unique(maintain_order=True))
        self.observed.append(observed if spec.static_columns else observed.select("unique_id", "ds", "y"))

    def _later(self, block: Block, how: Judging, schema: pl.Schema, round: Round) -> pl.LazyFrame:
        return later_rejects(
            block.alone.lazy(),
            schema,
            freq=how.freq,
            cutoff=self.cutoff,
            not_after=self.as_of,
            source=how.source,
            lives=round.later,
        )

    def holds_at(self, cutoff: datetime | int) -> bool:
        """Return whether everything is the same at a cutoff that was found since: no row lies after it."""
        if self.is_beyond or bool((pl.concat(self._latest) > cutoff).any()):
            return False
        return self.newest is None or bool(self.newest <= cutoff)

    def refused(self) -> pl.DataFrame:
        """Return the refused rows, in the order of the source."""
        return pl.concat(self.parts_of_refused).sort("source_file", "source_row", maintain_order=True)

    def kept(self) -> pl.DataFrame:
        """Return the number of rows that are not refused, of each series."""
        columns = ("unique_id", "num_kept", "num_waiting", "num_ignored", "newest")
        return pl.concat([part.select(columns) for part in self.parts_of_kept], how="vertical_relaxed")

    def counts(self) -> pl.DataFrame:
        """Return the row of `count_rows`."""
        return add_counts(self._counts)

    def times(self, refused: pl.DataFrame) -> pl.Series:
        """Return the different steps of rows, refused or not."""
        return pl.concat([*self._steps, refused["time"]]).unique(maintain_order=True)


def observed_rows(validated: Validated, spec: Spec) -> pl.LazyFrame:
    """Return the rows that a run keeps as observations: those that are accepted, and gaps of refused measurements.

    The latter are kept only where an absent row means zero, so that they stay unknown also in runs that no longer read
    the source.

    Args:
        validated: The rows of the spec's source.
        spec: The spec.

    Returns:
        Rows in the columns of `Validated.accepted`.
    """
    if spec.source.missing_rows != "zero" or validated.unmeasured is None:
        return validated.accepted
    return pl.concat([validated.accepted, validated.unmeasured]).sort("unique_id", "ds")


def _count_kept(validated: Validated, observations: pl.DataFrame, spec: Spec) -> pl.DataFrame:
    """Return what `Validated.kept` has, from the observations where each of them is a row of the source."""
    source = spec.source
    if source.aggregate is None and source.missing_rows != "zero" and make_placing(source, spec.freq) is None:
        num_ignored = is_ignored(source, spec.clock).sum() if source.ignore else pl.lit(0)
        counted = (
            observations.lazy()
            .group_by("unique_id")
            .agg(num_kept=pl.len(), num_ignored=num_ignored, newest=pl.col("ds").max())
        )
        return counted.with_columns(num_waiting=pl.lit(0)).collect(engine="streaming")
    return validated.kept.collect(engine="streaming")
