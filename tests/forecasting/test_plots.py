"""Fan charts: their marks and bands, and inputs that they must be able to draw."""

import io
from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from forecasting.plots import fan_chart, find_fonts, quantile_at
from forecasting.spec.quantiles import quantile_levels

START = datetime(2024, 1, 1)
LEVELS = {
    "q02_5": 0.025,
    "q10": 0.1,
    "q20": 0.2,
    "q30": 0.3,
    "q50": 0.5,
    "q70": 0.7,
    "q80": 0.8,
    "q90": 0.9,
    "q97_5": 0.975,
}


@pytest.fixture
def frames() -> Callable[..., tuple[pl.DataFrame, pl.DataFrame]]:
    """History of ten points, two of them after the cutoff, and a forecast whose quantile at level p is 100 p."""

    def build(
        *names: str, on_steps: bool = False, levels: dict[str, float] = LEVELS
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        def at(point: int) -> datetime | int:
            return point if on_steps else START + timedelta(hours=point)

        history = [{"unique_id": name, "ds": at(point), "y": float(point)} for name in names for point in range(10)]
        ahead = [
            {"unique_id": name, "ds": at(point), "cutoff": at(7), "model": "gru"}
            | {column: 100 * level for column, level in levels.items()}
            for name in names
            for point in range(8, 12)
        ]
        return pl.DataFrame(history), pl.DataFrame(ahead)

    return build


def visible(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_visible()]


def lines_of(axes: Axes) -> dict[str, np.ndarray]:
    return {str(line.get_label()): np.asarray(line.get_ydata(), dtype=float) for line in axes.get_lines()}


def bands_of(axes: Axes) -> dict[str, tuple[float, float]]:
    heights = {str(band.get_label()): band.get_paths()[0].vertices[:, 1] for band in axes.collections}
    return {label: (float(y.min()), float(y.max())) for label, y in heights.items()}


def test_fan_has_history_actuals_median_and_three_bands(
    frames: Callable[..., tuple[pl.DataFrame, pl.DataFrame]],
) -> None:
    (axes,) = visible(fan_chart(*frames("a")))
    lines = lines_of(axes)
    assert lines["history"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert lines["actual since"].tolist() == [8, 9]
    assert lines["median forecast"].tolist() == [50] * 4
    assert bands_of(axes) == {"95% band": (2.5, 97.5), "80% band": (10, 90), "50% band": (25, 75)}
    assert axes.get_title("left") == "a"
    assert axes.get_title("right") == "model: gru"


def test_band_outside_all_quantiles_is_left_out(
    frames: Callable[..., tuple[pl.DataFrame, pl.DataFrame]],
) -> None:
    (axes,) = visible(fan_chart(*frames("a", levels={"q10": 0.1, "q50": 0.5, "q90": 0.9})))
    assert set(bands_of(axes)) == {"80% band", "50% band"}


def test_quantile_between_two_columns_is_interpolated(frames: Callable[..., tuple[pl.DataFrame, pl.DataFrame]]) -> None:
    _, ahead = frames("a")
    for level in (0.025, 0.25, 0.5, 0.61):
        found = quantile_at(ahead, level)
        assert found is not None
        assert found == pytest.approx(100 * level)
    assert quantile_at(ahead, 0.01) is None


def test_quantile_columns_are_found_by_their_names() -> None:
    assert quantile_levels(["unique_id", "q02_5", "q50", "quantity", "q5"]) == {0.025: "q02_5", 0.5: "q50"}


@pytest.mark.parametrize("num_series", [1, 3, 4, 7])
def test_each_series_has_a_panel_in_the_order_of_the_forecasts(
    frames: Callable[..., tuple[pl.DataFrame, pl.DataFrame]], num_series: int
) -> None:
    names = [f"s{number}" for number in reversed(range(num_series))]
    assert [axes.get_title("left") for axes in visible(fan_chart(*frames(*names)))] == names


def test_steps_are_drawn_as_numbers(frames: Callable[..., tuple[pl.DataFrame, pl.DataFrame]]) -> None:
    (axes,) = visible(fan_chart(*frames("a", on_steps=True)))
    low, high = axes.get_xlim()
    assert -1 < low <= 0
    assert 11 <= high < 12


def test_line_breaks_at_gaps_and_an_isolated_point_has_a_dot(
    frames: Callable[..., tuple[pl.DataFrame, pl.DataFrame]],
) -> None:
    history, ahead = frames("a")
    gappy = history.with_columns(y=pl.when(pl.col("y").is_in([2.0, 4.0])).then(None).otherwise("y"))
    (axes,) = visible(fan_chart(gappy, ahead))
    assert np.isnan(lines_of(axes)["history"]).tolist() == [False, False, True, False, True, False, False, False]
    dots = [line for line in axes.get_lines() if line.get_linestyle() == "None"]
    assert [np.asarray(line.get_ydata()).tolist() for line in dots] == [[3.0]]


def test_actuals_that_have_not_arrived_are_not_in_the_legend(
    frames: Callable[..., tuple[pl.DataFrame, pl.DataFrame]],
) -> None:
    history, ahead = frames("a")
    figure = fan_chart(history.filter(pl.col("y") <= 7), ahead)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "history",
        "median forecast",
        "50% band",
        "80% band",
        "95% band",
    ]


@pytest.mark.parametrize("form", ["png", "svg"])
def test_series_without_history_or_forecast_can_be_drawn(
    frames: Callable[..., tuple[pl.DataFrame, pl.DataFrame]], form: str
) -> None:
    history, ahead = frames("a", "$b_{c")
    empty = ahead.with_columns(pl.lit(None, pl.Float64).alias(name) for name in LEVELS)
    drawn = io.BytesIO()
    fan_chart(history.clear(), empty, title="no $ data").savefig(drawn, format=form)
    assert drawn.tell() > 1000


def test_name_is_drawn_in_an_installed_font_that_has_its_characters(
    frames: Callable[..., tuple[pl.DataFrame, pl.DataFrame]],
) -> None:
    def characters_of(family: str) -> set[int]:
        return set(get_font(findfont(FontProperties(family=[family]))).get_charmap())

    # Matplotlib ships STIX, a font with mathematical letters.
    default, other = characters_of("sans-serif"), characters_of("STIXGeneral")
    letter = next(char for char in map(chr, sorted(other - default)) if char.isprintable())
    assert find_fonts("plain $ name") == ["sans-serif"]
    families = find_fonts(f"a {letter}")
    assert families[0] == "sans-serif"
    assert any(ord(letter) in characters_of(family) for family in families[1:])
    fan_chart(*frames(f"a {letter}"), title=letter).savefig(io.BytesIO())


def test_character_that_no_font_has_causes_a_warning(frames: Callable[..., tuple[pl.DataFrame, pl.DataFrame]]) -> None:
    nowhere = "\U000323af"  # the last ideograph of Unicode
    assert find_fonts(nowhere) == ["sans-serif"]
    with pytest.warns(UserWarning, match="missing from"):
        fan_chart(*frames(nowhere)).savefig(io.BytesIO())


def test_pyplot_is_not_used(frames: Callable[..., tuple[pl.DataFrame, pl.DataFrame]]) -> None:
    import sys

    fan_chart(*frames("a"))
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []
