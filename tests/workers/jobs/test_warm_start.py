"""Warm starts of train jobs: which earlier weights they go on from, and when they start from scratch."""

from collections.abc import Callable
from datetime import timedelta
from math import ceil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from forecasting.fleet.fitted import FittedFleet
from tests.workers.jobs.conftest import FIRST
from workers.jobs.features import write_features
from workers.jobs.train import train

QUICK = {
    "max_steps": 12,
    "evaluate_every": 1,
    "hidden_size": 2,
    "context_segments": 2,
    "batch_windows": 2,
    "validation_windows": 2,
    "prior_steps": 12,
    "prior_hidden_size": 2,
    "prior_windows": 4,
    "tuning_steps": 2,
    "members": [{}, {"start": "prior"}],
}
LENGTHS = {"a": 120, "b": 120, "c": 120}
HELD_BACK = 4
"""What candidates may not see of a series' end: one origin of a horizon of four."""
KEY = ["run_cutoff", "unique_id", "member", "role"]


@pytest.fixture
def fed(small: Any, serial: Any) -> Any:
    """Three series of a spec with one network, of whose two members one begins from a prior."""
    feed(small)
    return small


@pytest.fixture
def trained_79(begin: Any, serial: Any) -> Any:
    """The same, trained at hour 79."""
    return begin(train_at_79)


@pytest.fixture
def trained_89(begin: Any, serial: Any) -> Any:
    """The same, trained at hour 89."""
    return begin(train_at_89)


@pytest.fixture
def trained_thrice(begin: Any, serial: Any) -> Any:
    """The same, trained at hours 79, 89 and 99; shards are cut otherwise each time."""
    return begin(train_thrice)


def feed(small: Any) -> None:
    change(small)
    small.write(**LENGTHS)


def train_at_79(small: Any) -> None:
    feed(small)
    train_at(small, 79, shard_size=1)  # a file of weights for each series


def train_at_89(small: Any) -> None:
    feed(small)
    train_at(small, 89)


def train_thrice(small: Any) -> None:
    train_at_79(small)
    train_at(small, 89, shard_size=3)
    outcome = train_at(small, 99, shard_size=1)
    assert "3 of 3 networks go on from earlier weights" in outcome.message


def change(small: Any, overrides: dict[str, Any] = QUICK, **fields: Any) -> None:
    changed = type(small.spec.overrides)(**overrides)
    small.spec = small.spec.model_copy(update={"models": ("gru",), "overrides": changed} | fields)


def train_at(small: Any, hours: int, *, shard_size: int | None = None, **options: Any) -> Any:
    """Write the features up to a cutoff, in hours after the first point, and train."""
    write_features(small.run("features", hours, cutoff="given"))
    return train(small.run("train", hours, flow="train", shard_size=shard_size, **options))


def registry(small: Any, table: str = "models", **wanted: Any) -> pl.DataFrame:
    rows = small.store.scan(table, "timestamp").collect().filter(**wanted)
    return rows.sort([name for name in KEY if name in rows.columns])


def at(hours: int) -> Any:
    return FIRST + timedelta(hours=hours)


def versions(small: Any, hours: int, **wanted: Any) -> dict[str, str]:
    rows = registry(small, run_cutoff=at(hours), **wanted)
    return dict(rows.select("unique_id", "version").iter_rows())


def starts(small: Any, hours: int, **wanted: Any) -> dict[str, str | None]:
    rows = registry(small, run_cutoff=at(hours), **wanted)
    return dict(rows.select("unique_id", "started_from").iter_rows())


@pytest.mark.parametrize("role", ["candidate", "serving"])
def test_a_training_goes_on_from_the_newest_earlier_cutoff_for_a_share_of_the_steps(
    trained_thrice: Any, role: str
) -> None:
    assert set(starts(trained_thrice, 79, member=0, role=role).values()) == {None}
    # Ten hours later, the serving networks have read no more than the new candidate may.
    assert starts(trained_thrice, 99, member=0, role=role) == versions(trained_thrice, 89, member=0, role="serving")
    steps = registry(trained_thrice, member=0, role=role).group_by("run_cutoff").agg(pl.col("num_steps").max())
    most = dict(steps.iter_rows())
    assert most[at(99)] <= ceil(QUICK["max_steps"] / 4) < most[at(79)]


