"""Coordinates: from values to positions on the picture.

Shapes: P points, S series, N any number. (u, v): u along the axis of the points, v along that of the values, each 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from binder_chart.dates import Floats
from binder_chart.plot import Plot
from binder_chart.style import Box, Style


@dataclass(frozen=True)
class Frame:
    """The position of the plotting area on the figure, and the values at its ends."""

    box: Box  # left, bottom, right, top, fractions of the figure
    low: float  # value at v = 0
    high: float  # value at v = 1
    horizontal: bool = False  # u runs downwards and v to the right

    def v(self, values: Floats) -> Floats:
        """(N,) values -> (N,) 0..1."""
        return (values - self.low) / (self.high - self.low)

    def place(self, u: Floats, v: Floats) -> Floats:
        """(N,), (N,) -> (N, 2) fractions of the figure."""
        left, bottom, right, top = self.box
        if self.horizontal:
            return np.stack([left + v * (right - left), top - u * (top - bottom)], axis=-1)
        return np.stack([left + u * (right - left), bottom + v * (top - bottom)], axis=-1)


def along(plot: Plot) -> Floats:
    """(P,) the position of each point, 0..1: bars in equal slots, times and numbers to scale."""
    points = len(plot.x)
    if plot.kind == "bar":
        return (np.arange(points) + 0.5) / points
    half = plot.x / 2  # the difference of the largest floats would overflow
    reach = half.max() - half.min()
    inside = (half - half.min()) / reach if reach > 0 else np.full(points, 0.5)
    return 0.03 + 0.94 * inside


def limits(plot: Plot, style: Style) -> tuple[float, float]:
    """The values at both ends of the axis: bars and areas begin at zero, lines and points as the style says."""
    values = np.nan_to_num(plot.values)
    if plot.stacked:
        low, high = np.minimum(values, 0).sum(0).min(), np.maximum(values, 0).sum(0).max()
    else:
        low, high = np.nanmin(plot.values), np.nanmax(plot.values)
    zero = plot.kind in ("bar", "area") or style.from_zero
    low, high = (min(low, 0.0), max(high, 0.0)) if zero else (low, high)
    room = 0.05 * (high - low) or abs(high) or 1.0
    return float(low - room * (low < 0 or not zero)), float(high + room * (high > 0 or not zero or low == high))


def scaled(plot: Plot) -> tuple[Plot, int]:
    """The plot with its values divided by 10 ** power, and the power: sums of the largest floats would overflow."""
    most = float(np.nanmax(np.abs(plot.values)))
    power = int(np.floor(np.log10(most))) if most > 0 else 0
    half = power // 2  # in two steps, as 10.0 ** -320 underflows
    return replace(plot, values=plot.values / 10.0**half / 10.0 ** (power - half)), power


def ticks(frame: Frame, style: Style) -> Floats:
    """Round values within the axis."""
    from matplotlib.ticker import MaxNLocator

    found = np.asarray(MaxNLocator(style.ticks).tick_values(frame.low, frame.high))
    return found[(found >= frame.low) & (found <= frame.high)]


def shown(plot: Plot, style: Style) -> list[int]:
    """The points that get a label: all bars where there is room, otherwise some, evenly spaced."""
    points = len(plot.x)
    most = points if plot.kind == "bar" and points <= 3 * style.ticks else style.ticks
    return sorted(set(np.linspace(0, points - 1, min(points, most)).round().astype(int).tolist()))
