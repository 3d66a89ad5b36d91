"""The style of a chart, apart from its content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Place = Literal["above", "below", "right", "none"]
Box = tuple[float, float, float, float]  # left, bottom, right, top, fractions of the picture's side

PALETTES = (
    ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"),
    ("#4c78a8", "#f58518", "#e45756", "#72b7b2", "#54a24b", "#eeca3b", "#b279a2", "#ff9da6", "#9d755d", "#bab0ac"),
    ("#2f7ed8", "#0d233a", "#8bbc21", "#910000", "#1aadce", "#492970", "#f28f43", "#77a1e5", "#c42525", "#a6c96a"),
    ("#4472c4", "#ed7d31", "#a5a5a5", "#ffc000", "#5b9bd5", "#70ad47", "#264478", "#9e480e", "#636363", "#997300"),
    ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000", "#555555", "#999999"),
    ("#222222", "#777777", "#bbbbbb", "#444444", "#999999", "#dddddd", "#111111", "#666666", "#aaaaaa", "#cccccc"),
)  # of matplotlib, Vega, Highcharts, Office, Okabe and Ito; shades of gray


@dataclass(frozen=True)
class Style:
    """Lengths are fractions of the picture's side; points are those of a picture 3.2 inches wide."""

    palette: tuple[str, ...] = PALETTES[0]
    paper: str = "white"
    ink: str = "#333333"  # axes and text
    box: Box | None = (0.16, 0.2, 0.92, 0.93)  # plotting area; None: as large as the labels allow
    text: float = 8.0  # points; 0: no text at all
    line: float = 2.5  # points
    marker: float = 0.0  # points; 0: none
    bar: float = 0.75  # share of its slot that a bar fills
    varied: bool = False  # a different color for each bar
    grid: bool = False
    frame: bool = False  # four sides instead of two
    ticks: int = 5  # at most, on either axis
    legend: Place = "none"
    title: str = ""
    written: bool = False  # values are written at the bars
    from_zero: bool = True  # the axis of lines and points begins at zero, as that of bars and areas always does
    hole: float = 0.0  # radius of the hole in a pie


PLAIN = Style(text=0.0)  # for the anchor: text is noise at its 64 to 224 pixels
READABLE = Style(box=None, text=8.0, line=2.0, ticks=6, grid=True, legend="above", written=True)  # for people


def random_style(rng: np.random.Generator) -> Style:
    """A random style as found in practice: most are plain, some dark, large, crowded or bare."""
    palette = PALETTES[int(rng.integers(len(PALETTES)))]
    if rng.random() < 0.3:
        palette = tuple(rng.permutation(palette).tolist())
    dark = rng.random() < 0.08
    shade = 255 - int(rng.integers(0, 25)) * (rng.random() < 0.3)
    return Style(
        palette=palette,
        paper="#1e1e26" if dark else f"#{shade:02x}{shade:02x}{shade:02x}",
        ink="#dddddd" if dark else ("#000000", "#333333", "#666666", "#999999")[int(rng.integers(4))],
        box=(rng.uniform(0.04, 0.24), rng.uniform(0.05, 0.32), rng.uniform(0.84, 0.99), rng.uniform(0.82, 0.99)),
        text=float(rng.uniform(5, 10)) * (rng.random() < 0.85),
        line=float(rng.uniform(1, 4)),
        marker=float(rng.uniform(2, 7)) * (rng.random() < 0.4),
        bar=float(rng.uniform(0.5, 0.95)),
        varied=bool(rng.random() < 0.15),
        grid=bool(rng.random() < 0.5),
        frame=bool(rng.random() < 0.3),
        ticks=int(rng.integers(3, 9)),
        legend=("above", "below", "right", "none")[int(rng.integers(4))],
        title=_letters(rng) if rng.random() < 0.25 else "",
        written=bool(rng.random() < 0.35),
        from_zero=bool(rng.random() < 0.6),
        hole=float(rng.uniform(0.3, 0.6)) * (rng.random() < 0.15),
    )


def _letters(rng: np.random.Generator) -> str:
    """A random title."""
    return "".join(chr(int(code)) for code in rng.integers(97, 123, int(rng.integers(6, 20))))
