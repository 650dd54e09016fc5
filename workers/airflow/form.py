"""The trigger form of a DAG: its fields, their descriptions, and what they refuse.

Airflow 3.3 marks a field as required where its type does not allow null, and renders `description_md`; code in it would
cover the lines around it. A refused value is answered with the message of its JSON schema. A `const` that no value
equals says in words what a value must be. The UI reports the refusal alone, so descriptions have the same words.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from airflow.sdk import Param

from forecasting.errors import UserError
from forecasting.spec.frequency import Clock
from forecasting.spec.scenario import FORECAST, SCENARIO_PATTERN
from forecasting.spec.spec import NETWORKS, Spec
from workers.arguments import Flow

_DAY = r"\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2\d))"
_HOUR = r"(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,6})?)?"
_OFFSET = r"(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
_MOMENT = rf"^\s*{_DAY}[T ]{_HOUR}{_OFFSET}?\s*$"

CUTOFFS: Mapping[Clock, tuple[Mapping[str, Any], str]] = {
    "timestamp": (
        {"anyOf": [{"format": "date"}, {"pattern": _MOMENT}, {"maxLength": 0}]},
        "a date such as 2024-12-29, or a time such as 2024-12-29T23:00:00",
    ),
    "step": ({"pattern": r"^\s*(-?\d+)?\s*$"}, "a whole number such as 700"),
}
"""What the text of a cutoff must be, by the clock of `ds`: a JSON schema, and the same in words."""


def make_form(spec: Spec, flow: Flow) -> dict[str, Param]:
    """Return the fields of a flow's form; none is required.

    Args:
        spec: The spec.
        flow: The flow.

    Returns:
        Fields by name, in order.
    """
    fields = {"cutoff": _cutoff(spec.clock), "models": _models(spec), "series": _series(spec)}
    work, last = ("Train", "training") if flow == "train" else ("Forecast", "forecast")
    kept = "models" if flow == "train" else "forecasts"
    fields["changed_only"] = Param(
        False,
        type=["null", "boolean"],
        title="Changed only",
        description_md=f"{work} only the series with **new or restated rows** since their last {last}. The others keep"
        f" their {kept}.",
    )
    if spec.source.modified is not None:
        fields["full_read"] = Param(
            False,
            type=["null", "boolean"],
            title="Full read",
            description_md="Read **all rows** of the source instead of those that have changed since the last run.",
        )
    if flow == "forecast" and spec.covariates.known_ahead:
        fields |= _scenario(spec)
    if flow == "train":
        fields["from_scratch"] = Param(
            False,
            type=["null", "boolean"],
            title="From scratch",
            description_md="Train every network from **random weights** instead of the newest weights of an earlier"
            " cutoff.",
        )
    return fields


def _scenario(spec: Spec) -> dict[str, Param]:
    """Return the fields of a scenario."""
    words = f"a name of letters, digits, _ and -, other than {FORECAST}"
    name = Param(
        None,
        type=["null", "string"],
        title="Scenario",
        description_md="Forecast **with the plan below** instead of the known covariates, from the data and models of"
        " the newest forecast. The table `scenarios` has the result under this name; it is not the forecast. The name"
        f" is {words}.",
        **{
            "if": {"type": "string", "not": {"pattern": rf"^(?!{FORECAST}$)({SCENARIO_PATTERN})?$"}},
            "then": {"const": words},
        },
    )
    plan = Param(
        None,
        type=["null", "string"],
        title="Plan",
        description_md="URI or absolute path of a parquet or CSV file that all nodes can read: the columns of series"
        f" and time, and other values of {', '.join(f'**{each}**' for each in spec.covariates.known_ahead)} after the"
        " cutoff. An empty value keeps the known one.",
    )
    return {"scenario": name, "plan": plan}


def refuse_unknown_fields(conf: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse a run whose conf has a field that the form does not have, which Airflow itself lets through.

    Args:
        conf: The conf of a DAG run.
        known: Fields of the form.

    Raises:
        UserError: There is such a field; the message names each with the one that may be meant.
    """
    names = list(known)
    problems = []
    for name in conf:
        if name not in names:
            meant = difflib.get_close_matches(name, names, n=1)
            problems.append(f"'{name}'" + (f" (is '{meant[0]}' meant?)" if meant else ""))
    if problems:
        raise UserError(f"the conf has unknown fields: {', '.join(problems)}; it may have {', '.join(names)}")


def _cutoff(clock: Clock) -> Param:
    schema, words = CUTOFFS[clock]
    on_clock = "Without an offset such as **+01:00** it is on the clock of the source." if clock == "timestamp" else ""
    return Param(
        None,
        type=["null", "string"],
        title="Cutoff",
        description_md=f"The last **ds** that the run may know: {words}. {on_clock} A time off the grid is moved back"
        " to it; one after the newest measured period is refused.\n\nEmpty: the newest observation that"
        " is not after the run's time.",
        **{"if": {"type": "string", "not": schema}, "then": {"const": words}},
    )


def _models(spec: Spec) -> Param:
    return Param(
        list(spec.models),
        type=["null", "array"],
        items={"type": "string", "enum": list(NETWORKS)},
        examples=list(NETWORKS),
        uniqueItems=True,
        title="Models",
        description_md="The networks to train, compare or forecast with. Empty: those of the spec, "
        + ", ".join(f"**{model}**" for model in spec.models)
        + ".",
    )


def _series(spec: Spec) -> Param:
    return Param(
        [],
        type=["null", "array"],
        items={"type": "string"},
        title="Series",
        description_md="The **unique_id** of each series to run for, one per line. Empty: all of them.",
    )
