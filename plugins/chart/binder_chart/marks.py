"""The marks of a chart: bars, lines, areas, points, slices, as matplotlib's artists on the whole figure.

matplotlib's axes are not used: they would take nine tenths of the time, thousands of times in training.

Shapes: P points.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from binder_chart.frame import Frame, along
from binder_chart.plot import Plot
from binder_chart.style import Style

DOT = 4.0  # points; the size of a single point, and of scattered ones where the style has none


def bars(plot: Plot, style: Style, frame: Frame) -> list[Any]:
    """Bars, side by side or stacked; a single series may have a color per bar."""
    from matplotlib.collections import PolyCollection

    count, points = plot.values.shape
    width = style.bar / points / (1 if plot.stacked else count)
    above, below = np.zeros(points), np.zeros(points)
    corners, colors = [], []
    for i, row in enumerate(np.nan_to_num(plot.values)):
        shift = 0.0 if plot.stacked else (i - (count - 1) / 2) * width
        start = np.where(row >= 0, above, below) if plot.stacked else np.zeros(points)
        above, below = above + np.maximum(row, 0), below + np.minimum(row, 0)
        u0, u1 = along(plot) + shift - width / 2, along(plot) + shift + width / 2
        v0, v1 = frame.v(start), frame.v(start + row)
        corners.append(np.stack([frame.place(u, v) for u, v in ((u0, v0), (u1, v0), (u1, v1), (u0, v1))], axis=1))
        varied = style.varied and count == 1
        colors += [_color(style, k if varied else i) for k in range(points)]
    return [PolyCollection(list(np.concatenate(corners)), facecolors=colors, linewidths=0)]


def lines(plot: Plot, style: Style, frame: Frame) -> list[Any]:
    """A line per series, drawn across missing values."""
    from matplotlib.lines import Line2D

    found = []
    for i, row in enumerate(plot.values):
        known = np.isfinite(row)
        dot = style.marker or (DOT if known.sum() < 2 else 0.0)
        x, y = frame.place(along(plot)[known], frame.v(row[known])).T
        look: dict[str, Any] = {"color": _color(style, i), "linewidth": style.line, "marker": "o", "markersize": dot}
        found.append(Line2D(x, y, linestyle="-", solid_joinstyle="round", markeredgewidth=0, **look))
    return found


def areas(plot: Plot, style: Style, frame: Frame) -> list[Any]:
    """An area per series, from zero, or from the series below where stacked."""
    from matplotlib.patches import Polygon

    found = []
    below = np.zeros(len(plot.x))
    for i, row in enumerate(plot.values):
        known = np.isfinite(row)
        start = below[known] if plot.stacked else np.zeros(known.sum())
        top = start + row[known]
        u = along(plot)[known]
        outline = np.concatenate([frame.place(u, frame.v(top)), frame.place(u, frame.v(start))[::-1]])
        alpha = 1.0 if plot.stacked or len(plot.values) == 1 else 0.6
        found.append(Polygon(outline, facecolor=_color(style, i), alpha=alpha, linewidth=0))
        below[known] = top
    return found


def points(plot: Plot, style: Style, frame: Frame) -> list[Any]:
    """A dot for each value."""
    from matplotlib.lines import Line2D

    found = []
    for i, row in enumerate(plot.values):
        x, y = frame.place(along(plot), frame.v(row)).T
        look: dict[str, Any] = {"color": _color(style, i), "markersize": style.marker or DOT}
        found.append(Line2D(x, y, linestyle="none", marker="o", markeredgewidth=0, **look))
    return found


def slices(plot: Plot, style: Style, frame: Frame) -> list[Any]:
    """The slices of a pie, clockwise from twelve o'clock."""
    from matplotlib.patches import Wedge

    left, bottom, right, top = frame.box
    center, radius = ((left + right) / 2, (bottom + top) / 2), min(right - left, top - bottom) / 2
    values = np.nan_to_num(plot.values[0])
    ends = 90 - 360 * np.concatenate([[0.0], np.cumsum(values / values.sum())])
    look: dict[str, Any] = {"width": radius * (1 - style.hole), "edgecolor": style.paper, "linewidth": 0.5}
    return [
        Wedge(center, radius, ends[i + 1], ends[i], facecolor=_color(style, i), **look)
        for i in range(len(values))
        if values[i] > 0
    ]


MARKS = {"bar": bars, "line": lines, "area": areas, "scatter": points, "pie": slices}


def _color(style: Style, index: int) -> str:
    return style.palette[index % len(style.palette)]
