"""Names and shapes of the tables of vectors that networks learn for categories; counted without torch."""

from forecasting.spec.categories import Categories

EMBEDDING = "embedding_"
_CALENDAR_VALUES = {"hour": 24, "weekday": 7, "month": 12}


def most_values(name: str, categories: Categories) -> int:
    """Return the largest number of values of a category that have vectors of their own."""
    return _CALENDAR_VALUES.get(name, categories.most)


def embedding_name(category: int) -> str:
    """Name the table of vectors of a category, by its number among those that a network reads.

    >>> embedding_name(0)
    'embedding_0_VE'
    """
    return f"{EMBEDDING}{category}_VE"


def embedding_shapes(categories: Categories, *, reads_static: bool) -> dict[str, tuple[int, int]]:
    """Return the shapes of the tables of the categories that a network reads, calendar categories first.

    A table has one row for values that training has not seen, and one for each value that there may be: static
    categories and holidays may gain values, but a trained table cannot gain rows.

    Args:
        categories: The spec's categories.
        reads_static: Whether the network reads static categories, as those that begin from a prior do.

    Returns:
        Rows and vector size (V, E) of each table, by parameter name.
    """
    names = (*categories.calendar, *(categories.static if reads_static else ()))
    return {
        embedding_name(place): (1 + most_values(name, categories), categories.size) for place, name in enumerate(names)
    }
