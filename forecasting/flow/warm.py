"""Warm starts: registry rows of earlier cutoffs in; what each series' network goes on from, or why it begins anew, out.

No network goes on from weights that have read more of its series than it may read itself. So candidates, which end
before their series' first backtest origin, seldom go on from what served: that has seen the origins.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import polars as pl

from forecasting.errors import NothingStored
from forecasting.fleet.categories import Vocabulary, learn_vocabulary
from forecasting.fleet.cost.sizes import sizes_of
from forecasting.fleet.fitted import FittedFleet, Prior
from forecasting.flow.learn import Starts, candidates_until
from forecasting.series.panel import Panel
from forecasting.spec.recipes import configure
from forecasting.spec.spec import Spec
from forecasting.spec.training import member_seed

OTHER_TRAINING = "begins anew: earlier weights were trained with another configuration, horizon, seed or categories"
SEEN_TOO_MUCH = "begins anew: earlier weights have read what follows its first backtest origin"


def lost(uri: str) -> str:
    return f"begins anew: its earlier weights are gone, {uri}"


@dataclass(frozen=True)
class Earlier:
    """Networks that were trained at earlier cutoffs: their registry rows, and how a file of their weights is read.

    `architecture` describes the spec's as rows do. `read` raises NothingStored for a file that is gone.
    """

    rows: pl.DataFrame
    architecture: str
    read: Callable[[str], FittedFleet]


@dataclass(frozen=True)
class Found:
    """What one member's networks go on from, and why series that were trained before begin anew."""

    starts: Starts = field(default_factory=Starts)
    reasons: Mapping[str, str] = field(default_factory=dict)


def find_starts(panel: Panel, spec: Spec, network: str, number: int, earlier: Earlier) -> Found:
    """Find what one member of a network goes on from, series by series; those without a prior of their own alone.

    Both roles of a series go on, or none. Each takes the newest cutoff's weights that were trained alike and have read
    no more than it may: first what serves, then the candidate.
    """
    config = configure(spec).of_member(number)
    if config.start == "prior":
        return Found()
    wanted = {
        "config": config.model_dump_json(),
        "architecture": earlier.architecture,
        "seed": member_seed(spec.seed, number),
    }
    is_alike = pl.all_horizontal(pl.col(name).eq_missing(value) for name, value in wanted.items())
    rows = earlier.rows.filter(model=network, member=number).with_columns(is_alike=is_alike)
    until = pl.DataFrame(
        list(candidates_until(panel, spec).items()), schema={"unique_id": pl.String, "until": pl.Int64}, orient="row"
    )
    usable = rows.filter("is_alike").join(until, on="unique_id")
    candidates = _newest(usable.filter(pl.col("trained_until").to_physical() <= pl.col("until")))
    serving = _newest(usable.filter(role="serving"))
    pairs = candidates.join(serving, on="unique_id", suffix="_serving")
    files = {uri for name in ("weights_uri", "weights_uri_serving") for uri in pairs[name]}
    vocabulary = learn_vocabulary(panel.coded, spec.categories, reads_static=False)
    read, unfit = _read(sorted(files), earlier.read, _shapes(spec, network, number), vocabulary)
    any_alike = rows.group_by("unique_id").agg(pl.col("is_alike").any())
    reasons = {name: SEEN_TOO_MUCH if is_any else OTHER_TRAINING for name, is_any in any_alike.iter_rows()}
    held = {uri: set(fleet.unique_ids) for uri, fleet in read.items()}
    for name, *uris in pairs.select("unique_id", "weights_uri", "weights_uri_serving").iter_rows():
        reasons[name] = next((unfit.get(uri, lost(uri)) for uri in uris if name not in held.get(uri, ())), "")
    kept = pairs.filter(pl.col("unique_id").is_in([name for name, reason in reasons.items() if not reason]))
    return Found(
        Starts(_parts(kept, "weights_uri", read), _parts(kept, "weights_uri_serving", read)),
        {name: reason for name, reason in reasons.items() if reason},
    )


def choose_prior(
    earlier: Iterable[Prior], until: Mapping[str, int], spec: Spec, network: str, number: int
) -> Prior | None:
    """Return the first prior that has read no more of any series than `until` allows, and has the member's shape.

    `until` has the last point of each series that a candidate may read; of a series that is not in it any more, and so
    is not backtested, a prior may have read all.
    """
    shapes = _shapes(spec, network, number)
    for prior in earlier:
        ends = prior.trained_until
        if ends is None or any(last > until.get(name, last) for name, last in ends.items()):
            continue
        if {name: weight.numel() for name, weight in prior.weights.items()} == shapes:
            return prior
    return None


def _newest(rows: pl.DataFrame) -> pl.DataFrame:
    """Keep of each series the newest cutoff's row, of that rather what serves than the candidate."""
    ordered = rows.sort("unique_id", "run_cutoff", "role", descending=[False, True, True])
    return ordered.unique("unique_id", keep="first", maintain_order=True).select("unique_id", "weights_uri")


def _read(
    uris: Iterable[str], read: Callable[[str], FittedFleet], shapes: Mapping[str, int], vocabulary: Vocabulary
) -> tuple[dict[str, FittedFleet], dict[str, str]]:
    """Return the fleets by file, and why other files have none that can be gone on from."""
    fleets, unfit = {}, {}
    for uri in uris:
        try:
            fleet = read(uri)
        except NothingStored:
            unfit[uri] = lost(uri)
            continue
        has_shapes = {name: weight.shape[1:].numel() for name, weight in fleet.weights.items()} == shapes
        if has_shapes and fleet.vocabulary == vocabulary:
            fleets[uri] = fleet
        else:  # an earlier version of the code had other inputs, or holidays other names
            unfit[uri] = OTHER_TRAINING
    return fleets, unfit


def _shapes(spec: Spec, network: str, number: int) -> dict[str, int]:
    return sizes_of(spec, [network], kernel="auto")[number].parameters


def _parts(rows: pl.DataFrame, column: str, read: Mapping[str, FittedFleet]) -> tuple[FittedFleet, ...]:
    """Return of each file the part that belongs to the series which name it."""
    named = rows.group_by(column, maintain_order=True)
    return tuple(read[str(uri)].select(part["unique_id"].to_list()) for (uri,), part in named)
