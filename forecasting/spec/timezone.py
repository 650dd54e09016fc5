"""Names of time zones in a spec."""

from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator


def check_timezone(name: str) -> str:
    """Return the name of a time zone.

    Args:
        name: An IANA name.

    Returns:
        The same name.

    Raises:
        ValueError: There is no such zone.
    """
    if name not in available_timezones():
        raise ValueError("must be an IANA time zone such as 'UTC' or 'America/New_York'")
    return name


TimeZone = Annotated[str, AfterValidator(check_timezone)]
"""The IANA name of a time zone."""
