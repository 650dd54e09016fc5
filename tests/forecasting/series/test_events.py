"""Events: read from a spec and from files, placed on grids, kept apart, and left out where no model can know them."""

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from forecasting.errors import SourceError, SpecError
from forecasting.series.covariate_names import code_of
from forecasting.series.covariates import CovariateRows
from forecasting.series.events import inline_events, name_events, read_events
from forecasting.series.ingest import Ingested, ingest
from forecasting.series.inputs import read_input
from forecasting.spec.spec import Spec, make_spec, read_spec

BEGIN = datetime(2024, 1, 1)
NONE = code_of("")


def spec_of(events: Any, freq: str = "1d", **fields: Any) -> Spec:
    source = {"uri": "x.parquet", **fields.pop("source", {})}
    base = {"name": "small", "source": source, "freq": freq, "season_lengths": [1], "horizon": 3}
    return make_spec(base | {"events": events} | fields, subject="spec")


def read(spec: Spec, num: int = 10, step: timedelta = timedelta(days=1), zone: str | None = None) -> Ingested:
    """Read two series of the same times."""
    times = pl.Series([BEGIN + place * step for place in range(num)], dtype=pl.Datetime("us"))
    times = times if zone is None else times.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    parts = [
        pl.DataFrame({"unique_id": name, "ds": times, "y": [1.0 + place for place in range(num)]}) for name in "ab"
    ]
    given, _ = read_input(pl.concat(parts), {})
    return ingest(spec, rows=given.scan(spec.clock), covariates=CovariateRows())


def named(ingested: Ingested, series: str, *names: str) -> list[list[str]]:
    """Return the events of each grid point and of the horizon."""
    known = {code_of(name): name for name in names}
    rows = ingested.features.filter(unique_id=series).sort("ds")
    points = [*rows["covariates"].to_list(), *rows["covariates_ahead"][-1].to_list()]
    return [[known[code] for code in values if code != NONE] for values in points]


def test_event_has_its_days_and_those_around_it() -> None:
    spec = spec_of({"name": "sale", "dates": [date(2024, 1, 4), date(2024, 1, 12)], "days": 2, "window": [-1, 1]})
    before, after = "sale, day -1", "sale, day +1"
    found = named(read(spec), "a", "sale", before, after)
    assert found == [[], [], [before], ["sale"], ["sale"], [after], [], [], [], [], [before], ["sale"], ["sale"]]


def test_event_of_a_series_is_not_one_of_others() -> None:
    spec = spec_of(
        [{"name": "fair", "dates": ["2024-01-03"], "series": ["b"]}, {"name": "sale", "dates": ["2024-01-05"]}]
    )
    ingested = read(spec)
    assert named(ingested, "a", "sale", "fair")[:5] == [[], [], [], [], ["sale"]]
    assert named(ingested, "b", "sale", "fair")[:5] == [[], [], ["fair"], [], ["sale"]]


def test_different_events_at_a_time_are_in_different_columns_and_each_in_the_same_one_throughout() -> None:
    events = [
        {"name": name, "dates": [f"2024-01-{day:02d}" for day in days]}
        for name, days in {"a": (2, 3, 4), "b": (3, 6), "c": (3, 4)}.items()
    ]
    ingested = read(spec_of(events))
    assert named(ingested, "a", "a", "b", "c")[1:6] == [["a"], ["a", "b", "c"], ["a", "c"], [], ["b"]]
    columns = ingested.features.filter(unique_id="a").sort("ds")["covariates"].to_list()
    assert [values.index(code_of("b")) for values in (columns[2], columns[5])] == [1, 1]
    with pytest.raises(SourceError, match=r"events: 'a', 'b', 'c', 'd' of all series meet at 2024-01-03"):
        read(spec_of([*events, {"name": "d", "dates": ["2024-01-03"]}]))


def test_event_lasts_the_local_day_of_the_zone_and_a_week_has_those_of_its_days() -> None:
    spec = spec_of({"name": "sale", "dates": ["2024-01-01"]}, freq="1h")
    found = named(read(spec, 30, timedelta(hours=1), "Europe/Berlin"), "a", "sale")
    assert [hour for hour, names in enumerate(found) if names] == list(range(23))
    weekly = spec_of({"name": "sale", "dates": ["2024-01-10"], "window": [-3, 0]}, freq="1w")
    assert named(read(weekly, 4, timedelta(days=7)), "a", "sale")[:4] == [["sale"], ["sale"], [], []]


def test_event_that_is_new_within_the_horizon_is_left_out_and_named() -> None:
    events = [{"name": "sale", "dates": ["2024-01-02", "2024-01-11"]}, {"name": "opening", "dates": ["2024-01-12"]}]
    ingested = read(spec_of(events))
    assert named(ingested, "a", "sale")[10:] == [["sale"], [], []]
    assert ingested.notes == (
        "event 'opening' lies within the horizon of 2 series for the first time, such as on 2024-01-12 in 'a'; no model"
        " can know its effect, so their forecasts do not depend on it",
    )


