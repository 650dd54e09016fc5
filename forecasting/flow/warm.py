"""Find the earlier weights that networks and priors continue from, or the reason why they are trained from scratch.

No network continues from weights that have read more of its series than it may read itself. So candidates seldom
continue from serving networks, which have read what follows the first backtest origin.
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

OTHER_TRAINING = "trained from scratch: earlier weights have another configuration, horizon, seed or categories"
SEEN_TOO_MUCH = "trained from scratch: earlier weights have read data after the first backtest origin"


def lost(uri: str) -> str:
    """Return the reason for a series whose earlier weights are missing or cannot be read."""
    return f"trained from scratch: its earlier weights cannot be read, {uri}"


@dataclass(frozen=True)
class Earlier:
    """Networks that were trained at earlier cutoffs.

    Attributes:
        rows: Their rows of the table `models`.
        architecture: The spec's, in the form of that column.
        read: Reads a file of weights; raises NothingStored where it is missing or cannot be read.
    """

    rows: pl.DataFrame
    architecture: str
    read: Callable[[str], FittedFleet]


@dataclass(frozen=True)
class Found:
    """Earlier weights of one member's networks.

    Attributes:
        starts: Fleets to continue from.
        reasons: By series, why it is trained from scratch though it was trained before.
    """

    starts: Starts = field(default_factory=Starts)
    reasons: Mapping[str, str] = field(default_factory=dict)


def find_starts(panel: Panel, spec: Spec, network: str, number: int, earlier: Earlier) -> Found:
    """Find the earlier weights that one member's networks continue from, series by series.

    Both roles of a series continue, or neither does. Each takes the newest weights of the same training that have read
    no more than it may; of one cutoff, serving weights come before the candidate's.

    Args:
        panel: The series, up to the run's cutoff.
        spec: What to forecast.
        network: Design of the network.
        number: Number of the member; one that begins from a prior never continues from earlier weights.
        earlier: Networks of earlier cutoffs.

    Returns:
        Fleets to continue from, and the reasons for the other series.
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
    """Return the first prior that has the member's shapes and has read no more of any series than its candidate may.

    Args:
        earlier: Priors, best first.
        until: The last point of each series that a candidate may read: a step, or microseconds since 1970. A series
            that is missing is not backtested, so that a prior may have read all of it.
        spec: What to forecast.
        network: Design of the network.
        number: Number of the member.

    Returns:
        The prior, or None.
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
    """Keep each series' row of the newest cutoff, the serving network's before the candidate's."""
    ordered = rows.sort("unique_id", "run_cutoff", "role", descending=[False, True, True])
    return ordered.unique("unique_id", keep="first", maintain_order=True).select("unique_id", "weights_uri")


def _read(
    uris: Iterable[str], read: Callable[[str], FittedFleet], shapes: Mapping[str, int], vocabulary: Vocabulary
) -> tuple[dict[str, FittedFleet], dict[str, str]]:
    """Return fleets by file, and the reasons why other files cannot be continued from."""
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
    """Return the part of each file that belongs to the series that name it."""
    named = rows.group_by(column, maintain_order=True)
    return tuple(read[str(uri)].select(part["unique_id"].to_list()) for (uri,), part in named)
