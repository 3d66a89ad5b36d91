"""Points as numbers: the usable ones, thinned, turned upright, scaled into the unit sphere, evenly sampled.

Only NumPy: exported encoders run it, too. Shapes: P points as read, N points of a window, C values of a point.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Rows = NDArray[np.int64]

MIN_POINTS = 4  # fewer span no volume
FAR = 1e30  # larger coordinates are placeholders for points that were not measured, as NaN is
THINNED = 4  # times as many points as wanted are kept to choose from
MANY = THINNED * 65_536  # as many as any configuration chooses from; larger clouds are thinned to this before copying
BLOCK = 1 << 18  # points processed at once, so that a cloud of any size needs little additional memory
CELLS = 1 << 20  # along the longest side of a cloud that is thinned
UPRIGHT = {"x": [1, 2, 0], "y": [2, 0, 1], "z": [0, 1, 2]}  # order of the axes that puts the vertical one last


def arranged(columns: Sequence[Floats], up: str, normals: bool, count: int) -> NDArray[np.float32]:
    """Coordinates, then normals and colors if there are any, each (P, 3) -> (N, C) float32: see `spread`.

    Raises ValueError where all points are in one place.
    """
    xyz = columns[0][:, UPRIGHT[up]]
    others = list(columns[1:])
    if normals:
        turned = others[0][:, UPRIGHT[up]]
        others[0] = turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-12)
    xyz = xyz - (xyz.min(0) + xyz.max(0)) / 2
    radius = np.linalg.norm(xyz, axis=1).max()
    if not radius > 0:
        raise ValueError("all points are in one place")
    return spread(np.concatenate([xyz / radius, *others], axis=1), count).astype(np.float32)


def usable(parts: Sequence[NDArray[Any]]) -> tuple[Rows, int]:
    """The rows of the points that are finite in all parts, at most MANY, and how many are not finite.

    Raises ValueError where most are not, or too few are.
    """
    count = len(parts[0])
    good_P = np.ones(count, np.bool_)
    for part in parts:
        if part.dtype.kind == "f":
            for block in blocks(count):
                good_P[block] &= (np.abs(part[block].astype(np.float64)) < FAR).all(1)
    bad = count - int(good_P.sum())
    if 2 * bad > count:
        raise ValueError(f"{bad} of {count} points are not finite")
    if count - bad < MIN_POINTS:
        raise ValueError(f"{count - bad} points, at least {MIN_POINTS} are needed")
    return np.flatnonzero(good_P) if count - bad <= MANY else thinned(parts[0], good_P, MANY), bad


def colors_of(values: Floats, kind: str) -> Floats:
    """(P, 3) colors, read as numbers of a `kind` of NumPy -> in 0..1. Raises ValueError."""
    low, high = values.min(), values.max()
    whole = kind in "iu" or (high > 1 and bool((values == np.round(values)).all()))
    if low < 0 or high > (255 if whole else 1):
        raise ValueError(f"colors from {low:g} to {high:g}: expected 0 to 1, or integers from 0 to 255")
    return values / 255 if whole else values


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
    for block in blocks(len(xyz_P3)):
        inside = xyz_P3[block][good_P[block]].astype(np.float64)
        if len(inside):
            low, high = np.minimum(low, inside.min(0)), np.maximum(high, inside.max(0))
    scale = (CELLS - 1) / max((high - low).max(), np.finfo(np.float64).tiny)
    keys, rows, last = np.empty(0, np.uint64), np.empty(0, np.int64), np.uint64(2**64 - 1)
    for block in blocks(len(xyz_P3)):
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


def blocks(count: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK))


def windows_of(item: str, settings: dict[str, Any]) -> NDArray[np.float32]:
    """A .npy file (P, 3 to 9) of coordinates, then normals and colors as the encoder takes them -> (1, N, C).

    Raises OSError, ValueError.
    """
    normals, colors = settings["normals"], settings["colors"]
    needed = 3 * (1 + normals + colors)
    array = np.load(item)
    if array.ndim != 2 or array.shape[1] < needed or array.dtype.kind not in "iuf":
        raise ValueError(f"expected an array (P, {needed}), got {array.shape} of {array.dtype}")
    parts = [array[:, 3 * i : 3 * i + 3] for i in range(1 + normals)]
    parts += [array[:, needed - 3 : needed]] if colors else []
    rows, _ = usable(parts)
    columns: list[Floats] = [part[rows].astype(np.float64) for part in parts]
    if colors:
        columns[-1] = colors_of(columns[-1], parts[-1].dtype.kind)
    return arranged(columns, settings["up"], normals, settings["points"])[None]
