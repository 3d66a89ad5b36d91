"""Point clouds, checked and prepared for the encoder as `binder.portable.points` does. Free of torch.

Shapes: P points as read, N points of a window, C values of a point (3, and 3 each for normals and colors).
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder.encoders.points.config import PointConfig, Points, Read
from binder.errors import ItemError, name_of
from binder.modality import Item
from binder.portable.points import Floats, arranged, colors_of, usable

log = logging.getLogger(__name__)


def read_points(read: Read, item: Item, config: PointConfig) -> NDArray[np.float32]:
    """Item -> (N, C) float32: evenly spread points in the unit sphere, with their normals and colors.

    The first point is the one farthest from the center, and each further one is farthest from all before it, so that
    the first few already outline the whole. Their order in the file does not matter. Points that are not finite are
    left out. Raises ItemError where what `read` returns is not usable.
    """
    found = read(item, config)
    if not isinstance(found, Points):
        found = _of_columns(found, config, item)
    parts = _wanted(found, config, item)
    try:
        chosen, bad = usable(parts)
        if bad:
            log.info("%s: %d of %d points are not finite; left out", name_of(item), bad, len(parts[0]))
        columns: list[Floats] = [part[chosen].astype(np.float64) for part in parts]
        if config.colors:
            columns[-1] = colors_of(columns[-1], parts[-1].dtype.kind)
        return arranged(columns, config.up, config.normals, config.points)
    except ValueError as error:
        raise ItemError(item, str(error)) from None


def _of_columns(given: Floats, config: PointConfig, item: Item) -> Points:
    """An array (P, 3 to 9), or its transpose -> Points. Raises ItemError."""
    array, needed = np.asarray(given), 3 * (1 + config.normals + config.colors)
    if array.ndim == 2 and len(array) <= 9 < array.shape[1]:  # more columns than a point has values
        array = array.T
    if array.ndim != 2 or array.shape[1] < needed:
        raise ItemError(item, f"expected an array of shape (P, {needed}), got {np.shape(given)}")
    normals = array[:, 3:6] if config.normals else None
    return Points(array[:, :3], normals, array[:, needed - 3 : needed] if config.colors else None)


def _wanted(found: Points, config: PointConfig, item: Item) -> list[NDArray[Any]]:
    """Coordinates, then normals and colors where the configuration asks for them, each (P, 3) as read."""
    parts = [_numbers(found.xyz, "points", item)]
    for wanted, values, what in (
        (config.normals, found.normals, "normals"),
        (config.colors, found.colors, "colors"),
    ):
        if wanted and values is None:
            raise ItemError(item, f"has no {what}; set encoder.{what} = false")
        if wanted:
            parts.append(_numbers(values, what, item))
            if len(parts[-1]) != len(parts[0]):
                raise ItemError(item, f"{len(parts[0])} points but {len(parts[-1])} {what}")
    return parts


def _numbers(values: Any, what: str, item: Item) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" or array.ndim != 2 or array.shape[1] != 3:
        raise ItemError(item, f"expected {what} of shape (P, 3), got {array.shape} of {array.dtype}")
    return array
