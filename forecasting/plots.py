"""Matplotlib figures: fan charts of forecasts, their attributions, and attention of networks over their context.

Nothing touches pyplot, so figures can be made in any thread and without a display.
"""

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.ticker import MaxNLocator

from forecasting.spec.quantiles import quantile_levels

BANDS = (0.95, 0.8, 0.5)
"""Central shares that are shaded, widest first."""

_HISTORY, _ACTUAL, _MEDIAN, _QUIET = "#4b5563", "#111827", "#1d4ed8", "#6b7280"
_DATES = {
    "formats": ["%Y", "%b %Y", "%d %b", "%H:%M", "%H:%M", "%S.%f"],
    "zero_formats": ["", "%Y", "%b %Y", "%d %b", "%H:%M", "%H:%M"],
}
"""Labels of ticks by year, month, day, hour, minute and second; a tick at zero has the label of the coarser unit."""
_PARTS = ("#9ca3af", "#60a5fa", "#f59e0b", "#10b981", "#a78bfa", "#ef4444", "#14b8a6", "#e879f9", "#84cc16", "#1d4ed8")
"""Colours of the parts of a forecast, the past first."""
_SUM = "sum of the parts"
_SHADES = {0.95: "#dbe7fb", 0.8: "#b3cdf6", 0.5: "#7fa8ee"}


def fan_chart(history: pl.DataFrame, forecasts: pl.DataFrame, *, title: str | None = None) -> Figure:
    """Draw each series' history, its median forecast with bands, and the actuals since its cutoff.

    A band between two quantile columns is interpolated; a band outside all of them is left out. Characters that the
    default font lacks are drawn in other installed fonts; Matplotlib warns of characters that no font has.

    Args:
        history: Columns unique_id, ds and y (null in gaps); rows after the cutoff are drawn as actuals.
        forecasts: Columns unique_id, ds, cutoff, model and quantiles; one row per series and ds.
        title: The title of the figure.

    Returns:
        A figure with one panel per series, in the order of `forecasts`; two panels per row from four series on.
    """
    names = forecasts["unique_id"].unique(maintain_order=True).to_list()
    fonts = find_fonts("".join([*names, title or ""]))
    num_columns = 1 if len(names) < 4 else 2
    num_rows = max(1, math.ceil(len(names) / num_columns))
    figure = Figure(figsize=(10 if num_columns == 1 else 14, 1.0 + (3.6 if num_rows == 1 else 2.9) * num_rows), dpi=120)
    panels: list[Axes] = list(figure.subplots(num_rows, num_columns, squeeze=False).flatten())
    for axes, name in zip(panels, names, strict=False):
        is_series = pl.col("unique_id") == name
        _draw_fan(axes, history.filter(is_series).sort("ds"), forecasts.filter(is_series).sort("ds"), fonts)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    _add_legend(figure, panels[: len(names)])
    height = figure.get_size_inches()[1]
    if title:
        figure.text(
            0.012, 1 - 0.12 / height, title, fontsize=13, weight="bold", va="top", parse_math=False, family=fonts
        )
    figure.tight_layout(rect=(0, 0, 1, 1 - (0.62 if title else 0.4) / height), h_pad=1.6, w_pad=1.8)
    return figure


@dataclass(frozen=True)
class Attention:
    """The attention of one series' network: how each segment of the horizon weighs the steps of the context.

    Attributes:
        unique_id: The name of the series.
        ends_T: The time at which each of T context steps ends.
        begins_K: The time at which each of K segments of the horizon begins.
        share_KT: Weights, (K, T). A row sums to one, less the weights of steps before the series begins.
    """

    unique_id: str
    ends_T: npt.NDArray[np.generic]
    begins_K: npt.NDArray[np.generic]
    share_KT: npt.NDArray[np.float64]


def attention_chart(attentions: Sequence[Attention]) -> Figure:
    """Draw one heat map per series: context steps from left to right, segments of the horizon from top to bottom."""
    fonts = find_fonts("".join(each.unique_id for each in attentions))
    figure = Figure(figsize=(10, 1.0 + 2.9 * len(attentions)), dpi=120)
    panels: list[Axes] = list(figure.subplots(len(attentions), 1, squeeze=False).flatten())
    for axes, each in zip(panels, attentions, strict=True):
        image = axes.imshow(each.share_KT, aspect="auto", cmap="Blues", vmin=0, interpolation="nearest")
        style: dict[str, Any] = {
            "fontsize": 11,
            "weight": "bold",
            "color": _ACTUAL,
            "family": fonts,
            "parse_math": False,
        }
        axes.set_title(each.unique_id, loc="left", **style)
        axes.set_title("share of attention, by segment of the horizon", loc="right", fontsize=9, color=_QUIET)
        axes.set_xlabel("end of the context step", fontsize=8.5, color=_QUIET)
        axes.set_ylabel("start of the segment", fontsize=8.5, color=_QUIET)
        for set_ticks, places in ((axes.set_xticks, each.ends_T), (axes.set_yticks, each.begins_K)):
            shown = np.unique(np.linspace(0, len(places) - 1, min(len(places), 6)).round().astype(int))
            set_ticks(shown, [_short(places[place]) for place in shown])
        axes.tick_params(colors=_QUIET, labelsize=8.5, length=3)
        axes.spines[:].set_color("#d1d5db")
        figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02).ax.tick_params(colors=_QUIET, labelsize=8.5)
    figure.tight_layout(h_pad=1.6)
    return figure


