"""What a run says of rows that are refused, and of series that are set aside, before it trains."""

from collections.abc import Iterator, Mapping

import polars as pl

from forecasting.series.budget import is_refusal
from forecasting.series.files import name_row


def describe_lost(rejects: pl.DataFrame, set_aside: Mapping[str, str], *, num_rows: int) -> Iterator[str]:
    """Yield a sentence about the refused rows of a source, and one about the series that are set aside.

    Args:
        rejects: Rows of the table `rejects`; repeats and NaN among them are not refusals.
        set_aside: Why a series is set aside, by its name.
        num_rows: All rows of the source.

    Yields:
        Sentences with an example.
    """
    refused = rejects.filter(is_refusal())
    if refused.height:
        columns = ("source_file", "source_row", "unique_id", "ds", "y", "reason")
        file, row, *texts, reason = refused.select(columns).row(0)
        shown = ", ".join(text or "" for text in texts)
        yield f"{refused.height:,} of {num_rows:,} rows are refused, such as {name_row(file, row)}: {shown} ({reason})"
    if set_aside:
        name, reason = next(iter(set_aside.items()))
        yield f"{len(set_aside):,} series get no forecast, such as '{name}', which is {reason}"
