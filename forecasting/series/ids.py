"""Names of series that one column or several columns state, and the way back from a name to its columns.

The values of several columns are joined by a slash; within a value, a slash or a backslash follows a backslash. So
different values never share a name.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from forecasting.schemas import KEYS
from forecasting.series.columns import read_id
from forecasting.series.runs import find_runs

_NAMES = pl.Struct({"unique_id": pl.String, "written_id": pl.String})
SEPARATOR = "/"
ESCAPE = "\\"


def read_names(columns: Sequence[str], schema: pl.Schema, *, uri: str) -> pl.Expr:
    """Read names of series.

    Args:
        columns: The columns that name a series.
        schema: The schema of the rows.
        uri: The file, for messages.

    Returns:
        A struct: `unique_id`, the name without blanks around its values, which lacks if one of these does; and
        `written_id`, the name as it is written where it has such blanks, else null.

    Raises:
        SourceError: The dtype of a column is neither text nor a whole number.
    """
    written = [read_id(name, schema[name], subject=f"{uri}: id column '{name}'") for name in columns]
    if len(columns) == 1:
        return written[0].map_batches(_strip, return_dtype=_NAMES, is_elementwise=True)
    stripped = [value.str.strip_chars() for value in written]
    values = [pl.when(value != "").then(value) for value in stripped]
    return _spell(_join(values), _join(written))


def _strip(written: pl.Series) -> pl.Series:
    """Return the struct of `read_names` of names in one column, which few sources write with blanks around them."""
    names = find_runs(written).names
    if names.str.strip_chars().equals(names):
        nothing = pl.repeat(None, len(written), dtype=pl.String, eager=True)
        return pl.DataFrame({"unique_id": written, "written_id": nothing}).to_struct(written.name)
    text = pl.col(written.name)
    return written.to_frame().select(_spell(text.str.strip_chars(), text).alias(written.name)).to_series()


def _spell(name: pl.Expr, written: pl.Expr) -> pl.Expr:
    return pl.struct(unique_id=name, written_id=pl.when((written != name) & (name != "")).then(written))


def join_name(values: Sequence[str]) -> str:
    r"""Return the name of the series with some values.

    >>> join_name(["1", "bread/butter"])
    '1/bread\\/butter'
    """
    return SEPARATOR.join(value.replace(ESCAPE, ESCAPE * 2).replace(SEPARATOR, ESCAPE + SEPARATOR) for value in values)


def split_name(name: str) -> list[str]:
    r"""Return the values that `join_name` has joined.

    >>> split_name('1/bread\\/butter')
    ['1', 'bread/butter']
    """
    values, is_escaped = [""], False
    for character in name:
        if character == SEPARATOR and not is_escaped:
            values.append("")
            continue
        is_escaped = character == ESCAPE and not is_escaped
        if not is_escaped:
            values[-1] += character
    return values


def unfold_names(rows: pl.DataFrame, dtypes: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Add the columns that name the series.

    Args:
        rows: Rows with unique_id.
        dtypes: The columns that name a series, and their dtypes in the input.

    Returns:
        The rows with these columns after unique_id. A column with a value that its dtype cannot hold is text.
    """
    names = rows["unique_id"].unique().drop_nulls()
    values = [split_name(name) for name in names]
    columns = [
        narrow(pl.Series(column, [each[place] if place < len(each) else None for each in values], pl.String), dtype)
        for place, (column, dtype) in enumerate(dtypes.items())
    ]
    joined = rows.join(pl.DataFrame([names, *columns]), on="unique_id", how="left", maintain_order="left")
    others = [name for name in rows.columns if name != "unique_id"]
    return joined.select("unique_id", *dtypes, *others)


def lay_out_names(unique_ids: Sequence[str], dtypes: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Return the rows of the table `names`.

    Args:
        unique_ids: Names of series.
        dtypes: The columns that name a series, and their dtypes in the input.

    Returns:
        unique_id and keys.
    """
    kinds = [(name, "integer" if dtype.is_integer() else "text") for name, dtype in dtypes.items()]
    keys = [
        [
            {"name": column, "value": value, "type": kind}
            for (column, kind), value in zip(kinds, split_name(name), strict=False)
        ]
        for name in unique_ids
    ]
    return pl.DataFrame({"unique_id": unique_ids, "keys": keys}, schema={"unique_id": pl.String(), "keys": KEYS})


def narrow(values: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Return values in another dtype; unchanged where it cannot hold them, or would be written in another way."""
    narrowed = values.cast(dtype, strict=False)
    # Text such as 'a' or '001' has no integer that is written the same way.
    is_same = narrowed.cast(values.dtype, strict=False).eq_missing(values).all()
    return narrowed if is_same else values


def _join(values: Sequence[pl.Expr]) -> pl.Expr:
    escaped = [
        value.str.replace_all(ESCAPE, ESCAPE * 2, literal=True).str.replace_all(
            SEPARATOR, ESCAPE + SEPARATOR, literal=True
        )
        for value in values
    ]
    return pl.concat_str(escaped, separator=SEPARATOR)
