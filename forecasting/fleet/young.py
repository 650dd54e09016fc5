"""Young series: those with training windows whose references reach back to before the series began.

What lies before a young series is unknown. A reference that has no value leaves its weight to those that have one, and
inputs are 0 where they, or the value a season before them, are unknown. A series that is long enough for all of its
windows to have every reference needs no masks.
"""

# S series · N grid points

import numpy as np
import numpy.typing as npt

from forecasting.fleet.parts import shortest_context
from forecasting.fleet.span import observed_span
from forecasting.series.panel import Panel
from forecasting.spec.training import MemberConfig

NOT_YOUNG = -1


def first_columns(
    panel: Panel, config: MemberConfig, references: tuple[int, ...], *, is_dense: bool = False
) -> npt.NDArray[np.int64]:
    """Return the column of each young series' first measurement, (S,).

    Args:
        panel: The series.
        config: Configuration of the member.
        references: How many points back each reference lies.
        is_dense: Whether the loss covers every step of a window; the first ones of every series lack references.

    Returns:
        Columns of the panel, `NOT_YOUNG` for a series whose windows have all references.
    """
    first_S, length_S = observed_span(panel.y_SN)
    if is_dense:
        return first_S
    context_S = shortest_context(length_S, config=config, horizon=panel.horizon)
    return np.where(context_S < max(references), first_S, NOT_YOUNG)
