"""Charts: first the table, then a quick drawing of it with PIL. `charts_matplotlib` draws the same tables slowly."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from binder_playground.shapes import Floats
from binder_playground.world import Concept

SCALE = 3  # drawn this many times larger, then averaged
LENGTHS = {
    "line": (4, 30),
    "bar": (4, 11),
    "pie": (4, 7),
    "scatter": (14, 45),
    "area": (4, 30),
}  # values in a table
TABLEAU = (
    "#1f77b4",
    "#ff7f0e",
    "#2ca02c",
    "#d62728",
    "#9467bd",
    "#8c564b",
    "#e377c2",
    "#7f7f7f",
    "#bcbd22",
    "#17becf",
)
PASTEL = (
    "#8dd3c7",
    "#ffffb3",
    "#bebada",
    "#fb8072",
    "#80b1d3",
    "#fdb462",
    "#b3de69",
    "#fccde5",
    "#d9d9d9",
    "#bc80bd",
)
VIVID = (
    "#e41a1c",
    "#377eb8",
    "#4daf4a",
    "#984ea3",
    "#ff7f00",
    "#f4e842",
    "#a65628",
    "#f781bf",
    "#999999",
    "#111111",
)
PALETTES = (TABLEAU, PASTEL, VIVID)


def table(concept: Concept, rng: np.random.Generator, n: int | None = None) -> Floats:
    """The positive values (n,) behind a chart, in the order in which it shows them (a pie: clockwise from the top)."""
    low, high = LENGTHS[concept.chart]
    n = n or int(rng.integers(low, high + 1))
    x = np.linspace(0, 1, n)
    if concept.trend in ("rising", "falling"):
        curve = x ** np.exp(rng.normal(0, 0.5))
        if rng.random() < 0.3:
            curve = 1 / (1 + np.exp(-rng.uniform(5, 10) * (x - rng.uniform(0.35, 0.65))))
        curve = curve if concept.trend == "rising" else curve[::-1]
    elif concept.trend in ("peak", "valley"):
        where = rng.uniform(0.38, 0.62)
        if rng.random() < 0.5:
            curve = np.exp(-(((x - where) / rng.uniform(0.14, 0.24)) ** 2))
        else:
            curve = 1 - np.abs(x - where) / np.where(x < where, where, 1 - where)
        curve = curve if concept.trend == "peak" else 1 - curve
    else:
        curve = np.full(n, 0.5)
    noise = rng.normal(0, 1, n) * (rng.uniform(0.02, 0.08) if concept.chart == "scatter" else rng.uniform(0, 0.04))
    if concept.trend == "flat":
        floor, reach = rng.uniform(0.3, 2), 1.0
        noise = noise * 0.6
    else:
        floor, reach = rng.uniform(0.1, 0.35), 1.0
        if concept.chart == "pie":
            floor = rng.uniform(0.12, 0.25)
    values: Floats = np.maximum(floor + reach * curve + noise, 0.04) * 10 ** rng.uniform(0, 3)
    return values


def limits(values: Floats, rng: np.random.Generator) -> tuple[float, float]:
    """The limits of the value axis: from zero, or close around the data unless that would magnify mere noise."""
    low, high = float(values.min()), float(values.max())
    spread = high - low
    if spread < 0.35 * high:
        middle = (low + high) / 2
        return (0.0, middle * rng.uniform(1.3, 2.4)) if rng.random() < 0.6 else (middle * 0.5, middle * 1.5)
    if rng.random() < 0.5:
        return 0.0, high * rng.uniform(1.02, 1.2)
    return low - spread * rng.uniform(0.03, 0.15), high + spread * rng.uniform(0.03, 0.15)


def draw_chart(concept: Concept, rng: np.random.Generator, size: int) -> Image.Image:
    """A chart in a random style, squeezed into a square as the anchor's preprocessing does with wide pictures."""
    values = table(concept, rng)
    side = size * SCALE
    dark = rng.random() < 0.15
    paper = tuple(
        int(v) for v in (rng.integers(10, 50, 3) if dark else 255 - rng.integers(0, 30, 3) * (rng.random() < 0.5))
    )
    image = Image.new("RGB", (side, side), paper)
    pen = ImageDraw.Draw(image)
    ink = (225, 225, 225) if dark else tuple(int(v) for v in np.full(3, rng.integers(0, 110)))
    palette = PALETTES[int(rng.integers(len(PALETTES)))]
    if concept.chart == "pie":
        _pie(pen, values, palette, paper, rng, side)
    else:
        box = _axes(pen, ink, rng, side)
        color = _visible(palette, paper, rng)
        _marks(pen, concept.chart, values, box, color, paper, palette, rng)
    if rng.random() < 0.4:
        pen.text((side / 2, side * 0.05), _words(rng), fill=ink, anchor="mm", font=_font(int(rng.integers(9, 15))))
    return image.reduce(SCALE)


