"""Point clouds, prepared for the encoder: checked, thinned, evenly sampled, scaled into the unit sphere. Free of torch.

Shapes: P points as read, N points of a window, C values of a point (3, and 3 each for normals and colors).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder.encoders.points.config import PointConfig, Points, Read
from binder.errors import ItemError, name_of
from binder.modality import Item

log = logging.getLogger(__name__)

Floats = NDArray[np.floating[Any]]
Rows = NDArray[np.int64]

MIN_POINTS = 4  # fewer span no volume
FAR = 1e30  # larger coordinates are placeholders for points that were not measured, as NaN is
THINNED = 4  # times as many points as wanted are kept to choose from
MANY = THINNED * 65_536  # as many as any configuration chooses from; larger clouds are thinned to this before copying
BLOCK = 1 << 18  # points processed at once, so that a cloud of any size needs little additional memory
CELLS = 1 << 20  # along the longest side of a cloud that is thinned
UPRIGHT = {"x": [1, 2, 0], "y": [2, 0, 1], "z": [0, 1, 2]}  # order of the axes that puts the vertical one last


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
    chosen = _usable(parts, item)
    if len(chosen) < MIN_POINTS:
        raise ItemError(item, f"{len(chosen)} points, at least {MIN_POINTS} are needed")
    columns: list[Floats] = [part[chosen].astype(np.float64) for part in parts]
    xyz = columns[0][:, UPRIGHT[config.up]]
    if config.normals:
        turned = columns[1][:, UPRIGHT[config.up]]
        columns[1] = turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-12)
    if config.colors:
        columns[-1] = _colors(columns[-1], parts[-1].dtype.kind, item)
    xyz = xyz - (xyz.min(0) + xyz.max(0)) / 2
    radius = np.linalg.norm(xyz, axis=1).max()
    if not radius > 0:
        raise ItemError(item, "all points are in one place")
    rows = np.concatenate([xyz / radius, *columns[1:]], axis=1)
    return spread(rows, config.points).astype(np.float32)


def spread(rows_PC: Floats, count: int) -> Floats:
    """(P, C), coordinates first -> (count, C): farthest point sampling (Eldar et al. 1997); repeated where too few."""
    if len(rows_PC) > THINNED * count:
        order = np.lexsort(rows_PC.T)  # by value, so that the order in the file does not matter
        rows_PC = rows_PC[np.random.default_rng(0).permutation(order)[: THINNED * count]]
    xyz = np.ascontiguousarray(rows_PC[:, :3].T)
    chosen = np.empty(min(count, len(rows_PC)), np.int64)
    nearest = np.full(len(rows_PC), np.inf)
    place = int(np.square(xyz - xyz.mean(1, keepdims=True)).sum(0).argmax())
    for i in range(len(chosen)):
        chosen[i] = place
        nearest = np.minimum(nearest, np.square(xyz - xyz[:, place, None]).sum(0))
        place = int(nearest.argmax())
    return rows_PC[np.resize(chosen, count)]


def thinned(xyz_P3: Floats, good_P: NDArray[np.bool_], count: int) -> Rows:
    """(P, 3) points, (P,) which are good -> the rows of `count` good ones, ascending.

    They are those whose cells come first in a fixed shuffle of the cells of the bounding box. So the density stays in
    proportion everywhere, whatever the order, unit and origin of the file. One pass over the blocks finds the box, a
    second one chooses.
    """
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for block in _blocks(len(xyz_P3)):
        inside = xyz_P3[block][good_P[block]].astype(np.float64)
        if len(inside):
            low, high = np.minimum(low, inside.min(0)), np.maximum(high, inside.max(0))
    scale = (CELLS - 1) / max((high - low).max(), np.finfo(np.float64).tiny)
    keys, rows, last = np.empty(0, np.uint64), np.empty(0, np.int64), np.uint64(2**64 - 1)
    for block in _blocks(len(xyz_P3)):
        found = block.start + np.flatnonzero(good_P[block])
        own = _shuffled(np.rint((xyz_P3[found].astype(np.float64) - low) * scale).astype(np.uint64))
        keys, rows = np.concatenate([keys, own[own <= last]]), np.concatenate([rows, found[own <= last]])
        if len(keys) > count:
            first = np.argpartition(keys, count - 1)[:count]
            keys, rows = keys[first], rows[first]
            last = keys.max()
    return np.sort(rows)


def _shuffled(cells_P3: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """(P, 3) cells -> (P,) their ranks in a fixed shuffle: the finalizer of SplitMix64 (Steele et al. 2014)."""
    keys = cells_P3[:, 0] | cells_P3[:, 1] << np.uint64(21) | cells_P3[:, 2] << np.uint64(42)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        keys = (keys ^ keys >> np.uint64(shift)) * np.uint64(factor)
    ranks: NDArray[np.uint64] = keys ^ keys >> np.uint64(31)
    return ranks


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


def _usable(parts: Sequence[NDArray[Any]], item: Item) -> Rows:
    """The rows of the points that are finite in all parts, at most MANY. Raises ItemError where most are not."""
    count = len(parts[0])
    good_P = np.ones(count, np.bool_)
    for part in parts:
        if part.dtype.kind == "f":
            for block in _blocks(count):
                good_P[block] &= (np.abs(part[block].astype(np.float64)) < FAR).all(1)
    bad = count - int(good_P.sum())
    if 2 * bad > count:
        raise ItemError(item, f"{bad} of {count} points are not finite")
    if bad:
        log.info("%s: %d of %d points are not finite; left out", name_of(item), bad, count)
    return np.flatnonzero(good_P) if count - bad <= MANY else thinned(parts[0], good_P, MANY)


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK))


def _colors(values: Floats, kind: str, item: Item) -> Floats:
    """(P, 3) colors of any kind -> in 0..1. Raises ItemError."""
    low, high = values.min(), values.max()
    whole = kind in "iu" or (high > 1 and bool((values == np.round(values)).all()))
    if low < 0 or high > (255 if whole else 1):
        raise ItemError(item, f"colors from {low:g} to {high:g}: expected 0 to 1, or integers from 0 to 255")
    return values / 255 if whole else values
