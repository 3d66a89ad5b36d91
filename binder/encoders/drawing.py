"""Previews of series, point clouds and rasters: small, plain pictures for reports. Free of torch.

Shapes: S samples, C channels, P points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from binder.encoders.raster.shades import Read, Tone, draw_grid, read_grid
from binder.modality import Item, PictureConfig

Floats = NDArray[np.floating[Any]]

SIZE = (320, 160)  # pixels
# distinguishable with color blindness (Okabe and Ito)
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000", "#b8a800")
PAPER, INK, GRID = "#fafaf8", "#303030", "#dcdcd8"  # an opaque, light background: pages may be light or dark
MIN_SIDE = 32  # pixels of a raster's shorter side: smaller rasters are enlarged, each pixel a square
MAX_LINES = 16  # channels drawn
SCALE = 2  # drawn this much larger, then averaged down
LEFT, BELOW, RIGHT = 52, 24, 12  # pixels for the numbers at the axes, and to the right of the plot
LETTER = 15  # pixels, font size: still readable at half that size
TICKS = 4  # on the time axis, at most
ROOMY = 2 * LETTER + 6  # pixels: height of a strip that has room for two numbers
UNITS = ((1e-6, "µs"), (1e-3, "ms"), (1.0, "s"), (60.0, "min"), (3600.0, "h"), (86400.0, "d"))  # of time, in s


def lines(time_S: Floats, values_SC: Floats, names: Sequence[str] = ()) -> Image.Image:
    """(S,) s, (S, C) -> a plot with each channel as a line in a strip of its own.

    A strip is labeled with its lowest and highest value where there is room, otherwise with the channel's name.
    """
    width, height = (n * SCALE for n in SIZE)
    page = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(page)
    shown = values_SC[:, :MAX_LINES].T
    left, right, bottom = LEFT * SCALE, width - RIGHT * SCALE, height - BELOW * SCALE
    length_s = max(float(time_S[-1] - time_S[0]), 1e-12)
    _time_axis(pen, length_s, left, right, bottom)
    strip = bottom / len(shown)
    x = left + (time_S - time_S[0]) / length_s * (right - left)
    for i, channel in enumerate(shown):
        finite = np.isfinite(channel)
        if not finite.any():
            continue
        values = channel[finite]
        low, high = float(values.min()), float(values.max())
        level = (values - low) / (high - low) if high > low else np.full(len(values), 0.5)
        y = (i + 0.9 - 0.8 * level) * strip
        points = list(zip(*_thinned(x[finite], y, right - left), strict=True))
        pen.line(points, fill=COLORS[i % len(COLORS)], width=SCALE)
        _value_axis(pen, (i * strip, (i + 1) * strip), (low, high), names[i] if i < len(names) else "")
    pen.line([(left, 0), (left, bottom), (right, bottom)], fill=INK, width=SCALE)
    return page.reduce(SCALE)


def _time_axis(pen: ImageDraw.ImageDraw, length_s: float, left: int, right: int, bottom: int) -> None:
    """Draw ticks at round times since the first sample, the last one with its unit, and grid lines above them."""
    unit_s, unit = next(((s, name) for s, name in reversed(UNITS) if length_s >= (2 * s if s > 1 else s)), UNITS[0])
    rough = length_s / unit_s / TICKS
    decade = 10.0 ** math.floor(math.log10(rough))
    step = next(n * decade for n in (1, 2, 5, 10) if n * decade >= rough * 0.999)
    count = int(length_s / unit_s / step + 1e-6)
    for i in range(count + 1):
        x = left + i * step * unit_s / length_s * (right - left)
        if i:
            pen.line([(x, 0), (x, bottom)], fill=GRID, width=SCALE)
        pen.line([(x, bottom), (x, bottom + 4 * SCALE)], fill=INK, width=SCALE)
        text = f"{i * step:.6g}" + (f" {unit}" if i == count else "")
        half = pen.textlength(text, _font()) / 2
        center = min(x, right + RIGHT * SCALE - half)
        pen.text((center, bottom + 5 * SCALE), text, fill=INK, font=_font(), anchor="mt")


def _value_axis(pen: ImageDraw.ImageDraw, strip: tuple[float, float], ends: tuple[float, float], name: str) -> None:
    """Draw the labels at the left of a strip: its lowest and highest value, or its name where that is all that fits."""
    top, bottom = strip
    if top:
        pen.line([(LEFT * SCALE, top), ((SIZE[0] - RIGHT) * SCALE, top)], fill=GRID, width=SCALE)
    at, font = (LEFT - 5) * SCALE, _font()
    if bottom - top < ROOMY * SCALE:
        font = _font(min(LETTER, (bottom - top) / SCALE * 0.8))
        while len(name) > 2 and pen.textlength(name, font) > at:
            name = name[:-3] + name[-2:]  # keep the end, which distinguishes accelerometer_x from accelerometer_y
        pen.text((at, (top + bottom) / 2), name, fill=INK, font=font, anchor="rm")
        return
    low, high = (_short(end) for end in ends)
    if low == high:
        pen.text((at, (top + bottom) / 2), high, fill=INK, font=font, anchor="rm")
    else:
        pen.text((at, top + 0.1 * (bottom - top)), high, fill=INK, font=font, anchor="rt")
        pen.text((at, bottom - 0.1 * (bottom - top)), low, fill=INK, font=font, anchor="rb")
    pen.text(((LEFT + 5) * SCALE, top + 2 * SCALE), name, fill=INK, font=_font(LETTER - 4), anchor="lt")


def _short(value: float) -> str:
    """A number in about six characters or fewer."""
    if value and not 1e-3 <= abs(value) < 1e5:
        digits, exponent = f"{value:.1e}".split("e")
        return f"{float(digits):g}e{int(exponent)}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _font(height: float = LETTER) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(height * SCALE)


def cloud(xyz_P3: Floats) -> Image.Image:
    """(P, 3) in the unit sphere, z up -> the points seen from slightly above; nearer ones are larger and darker."""
    side = SIZE[1] * SCALE
    page = Image.new("RGB", (side, side), PAPER)
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
    """A raster as the encoder draws it."""
    drawn = draw_grid(read_grid(read, item, config, SIZE[0]), tone, config)
    factor = -(-MIN_SIDE // min(drawn.size))
    drawn = drawn.resize((drawn.width * factor, drawn.height * factor), Image.Resampling.NEAREST)
    drawn.thumbnail((SIZE[0], SIZE[0]))
    return drawn


def _thinned(x: Floats, y: Floats, columns: int) -> tuple[list[float], list[float]]:
    """Of long lines only the lowest and the highest point in each pixel column, which looks the same."""
    if len(x) <= 4 * columns:
        return x.tolist(), y.tolist()
    parts = np.array_split(np.arange(len(x)), columns)
    keep = np.array([i for part in parts for i in sorted((part[y[part].argmin()], part[y[part].argmax()]))])
    return x[keep].tolist(), y[keep].tolist()
