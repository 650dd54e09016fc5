"""Categories as learned embeddings: the rows of a panel's values in tables of vectors, and the vectors of windows.

Each network has a table of vectors for each of its categories (entity embeddings, Guo & Berkhahn 2016; Bengio et al.
2003 for words). The first row of a table is for values that training has not seen. It is learned too: a share of
training windows has a category hidden. A value that is new at prediction, or that a series has never had, reads that
vector. Rows that were not seen hold the same vector, which identifies them (`unseen`).

Static categories do not change within a series. So only a network that begins from a prior, which learns from all
series, reads them.
"""

# S series · N grid points · B windows · T steps · L points of a segment · F horizon steps · K categories
# V rows of a table · E numbers of a vector

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from forecasting.fleet.architectures.noise import Noise
from forecasting.fleet.cells import Weights
from forecasting.fleet.embedding_shapes import embedding_name, most_values
from forecasting.fleet.windows import WindowBatch, WindowSource
from forecasting.series.categories import MISSING, Coded
from forecasting.spec.categories import Categories

Vocabulary = Mapping[str, tuple[str, ...]]
"""The values of each category that have a row, in the order of rows; the row before them is for all others."""

HIDDEN_SHARE = 0.05
"""Share of training windows in which a category is hidden."""
UNSEEN = 0


def learn_vocabulary(coded: Coded | None, categories: Categories, *, reads_static: bool) -> dict[str, tuple[str, ...]]:
    """Return the values that have rows of their own, most frequent first for static categories.

    Where a category has more values than `categories.most`, the rarer ones share the row of unseen values.

    Args:
        coded: Categories of a panel; None where it has none.
        categories: The spec's categories.
        reads_static: Whether the network reads static categories.

    Returns:
        The values of each category that the network reads, in the order of their rows.
    """
    if coded is None:
        return {}
    vocabulary = {}
    for name in (*categories.calendar, *(categories.static if reads_static else ())):
        place = coded.names.index(name)
        values = coded.values[place]
        if name in categories.static:
            counts = Counter(coded.code_SNK[:, :, place].max(1).tolist())
            counts.pop(MISSING, None)
            values = tuple(values[code] for code, _ in sorted(counts.items(), key=lambda each: (-each[1], each[0])))
        vocabulary[name] = values[: most_values(name, categories)]
    return vocabulary


def extend_vocabulary(
    earlier: Vocabulary, vocabulary: Vocabulary, categories: Categories
) -> dict[str, tuple[str, ...]]:
    """Keep the rows of earlier values, so that weights can be trained further, and append new values.

    >>> extend_vocabulary({"store": ("B", "A")}, {"store": ("A", "C")}, Categories(static=("store",)))
    {'store': ('B', 'A', 'C')}
    """
    extended = {}
    for name, values in vocabulary.items():
        known = earlier.get(name, ())
        new = (value for value in values if value not in known)
        extended[name] = (*known, *new)[: most_values(name, categories)]
    return extended


def rows_of(coded: Coded | None, vocabulary: Vocabulary) -> npt.NDArray[np.int32] | None:
    """Return the row of each category's table at every grid point.

    Args:
        coded: Categories of a panel; None where it has none.
        vocabulary: Values that have rows, by category.

    Returns:
        (S, N, K) in the vocabulary's order; None where no category is read.
    """
    if not vocabulary:
        return None
    assert coded is not None, "a panel has the categories that its networks read"
    rows = []
    for name, values in vocabulary.items():
        place = coded.names.index(name)
        row_of = {value: row for row, value in enumerate(values, start=1)}
        row_V = np.array([*(row_of.get(value, UNSEEN) for value in coded.values[place]), UNSEEN], dtype=np.int32)
        rows.append(row_V[coded.code_SNK[:, :, place]])  # the code of a missing value selects the last row
    return np.stack(rows, axis=-1)


def seen_rows(windows: WindowSource, last_S: Tensor, embeddings: Mapping[str, tuple[int, int]]) -> list[Tensor]:
    """Return which rows of each table occur in a series up to a column of the panel.

    Args:
        windows: The series.
        last_S: Last column of each series that counts, without padding.
        embeddings: Shapes of the tables.

    Returns:
        K masks of shape (S, V).
    """
    row_SNK = windows.row_SNK
    if row_SNK is None:
        return []
    first_S, last_S = windows.start_S + windows.padding, last_S + windows.padding
    columns_N = torch.arange(row_SNK.shape[1], device=row_SNK.device)
    is_inside_SN = (columns_N >= first_S[:, None]) & (columns_N <= last_S[:, None])
    seen = []
    for category, (num, _) in enumerate(embeddings.values()):
        row_SN = torch.where(is_inside_SN, row_SNK[..., category].long(), UNSEEN)
        seen.append(torch.zeros(len(row_SN), num, dtype=torch.bool, device=row_SN.device).scatter_(1, row_SN, True))
    return seen


