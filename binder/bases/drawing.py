"""What people see of a series, of points and of rasters: small plain pictures. Free of torch.

Shapes: S samples, C channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from binder.bases.shades import Read, Tone, draw_grid, read_grid
from binder.modality import Item, PictureConfig

Floats = NDArray[np.floating[Any]]

SIZE = (320, 160)  # pixels
# told apart by the colour-blind too (Okabe and Ito)
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000", "#b8a800")
SMALLEST = 32  # pixels of a raster's shorter side: those of the smallest sensors are shown as squares
MOST_LINES = 16  # channels drawn
SCALE = 2  # drawn this many times larger, then averaged


def lines(time_S: Floats, values_SC: Floats) -> Image.Image:
    """(S,), (S, C) -> each channel as a line in a strip of its own, time to the right."""
    width, height = SIZE[0] * SCALE, SIZE[1] * SCALE
    page = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(page)
    shown = values_SC[:, :MOST_LINES].T
    strip = height / len(shown)
    x = (time_S - time_S[0]) / max(time_S[-1] - time_S[0], 1e-12) * (width - 1)
    for i, values in enumerate(shown):
        low, high = float(values.min()), float(values.max())
        level = (values - low) / (high - low) if high > low else np.full(len(values), 0.5)
        y = (i + 0.9 - 0.8 * level) * strip
        points = list(zip(*_thinned(x, y, width), strict=True))
        pen.line(points, fill=COLOURS[i % len(COLOURS)], width=SCALE)
    return page.reduce(SCALE)


def cloud(xyz_P3: Floats) -> Image.Image:
    """(P, 3) in the unit sphere, z up -> the points from a little above; nearer ones are larger and darker."""
    side = SIZE[1] * SCALE
    page = Image.new("RGB", (side, side), "white")
    pen = ImageDraw.Draw(page)
    around, above = np.radians(35), np.radians(25)
    x, y, z = xyz_P3.T
    right, away = x * np.cos(around) - y * np.sin(around), x * np.sin(around) + y * np.cos(around)
    up, away = z * np.cos(above) + away * np.sin(above), away * np.cos(above) - z * np.sin(above)
    order = np.argsort(-away)
    columns, rows = (right[order] * 0.48 + 0.5) * side, (0.5 - up[order] * 0.48) * side
    for column, row, far in zip(columns, rows, (away[order] + 1) / 2, strict=True):
        radius = SCALE * (2.2 - 1.2 * far)
        shade = int(40 + 150 * far)
        box = (column - radius, row - radius, column + radius, row + radius)
        pen.ellipse(box, fill=(shade // 3, shade // 2, shade))
    return page.reduce(SCALE)


def shades(read: Read, tone: Tone, config: PictureConfig, item: Item) -> Image.Image:
    """A raster as the encoder draws it, whole."""
    drawn = draw_grid(read_grid(read, item, config, SIZE[0]), tone, config)
    factor = -(-SMALLEST // min(drawn.size))
    drawn = drawn.resize((drawn.width * factor, drawn.height * factor), Image.Resampling.NEAREST)
    drawn.thumbnail((SIZE[0], SIZE[0]))
    return drawn


def _thinned(x: Floats, y: Floats, columns: int) -> tuple[list[float], list[float]]:
    """Of long lines the lowest and the highest point of each column, which looks the same."""
    if len(x) <= 4 * columns:
        return x.tolist(), y.tolist()
    parts = np.array_split(np.arange(len(x)), columns)
    keep = np.array([i for part in parts for i in sorted((part[y[part].argmin()], part[y[part].argmax()]))])
    return x[keep].tolist(), y[keep].tolist()
