"""Warm starts: the weights that networks may continue from, and the gain on the shipped data."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from forecasting.errors import NothingStored
from forecasting.evaluate import backtest as rolling
from forecasting.fleet.fitted import FittedFleet, Prior
from forecasting.fleet.options import FitOptions
from forecasting.fleet.predict import predict
from forecasting.flow.learn import candidates_until, train_member, train_priors
from forecasting.flow.members import origins_of
from forecasting.flow.registry import registry_rows
from forecasting.flow.warm import OTHER_TRAINING, SEEN_TOO_MUCH, Earlier, Found, choose_prior, find_starts, lost
from forecasting.series.ingest import ingest, panel_of
from forecasting.series.panel import Panel
from forecasting.spec.spec import Spec, read_spec

CPU = FitOptions(accelerator="cpu", show_progress=False)
SPEC = Path(__file__).parents[3] / "dags" / "specs" / "nyc_departures.toml"
SERIES = ("EWR", "JFK", "LGA", "NYC", "airline UA", "to ATL", "to BOS", "to LAX")
WEEK = 168


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@dataclass
class Trained:
    """Runs of one network at several cutoffs, with a registry and files in memory."""

    spec: Spec
    rows: list[pl.DataFrame] = field(default_factory=list)
    files: dict[str, FittedFleet] = field(default_factory=dict)

    def read(self, uri: str) -> FittedFleet:
        if uri not in self.files:
            raise NothingStored(uri)
        return self.files[uri]

    def earlier(self, cutoff: int, architecture: str = "hourly") -> Earlier:
        rows = pl.concat(self.rows).filter(pl.col("run_cutoff") < cutoff) if self.rows else EMPTY
        return Earlier(rows, architecture, self.read)

    def train(self, panel: Panel, cutoff: int, number: int, *, is_warm: bool) -> dict[str, FittedFleet]:
        """Train one member, register it, and return its fleets by role; none of its series goes on unless asked to."""
        found = find_starts(panel, self.spec, "gru", number, self.earlier(cutoff)) if is_warm else Found()
        fleets = {
            fleet.role: fleet
            for fleet in train_member(panel, self.spec, "gru", number, starts=found.starts, options=CPU)
        }
        for fleet in fleets.values():
            uri = f"{cutoff}-{number}-{fleet.role}"
            self.files[uri] = fleet
            rows = registry_rows(fleet, panel, reasons=found.reasons).filter(status="trained")
            stamps = {"run_cutoff": cutoff, "architecture": "hourly", "weights_uri": uri}
            self.rows.append(rows.with_columns(**{name: pl.lit(value) for name, value in stamps.items()}))
        return fleets


EMPTY = pl.DataFrame(
    schema={"unique_id": pl.String, "model": pl.String, "member": pl.Int32, "role": pl.String, "run_cutoff": pl.Int64}
    | {"trained_until": pl.Datetime("us"), "weights_uri": pl.String}
    | {"config": pl.String, "architecture": pl.String, "seed": pl.Int64}
)


def spec_of(**overrides: Any) -> Spec:
    spec = read_spec(SPEC)
    changed = {"backtest": spec.backtest.model_copy(update={"origins": 4}), "models": ("gru",)}
    return spec.model_copy(update=changed | {"overrides": type(spec.overrides)(**overrides)})


@pytest.fixture(scope="module")
def flights() -> Panel:
    """Flights of eight series until the end of September."""
    spec = read_spec(SPEC)
    cutoff = datetime(2013, 9, 30, 23)
    ingested = ingest(spec, cutoff=cutoff, series=SERIES)
    return panel_of(ingested.features, spec, SERIES, run_cutoff=cutoff)


def backtest_error(panel: Panel, spec: Spec, members: list[FittedFleet]) -> float:
    """Return the mean MASE over series and origins of the median of some members."""
    scores = rolling.backtest(
        panel,
        forecasters={"gru": lambda known: np.median([predict(member, known) for member in members], axis=0)},
        origins_SJ=origins_of(panel, spec),
        quantiles=spec.quantiles,
        season_length=24,
    )
    return float(scores["mase"].mean())  # type: ignore[arg-type]


def count_steps(fleets: dict[str, FittedFleet]) -> int:
    return sum(int(fleet.num_steps_S.sum()) for fleet in fleets.values())


def test_networks_are_as_good_as_from_scratch_after_a_quarter_of_the_steps(flights: Panel) -> None:
    """The two members of `standard` without a prior, over two weekly cutoffs; measured MASE: .484 for .501."""
    spec, weeks = spec_of(), 2
    cold, warm = Trained(spec), Trained(spec)
    errors, steps = [], []
    for week in range(weeks + 1):
        panel = flights.until((weeks - week) * WEEK)
        fleets = {
            name: [runs.train(panel, week, number, is_warm=name == "warm") for number in (0, 1)]
            for name, runs in (("cold", cold), ("warm", warm))
        }
        candidates = {name: [member["candidate"] for member in members] for name, members in fleets.items()}
        errors.append({name: backtest_error(panel, spec, members) for name, members in candidates.items()})
        steps.append({name: sum(count_steps(member) for member in members) for name, members in fleets.items()})
    assert errors[0]["cold"] == errors[0]["warm"]
    later = pl.DataFrame(errors[1:]).mean()
    assert later["warm"].item() <= later["cold"].item()
    taken = pl.DataFrame(steps[1:]).sum()
    assert taken["warm"].item() <= 0.3 * taken["cold"].item()


def test_priors_are_as_good_as_from_scratch_after_a_quarter_of_the_steps(flights: Panel) -> None:
    spec = spec_of(prior_steps=600)
    before, now = flights.until(WEEK), flights
    earlier = train_priors(before, spec, "gru", 3, options=CPU)
    cold = train_priors(now, spec, "gru", 3, options=CPU)
    assert earlier is not None
    until = candidates_until(now, spec)
    start = choose_prior([earlier.serving, earlier.candidate], until, spec, "gru", 3)
    assert start is earlier.candidate
    warm = train_priors(now, spec, "gru", 3, start=start, options=CPU)
    assert cold is not None
    assert warm is not None
    errors = {}
    for name, priors in (("cold", cold), ("warm", warm)):
        (candidate, _) = train_member(now, spec, "gru", 3, priors=priors, options=CPU)
        errors[name] = backtest_error(now, spec, [candidate])
    assert errors["warm"] <= errors["cold"]
    taken = {name: priors.candidate.num_steps + priors.serving.num_steps for name, priors in (("c", cold), ("w", warm))}
    assert taken == {"c": 600 + 150, "w": 150 + 38}


@pytest.fixture(scope="module")
def quick() -> Spec:
    return spec_of(
        max_steps=4,
        evaluate_every=2,
        hidden_size=2,
        context_segments=2,
        batch_windows=2,
        validation_windows=2,
        members=[{}, {"start": "prior"}],
    )


@pytest.fixture(scope="module")
def week_ago(flights: Panel, quick: Spec) -> Trained:
    torch.set_num_threads(1)
    runs = Trained(quick)
    runs.train(flights.until(WEEK), 0, 0, is_warm=False)
    return runs


def test_networks_continue_from_the_same_training_and_series_without_earlier_weights_have_no_reason(
    flights: Panel, quick: Spec, week_ago: Trained
) -> None:
    found = find_starts(flights, quick, "gru", 0, week_ago.earlier(1))
    assert [fleet.role for fleet in (*found.starts.candidate, *found.starts.serving)] == ["candidate", "serving"]
    assert all(set(fleet.unique_ids) == set(SERIES) for fleets in found.starts for fleet in fleets)
    assert not found.reasons
    for nothing in (week_ago.earlier(0), replace(week_ago.earlier(1), rows=EMPTY)):
        assert find_starts(flights, quick, "gru", 0, nothing) == Found()
    assert find_starts(flights, quick, "lstm", 0, week_ago.earlier(1)) == Found()
    assert find_starts(flights, quick, "gru", 1, week_ago.earlier(1)) == Found(), "it begins from its prior"


def test_a_candidate_continues_from_serving_weights_that_have_read_no_more_than_it_may(
    flights: Panel, quick: Spec, week_ago: Trained
) -> None:
    num_hidden = int(origins_of(flights, quick).max())
    for num_more, role in ((num_hidden - WEEK, "serving"), (num_hidden - WEEK - 1, "candidate")):
        at_once = week_ago.earlier(1)
        later = at_once.rows.with_columns(pl.col("trained_until").dt.offset_by(f"{-num_more}h"))
        found = find_starts(flights, quick, "gru", 0, replace(at_once, rows=later))
        assert {fleet.role for fleet in found.starts.candidate} == {role}
        assert {fleet.role for fleet in found.starts.serving} == {"serving"}


def test_earlier_weights_that_do_not_fit_have_a_reason(flights: Panel, quick: Spec, week_ago: Trained) -> None:
    at_once = week_ago.earlier(1)
    (uri,) = at_once.rows.filter(role="serving")["weights_uri"].unique()
    fleet = week_ago.files[uri]
    other_shape = replace(fleet, weights=fleet.weights | {"hidden_HG": fleet.weights["hidden_HG"][:, :1]})
    files = {
        lost(uri): {name: each for name, each in week_ago.files.items() if name != uri},
        OTHER_TRAINING: week_ago.files | {uri: other_shape},
    }
    for reason, stored in files.items():
        found = find_starts(flights, quick, "gru", 0, replace(at_once, read=Trained(quick, files=stored).read))
        assert found == Found(reasons=dict.fromkeys(SERIES, reason))
    without_jfk = week_ago.files | {uri: fleet.select([name for name in SERIES if name != "JFK"])}
    found = find_starts(flights, quick, "gru", 0, replace(at_once, read=Trained(quick, files=without_jfk).read))
    assert found.reasons == {"JFK": lost(uri)}
    assert all("JFK" not in fleet.unique_ids for fleets in found.starts for fleet in fleets)
    unknown = at_once.rows.with_columns(trained_until=pl.lit(None, pl.Datetime("us")))  # registered by earlier versions
    found = find_starts(flights, quick, "gru", 0, replace(at_once, rows=unknown))
    assert found == Found(reasons=dict.fromkeys(SERIES, SEEN_TOO_MUCH))


def test_a_prior_is_chosen_by_the_last_point_that_it_has_read_of_every_series(quick: Spec, flights: Panel) -> None:
    spec = spec_of(prior_steps=1, prior_hidden_size=2, prior_windows=2, members=[{"start": "prior"}])
    trained = train_priors(flights.until(WEEK), spec, "gru", 0, options=CPU)
    assert trained is not None
    prior, until = trained.candidate, candidates_until(flights.until(WEEK), spec)
    assert prior.trained_until == until

    def choose(*priors: Prior, **changed: int) -> Prior | None:
        return choose_prior(priors, {**until, **changed}, spec, "gru", 0)

    assert choose(prior) is prior
    assert choose(prior, JFK=until["JFK"] - 1) is None
    assert choose(trained.serving, prior) is prior
    gone = replace(prior, trained_until={**until, "closed": 2**60})  # a series that is not backtested any more
    assert choose(gone) is gone
    assert choose(replace(prior, trained_until=None)) is None
    assert choose_prior([prior], until, spec, "lstm", 0) is None
