from typing import Any

import pytest
from pydantic import ValidationError

from forecasting.spec.schedule import Schedule


@pytest.mark.parametrize(
    ("given", "cron", "assets"),
    [
        ("0 3 * * 1", "0 3 * * 1", ()),
        ("asset:s3://lake/sales", None, ("s3://lake/sales",)),
        (["asset:sales", "@daily"], "@daily", ("sales",)),
        (["0 3 * * 1"], "0 3 * * 1", ()),
        (None, None, ()),
    ],
)
def test_flow_starts_by_a_cron_expression_by_assets_or_by_either(given: Any, cron: str | None, assets: Any) -> None:
    schedule = Schedule(train=given)
    assert (schedule.cron("train"), schedule.assets("train")) == (cron, assets)
    assert (schedule.cron("forecast"), schedule.assets("forecast")) == (None, ())
    assert Schedule.model_validate_json(schedule.model_dump_json()) == schedule


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"train": "daily"}, "or an asset such as 'asset:sales'"),
        ({"train": []}, "must be a cron expression, an asset such as 'asset:sales', or a list of them"),
        ({"train": 5}, "must be a cron expression, an asset such as"),
        ({"train": "asset: "}, "must name an asset after 'asset:'"),
        ({"train": "asset:postgresql://ada:x@db/sales"}, "must not have a password"),
        ({"train": ["asset:a", "asset:a"]}, "must not name anything twice"),
        ({"train": ["@daily", "@weekly"]}, "must have one cron expression at most, not '@daily', '@weekly'"),
        ({"train": ["asset:a", "0 25 * * *"]}, "cron field '25' (hour) must lie between 0 and 23"),
        ({"partitioned": True}, "partitioned = true needs train or forecast"),
        ({"partitioned": True, "train": ["asset:a", "@daily"]}, "needs train to be a cron expression or assets"),
    ],
)
def test_refused_schedule_says_what_it_must_be(fields: Any, expected: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Schedule(**fields)
    assert expected in str(refused.value)