def attribution_chart(parts: pl.DataFrame) -> Figure:
    """Draw how much of each forecast's difference from its seasonal reference comes from what, as stacked bars.

    Args:
        parts: Columns unique_id, ds, model, kind, component and contribution, as of the table `attributions`.

    Returns:
        A figure with one panel per series, in the order of `parts`. Bars of each time sum to the difference, which a
        line shows.
    """
    names = parts["unique_id"].unique(maintain_order=True).to_list()
    moving = parts.filter(pl.col("kind") != "reference")
    components = moving["component"].unique(maintain_order=True).to_list()
    fonts = find_fonts("".join([*names, *components]))
    figure = Figure(figsize=(10, 1.0 + 2.9 * len(names)), dpi=120)
    panels: list[Axes] = list(figure.subplots(len(names), 1, squeeze=False).flatten())
    colours = dict(zip(components, _PARTS * (1 + len(components) // len(_PARTS)), strict=False))
    for axes, name in zip(panels, names, strict=True):
        rows = moving.filter(pl.col("unique_id") == name)
        times = rows["ds"].unique().sort()
        places = np.arange(len(times))
        above, below = np.zeros(len(times)), np.zeros(len(times))
        for component in rows["component"].unique(maintain_order=True):
            own = pl.DataFrame({"ds": times}).join(rows.filter(component=component), on="ds", how="left")
            values = own["contribution"].fill_null(0.0).to_numpy()
            bottom = np.where(values >= 0, above, below)
            axes.bar(places, values, bottom=bottom, width=0.8, color=colours[component], label=component, zorder=3)
            above, below = above + np.maximum(values, 0), below + np.minimum(values, 0)
        axes.plot(places, above + below, color=_ACTUAL, linewidth=1, marker="o", markersize=3, zorder=4, label=_SUM)
        axes.axhline(0, color=_QUIET, linewidth=0.8, zorder=2)
        _label(axes, rows, fonts)
        shown = np.unique(np.linspace(0, len(times) - 1, min(len(times), 6)).round().astype(int))
        axes.set_xticks(shown, [_short(times.to_numpy()[place]) for place in shown])
        axes.set_ylabel("difference from the reference", fontsize=8.5, color=_QUIET)
    handles = {label: mark for axes in panels for mark, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    order = [label for label in (*components, _SUM) if label in handles]
    legend = figure.legend(
        handles=[handles[label] for label in order],
        labels=order,
        loc="upper right",
        ncols=min(len(order), 6),
        frameon=False,
        fontsize=9,
        labelcolor=_QUIET,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
        text.set_fontfamily(fonts)
    rows_of_legend = -(-len(order) // 6)
    figure.tight_layout(rect=(0, 0, 1, 1 - (0.15 + 0.25 * rows_of_legend) / figure.get_size_inches()[1]), h_pad=1.6)
    return figure


def _short(moment: np.generic) -> str:
    """Write a time without the parts that are zero.

    >>> _short(np.datetime64("2013-12-29T00:00:00", "us")), _short(np.datetime64("2013-12-29T23:00:00", "us"))
    ('2013-12-29', '2013-12-29 23:00')
    """
    return str(moment.item()).removesuffix(":00").removesuffix(" 00:00")


def quantile_at(forecasts: pl.DataFrame, level: float) -> npt.NDArray[np.float64] | None:
    """Return a quantile of each row, interpolated between the two nearest columns.

    Args:
        forecasts: Rows with quantile columns.
        level: The level, between 0 and 1.

    Returns:
        A value per row, NaN for null; None if the level lies outside all columns.
    """
    columns = quantile_levels(forecasts.columns)
    below = max((known for known in columns if known <= level + 1e-9), default=None)
    above = min((known for known in columns if known >= level - 1e-9), default=None)
    if below is None or above is None:
        return None
    share = 0.0 if above == below else (level - below) / (above - below)
    low, high = (forecasts[columns[known]].cast(pl.Float64).fill_null(np.nan).to_numpy() for known in (below, above))
    mixed: npt.NDArray[np.float64] = (1 - share) * low + share * high
    return mixed


def find_fonts(text: str) -> list[str]:
    """Find the font families that together have the characters of a text.

    Args:
        text: Any text.

    Returns:
        The default family, then installed families that have further characters, sorted by name. A character that no
        installed font has adds none.
    """
    families = ["sans-serif"]
    missing = {ord(char) for char in text if char.isprintable()} - _characters_of("sans-serif")
    for entry in sorted(fontManager.ttflist, key=lambda entry: (entry.name, entry.fname)):
        if not missing:
            break
        try:
            found = missing & get_font(entry.fname).get_charmap().keys()
        except (OSError, RuntimeError):
            continue  # the font has been deleted or is broken
        if found and entry.name not in families:
            families.append(entry.name)
            missing -= found
    return families


def _characters_of(family: str) -> Set[int]:
    return get_font(findfont(FontProperties(family=[family]))).get_charmap().keys()


def _draw_fan(axes: Axes, history: pl.DataFrame, forecasts: pl.DataFrame, fonts: list[str]) -> None:
    cutoff = forecasts["cutoff"][0]
    ahead = forecasts["ds"].to_numpy()
    for share in BANDS:
        low, high = quantile_at(forecasts, 0.5 - share / 2), quantile_at(forecasts, 0.5 + share / 2)
        if low is not None and high is not None:
            axes.fill_between(ahead, low, high, color=_SHADES[share], linewidth=0, label=f"{share:.0%} band", zorder=1)
    median = quantile_at(forecasts, 0.5)
    if median is not None:
        axes.plot(ahead, median, color=_MEDIAN, linewidth=1.8, label="median forecast", zorder=4)
    known, arrived = history.filter(pl.col("ds") <= cutoff), history.filter(pl.col("ds") > cutoff)
    _draw_measured(axes, known, color=_HISTORY, label="history")
    if arrived["y"].is_not_null().any():
        _draw_measured(axes, arrived, color=_ACTUAL, label="actual since", marker="o")
    _mark_cutoff(axes, forecasts)
    _label(axes, forecasts, fonts)


def _draw_measured(axes: Axes, rows: pl.DataFrame, *, color: str, label: str, marker: str | None = None) -> None:
    """Draw a line that breaks at gaps; a point alone between two gaps gets a dot, because a line cannot show it."""
    y = rows["y"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    ds = rows["ds"].to_numpy()
    is_gap = np.concatenate([[True], np.isnan(y), [True]])
    is_alone = ~is_gap[1:-1] & is_gap[:-2] & is_gap[2:]
    width, order = (0.7, 5) if marker else (1.2, 3)
    axes.plot(ds, y, color=color, linewidth=width, label=label, marker=marker, markersize=2.6, zorder=order)
    if is_alone.any():
        axes.plot(ds[is_alone], y[is_alone], color=color, linestyle="none", marker="o", markersize=2.6, zorder=3)


def _mark_cutoff(axes: Axes, forecasts: pl.DataFrame) -> None:
    cutoff = forecasts["cutoff"]
    axes.axvline(cutoff.to_numpy()[0], color=_QUIET, linewidth=1, linestyle=(0, (3, 3)), zorder=2)
    axes.annotate(
        f"{cutoff[0]} ".replace(" 00:00:00 ", " ").replace(":00 ", " "),
        (cutoff.to_numpy()[0], 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(-4, -3),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=8.5,
        color=_QUIET,
    )


def _label(axes: Axes, forecasts: pl.DataFrame, fonts: list[str]) -> None:
    name, model = str(forecasts["unique_id"][0]), str(forecasts["model"][0])
    axes.set_title(name, loc="left", fontsize=11, weight="bold", color=_ACTUAL, parse_math=False, family=fonts)
    axes.set_title(f"model: {model}", loc="right", fontsize=9, color=_QUIET, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#d1d5db")
    axes.tick_params(colors=_QUIET, labelsize=8.5, length=3)
    axes.grid(axis="y", color="#eef0f3", linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.margins(x=0.01)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    if forecasts["ds"].dtype.is_temporal():
        locator = AutoDateLocator(minticks=4, maxticks=9)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False, **_DATES))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=9, integer=True))


def _add_legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """Explain each mark once for all panels, in reading order."""
    entries: dict[str, Artist] = {}
    for axes in panels:
        entries |= {label: mark for mark, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    order: list[str] = [label for label in ("history", "actual since", "median forecast") if label in entries]
    order += [label for share in reversed(BANDS) if (label := f"{share:.0%} band") in entries]
    if order:
        figure.legend(
            handles=[entries[label] for label in order],
            labels=order,
            loc="upper right",
            ncols=len(order),
            frameon=False,
            fontsize=9,
            labelcolor=_QUIET,
            handlelength=1.6,
            columnspacing=1.4,
        )
