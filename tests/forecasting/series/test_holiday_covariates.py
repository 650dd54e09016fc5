"""Holidays as covariates: local days, days around them, bridge days, longer periods, and codes by series."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from forecasting.errors import SourceError, SpecError
from forecasting.series.covariate_names import code_of
from forecasting.series.covariates import CovariateRows
from forecasting.series.holiday_covariates import NO_HOLIDAY, SeriesHolidays
from forecasting.series.ingest import Ingested, ingest, panel_of
from forecasting.series.inputs import read_input
from forecasting.spec.spec import Spec, make_spec

NONE = code_of(NO_HOLIDAY)


def spec_of(freq: str = "1d", **fields: Any) -> Spec:
    source = {"uri": "x.parquet", **fields.pop("source", {})}
    base = {"name": "small", "source": source, "freq": freq, "season_lengths": [1], "horizon": 2}
    return make_spec(base | fields, subject="spec")


def values_of(times: list[datetime], freq: str = "1d", zone: str | None = None, **fields: Any) -> dict[str, list[Any]]:
    """Return the covariates at some times; names in the place of codes are those of `named`."""
    points = pl.LazyFrame({"unique_id": "a", "ds": pl.Series(times, dtype=pl.Datetime("us"))})
    spec = spec_of(freq, **fields)
    column_of = {name: name for name in spec.covariate_names}
    found = SeriesHolidays(spec, None, zone).add_to(points, column_of).collect()
    return found.drop("unique_id", "ds").to_dict(as_series=False)


def named(codes: list[float], *names: str) -> list[str]:
    known = {code_of(name): name for name in names} | {NONE: "-"}
    return [known[code] for code in codes]


def days(first: str, num: int) -> list[datetime]:
    begin = datetime.fromisoformat(first)
    return [begin + timedelta(days=day) for day in range(num)]


def hours(first: str, num: int) -> list[datetime]:
    begin = datetime.fromisoformat(first)
    return [begin + timedelta(hours=hour) for hour in range(num)]


def test_day_has_the_name_of_its_holiday_and_those_of_the_days_around_it() -> None:
    found = values_of(days("2023-07-02", 5), holidays={"country": "US", "window": [-2, 1], "bridge_days": True})
    fourth = "Independence Day"
    assert named(found["holiday"], fourth) == ["-", "-", fourth, "-", "-"]
    assert found["holiday_before_2"] == [1, 0, 0, 0, 0]
    assert found["holiday_before_1"] == [0, 1, 0, 0, 0]
    assert found["holiday_after_1"] == [0, 0, 0, 1, 0]
    assert found["bridge_day"] == [0, 1, 0, 0, 0], "the Monday between the weekend and a Tuesday"


def test_holiday_is_not_a_day_around_another_one() -> None:
    found = values_of(days("2023-12-24", 4), holidays={"country": "GB", "window": [-1, 1]})
    first, second = "Christmas Day", "Boxing Day"
    assert named(found["holiday"], first, second) == ["-", first, second, "-"]
    assert found["holiday_before_1"] == [1, 0, 0, 0]
    assert found["holiday_after_1"] == [0, 0, 0, 1]


def test_observed_holiday_is_one_beside_the_day_itself() -> None:
    found = values_of(days("2021-07-03", 4), holidays="US")
    names = ("Independence Day", "Independence Day (observed)")
    assert named(found["holiday"], *names) == ["-", *names, "-"]
    # The first of January 2022 is a Saturday, observed on the last day of the year before.
    (code,) = values_of(days("2021-12-31", 1), holidays="US")["holiday"]
    assert code == code_of("New Year's Day (observed)")


def test_holiday_lasts_the_local_day_of_the_zone() -> None:
    utc = hours("2023-07-04", 30)
    local = named(values_of(utc, "1h", "America/New_York", holidays="US")["holiday"], "Independence Day")
    assert [hour for hour, name in enumerate(local) if name != "-"] == list(range(4, 28))
    naive = named(values_of(utc, "1h", holidays="US")["holiday"], "Independence Day")
    assert [hour for hour, name in enumerate(naive) if name != "-"] == list(range(24))


def test_holiday_on_which_clocks_change_has_23_hours() -> None:
    found = values_of(hours("2024-03-30T12:00", 48), "1h", "Europe/Berlin", holidays="DE-BB")
    assert named(found["holiday"], "Easter Sunday", "Easter Monday").count("Easter Sunday") == 23


def test_midnight_that_ends_an_interval_belongs_to_the_day_before() -> None:
    times = hours("2023-07-04", 25)
    found = values_of(times, "1h", holidays="US", source={"label": "end"})
    assert [hour for hour, code in enumerate(found["holiday"]) if code != NONE] == list(range(1, 25))


def test_leap_day_follows_the_28th_of_february_and_the_first_of_march_elsewhere() -> None:
    holiday = {"country": "TW", "window": [0, 1]}
    for first, num in (("2024-02-28", 2), ("2023-02-28", 2)):
        after = values_of(days(first, num), holidays=holiday)["holiday_after_1"]
        assert after == [0, 1], first


def test_bridge_days_follow_the_weekend_of_the_country() -> None:
    # Thanksgiving is a Thursday; the weekend of Saudi Arabia begins on Friday, and its national day 2025 is a Tuesday.
    found = values_of(days("2023-11-22", 4), holidays={"country": "US", "bridge_days": True})
    assert found["bridge_day"] == [0, 0, 1, 0]
    found = values_of(days("2020-09-21", 5), holidays={"country": "SA", "bridge_days": True})
    assert found["bridge_day"] == [0, 0, 0, 1, 0], "the 23rd is a Wednesday"


def test_working_days_are_those_of_the_country_with_those_that_have_moved() -> None:
    # China worked on Sunday, 4 February 2024, in place of a day of its new year.
    found = values_of(days("2024-02-02", 4), holidays="CN")
    assert found["working_day"] == [1, 0, 1, 1]


def test_longer_periods_have_counts_of_holidays_and_working_days() -> None:
    month = values_of([datetime(2024, 1, 1), datetime(2024, 5, 1)], "1mo", holidays="DE")
    assert month == {"holidays": [1, 3], "working_days": [22, 20]}
    ends = values_of([datetime(2024, 1, 31), datetime(2024, 5, 31)], "1mo", holidays="DE")
    assert ends == month, "a month end stands for its month"
    assert values_of([datetime(2024, 4, 1)], "1q", holidays="DE")["working_days"] == [21 + 20 + 20]
    weeks = values_of([datetime(2023, 11, 13), datetime(2023, 11, 20), datetime(2023, 11, 19)], "1w", holidays="US")
    assert weeks["working_days"] == [5, 4, 4]
    assert weeks["holidays"] == [0, 1, 1]
    assert named(weeks["holiday"], "Thanksgiving Day") == ["-", "Thanksgiving Day", "Thanksgiving Day"]


def test_days_far_from_any_holiday_have_none() -> None:
    found = values_of([datetime(1, 1, 1), datetime(2999, 12, 31)], holidays={"country": "US", "window": [-1, 1]})
    assert found["holiday"] == [NONE, NONE]
    assert found["holiday_before_1"] == found["holiday_after_1"] == [0, 0]
    assert found["working_day"] == [1, 1], "a Monday and a Tuesday"


def frame_of(codes: dict[str, str | None], first: str = "2023-11-01", num: int = 30) -> pl.DataFrame:
    times = days(first, num)
    parts = [
        pl.DataFrame({"unique_id": name, "ds": times, "y": [float(place) for place in range(num)]}).with_columns(
            country=pl.lit(code, pl.String)
        )
        for name, code in codes.items()
    ]
    return pl.concat(parts)


def read(frame: pl.DataFrame, spec: Spec, **options: Any) -> Ingested:
    given, _ = read_input(frame, {}, static=spec.static_columns)
    return ingest(spec, rows=given.scan(spec.clock, static=spec.static_columns), covariates=CovariateRows(), **options)


def test_each_series_has_the_holidays_of_its_code() -> None:
    spec = spec_of(holidays={"by": "country"})
    ingested = read(frame_of({"a": "US", "b": "DE-BY", "c": "DE"}), spec)
    panel = panel_of(ingested.features, spec, ["a", "b", "c"], run_cutoff=ingested.cutoff)
    assert panel.covariate_SNK is not None
    of_series = [
        [str(panel.ds_SN[row, place].astype("datetime64[D]")) for place in (values != NONE).nonzero()[0]]
        for row, values in enumerate(panel.covariate_SNK[:, :, 0])
    ]
    assert of_series == [["2023-11-10", "2023-11-11", "2023-11-23"], ["2023-11-01"], []]
    assert not ingested.notes


def test_unknown_code_is_refused_with_its_series_and_those_that_are_known() -> None:
    spec = spec_of(holidays={"by": "country"})
    with pytest.raises(SourceError, match=r"series 'b' has 'DE-XX' in column 'country' .*DE has the parts BB, BE"):
        read(frame_of({"a": "US", "b": "DE-XX"}), spec)
    with pytest.raises(SourceError, match=r"series 'b' has 'Germany' in column 'country'"):
        read(frame_of({"a": "US", "b": "Germany"}), spec)
    with pytest.raises(SpecError, match=r"holidays.country: 'QQ' must be a country such as DE"):
        read(frame_of({"a": "US"}), spec_of(holidays="QQ"))


def test_series_without_a_code_is_named_and_has_the_holidays_of_the_spec() -> None:
    frame = frame_of({"a": "US", "b": None, "c": " "})
    ingested = read(frame, spec_of(holidays={"by": "country"}))
    (note,) = ingested.notes
    assert note.startswith("2 of 3 series have no code in column 'country', such as 'b'; they have no holidays")
    ingested = read(frame, spec_of(holidays={"by": "country", "country": "DE-BY"}))
    assert "they have the holidays of DE-BY" in ingested.notes[0]
    first = ingested.features.filter(pl.col("ds") == datetime(2023, 11, 1)).sort("unique_id")
    assert [values[0] != NONE for values in first["covariates"].to_list()] == [False, True, True]


def test_holiday_that_is_new_within_the_horizon_is_named() -> None:
    spec = spec_of(holidays="US")
    frame = frame_of({"a": None}, first="2023-11-15", num=40)
    ingested = read(frame.drop("country"), spec)
    assert ingested.notes == (
        "holiday 'Christmas Day' lies within the horizon of 1 series for the first time in their history, such as of"
        " 'a'; models know the effect of their other holidays alone",
    )
    without_any = read(frame.drop("country").filter(pl.col("ds") > datetime(2023, 11, 24)), spec)
    assert without_any.notes[0].startswith("covariate 'holiday' changes within the horizon for the first time")


def test_features_have_holidays_of_the_horizon_beside_columns_of_the_source() -> None:
    spec = spec_of(holidays="US", covariates={"future": ["price"]})
    frame = frame_of({"a": None}, first="2023-11-15", num=12).drop("country")
    frame = frame.with_columns(price=pl.col("y"), y=pl.when(pl.int_range(pl.len()) < 10).then("y"))
    given, _ = read_input(frame, {}, covariates=["price"])
    ingested = ingest(spec, rows=given.scan(spec.clock), covariates=given.scan_covariates(spec.clock, ["price"]))
    thanksgiving = code_of("Thanksgiving Day")
    of_day = {7: [NONE, 1.0, 0.0], 8: [thanksgiving, 0.0, 0.0], 9: [NONE, 0.0, 1.0]}
    is_free = {3, 4, 8, 10, 11}
    expected = [
        [float(place), *of_day.get(place, [NONE, 0.0, 0.0]), float(place not in is_free)] for place in range(12)
    ]
    assert ingested.features["covariates"].to_list() == expected[:10]
    assert ingested.features["covariates_ahead"][-1].to_list() == expected[10:]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"holidays": "usa"}, "holidays.country = 'usa': must be a country such as 'DE'"),
        ({"holidays": {"window": [-1, 1]}}, "window and bridge_days need the holidays of a country"),
        ({"holidays": {"country": "US", "window": [1, 2]}}, "must be two numbers of days from -7 to 0"),
        ({"holidays": {"country": "US", "window": [-1]}}, "must be two numbers of days from -7 to 0"),
        ({"holidays": "US", "freq": 1}, "holidays need timestamps, but the frequency is an integer step"),
        ({"holidays": {"country": "US", "window": [-1, 0]}, "freq": "1w"}, "need a frequency of a day or less, not 1w"),
        ({"holidays": {"country": "US", "bridge_days": True}, "freq": "1mo"}, "need a frequency of a day or less"),
        ({"holidays": "US", "covariates": {"future": ["holiday"]}}, "which the block holidays also makes"),
        ({"holidays": {"by": "ds"}}, "holidays.by must be another column than id, time and target: ds"),
    ],
)
def test_holidays_that_cannot_be_covariates_are_refused(fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(SpecError) as refused:
        spec_of(**fields)
    assert expected in str(refused.value)


def test_column_of_codes_may_be_a_category_as_well() -> None:
    spec = spec_of(holidays={"by": "country"}, categories={"static": ["store", "country"]})
    assert spec.static_columns == ("store", "country")
