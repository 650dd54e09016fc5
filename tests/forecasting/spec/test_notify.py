from typing import Any

import pytest

from forecasting.errors import SpecError
from forecasting.spec.spec import make_spec

FIELDS = {"name": "small", "source": {"uri": "/data/small.csv"}, "freq": "1d", "season_lengths": [7], "horizon": 7}


def spec_of(**airflow: Any) -> Any:
    return make_spec(FIELDS | {"airflow": airflow}, subject="spec")


def test_one_deadline_is_that_of_both_flows() -> None:
    both, one = spec_of(deadline="6h"), spec_of(deadline={"train": "12h"})
    assert (both.airflow.deadline.train, both.airflow.deadline.forecast) == ("6h", "6h")
    assert (one.airflow.deadline.train, one.airflow.deadline.forecast) == ("12h", None)
    assert type(both).model_validate_json(both.model_dump_json()) == both


@pytest.mark.parametrize(
    ("airflow", "expected"),
    [
        ({"deadline": "soon"}, "airflow.deadline.train = 'soon': must be a duration such as '90m'"),
        ({"notify": {"notifier": "Slack"}}, "airflow.notify.0.notifier = 'Slack': must be the import path of a class"),
        ({"notify": {"notifier": "a.B", "on": ["late", "late"]}}, "must not name anything twice"),
        (
            {"notify": {"notifier": "a.B", "on": "retry"}},
            "airflow.notify.0.on.0 = 'retry': must be 'failure' or 'late'",
        ),
        ({"notify": {"notifier": "a.B", "on": "late"}}, 'on = "late" needs airflow.deadline'),
    ],
)
def test_refused_option_says_what_it_must_be(airflow: Any, expected: str) -> None:
    with pytest.raises(SpecError) as refused:
        spec_of(**airflow)
    assert expected in str(refused.value)


@pytest.mark.parametrize(
    "options",
    [
        {"password": "hunter2"},
        {"headers": {"Api-Token": "hunter2"}},
        {"urls": ["https://ada:hunter2@example.org"]},
    ],
)
def test_secret_of_a_notifier_is_refused_and_not_repeated(options: Any) -> None:
    with pytest.raises(SpecError, match="name a connection of Airflow that has the secret") as refused:
        spec_of(notify={"notifier": "a.B", "options": options})
    assert "hunter2" not in str(refused.value)


def test_connection_of_a_notifier_may_be_named() -> None:
    assert spec_of(notify={"notifier": "a.B", "options": {"slackwebhook_conn_id": "ops", "to": "a@b.org"}})
