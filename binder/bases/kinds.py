"""Modalities of the common kinds from one reading function each. Free of torch until an encoder is built.

`series_modality("sonar", {".csv"}, SonarConfig, read)` is all that a plugin returns from its hook. The reading function
is defined at the top of a module, so that worker processes find it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from binder.bases.points import PointConfig, read_points
from binder.bases.points import Read as ReadPoints
from binder.bases.series import Read, SeriesConfig, adapt_series, read_series
from binder.modality import Item, Modality, PictureConfig

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from binder.anchor import Anchor
    from binder.encoder import Encoder


def series_modality(
    name: str,
    suffixes: Iterable[str],
    config: type[SeriesConfig],
    read: Read,
    *,
    diagnose: Callable[[], dict[str, str]] | None = None,
) -> Modality:
    """Channels over time. `read(item, config)` -> Series, or raises ItemError. People see it as lines."""
    return Modality(
        name=name,
        suffixes=frozenset(suffixes),
        config=config,
        build=partial(_build_series, read),
        adapt=partial(adapt_series, read),
        preview=partial(_preview_series, read, config),
        diagnose=diagnose,
    )


def point_modality(
    name: str,
    suffixes: Iterable[str],
    config: type[PointConfig],
    read: ReadPoints,
    *,
    diagnose: Callable[[], dict[str, str]] | None = None,
) -> Modality:
    """Sets of points. `read(item, config)` -> Points, or raises ItemError. People see them from a little above."""
    return Modality(
        name=name,
        suffixes=frozenset(suffixes),
        config=config,
        build=partial(_build_points, read),
        preview=partial(_preview_points, read, config),
        diagnose=diagnose,
    )


def picture_modality(
    name: str,
    suffixes: Iterable[str],
    config: type[PictureConfig],
    draw: Callable[[Item], Image],
    *,
    vary: Callable[[Item, np.random.Generator], Image] | None = None,
    diagnose: Callable[[], dict[str, str]] | None = None,
) -> Modality:
    """Whatever can be drawn. `draw(item)` -> picture, always the same, or raises ItemError; people see that picture.

    `vary(item, rng)` draws it in another style, for training.
    """
    return Modality(
        name=name,
        suffixes=frozenset(suffixes),
        config=config,
        build=partial(_build_picture, draw, vary),
        preview=draw,
        diagnose=diagnose,
    )


def _build_series(read: Read, config: Any, anchor: Anchor) -> Encoder:
    from binder.bases.series_encoder import SeriesEncoder

    return SeriesEncoder(config, anchor.embed_dim, read)


def _preview_series(read: Read, config: type[SeriesConfig], item: Item) -> Image:
    from binder.bases.drawing import lines

    series = read_series(read, item, config())
    return lines(series.time_S, series.values_SC)


def _build_points(read: ReadPoints, config: Any, anchor: Anchor) -> Encoder:
    from binder.bases.point_encoder import PointEncoder

    return PointEncoder(config, anchor.embed_dim, read)


def _preview_points(read: ReadPoints, config: type[PointConfig], item: Item) -> Image:
    from binder.bases.drawing import cloud

    return cloud(read_points(read, item, config())[:, :3])


def _build_picture(draw: Any, vary: Any, config: Any, anchor: Anchor) -> Encoder:
    from binder.bases.drawn import DrawnEncoder

    return DrawnEncoder(config, anchor, draw, vary)
