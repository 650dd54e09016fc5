"""Views of one spec's rows, for specs whose series several columns name: `<spec>__forecasts` has these columns."""

from collections.abc import Iterator

import polars as pl

from forecasting.schemas import TABLES
from forecasting.spec.frequency import CLOCKS, Clock
from forecasting.store.slices import quote
from forecasting.store.tables import Store
from forecasting.store.views import DS_LOCAL, VIEWS, View

MARK = "__"
"""Between a spec and a table in the name of a view. Names of specs do not have it."""
_SQL = """
SELECT named.unique_id{columns}, {reads}.* EXCLUDE (spec, unique_id)
FROM {reads}
LEFT JOIN (SELECT unique_id, keys FROM {names} WHERE spec = {spec}) AS named USING (unique_id)
WHERE {reads}.spec = {spec}
"""


def spec_views(store: Store) -> list[View]:
    """Return the views of all specs whose series several columns name. The table `names` is read.

    Args:
        store: The store.

    Returns:
        For each of these specs, a view of each table and view with a column `unique_id`.
    """
    return [view for clock in CLOCKS for view in _views_on(store, clock)]


def _views_on(store: Store, clock: Clock) -> Iterator[View]:
    keys = store.scan("names", clock).group_by("spec").agg(pl.col("keys").first()).sort("spec").collect()
    names = TABLES["names"].stored_as(clock)
    for spec, of_spec in keys.iter_rows():
        for reads, shown, columns in _readable(clock):
            own = [
                f", {_value(place, key['type'])} AS {_identifier(key['name'])}"
                for place, key in enumerate(of_spec, start=1)
                if key["name"] not in columns
            ]
            yield View(
                f"{spec}{MARK}{shown}",
                f"{shown} of spec {spec}, with the columns that name its series",
                reads,
                _SQL.format(columns="".join(own), reads=reads, names=names, spec=quote(spec)),
            )


def _readable(clock: Clock) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Yield tables and views with series: the name to read, the name to show, and the columns."""
    for declared in TABLES.values():
        columns = frozenset(declared.schema(clock))
        if "unique_id" not in columns or declared.name == "names":
            continue
        stored_as = declared.stored_as(clock)
        yield stored_as, declared.name, columns
        for view in VIEWS:
            if view.reads == stored_as:
                own = frozenset(column.name for column in view.columns) or columns
                shown = view.name.removesuffix("_by_step")
                yield view.name, shown, own | ({DS_LOCAL} if view.adds_local else set())


def _value(place: int, kind: str) -> str:
    value = f"named.keys[{place}].value"
    return f"TRY_CAST({value} AS BIGINT)" if kind == "integer" else value


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