def test_candidates_go_on_from_nothing_that_has_read_what_they_are_backtested_on(trained_89: Any) -> None:
    train_at(trained_89, 91)  # what served has read two of the four hours that the new candidates are held back from
    candidates = registry(trained_89, run_cutoff=at(91), member=0, role="candidate")
    assert dict(candidates.select("unique_id", "started_from").iter_rows()) == versions(
        trained_89, 89, member=0, role="candidate"
    )
    assert set(candidates["trained_until"]) == {at(91 - HELD_BACK)}
    assert starts(trained_89, 91, member=0, role="serving") == versions(trained_89, 89, member=0, role="serving")
    assert set(registry(trained_89, run_cutoff=at(91), role="serving")["trained_until"]) == {at(91)}
    # The same of the priors.
    first, second = (registry(trained_89, "priors", run_cutoff=at(hours), role="candidate") for hours in (89, 91))
    assert second["started_from"].to_list() == first["version"].to_list()
    assert second["trained_until"].to_list() == [at(91 - HELD_BACK)]


def test_what_comes_after_the_first_origin_reaches_no_candidate_through_earlier_weights(trained_89: Any) -> None:
    train_at(trained_89, 91)
    whole = registry(trained_89, run_cutoff=at(91), role="candidate")["version"].to_list()
    for table in ("models", "priors"):
        trained_89.store.open(table, "timestamp").delete()
    lines = trained_89.source.read_text().splitlines()
    hidden = [f",{at(hours)}," for hours in range(91 - HELD_BACK + 1, 120)]
    altered = [f"{line.rpartition(',')[0]},9" if any(ds in line for ds in hidden) else line for line in lines]
    trained_89.source.write_text("\n".join(altered) + "\n")
    train_at(trained_89, 89)
    train_at(trained_89, 91)
    assert registry(trained_89, run_cutoff=at(91), role="candidate")["version"].to_list() == whole


def test_a_longer_holdback_than_any_earlier_training_knew_starts_from_scratch_with_a_reason(trained_89: Any) -> None:
    change(trained_89, backtest=trained_89.spec.backtest.model_copy(update={"origins": 3}))
    outcome = train_at(trained_89, 91)
    assert set(starts(trained_89, 91, member=0).values()) == {None}
    reasons = registry(trained_89, run_cutoff=at(91), member=0)["reason"].unique().to_list()
    assert reasons == ["trained from scratch: earlier weights have read data after the first backtest origin"]
    assert registry(trained_89, "priors", run_cutoff=at(91), role="candidate")["started_from"].to_list() == [None]
    assert (
        "0 of 3 networks go on from earlier weights; 3 trained from scratch: earlier weights have read"
        in outcome.message
    )


def test_a_cutoff_that_is_trained_again_repeats_its_values_though_later_ones_are_there(trained_thrice: Any) -> None:
    before = {table: registry(trained_thrice, table, run_cutoff=at(89)) for table in ("models", "priors")}
    assert before["models"].filter(member=0)["started_from"].null_count() == 0
    # Other features: the table was written again, so priors are too.
    train_at(trained_thrice, 89, run_id="again", shard_size=1)
    after = {table: registry(trained_thrice, table, run_cutoff=at(89)) for table in before}
    differing = ("run_id", "weights_uri", "weights_slot", "data_version")
    for table in before:
        assert set(after[table]["run_id"]) == {"again"}
        assert_frame_equal(after[table].drop(differing, strict=False), before[table].drop(differing, strict=False))


def test_an_earlier_cutoff_never_goes_on_from_a_later_one(fed: Any) -> None:
    train_at(fed, 99)
    outcome = train_at(fed, 79)
    assert set(registry(fed, run_cutoff=at(79))["started_from"]) == {None}
    assert registry(fed, "priors", run_cutoff=at(79), role="candidate")["started_from"].to_list() == [None]
    assert "earlier weights" not in outcome.message


@pytest.mark.parametrize(
    "changed",
    [
        {"overrides": QUICK | {"batch_windows": 3, "prior_rate": 0.01}},
        {"horizon": 3},
        {"quantiles": (0.1, 0.5, 0.9)},
        {"season_lengths": (4, 8)},
        {"seed": 5},
    ],
    ids=["config", "horizon", "quantiles", "seasons", "seed"],
)
def test_another_training_starts_from_scratch_with_a_reason(trained_79: Any, changed: dict[str, Any]) -> None:
    change(trained_79, **changed)
    train_at(trained_79, 99)
    rows = registry(trained_79, run_cutoff=at(99), member=0)
    assert set(rows["started_from"]) == {None}
    assert set(rows["reason"]) == {
        "trained from scratch: earlier weights have another configuration, horizon, seed or categories"
    }
    assert registry(trained_79, "priors", run_cutoff=at(99), role="candidate")["started_from"].to_list() == [None]


