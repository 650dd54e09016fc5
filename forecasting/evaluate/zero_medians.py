"""Series whose forecast is zero at every step although they have demand: the median of intermittent demand."""

from collections.abc import Sequence

import polars as pl


def describe_zero_medians(forecasts: pl.LazyFrame, quantile_columns: Sequence[str], *, has_paths: bool) -> str | None:
    """Return a sentence about series whose serving model forecasts zero at every step, but has a quantile above zero.

    Args:
        forecasts: Rows of the table `forecasts`.
        quantile_columns: Its columns of quantiles.
        has_paths: Whether sample paths are drawn as well.

    Returns:
        The sentence; None where there are no such series.
    """
    served = forecasts.filter("is_champion", pl.col("forecast").is_not_null())
    is_zero, has_demand = (pl.col("forecast") == 0).all(), pl.max_horizontal(quantile_columns).max() > 0
    is_found = served.group_by("unique_id").agg(is_found=is_zero & has_demand).collect(engine="streaming")
    found = is_found.filter("is_found")["unique_id"].sort()
    if found.is_empty():
        return None
    remedy = "" if has_paths else "; paths = 200 (--paths 200) draws some"
    return (
        f"{len(found):,} of {is_found.height:,} series, such as '{found[0]}', are forecast 0 at every step: 0 is their"
        " median, although they have demand. The sum of these forecasts is not the expected demand; the mean of the"
        f" sums of sample paths is{remedy}"
    )
