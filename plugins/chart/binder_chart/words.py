"""The text of a chart: labels, numbers, legend and title, in the font that matplotlib ships."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from binder_chart.frame import Frame, along, shown, ticks
from binder_chart.plot import Plot
from binder_chart.style import Box, Style

INCHES = 3.2  # side of a picture, whatever its pixels: text and lines scale with it
POINT = 1 / 72 / INCHES  # one point as a fraction of the side
LETTER = 0.6  # width of an average character as a share of the font size
LONGEST_LABEL = 18  # characters
GAP = 3 * POINT  # between an axis and its labels
DIGITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


class Pen:
    """Writes on a figure; positions are fractions of it, sizes are relative to the style's."""

    def __init__(self, figure: Any, style: Style) -> None:
        self.figure, self.style = figure, style

    def __call__(
        self, x: float, y: float, words: str, across: str, upright: str, size: float = 1.0, **look: Any
    ) -> None:
        """Text at (x, y), aligned as `across` and `upright` say; `$` does not start a formula."""
        look = {"color": self.style.ink, "ha": across, "va": upright, "fontsize": self.style.text * size, **look}
        self.figure.text(x, y, words, fontproperties=_font(), parse_math=False, **look)


def write(figure: Any, plot: Plot, style: Style, frame: Frame, power: int) -> None:
    """Write numbers, labels, values, legend and title on the figure."""
    pen = Pen(figure, style)
    if plot.kind == "pie":
        _name_slices(pen, plot, frame)
    else:
        _number_axis(pen, style, frame, power)
        _name_points(pen, plot, style, frame)
        if style.written and plot.kind == "bar" and plot.values.size <= 12 and not plot.stacked:
            _write_values(pen, plot, frame, power)
        if style.legend != "none" and len(plot.names) > 1:
            _legend(pen, plot, style, frame)
    if style.title:
        pen(0.5, 0.99, style.title, "center", "top", 1.2)


def roomy(plot: Plot, style: Style) -> Box:
    """The plotting area that leaves enough room for the labels and numbers around it."""
    if plot.kind == "pie":
        return (0.22, 0.22, 0.78, 0.78)
    letter = LETTER * style.text * POINT
    longest = max((len(label(plot.labels[i])) for i in shown(plot, style)), default=0)
    slanted = not plot.horizontal and _slanted(plot, style)
    below = 0.04 + letter * (0.75 * longest if slanted else 3)
    left = 0.04 + letter * (longest if plot.horizontal else 5)
    legend = 4 * letter * (len(plot.names) > 1 and style.legend != "none")
    return (left, below, 0.95, 0.95 - legend)


def label(text: str) -> str:
    """A shortened text; characters that the font lacks become boxes, without matplotlib's warnings."""
    short = text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"
    known = _glyphs()
    return "".join(letter if ord(letter) in known else "□" for letter in short)


def number(value: float, power: int) -> str:
    """A value times 10 ** power as a short text: 2.5M, 40, 1e+300."""
    if not value:
        return "0"
    if not -6 <= power <= 15:
        return f"{value:.2g}e{power}"
    full = value * 10.0**power
    unit, letter = next(((unit, letter) for unit, letter in DIGITS if abs(full) >= unit), (1.0, ""))
    return f"{full / unit:.3g}{letter}"


def _number_axis(pen: Pen, style: Style, frame: Frame, power: int) -> None:
    """Numbers along the axis of the values."""
    for value in ticks(frame, style):
        x, y = frame.place(np.array([float(frame.horizontal)]), frame.v(np.array([value])))[0]
        if frame.horizontal:
            pen(x, y - GAP, number(value, power), "center", "top")
        else:
            pen(x - GAP, y, number(value, power), "right", "center")


def _name_points(pen: Pen, plot: Plot, style: Style, frame: Frame) -> None:
    """Labels along the axis of the points."""
    slanted: dict[str, Any] = {"rotation": 45, "rotation_mode": "anchor"} if _slanted(plot, style) else {}
    for i in shown(plot, style):
        x, y = frame.place(along(plot)[[i]], np.zeros(1))[0]
        if plot.horizontal:
            pen(x - GAP, y, label(plot.labels[i]), "right", "center")
        else:
            pen(x, y - GAP, label(plot.labels[i]), "right" if slanted else "center", "top", **slanted)


def _write_values(pen: Pen, plot: Plot, frame: Frame, power: int) -> None:
    """Values at the ends of the bars."""
    count = len(plot.values)
    for i, row in enumerate(plot.values):
        middle = along(plot) + (i - (count - 1) / 2) * pen.style.bar / len(plot.x) / count
        for u, value in zip(middle[np.isfinite(row)], row[np.isfinite(row)], strict=True):
            x, y = frame.place(np.array([u]), frame.v(np.array([max(value, 0.0)])))[0]
            if plot.horizontal:
                pen(x + GAP, y, number(value, power), "left", "center", 0.8)
            else:
                pen(x, y + GAP / 2, number(value, power), "center", "bottom", 0.8)


def _name_slices(pen: Pen, plot: Plot, frame: Frame) -> None:
    """Labels around a pie."""
    left, bottom, right, top = frame.box
    values = np.nan_to_num(plot.values[0])
    middle = 2 * np.pi * (np.cumsum(values) - values / 2) / values.sum()  # clockwise from twelve o'clock
    radius = 1.08 * min(right - left, top - bottom) / 2
    for angle, name in zip(middle, plot.labels, strict=True):
        x, y = (left + right) / 2 + radius * np.sin(angle), (bottom + top) / 2 + radius * np.cos(angle)
        pen(x, y, label(name), "left" if x > (left + right) / 2 else "right", "center", 0.9)


def _legend(pen: Pen, plot: Plot, style: Style, frame: Frame) -> None:
    """A colored square and a name per series: in a row above or below the chart, or in a column inside it."""
    left, bottom, right, top = frame.box
    step = 1.4 * style.text * POINT
    for i, name in enumerate(plot.names):
        if style.legend == "right":
            x, y = right - 8 * step, top - (i + 0.5) * step
        else:
            x = left + i * (right - left) / len(plot.names)
            y = bottom - 3 * step if style.legend == "below" else top + step
        pen(x, y, "■", "left", "center", color=style.palette[i % len(style.palette)])
        pen(x + step, y, label(name), "left", "center", 0.9)


def _slanted(plot: Plot, style: Style) -> bool:
    """Whether the labels below the chart would overlap."""
    names = [label(plot.labels[i]) for i in shown(plot, style)]
    return LETTER * style.text * POINT * sum(len(name) + 1 for name in names) > 0.8


@lru_cache(maxsize=1)
def _font_file() -> str:
    import matplotlib

    return f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf"


@lru_cache(maxsize=1)
def _font() -> Any:
    from matplotlib.font_manager import FontProperties

    return FontProperties(fname=_font_file())


@lru_cache(maxsize=1)
def _glyphs() -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(_font_file()).get_charmap())
