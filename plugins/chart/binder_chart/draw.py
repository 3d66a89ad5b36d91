"""A plot in a style -> a square picture, by matplotlib.

The same plot gives the same bytes, whatever the user's settings. No figure is registered with pyplot, the font is the
one shipped with matplotlib, and text from a table is never interpreted: `$` does not start a formula.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from binder_chart.frame import Frame, along, limits, scaled, shown, ticks
from binder_chart.marks import MARKS
from binder_chart.plot import Plot
from binder_chart.style import PLAIN, Style
from binder_chart.words import INCHES, roomy, write

if TYPE_CHECKING:
    from PIL.Image import Image

# every user setting that matplotlib's text and renderer would use
SETTINGS: Any = {
    "text.usetex": False, "text.hinting": "force_autohint", "text.antialiased": True,
    "path.simplify": True, "path.simplify_threshold": 1 / 9, "path.snap": True, "path.sketch": None, "path.effects": [],
    "agg.path.chunksize": 0,
}  # fmt: skip


def draw(plot: Plot, style: Style = PLAIN, size: int = 256) -> Image:
    """A plot -> RGB picture of (size, size) pixels."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    plot, power = scaled(plot)
    frame = Frame(style.box or roomy(plot, style), *limits(plot, style), plot.horizontal)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(INCHES, INCHES), dpi=size / INCHES, facecolor=style.paper, edgecolor="none")
        canvas: Any = FigureCanvasAgg(figure)  # its methods have no annotations
        rules = [] if plot.kind == "pie" else _rules(plot, style, frame)
        for artist in (*rules, *MARKS[plot.kind](plot, style, frame)):
            artist.set_transform(figure.transFigure)
            figure.add_artist(artist)
        if style.text:
            write(figure, plot, style, frame, power)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[:, :, :3]
        return Image.fromarray(pixels.copy())


def _rules(plot: Plot, style: Style, frame: Frame) -> list[Any]:
    """Grid lines, and the frame or its two axes, which are behind the marks."""
    from matplotlib.collections import LineCollection

    left, bottom, right, top = frame.box
    found = []
    if style.grid:
        ends = [frame.place(np.array([0.0, 1.0]), np.full(2, v)) for v in frame.v(ticks(frame, style))]
        if plot.kind in ("line", "scatter"):
            ends += [frame.place(np.full(2, u), np.array([0.0, 1.0])) for u in along(plot)[shown(plot, style)]]
        found.append(LineCollection(ends, colors=style.ink, linewidths=0.5, alpha=0.3))
    corners = [(left, top), (left, bottom), (right, bottom)]
    corners += [(right, top), (left, top)] if style.frame else []
    sides = [corners]
    if frame.low < 0 < frame.high:
        sides.append(frame.place(np.array([0.0, 1.0]), frame.v(np.zeros(2))).tolist())
    found.append(LineCollection(sides, colors=style.ink, linewidths=0.8))
    return found
