"""Modalities of the common kinds from one reading function each. Free of torch until an encoder is built.

`series_modality("sonar", {".csv"}, SonarConfig, read)` is all that a plugin returns from its hook. The reading function
is defined at the top of a module, so that worker processes find it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from binder.modality import Item, Modality, PictureConfig

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from binder.anchors.openclip import Anchor
    from binder.encoder import Encoder
    from binder.encoders.points.config import PointConfig
    from binder.encoders.points.config import Read as ReadPoints
    from binder.encoders.raster.shades import Read as ReadGrid
    from binder.encoders.raster.shades import Tone
    from binder.encoders.series.config import Read, SeriesConfig


def series_modality(
    name: str,
    suffixes: Iterable[str],
    config: type[SeriesConfig],
    read: Read,
    *,
    adapt: Callable[[Any, Sequence[Item]], Any] | None = None,
    diagnose: Callable[[], dict[str, str]] | None = None,
) -> Modality:
    """Channels over time. `read(item, config)` -> Series, or raises ItemError. People see it as lines.

    `adapt(config, items)` -> config says first what else is found out from a sample of the items: the channels, say.
    """
    build, fill = partial(_build_series, read), partial(_adapt_series, read, adapt)
    preview = partial(_preview_series, read, adapt, config)
    return Modality(name, frozenset(suffixes), config, build, adapt=fill, preview=preview, diagnose=diagnose)


def point_modality(
    name: str,
    suffixes: Iterable[str],
    config: type[PointConfig],
    read: ReadPoints,
    *,
    diagnose: Callable[[], dict[str, str]] | None = None,
) -> Modality:
    """Sets of points. `read(item, config)` -> Points, or an array of (P, 3 to 9), or raises ItemError.

    People see them from a little above.
    """
    build, preview = partial(_build_points, read), partial(_preview_points, read, config)
    return Modality(name, frozenset(suffixes), config, build, preview=preview, diagnose=diagnose)


def picture_modality(
    name: str,
    suffixes: Iterable[str],
    config: type[PictureConfig],
    draw: Callable[[Item, Any], Image],
    *,
    vary: Callable[[Item, Any, np.random.Generator], Image] | None = None,
    diagnose: Callable[[], dict[str, str]] | None = None,
) -> Modality:
    """Whatever can be drawn. `draw(item, config)` -> picture, always the same, or raises ItemError.

    People see that picture, of the default configuration. `vary(item, config, rng)` draws it in another style, for
    training.
    """
    build, preview = partial(_build_picture, draw, vary), partial(_preview_picture, draw, config)
    return Modality(name, frozenset(suffixes), config, build, preview=preview, diagnose=diagnose)


def raster_modality(
    name: str,
    suffixes: Iterable[str],
    config: type[PictureConfig],
    read: ReadGrid,
    *,
    tone: Tone | None = None,
    adapt: Callable[[Any, Sequence[Item]], Any] | None = None,
    seen: PictureConfig | None = None,
    diagnose: Callable[[], dict[str, str]] | None = None,
) -> Modality:
    """Measurements on a grid. `read(item, config)` -> (H, W), NaN where nothing was measured, or raises ItemError.

    They are shown to the anchor's image tower in grey, from the lowest in the picture to the highest, unless
    `tone(values, config, factor, rng)` -> (H, W) of 0 (black) to 1 (white) says otherwise: of large grids, `factor`
    pixels of the file are one of `values`; `rng` is None but in training. Training sees each a little cut off, and of
    other contrasts. People see them as the configuration `seen` has them drawn, or the default one. What `read_raster`
    reads is among the answers of `diagnose`.
    """
    build, preview = partial(_build_raster, read, tone), partial(_preview_raster, read, tone, config, seen)
    answers = partial(_diagnose_raster, diagnose)
    return Modality(name, frozenset(suffixes), config, build, adapt=adapt, preview=preview, diagnose=answers)


def _build_series(read: Read, config: Any, anchor: Anchor) -> Encoder:
    from binder.encoders.series.encoder import SeriesEncoder

    return SeriesEncoder(config, anchor.embed_dim, read)


def _adapt_series(
    read: Read, first: Callable[[Any, Sequence[Item]], Any] | None, config: Any, items: Sequence[Item]
) -> Any:
    from binder.encoders.series.windows import adapt_series

    return adapt_series(read, first(config, items) if first else config, items)


def _preview_series(
    read: Read, first: Callable[[Any, Sequence[Item]], Any] | None, config: type[SeriesConfig], item: Item
) -> Image:
    from binder.encoders.drawing import lines
    from binder.encoders.series.windows import read_series

    settings = first(config(), [item]) if first else config()
    series = read_series(read, item, settings)
    return lines(series.time_S, series.values_SC, settings.channels)


def _build_points(read: ReadPoints, config: Any, anchor: Anchor) -> Encoder:
    from binder.encoders.points.encoder import PointEncoder

    return PointEncoder(config, anchor.embed_dim, read)


def _preview_points(read: ReadPoints, config: type[PointConfig], item: Item) -> Image:
    from binder.encoders.drawing import cloud
    from binder.encoders.points.cloud import read_points

    return cloud(read_points(read, item, config())[:, :3])


def _build_picture(draw: Any, vary: Any, config: Any, anchor: Anchor) -> Encoder:
    from binder.encoders.drawn import DrawnEncoder

    return DrawnEncoder(config, anchor, draw, vary)


def _preview_picture(draw: Callable[[Item, Any], Image], config: type[PictureConfig], item: Item) -> Image:
    return draw(item, config())


def _build_raster(read: ReadGrid, tone: Tone | None, config: Any, anchor: Anchor) -> Encoder:
    from binder.encoders.raster.encoder import RasterEncoder
    from binder.encoders.raster.shades import lowest_to_highest

    return RasterEncoder(config, anchor, read, tone or lowest_to_highest)


def _preview_raster(
    read: ReadGrid, tone: Tone | None, config: type[PictureConfig], seen: PictureConfig | None, item: Item
) -> Image:
    from binder.encoders.drawing import shades
    from binder.encoders.raster.shades import lowest_to_highest

    return shades(read, tone or lowest_to_highest, seen or config(), item)


def _diagnose_raster(more: Callable[[], dict[str, str]] | None) -> dict[str, str]:
    from binder.formats.raster import diagnose

    return diagnose() | (more() if more else {})