def test_a_run_from_scratch_is_what_a_first_run_would_be(fed: Any, serial: Any) -> None:
    train_at(fed, 99, run_id="first")
    only = {table: registry(fed, table) for table in ("models", "priors")}
    for table in only:
        fed.store.open(table, "timestamp").delete()
    train_at(fed, 79)
    train_at(fed, 99)
    assert set(starts(fed, 99, member=0).values()) != {None}
    serial.priors.clear()
    outcome = train(fed.run("train", 99, flow="train", from_scratch=True))  # the features are those of the warm run
    assert serial.priors == [("gru", 1)], "stored priors that went on from others do not begin from scratch"
    assert "earlier weights" not in outcome.message
    differing = ("run_id", "weights_uri", "weights_slot", "data_version", "from_scratch")
    for table, first in only.items():
        mine = registry(fed, table, run_cutoff=at(99)).drop(differing, strict=False)
        assert_frame_equal(mine, first.drop(differing, strict=False))


def write_other_format(path: Path) -> None:
    """Name a field of a file of weights as an earlier version did."""
    path.write_bytes(path.read_bytes().replace(rb"\"task\"", rb"\"duty\""))


@pytest.mark.parametrize("lose", [Path.unlink, write_other_format])
def test_networks_whose_weights_cannot_be_read_start_from_scratch_with_a_reason(
    trained_79: Any, capsys: pytest.CaptureFixture[str], lose: Callable[[Path], None]
) -> None:
    lost = registry(trained_79, run_cutoff=at(79), unique_id="b", member=0, role="serving")["weights_uri"].item()
    lost_priors = registry(trained_79, "priors", run_cutoff=at(79))["weights_uri"].to_list()
    for uri in (lost, *lost_priors):
        lose(Path(trained_79.store.root, uri))
    outcome = train_at(trained_79, 99)
    rows = registry(trained_79, run_cutoff=at(99), member=0, role="candidate")
    starts = {row["unique_id"]: (row["started_from"] is None, row["reason"]) for row in rows.iter_rows(named=True)}
    assert starts == {
        "a": (False, None),
        "b": (True, f"trained from scratch: its earlier weights cannot be read, {lost}"),
        "c": (False, None),
    }
    assert (
        "2 of 3 networks go on from earlier weights; 1 trained from scratch: its earlier weights cannot be read;"
        in outcome.message
    )
    assert registry(trained_79, "priors", run_cutoff=at(99), role="candidate")["started_from"].to_list() == [None]
    said = capsys.readouterr().out
    assert all(f"{uri} cannot be read" in said for uri in lost_priors)
    assert "the prior of gru, member 1 is trained from scratch" in said


def test_a_new_series_starts_from_scratch_beside_those_that_go_on_and_changes_nothing_for_them(trained_79: Any) -> None:
    train_at(trained_79, 99, shard_size=3)
    before = registry(trained_79, run_cutoff=at(99), member=0)
    trained_79.write(**LENGTHS, d=120)
    lines = [
        line for line in trained_79.source.read_text().splitlines() if not line.startswith("d,") or line > f"d,{at(50)}"
    ]
    trained_79.source.write_text("\n".join(lines) + "\n")
    train_at(trained_79, 99, shard_size=4)
    after = registry(trained_79, run_cutoff=at(99), member=0)
    assert starts(trained_79, 99, member=0, role="candidate")["d"] is None
    known = after.filter(pl.col("unique_id") != "d")
    assert known["version"].to_list() == before["version"].to_list()
    assert known["started_from"].null_count() == 0
    for uri, slot, name in after.select("weights_uri", "weights_slot", "unique_id").iter_rows():
        assert FittedFleet.from_bytes(trained_79.store.read_bytes(uri)).unique_ids[slot] == name


def test_a_run_of_one_series_goes_on_from_its_own_and_leaves_a_newer_start_to_it_alone(trained_79: Any) -> None:
    train_at(trained_79, 89, series=("b",))
    train_at(trained_79, 99)
    came_from = starts(trained_79, 99, member=0, role="serving")
    older, newer = (versions(trained_79, hours, member=0, role="serving") for hours in (79, 89))
    assert came_from == {"a": older["a"], "b": newer["b"], "c": older["c"]}


def test_a_prior_goes_on_only_from_one_that_has_read_no_more_of_any_series(trained_89: Any) -> None:
    # One series of three ends earlier from now on, as if its last hours had been withdrawn.
    lines = [
        line for line in trained_89.source.read_text().splitlines() if not line.startswith("a,") or line < f"a,{at(86)}"
    ]
    trained_89.source.write_text("\n".join(lines) + "\n")
    train_at(trained_89, 99)
    assert registry(trained_89, "priors", run_cutoff=at(99), role="candidate")["started_from"].to_list() == [None]
    came_from = starts(trained_89, 99, member=0, role="candidate")
    assert came_from["a"] is None
    assert came_from["b"] is not None
