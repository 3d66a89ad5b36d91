"""Modalities of the common kinds, each made from one function of the plugin. Free of torch until an encoder is built.

`series_modality("sonar", {".csv"}, SonarConfig, read)` is all that a plugin has to return from its hook. Its functions
must be defined at the top level of a module, so that worker processes can import them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from binder.modality import Item, Modality, PictureConfig

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from binder.anchors.base import Anchor
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
    """A modality of channels over time. `read(item, config)` returns a Series or raises ItemError.

    `adapt(config, items)` may fill fields of the configuration from a sample of the training items (which channels
    there are, for instance), before rate, window and statistics are measured. Previews show one line per channel.
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
    """A modality of point clouds. `read(item, config)` returns Points or an array (P, 3 to 9), or raises ItemError.

    Previews show the points from slightly above.
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
    """A modality of anything that can be drawn. `draw(item, config)` returns its picture or raises ItemError.

    `draw` is deterministic; `vary(item, config, rng)` draws a random variant, in another style, for training. Previews
    are drawn with the default configuration.
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
    tone_module: str | None = None,
    adapt: Callable[[Any, Sequence[Item]], Any] | None = None,
    seen: PictureConfig | None = None,
    diagnose: Callable[[], dict[str, str]] | None = None,
) -> Modality:
    """A modality of measurements on a grid. `read(item, config)` returns (H, W) with NaN for gaps, or raises ItemError.

    The image tower sees them as a gray picture, by default with the lowest value black and the highest white;
    `tone(values, config, factor, rng)` returns another mapping, (H, W) in 0..1. Large grids are shrunk first: `factor`
    pixels of the file are one of `values`. `rng` is None except in training, where each is randomly cropped and its
    contrast changed. `tone_module` names a module on NumPy alone that defines the same `tone`, for exported encoders;
    of binder it may import `stretched`. Previews are drawn with the configuration `seen`, or the default one.
    `diagnose` adds to what `binder doctor` says about raster formats.
    """
    build = partial(_build_raster, read, tone, tone_module)
    preview = partial(_preview_raster, read, tone, config, seen)
    diagnose = partial(_diagnose_raster, diagnose)
    return Modality(name, frozenset(suffixes), config, build, adapt=adapt, preview=preview, diagnose=diagnose)


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
    from binder.encoders.picture import DrawnEncoder

    return DrawnEncoder(config, anchor, draw, vary)


def _preview_picture(draw: Callable[[Item, Any], Image], config: type[PictureConfig], item: Item) -> Image:
    return draw(item, config())


def _build_raster(read: ReadGrid, tone: Tone | None, tone_module: str | None, config: Any, anchor: Anchor) -> Encoder:
    from binder.encoders.raster.encoder import RasterEncoder
    from binder.portable.raster import tone as lowest_to_highest

    return RasterEncoder(config, anchor, read, tone or lowest_to_highest, tone_module)


def _preview_raster(
    read: ReadGrid, tone: Tone | None, config: type[PictureConfig], seen: PictureConfig | None, item: Item
) -> Image:
    from binder.encoders.drawing import shades
    from binder.portable.raster import tone as lowest_to_highest

    return shades(read, tone or lowest_to_highest, seen or config(), item)


def _diagnose_raster(more: Callable[[], dict[str, str]] | None) -> dict[str, str]:
    from binder.formats.raster import diagnose

    return diagnose() | (more() if more else {})