def hide_unseen(row_SNK: Tensor, seen: Sequence[Tensor]) -> Tensor:
    """Return rows in which those that were not seen (`seen_rows`) are replaced by the row of unseen values."""
    row_SNK = row_SNK.clone()
    for category, is_seen_SV in enumerate(seen):
        row_SN = row_SNK[..., category]
        is_seen_SN = is_seen_SV.expand(len(row_SN), -1).gather(1, row_SN.long())
        row_SN.masked_fill_(~is_seen_SN, UNSEEN)
    return row_SNK


@torch.no_grad()
def tie_unseen(weights: Weights, seen: Sequence[Tensor]) -> None:
    """Set the vectors of rows that were not seen to the vector of unseen values, in place."""
    for category, is_seen_SV in enumerate(seen):
        table_SVE = weights[embedding_name(category)]
        table_SVE.copy_(torch.where(is_seen_SV.unsqueeze(-1), table_SVE, table_SVE[:, UNSEEN : UNSEEN + 1]))


def seen_by(weights: Weights, num_categories: int) -> list[Tensor]:
    """Return which rows of each table differ from the row of unseen values, as `seen_rows` does."""
    tables = [weights[embedding_name(category)] for category in range(num_categories)]
    return [(table_SVE != table_SVE[:, UNSEEN : UNSEEN + 1]).any(-1) for table_SVE in tables]


def embed(windows: WindowBatch, weights: Weights, noise: Noise | None = None) -> WindowBatch:
    """Append the vectors of categories to the inputs of windows, and to their future.

    A segment has the mean of its points' vectors, and each point of the horizon the mean of its segment's.

    Args:
        windows: Windows with rows of categories, or without any.
        weights: Weights of the networks, tables of vectors included.
        noise: Random numbers of a training step, which hide some categories; None outside training.

    Returns:
        The windows themselves where they read no categories.
    """
    if windows.row_SBTLK is None:
        return windows
    num_series, num_windows, num_steps, length, num_categories = windows.row_SBTLK.shape
    is_hidden_SBK = None
    if noise is not None:
        is_hidden_SBK = noise.hide(num_windows, num_categories, share=HIDDEN_SHARE, purpose="categories")

    def vectors(row_SBXK: Tensor) -> Tensor:
        """Look up rows at X places of each window; return their vectors side by side, (S, B, X, K E)."""
        found = []
        for category in range(num_categories):
            row_SBX = row_SBXK[..., category]
            if is_hidden_SBK is not None:
                row_SBX = row_SBX.where(~is_hidden_SBK[..., category, None], UNSEEN)
            table_SVE = weights[embedding_name(category)]
            place_SP = row_SBX.reshape(num_series, -1)
            vector_SPE = table_SVE.gather(1, place_SP.unsqueeze(-1).expand(-1, -1, table_SVE.shape[-1]))
            found.append(vector_SPE.view(*row_SBX.shape, -1))
        return torch.cat(found, dim=-1)

    point_SBXE = vectors(windows.row_SBTLK.flatten(2, 3))
    step_SBTE = point_SBXE.view(num_series, num_windows, num_steps, length, -1).mean(3)
    future_SBFC = windows.future_SBFC
    if future_SBFC is not None:
        assert windows.future_row_SBFK is not None, "windows with a future have its categories"
        segments = vectors(windows.future_row_SBFK).split(length, dim=2)
        of_segment = [part.mean(2, keepdim=True).expand_as(part) for part in segments]
        future_SBFC = torch.cat([future_SBFC, torch.cat(of_segment, dim=2)], dim=-1)
    return replace(windows, x_SBTI=torch.cat([windows.x_SBTI, step_SBTE], dim=-1), future_SBFC=future_SBFC)


def unseen(coded: Coded, vocabulary: Vocabulary, weights: Weights, columns: slice) -> list[tuple[tuple[str, str], ...]]:
    """Return, for each series, the categories and values within `columns` that its network has not seen."""
    num_series = next(iter(weights.values())).shape[0]
    found: list[list[tuple[str, str]]] = [[] for _ in range(num_series)]
    seen = seen_by(weights, len(vocabulary))
    all_rows_SNK = rows_of(coded, vocabulary)
    assert all_rows_SNK is not None, "there is a vocabulary"
    row_SNK = torch.from_numpy(all_rows_SNK[:, columns]).long()
    for category, name in enumerate(vocabulary):
        place = coded.names.index(name)
        code_SN = coded.code_SNK[:, columns, place]
        is_seen_SN = seen[category].gather(1, row_SNK[..., category]).numpy()
        series_P, column_P = np.nonzero(~is_seen_SN & (code_SN != MISSING))
        for series, code in np.unique(np.stack([series_P, code_SN[series_P, column_P]]), axis=1).T.tolist():
            found[series].append((name, coded.values[place][code]))
    return [tuple(sorted(each)) for each in found]