def _axes(pen: ImageDraw.ImageDraw, ink: tuple[int, ...], rng: np.random.Generator, side: int) -> Floats:
    """Draw frame, ticks, grid and labels -> the plotting box x0, y0, x1, y1 in pixels."""
    box = (
        np.array([rng.uniform(0.03, 0.2), rng.uniform(0.03, 0.16), rng.uniform(0.88, 0.98), rng.uniform(0.8, 0.97)])
        * side
    )
    x0, y0, x1, y1 = box.tolist()
    if rng.random() < 0.2:
        shade = tuple(int(0.88 * 255 + 0.12 * v) if max(ink) < 130 else 55 for v in ink)
        pen.rectangle((x0, y0, x1, y1), fill=shade)
    xs, ys = np.linspace(x0, x1, int(rng.integers(3, 8))), np.linspace(y0, y1, int(rng.integers(3, 8)))
    if rng.random() < 0.4:
        pale = tuple(int(0.75 * 235 + 0.25 * v) if max(ink) < 130 else 80 for v in ink)
        for y in ys:
            pen.line((x0, y, x1, y), fill=pale, width=int(rng.integers(1, 3)))
        if rng.random() < 0.6:
            for x in xs:
                pen.line((x, y0, x, y1), fill=pale, width=int(rng.integers(1, 3)))
    width = int(rng.integers(1, 4))
    frame = rng.random()
    if frame < 0.5:
        pen.rectangle((x0, y0, x1, y1), outline=ink, width=width)
    elif frame < 0.9:
        pen.line((x0, y0, x0, y1, x1, y1), fill=ink, width=width)
    if rng.random() < 0.6:
        font = _font(int(rng.integers(7, 12)))
        for y in ys:
            pen.line((x0 - 4, y, x0, y), fill=ink, width=width)
            pen.text((x0 - 5, y), str(rng.integers(100)), fill=ink, anchor="rm", font=font)
        for x in xs:
            pen.line((x, y1, x, y1 + 4), fill=ink, width=width)
            pen.text((x, y1 + 5), str(rng.integers(100)), fill=ink, anchor="mt", font=font)
    return box


def _marks(
    pen: ImageDraw.ImageDraw, kind: str, values: Floats, box: Floats, color: str, paper: tuple[int, ...],
    palette: tuple[str, ...], rng: np.random.Generator,
) -> None:  # fmt: skip
    """Draw bars, a line, an area or points of the values inside the box."""
    x0, y0, x1, y1 = box.tolist()
    low, high = limits(values, rng)
    if kind in ("bar", "area"):
        low = 0.0
        high = max(high, float(values.max()) * 1.02)
    heights = y1 - (values - low) / (high - low) * (y1 - y0)
    pad = rng.uniform(0, 0.06) * (x1 - x0)
    if kind == "bar":
        step = (x1 - x0 - 2 * pad) / len(values)
        wide = step * rng.uniform(0.5, 0.95) / 2
        edge = "black" if rng.random() < 0.2 else None
        many = rng.random() < 0.2
        for i, y in enumerate(heights):
            x = x0 + pad + step * (i + 0.5)
            fill = palette[i % len(palette)] if many else color
            pen.rectangle((x - wide, min(y, y1 - 1), x + wide, y1), fill=fill, outline=edge, width=2)
        return
    xs = np.linspace(x0 + pad, x1 - pad, len(values))
    points = np.stack([xs, heights], axis=1)
    if kind == "scatter":
        points[:, 0] = np.clip(xs + rng.normal(0, 0.02 * (x1 - x0), len(xs)), x0, x1)
        radius = rng.uniform(2.2, 5.5)
        for x, y in points.tolist():
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
        return
    if kind == "area":
        pen.polygon([(points[0, 0], y1), *map(tuple, points.tolist()), (points[-1, 0], y1)], fill=color)
        if rng.random() < 0.6:
            return
        color = "#222222" if sum(paper) > 380 else "#eeeeee"
    pen.line([tuple(p) for p in points.tolist()], fill=color, width=int(rng.integers(3, 9)), joint="curve")
    if kind == "line" and len(values) < 16 and rng.random() < 0.35:
        radius = rng.uniform(4, 7)
        for x, y in points.tolist():
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)


def _pie(
    pen: ImageDraw.ImageDraw, values: Floats, palette: tuple[str, ...], paper: tuple[int, ...],
    rng: np.random.Generator, side: int,
) -> None:  # fmt: skip
    """Draw slices clockwise from the top, sometimes with a hole or outlines."""
    tall, wide = rng.uniform(0.3, 0.47) * side, rng.uniform(0.85, 1.0)
    x, y = (
        side / 2 + rng.uniform(-1, 1) * (side / 2 - tall) * 0.6,
        side / 2 + rng.uniform(0, 1) * (side / 2 - tall) * 0.6,
    )
    bounds = (x - tall * wide, y - tall, x + tall * wide, y + tall)
    edges = np.append(0, np.cumsum(values / values.sum())) * 360 - 90
    first = int(rng.integers(len(palette))) if rng.random() < 0.5 else 0
    rim = (None, "white", "black")[int(rng.integers(3))]
    for i in range(len(values)):
        fill = palette[(first + i) % len(palette)]
        pen.pieslice(bounds, edges[i], edges[i + 1], fill=fill, outline=rim, width=int(rng.integers(1, 4)))
    if rng.random() < 0.12:
        hole = tall * rng.uniform(0.35, 0.55)
        pen.ellipse((x - hole * wide, y - hole, x + hole * wide, y + hole), fill=paper)


def _visible(palette: tuple[str, ...], paper: tuple[int, ...], rng: np.random.Generator) -> str:
    """A color of the palette that stands out from the paper."""
    apart = [sum(abs(a - b) for a, b in zip(ImageColor.getrgb(c), paper, strict=True)) for c in palette]
    far = [c for c, distance in zip(palette, apart, strict=True) if distance > 170]
    return far[int(rng.integers(len(far)))]


def _words(rng: np.random.Generator) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz     "
    return "".join(letters[int(k)] for k in rng.integers(len(letters), size=int(rng.integers(5, 18))))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return _FONTS.setdefault(size, ImageFont.load_default(size))


_FONTS: dict[int, ImageFont.FreeTypeFont | ImageFont.ImageFont] = {}
