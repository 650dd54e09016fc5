"""Why a row of a source is refused, and which reasons have a meaning in common."""

from enum import StrEnum


class Reason(StrEnum):
    """Why a row is refused; a row with several problems has the first reason that applies."""

    MORE_FIELDS = (
        "row has more fields than the header; quote values with separators, or see --csv-separator (source.csv)"
    )
    FEWER_FIELDS = "row has fewer fields than the header"
    HEADER = "row repeats the header"
    OTHER_HEADER = "row repeats the header with its columns in another order"
    STRAY_QUOTE = (
        "row has a quote that does not end its field; a quote within a quoted field must be doubled, and --csv-quote"
        " none (source.csv.quote) reads quotes as text"
    )
    NO_ID = "unique_id is missing"
    NOT_UTF_8 = "unique_id is not UTF-8 text; name the encoding with --csv-encoding (source.csv.encoding)"
    CATEGORY_NOT_UTF_8 = "a category is not UTF-8 text; name the encoding with --csv-encoding (source.csv.encoding)"
    NO_TIME = "time is missing"
    BAD_TIME = (
        "time cannot be read; it needs an ISO 8601 time such as 2013-01-31 05:00:00, or its format in --time-format"
        " (source.time_format)"
    )
    BAD_FORMAT = "time is not written as --time-format (source.time_format) says"
    NO_DAY = (
        "time is a month or a week, at a frequency below a month; --time-format iso_week or yyyymm"
        " (source.time_format) says which"
    )
    BAD_STEP = "time cannot be read; it needs a whole number"
    SKIPPED = "time does not exist in the zone of source.timezone (--timezone), whose clocks skip it in spring"
    NO_ZONE = "time has no offset, unlike others of its file; --timezone (source.timezone) names the zone of such times"
    OUT_OF_RANGE = "time is outside the years 1 to 2999"
    STEP_OUT_OF_RANGE = "time is more than 10^15 steps from 0"
    FUTURE = "time is in the future, where nothing can have been measured"
    NOT_A_NUMBER = "y is not a number"
    NAN = "y is NaN"
    INFINITE = "y is infinite"
    REPEATED = "duplicate of a row with the same unique_id, time and y"
    CONFLICT = (
        "duplicate with another y than the row of the same unique_id and time that was kept;"
        ' source.duplicates = "last" (--duplicates last) keeps the newest one, and "keep" (--duplicates keep), with'
        " source.aggregate, all of them; several columns may name a series together (--id store,item; source.id)"
    )
    REPLACED = "duplicate that a newer row of the same unique_id and time replaces"
    NO_MEASUREMENT = "row has no measurement, and another row of the same unique_id and time has one, which is kept"
    SHARED = (
        "another row of its series, with another time, lies in the same period and nearer to its grid point;"
        " source.aggregate = sum, mean, last, first, max or min makes one measurement of them"
    )
    CLOSED = (
        "time is closed; source.open (--open) names the open times, and source.closed_holidays (--closed-holidays)"
        " whose holidays are closed"
    )
    OFF_GRID = (
        "time is off the grid that most rows of its series lie on; source.aggregate = sum, mean, last, first, max or"
        " min makes one measurement of the rows of a period, and source.snap = nearest moves times below a day to the"
        " grid"
    )
    OFF_STEPS = "step is off the grid that most rows of its series lie on; freq (--freq) is the distance of its points"
    FAR_AWAY = "time is too far from the other rows of its series"


MALFORMED = (Reason.MORE_FIELDS, Reason.FEWER_FIELDS, Reason.STRAY_QUOTE, Reason.HEADER, Reason.OTHER_HEADER)
"""Reasons why the fields of a CSV row are, or may be, no values of their columns; it does not name a series."""
REPEATS = (Reason.REPEATED.value, Reason.REPLACED.value, Reason.NO_MEASUREMENT.value, Reason.HEADER.value)
"""Reasons of rows that another row makes superfluous, which is not refusal."""
UNKNOWN = (Reason.NAN.value,)
"""Reasons of rows that say that nothing is known, as a null does. Many libraries write a gap as NaN."""
OF_MEASUREMENT = (Reason.NOT_A_NUMBER.value, Reason.NAN.value, Reason.INFINITE.value, Reason.CONFLICT.value)
"""Reasons of rows whose measurement is what is wrong, not their time."""
IMPOSSIBLE = (Reason.OUT_OF_RANGE.value, Reason.STEP_OUT_OF_RANGE.value, Reason.FUTURE.value, Reason.FAR_AWAY.value)
"""Reasons of rows whose time is a mistake, so that they are not the newest of their series."""
UNREAD = (Reason.BAD_TIME.value, Reason.BAD_FORMAT.value, Reason.NO_DAY.value)
"""Reasons of rows whose time is written in another format."""
NAMELESS = (Reason.NO_ID.value, Reason.NOT_UTF_8.value, *(reason.value for reason in MALFORMED))
"""Reasons of rows whose series is not known."""
