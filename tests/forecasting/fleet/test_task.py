"""The forecasting task of a spec: it survives JSON, and determines which categories a member reads."""

import json

from forecasting.fleet.task import ForecastTask
from forecasting.spec.categories import Categories
from forecasting.spec.covariates import Covariates
from forecasting.spec.spec import Spec
from forecasting.spec.training import MemberConfig

STORES = Categories(calendar=("weekday",), static=("store", "product"), size=3, most=9)


def test_task_has_the_fields_of_its_spec() -> None:
    spec = Spec(name="x", source={"uri": "x.csv"}, freq="1h", season_lengths=(24, 168), horizon=5, quantiles=(0.1, 0.5))
    task = ForecastTask.of(spec)
    assert task == ForecastTask("1h", 5, (0.1, 0.5), (24, 168))
    assert all(getattr(task, name) == getattr(spec, name) for name in vars(task) if name != "covariates")
    known = spec.model_copy(update={"covariates": Covariates(future=("price",), static=("size",))})
    assert ForecastTask.of(known).covariates == ("price",)


def test_a_described_task_is_read_from_json() -> None:
    for categories, covariates in ((Categories(), ()), (STORES, ()), (Categories(), ("price", "promotion"))):
        task = ForecastTask(7, 5, (0.1, 0.5), (4,), categories, covariates)
        assert ("covariates" in task.describe()) == bool(covariates)  # else versions of models would change
        assert ForecastTask.read(json.loads(json.dumps(task.describe()))) == task


def test_only_a_member_that_begins_from_a_prior_reads_static_categories() -> None:
    task = ForecastTask("1d", 5, (0.5,), (7,), STORES)
    alone, shared = MemberConfig(), MemberConfig(start="prior")
    assert (task.num_static(alone), task.num_static(shared)) == (0, 2)
    assert task.embeddings(alone) == {"embedding_0_VE": (8, 3)}
    assert task.embeddings(shared) == {
        "embedding_0_VE": (8, 3),
        "embedding_1_VE": (10, 3),
        "embedding_2_VE": (10, 3),
    }


def test_the_median_is_one_of_the_quantiles_or_the_middle_one() -> None:
    for quantiles, place in (((0.1, 0.2, 0.5, 0.9), 2), ((0.1, 0.4, 0.9), 1)):
        task = ForecastTask("1d", 5, quantiles, (7,))
        assert task.dimensions(MemberConfig(), num_inputs=3).median == place
