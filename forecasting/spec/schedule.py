"""The spec's `[schedule]`: when the DAGs run, which a cron expression decides, or assets, or whichever comes first."""

from collections.abc import Sequence
from typing import Any, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field, StrictBool, field_validator, model_validator

from forecasting.spec.connection import has_password
from forecasting.spec.cron import check_cron
from forecasting.spec.problems import find_repeat
from forecasting.spec.timezone import TimeZone

ASSET = "asset:"
"""What the name or the URI of an asset begins with."""
LONGEST_ASSET = 1500
"""Characters that Airflow stores of a name or a URI."""


class Schedule(BaseModel, frozen=True, extra="forbid"):
    """When the DAGs run; without a cron expression or an asset a DAG runs only when it is triggered."""

    train: str | tuple[str, ...] | None = Field(
        None,
        description="cron expression of the train DAG, an asset such as `asset:sales` that starts it, or a list",
    )
    forecast: str | tuple[str, ...] | None = Field(None, description="the same for the forecast DAG")
    timezone: TimeZone = Field(
        "UTC",
        description="IANA zone of the cron expressions; where a source states no zone, it is that of a run's time",
    )
    partitioned: StrictBool = Field(
        False,
        description="whether runs belong to partitions, whose key is the time as of which a run knows the source",
    )

    @field_validator("train", "forecast", mode="before")
    @classmethod
    def _can_start(cls, given: Any) -> Any:
        if given is None:
            return None
        starts = [given] if isinstance(given, str) else given
        if not isinstance(starts, Sequence) or not starts or not all(isinstance(one, str) for one in starts):
            raise ValueError("must be a cron expression, an asset such as 'asset:sales', or a list of them")
        for one in starts:
            _check_start(one)
        if (repeated := find_repeat(tuple(starts))) is not None:
            raise ValueError(repeated)
        if len(crons := [one for one in starts if not one.startswith(ASSET)]) > 1:
            raise ValueError(f"must have one cron expression at most, not {', '.join(map(repr, crons))}")
        return starts[0] if len(starts) == 1 else tuple(starts)

    @model_validator(mode="after")
    def _has_one_kind_of_partition(self) -> Self:
        if not self.partitioned:
            return self
        if self.train is None and self.forecast is None:
            raise ValueError("partitioned = true needs train or forecast, which make the partitions")
        for flow in ("train", "forecast"):
            if self.cron(flow) and self.assets(flow):
                raise ValueError(f"partitioned = true needs {flow} to be a cron expression or assets, not both")
        return self

    @property
    def zone(self) -> ZoneInfo:
        """The time zone that `timezone` names."""
        return ZoneInfo(self.timezone)

    def cron(self, flow: str) -> str | None:
        """Return the cron expression of a flow; None where it has none."""
        return next((one for one in self._starts(flow) if not one.startswith(ASSET)), None)

    def assets(self, flow: str) -> tuple[str, ...]:
        """Return the names or URIs of the assets whose updates start a flow."""
        return tuple(one.removeprefix(ASSET) for one in self._starts(flow) if one.startswith(ASSET))

    def _starts(self, flow: str) -> tuple[str, ...]:
        given: str | tuple[str, ...] | None = getattr(self, flow)
        return (given,) if isinstance(given, str) else given or ()


def _check_start(text: str) -> None:
    if not text.startswith(ASSET):
        try:
            check_cron(text)
        except ValueError as error:
            hint = "" if len(text.split()) > 1 else f", or an asset such as '{ASSET}sales'"
            raise ValueError(f"{error}{hint}") from None
        return
    name = text.removeprefix(ASSET)
    if not name.strip() or name != name.strip() or len(name) > LONGEST_ASSET:
        raise ValueError(f"must name an asset after '{ASSET}', with {LONGEST_ASSET} characters at most")
    if has_password(name):
        raise ValueError("must not have a password; an asset is named by its URI without one")
