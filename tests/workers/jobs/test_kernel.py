"""The kernel that the settings name runs every fit and every forecast of the jobs."""

from typing import Any

import pytest

from forecasting.errors import SpecError
from forecasting.fleet import kernels
from forecasting.spec.recipes import configure
from workers.jobs.backtest import backtest
from workers.jobs.features import write_features
from workers.jobs.predict import predict
from workers.jobs.train import train

QUICK = {
    "max_steps": 2,
    "evaluate_every": 1,
    "hidden_size": 2,
    "context_segments": 2,
    "batch_windows": 2,
    "validation_windows": 2,
    "prior_steps": 2,
    "prior_hidden_size": 2,
    "prior_windows": 2,
    "tuning_steps": 2,
}


@pytest.fixture
def learnable(small: Any, serial: Any) -> Any:
    """One series that is long enough for a network, with its features."""
    small.spec = small.spec.model_copy(update={"models": ("gru",), "overrides": type(small.spec.overrides)(**QUICK)})
    small.write(a=60)
    write_features(small.run("features", 59, cutoff="given"))
    return small


def test_kernel_of_the_settings_trains_and_forecasts_in_every_job(learnable: Any, monkeypatch: Any) -> None:
    wanted: list[str] = []
    choose = kernels.choose

    def watched(*arguments: Any, **options: Any) -> Any:
        wanted.append(options["wanted"])
        return choose(*arguments, **options)

    monkeypatch.setattr(kernels, "choose", watched)
    for name, job in (("train", train), ("backtest", backtest), ("predict", predict)):
        wanted.clear()
        job(learnable.run(name, 59, flow="train", kernel="reference"))
        assert set(wanted) == {"reference"}, name
    rows = learnable.store.scan("models", "timestamp").collect()
    assert rows.height == 2 * len(configure(learnable.spec).members)
    assert set(rows["kernel"]) == {"reference"}


def test_kernel_that_cannot_run_is_refused_with_what_would(learnable: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(kernels.cpu, "supports", lambda *_: False)
    with pytest.raises(SpecError, match=r"kernel 'cpu' cannot run gru .*'auto' takes one that can"):
        train(learnable.run("train", 59, flow="train", kernel="cpu"))
