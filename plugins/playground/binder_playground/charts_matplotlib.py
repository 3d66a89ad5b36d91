"""The playground's charts as matplotlib draws them: slower, but this is how most charts look."""

from __future__ import annotations

import numpy as np
from PIL import Image

from binder_playground.charts import PALETTES, limits, table
from binder_playground.shapes import Floats
from binder_playground.world import Concept

STYLES = (
    "default", "default", "default", "classic", "ggplot", "bmh", "fast", "grayscale", "dark_background", "seaborn-v0_8",
    "seaborn-v0_8-whitegrid", "seaborn-v0_8-pastel", "tableau-colorblind10", "fivethirtyeight",
)  # fmt: skip


def draw_chart_matplotlib(
    concept: Concept, rng: np.random.Generator, size: int, values: Floats | None = None
) -> Image.Image:
    """A chart of the given values (n,), or of a random table for the concept, squeezed to size x size."""
    import matplotlib.style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    values = table(concept, rng) if values is None else values
    with matplotlib.style.context(STYLES[int(rng.integers(len(STYLES)))]):
        figure = Figure(figsize=(rng.uniform(3.6, 6.6), rng.uniform(3.0, 4.9)), dpi=40)
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        if rng.random() < 0.5:
            axes.set_title("".join(chr(int(k)) for k in rng.integers(97, 123, 9)))
        if concept.chart == "pie":
            _pie(axes, values, rng)
        else:
            _plot(axes, concept.chart, values, rng)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[:, :, :3]
    return Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)


def _pie(axes, values: Floats, rng: np.random.Generator) -> None:  # type: ignore[no-untyped-def]
    labels = [chr(65 + i) for i in range(len(values))] if rng.random() < 0.5 else None
    colors = list(PALETTES[int(rng.integers(len(PALETTES)))]) if rng.random() < 0.5 else None
    ring = {"width": 0.55} if rng.random() < 0.1 else {}
    axes.pie(values, labels=labels, colors=colors, startangle=90, counterclock=False, wedgeprops=ring)


def _plot(axes, kind: str, values: Floats, rng: np.random.Generator) -> None:  # type: ignore[no-untyped-def]
    """Plot the values with axes from `limits`, in matplotlib's default colors or one of a palette."""
    x = np.arange(len(values))
    palette = PALETTES[int(rng.integers(len(PALETTES)))]
    look = {"color": palette[int(rng.integers(len(palette)))]} if rng.random() < 0.5 else {}
    low, high = limits(values, rng)
    if kind in ("bar", "area"):
        low, high = 0.0, max(high, float(values.max()) * 1.02)
    if kind == "line":
        axes.plot(x, values, marker="o" if rng.random() < 0.3 else None, linewidth=rng.uniform(1.2, 3.5), **look)
    elif kind == "bar":
        axes.bar(x, values, width=rng.uniform(0.5, 0.95), **look)
    elif kind == "scatter":
        axes.scatter(x + rng.normal(0, 0.3, len(x)), values, s=rng.uniform(12, 50), **look)
    else:
        axes.fill_between(x, values, alpha=rng.uniform(0.4, 1.0), **look)
    axes.set_ylim(low, high)
    axes.grid(visible=bool(rng.random() < 0.4))
    if rng.random() < 0.3:
        axes.set_xlabel("time")
        axes.set_ylabel("value")
