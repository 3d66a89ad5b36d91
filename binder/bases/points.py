"""Sets of points in space: checked, evened out, brought into the unit sphere. Free of torch.

Shapes: P points as read, N points of a window, C numbers of a point (3, and 3 each for normals and colours).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from binder.errors import ItemError
from binder.modality import EncoderConfig, Item

Floats = NDArray[np.floating[Any]]

FEWEST = 4  # points; fewer span no volume
THINNED = 4  # times as many points as are wanted, from which they are chosen
UPRIGHT = {"x": [1, 2, 0], "y": [2, 0, 1], "z": [0, 1, 2]}  # order of the axes that puts the one that is up last


class PointConfig(EncoderConfig):
    """Base for encoders of sets of points."""

    points: int = Field(1024, ge=64, le=65_536)  # that the encoder sees of an item
    normals: bool = False  # whether it sees which way the surface faces
    colours: bool = False  # whether it sees the points' colours
    up: Literal["x", "y", "z"] = "z"  # axis that is up in the files; inside the encoder it is z
    turn: Literal["x", "y", "z", "all", "none"] = "z"  # axis about which training turns items, once z is up
    groups: int = Field(64, ge=8, le=1024)  # tokens: neighbourhoods that are looked at
    neighbours: int = Field(24, ge=4, le=256)  # points of each
    width: int = Field(96, ge=16, le=2048)  # channels of the transformer
    layers: int = Field(3, ge=1, le=48)
    heads: int = Field(4, ge=1, le=32)
    dropout: float = Field(0.1, ge=0, lt=1)
    strength: float = Field(1.0, ge=0, le=2)  # of the augmentation; 0: none

    @model_validator(mode="after")
    def _fits(self) -> PointConfig:
        if max(self.groups, self.neighbours) > self.points:
            raise ValueError(f"points: expected at least groups ({self.groups}) and neighbours ({self.neighbours})")
        if self.width % self.heads:
            raise ValueError(f"width: expected a multiple of heads ({self.heads}), got {self.width}")
        return self


@dataclass(frozen=True)
class Points:
    """What a reading function returns: points, in any unit, about any origin.

    Or an array (P, 3 to 9): x, y, z, then normals, then colours, as far as the configuration asks for them.
    """

    xyz: Floats  # (P, 3)
    normals: Floats | None = None  # (P, 3), of any length
    colours: Floats | None = None  # (P, 3) red, green, blue: 0 to 1, or whole numbers 0 to 255


Read = Callable[[Item, Any], Points | Floats]  # (item, config) -> points; raises ItemError


def read_points(read: Read, item: Item, config: PointConfig) -> NDArray[np.float32]:
    """What `read` returns of the item -> (N, C) float32: evenly spread points in the unit sphere, its normals, colours.

    The first point is the farthest from the centre and each further one the farthest from all before it, so the first
    few are a coarse picture of the whole. The order in the file does not count. Raises ItemError in one line.
    """
    found = read(item, config)
    if not isinstance(found, Points):
        found = _of_columns(found, config, item)
    columns = [_usable(found.xyz, "points", item)[:, UPRIGHT[config.up]]]
    for wanted, values, what in (
        (config.normals, found.normals, "normals"),
        (config.colours, found.colours, "colours"),
    ):
        if wanted and values is None:
            raise ItemError(item, f"has no {what}; set encoder.{what} = false")
        if wanted:
            columns.append(_usable(values, what, item))
            if len(columns[-1]) != len(columns[0]):
                raise ItemError(item, f"{len(columns[0])} points but {len(columns[-1])} {what}")
    if config.normals:
        turned = columns[1][:, UPRIGHT[config.up]]
        columns[1] = turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-12)
    if config.colours:
        columns[-1] = _colours(columns[-1], np.asarray(found.colours).dtype.kind, item)
    xyz = columns[0]
    if len(xyz) < FEWEST:
        raise ItemError(item, f"{len(xyz)} points, at least {FEWEST} are needed")
    xyz = xyz - (xyz.min(0) + xyz.max(0)) / 2
    radius = np.linalg.norm(xyz, axis=1).max()
    if not radius > 0:
        raise ItemError(item, "all points are in one place")
    rows = np.concatenate([xyz / radius, *columns[1:]], axis=1)
    return spread(rows, config.points).astype(np.float32)


def spread(rows_PC: Floats, count: int) -> Floats:
    """(P, C), coordinates first -> (count, C): farthest point sampling (Eldar et al. 1997); repeated where too few."""
    if len(rows_PC) > THINNED * count:
        order = np.lexsort(rows_PC.T)  # by content, so that the file's order does not count
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


def _of_columns(array: Floats, config: PointConfig, item: Item) -> Points:
    array, needed = np.asarray(array), 3 * (1 + config.normals + config.colours)
    if array.ndim != 2 or array.shape[1] < needed:
        raise ItemError(item, f"expected an array of shape (P, {needed}), got {array.shape}")
    normals = array[:, 3:6] if config.normals else None
    return Points(array[:, :3], normals, array[:, needed - 3 : needed] if config.colours else None)


def _usable(values: Any, what: str, item: Item) -> Floats:
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" or array.ndim != 2 or array.shape[1] != 3:
        raise ItemError(item, f"expected {what} of shape (P, 3), got {array.shape} of {array.dtype}")
    bad = ~np.isfinite(array).all(1)
    if bad.any():
        raise ItemError(item, f"{what[:-1]} {int(bad.argmax()) + 1} is not finite")
    return array.astype(np.float64)


def _colours(values: Floats, kind: str, item: Item) -> Floats:
    low, high = values.min(), values.max()
    if low < 0 or high > 255 or (kind == "f" and high > 1):
        raise ItemError(item, f"colours from {low:g} to {high:g}: expected 0 to 1, or whole numbers 0 to 255")
    return values / 255 if kind in "iu" else values