def test_dates_outside_of_the_data_and_unknown_series_are_counted() -> None:
    events = [
        {"name": "sale", "dates": ["2023-01-02", "2024-01-03", "2024-01-14"]},
        {"name": "fair", "dates": ["2024-01-02"], "series": ["b", "c"]},
    ]
    outside, unknown = read(spec_of(events)).notes
    assert outside.startswith("2 of 4 dates of events lie outside of the data and its horizon")
    assert "such as 2023-01-02 of event 'sale'" in outside
    assert unknown.startswith("1 dates of events are of 1 series that the data lacks, such as 'c'")


def write(folder: Path, kind: str) -> str:
    rows = pl.DataFrame(
        {
            "event": ["sale", "fair", "sale"],
            "date": [date(2024, 1, 3), date(2024, 1, 5), date(2024, 1, 9)],
            "store": ["a", None, None],
            "before": [1, None, 0],
        }
    )
    path = folder / f"events.{kind}"
    if kind == "parquet":
        rows.write_parquet(path)
    elif kind == "csv":
        rows.write_csv(path)
    else:
        rows.write_delta(path)
        return f"{path}/"
    return str(path)


@pytest.mark.parametrize("kind", ["csv", "parquet", "delta"])
def test_files_of_events_have_series_and_days_around(kind: str, tmp_path: Path) -> None:
    spec = spec_of({"uri": write(tmp_path, kind)}, source={"id": "store"})
    rows = read_events(spec).sort("date").rows()
    assert rows == [
        ("a", "sale", date(2024, 1, 3), 1, 1, 0),
        (None, "fair", date(2024, 1, 5), 1, 0, 0),
        (None, "sale", date(2024, 1, 9), 1, 0, 0),
    ]
    inline = inline_events(spec)
    assert all(events.uri is None for events in inline.events)
    assert read_events(inline).sort("date").rows() == rows
    assert Spec.model_validate_json(inline.model_dump_json()) == inline


def test_frame_of_events_is_that_of_a_file() -> None:
    frame = pd.DataFrame(
        {"event": ["sale", "sale"], "date": pd.to_datetime(["2024-01-03", "2024-01-09"]), "days": [2, 1]}
    )
    fields = name_events(frame, None)
    rows = read_events(spec_of(fields)).rows()
    assert rows == [(None, "sale", date(2024, 1, 3), 2, 0, 0), (None, "sale", date(2024, 1, 9), 1, 0, 0)]
    assert name_events(["a.csv", {"name": "x", "dates": ["2024-01-01"]}], None)[0] == {
        "uri": str(Path("a.csv").resolve())
    }
    with pytest.raises(SpecError, match="events: must be a frame, paths of files"):
        name_events(3, None)
    with pytest.raises(SourceError, match=r"events <frame> lacks the column 'event'"):
        name_events(frame.drop(columns="event"), None)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["event,date", "sale,03.01.2024"], r"row 1 has '03.01.2024' as its date, .*time_format reads"),
        (["event,date", "sale,2024-01-03", ",2024-01-04"], "row 2 has no name"),
        (["event,day", "sale,2024-01-03"], "lacks the column 'date'"),
        (["event,date,days", "sale,2024-01-03,0"], "event 'sale' on 2024-01-03 has days = 0; it must be 1 to 366"),
    ],
)
def test_file_that_is_not_one_of_events_is_refused(lines: list[str], expected: str, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(SourceError, match=expected):
        read_events(spec_of({"uri": str(path)}))


def test_file_may_write_days_in_another_format(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("event;date\nsale;03.01.2024\n", encoding="utf-8")
    spec = spec_of({"uri": str(path), "time_format": "%d.%m.%Y", "csv": {"separator": ";"}})
    assert read_events(spec)["date"].to_list() == [date(2024, 1, 3)]


def test_spec_file_has_events_and_paths_that_are_relative_to_it(tmp_path: Path) -> None:
    text = """
name = "small"
freq = "1d"
season_lengths = [7]
horizon = 3
source = {uri = "x.parquet"}

[[events]]
name = "sale"
dates = [2024-01-03]

[[events]]
uri = "events.csv"
"""
    (tmp_path / "small.toml").write_text(text, encoding="utf-8")
    first, second = read_spec(tmp_path / "small.toml").events
    assert first.dates == (date(2024, 1, 3),)
    assert second.uri == str(tmp_path / "events.csv")


@pytest.mark.parametrize(
    ("events", "fields", "expected"),
    [
        ({"name": "sale"}, {}, "needs the name of an event and its dates"),
        ({"uri": "a.csv", "name": "sale"}, {}, "cannot be given beside uri"),
        ({"name": "sale", "dates": ["2024-01-01"], "window": [1, 2]}, {}, "must be two numbers of days from -31"),
        ({"name": "sale", "dates": ["2024-01-01"]}, {"freq": 1}, "events need timestamps"),
        ({"name": "sale", "dates": ["2024-01-01"]}, {"covariates": {"future": ["event"]}}, "which events also make"),
        ({"name": "sale", "dates": ["2024-13-01"]}, {}, "events"),
    ],
)
def test_events_that_cannot_be_covariates_are_refused(events: Any, fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(SpecError) as refused:
        spec_of(events, **fields)
    assert expected in str(refused.value)
