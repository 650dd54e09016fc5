"""Predicted bytes of a store, compared with those of jobs that run here."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from forecasting.flow.stored_bytes import NUM_DAYS, Stored, forecast_bytes, month_bytes, month_bytes_kept, train_bytes
from forecasting.flow.workload import Workload
from workers.jobs.backtest import backtest
from workers.jobs.predict import predict
from workers.jobs.score import score
from workers.jobs.train import train

NUM_SERIES, NUM_HOURS = 40, 200
FEW_STEPS = {"max_steps": 4, "evaluate_every": 2, "prior_steps": 4, "tuning_steps": 2}


def test_predicted_bytes_are_within_a_quarter_of_those_of_a_small_run(small: Any, serial: Any) -> None:
    write_noise(small.source, num_points=NUM_HOURS + 4)
    fields = small.spec.model_dump(exclude_unset=True) | {"statistics": (), "models": ("gru",), "overrides": FEW_STEPS}
    small.spec = type(small.spec).model_validate(fields)
    work = Workload(small.spec, NUM_SERIES, NUM_HOURS, num_due=1)
    last = NUM_HOURS - 1
    small.read(last)
    for name, job in (("train", train), ("backtest", backtest)):
        small.do(job, name, last, flow="train", shard_size=None)
    trained = bytes_in(small)
    small.do(predict, "predict", last, shard_size=None)
    before = bytes_in(small)
    small.read(last + 4)
    for name, job in (("predict", predict), ("score", score)):
        small.do(job, name, last + 4, shard_size=None)
    added = {name: size - before.get(name, 0) for name, size in bytes_in(small).items()}
    for predicted, found in ((train_bytes(work), as_stored(trained)), (forecast_bytes(work), as_stored(added))):
        assert found.total / 1.25 < predicted.total < 1.25 * found.total
        for one, other in ((predicted.weights, found.weights), (predicted.forecasts, found.forecasts)):
            assert other / 1.25 <= one <= 1.25 * other


def test_weights_and_forecasts_add_up_and_maintenance_removes_replaced_features(small: Any) -> None:
    work = Workload(small.spec, 100, 500)
    of_both = train_bytes(work).total + forecast_bytes(work).total
    assert month_bytes(work).total == NUM_DAYS * of_both
    kept = month_bytes_kept(work)
    assert kept.weights == NUM_DAYS * train_bytes(work).weights
    assert kept.features == train_bytes(work).features


def write_noise(source: Path, *, num_points: int) -> None:
    """Write series whose measurements have all their digits."""
    y_SN = np.random.default_rng(0).normal(100, 10, (NUM_SERIES, num_points))
    first = datetime(2024, 1, 1)
    rows = [
        f"s{number:03d},{first + timedelta(hours=hour)},{y}"
        for number, y_N in enumerate(y_SN)
        for hour, y in enumerate(y_N)
    ]
    source.write_text("\n".join(["unique_id,ds,y", *rows]) + "\n")


def bytes_in(small: Any) -> dict[str, int]:
    """Return the bytes of each folder of the store; a job's own row of `runs` has three commits in a flow."""
    root, sizes = Path(small.store.root), dict[str, int]()
    for path in root.rglob("*"):
        if path.is_file():
            table = path.relative_to(root).parts[0]
            sizes[table] = sizes.get(table, 0) + path.stat().st_size
    return sizes


def as_stored(sizes: dict[str, int]) -> Stored:
    left = dict(sizes)
    weights, forecasts = left.pop("weights", 0), left.pop("forecasts", 0)
    return Stored(weights, left.pop("features", 0) + left.pop("observations", 0), forecasts, sum(left.values()))
