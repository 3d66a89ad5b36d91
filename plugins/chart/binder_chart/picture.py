"""An item -> the picture that represents it; for a table, also the other ways to draw it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from binder import Item, name_of
from binder_chart.config import Kind
from binder_chart.draw import draw
from binder_chart.plot import Plot, plot, ways
from binder_chart.reading import Spec, read
from binder_chart.spec import draw_spec
from binder_chart.style import PLAIN, random_style
from binder_chart.table import Table

if TYPE_CHECKING:
    from PIL.Image import Image

THEMES = (None, None, "excel", "ggplot2", "quartz", "vox", "fivethirtyeight", "latimes", "urbaninstitute", "dark")
FACTS = 7


@dataclass(frozen=True)
class Source:
    """An item that was read and can be drawn any number of times."""

    name: str
    things: tuple[Plot | Spec | Image, ...]  # each way to draw a table, or the only thing there is to draw
    chosen: int = 0  # index of the one that represents the item
    facts: np.ndarray = field(default_factory=lambda: np.zeros(FACTS, np.float32))  # (FACTS,) zeros without a choice


def source(item: Item, kind: Kind | None = None) -> Source:
    """An item -> what to draw; several ways where neither a table nor `kind` sets the chart type. Raises ItemError."""
    name, found = name_of(item), read(item)
    if not isinstance(found, Table):
        return Source(name, (found,))
    best = plot(found, name, kind)
    if found.kind or kind or best.kind not in ("bar", "line"):
        return Source(name, (best,))
    every = ways(found, name)
    chosen = [(p.kind, p.horizontal) for p in every].index((best.kind, best.horizontal))
    return Source(name, tuple(every), chosen, facts(best))


def pictures(source: Source, size: int, rng: np.random.Generator | None = None) -> list[Image]:
    """RGB pictures of (size, size), one per thing; with `rng` in a random style. Raises ItemError for a bad spec."""
    if isinstance(source.things[0], Plot):
        style = PLAIN if rng is None else random_style(rng)
        return [draw(thing, style, size) for thing in source.things if isinstance(thing, Plot)]
    (thing,) = source.things
    theme = THEMES[int(rng.integers(len(THEMES)))] if rng else None
    scale = rng.uniform(0.6, 1.2) if rng else 1.0  # of the marks and text of a spec
    shown: Any = draw_spec(source.name, thing, int(size * scale), theme) if isinstance(thing, dict) else thing
    return [square(_reframed(shown, rng) if rng else shown, size)]


def picture(item: Item, size: int, kind: Kind | None = None) -> Image:
    """Table, spec or picture -> RGB picture of (size, size). Raises ItemError."""
    found = source(item, kind)
    return pictures(Source(found.name, (found.things[found.chosen],)), size)[0]


def facts(data: Plot) -> np.ndarray:
    """(FACTS,) float32, about -1..1: what people choose a chart type by and the drawing does not show."""
    length = np.mean([len(label) for label in data.labels])
    row = data.values[0]
    falling = np.mean(row[1:] <= row[:-1]) if len(row) > 1 else 0.0
    found = (
        np.log(len(data.x)) - 2,
        np.sqrt(length) / 2 - 1.5,
        data.axis == "time",
        data.axis == "category",
        len(data.values) > 1,
        data.stacked,
        falling,
    )
    return np.array(found, np.float32)


def square(image: Image, size: int) -> Image:
    """A picture of any shape -> (size, size), squeezed rather than cropped, so that no part of the chart is lost."""
    from PIL import Image

    return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BICUBIC)


def _reframed(image: Image, rng: np.random.Generator) -> Image:
    """The picture with random margins in the color of its corner, or slightly cropped."""
    from PIL import ImageOps

    left, top, right, bottom = (rng.uniform(-0.03, 0.12, 4) * min(image.size)).astype(int).tolist()
    width, height = image.size
    kept = image.crop((max(-left, 0), max(-top, 0), width - max(-right, 0), height - max(-bottom, 0)))
    border = (max(left, 0), max(top, 0), max(right, 0), max(bottom, 0))
    return ImageOps.expand(kept, border, fill=tuple(np.asarray(image)[0, 0].tolist()))
