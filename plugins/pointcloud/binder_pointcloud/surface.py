"""Meshes -> points drawn evenly from their surface. Free of torch.

Shapes: V vertices, F triangles, N points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import PointConfig, Points

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

DENSITY = 4  # points sampled from a surface for each that the encoder sees; they are then spread out
BLOCK = 1 << 18  # triangles looked at at once
FAR = 1e30  # as binder has it: no place, but a mark for what was not measured


@dataclass(frozen=True)
class Mesh:
    """Triangles between vertices."""

    vertices_V3: Floats
    faces_F3: Ints  # rows of vertices
    vertex_colours_V3: NDArray[Any] | None = None
    face_colours_F3: NDArray[Any] | None = None


def sampled(mesh: Mesh, config: PointConfig) -> Points:
    """A mesh -> points on it, the same ones every time; normals are those of its triangles.

    Triangles with a corner that is not finite are left out. Raises ValueError: most are, or there is no surface.
    """
    count, faces = DENSITY * config.points, mesh.faces_F3
    upto_F = np.cumsum(_areas(mesh))
    if not (len(faces) and upto_F[-1] > 0):
        raise ValueError("a mesh without a surface")
    rng = np.random.default_rng(0)
    chosen = np.searchsorted(upto_F, rng.random(count) * upto_F[-1], side="right").clip(max=len(faces) - 1)
    corners_N33 = _corners(mesh, faces[chosen])
    # two numbers from 0 to 1 are a place in a parallelogram; its farther half is folded onto the nearer
    place_N2 = rng.random((count, 2))
    place_N2[place_N2.sum(1) > 1] -= 1
    weight_N2 = np.abs(place_N2)
    weight_N31 = np.column_stack([1 - weight_N2.sum(1), weight_N2])[:, :, None]
    normals = None
    if config.normals:
        normals = _cross(corners_N33)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    colours = None
    if config.colors and mesh.vertex_colours_V3 is not None:
        levels_N33 = mesh.vertex_colours_V3[faces[chosen]]
        colours = _mixed(levels_N33, weight_N31)
    elif config.colors and mesh.face_colours_F3 is not None:
        colours = mesh.face_colours_F3[chosen]
    return Points((corners_N33 * weight_N31).sum(1), normals, colours)


def triangles(corners: Ints, sizes: Ints) -> tuple[Ints, Ints]:
    """Polygons of `sizes` corners, one after the other -> fans of triangles (F, 3), and which polygon each is of (F,).

    Polygons of fewer than three corners have no surface and give none.
    """
    fans = np.maximum(sizes - 2, 0)
    of = np.repeat(np.arange(len(sizes)), fans)
    first = (np.cumsum(sizes) - sizes)[of]
    step = np.arange(len(of)) - (np.cumsum(fans) - fans)[of]
    return np.column_stack([corners[first], corners[first + step + 1], corners[first + step + 2]]), of


def named(faces_F3: Ints, count: int, first: int = 0) -> Ints:
    """The same, where all are rows of `count` vertices. Raises ValueError: the vertex that is missing.

    `first` is the number that the format gives to its first vertex.
    """
    bad = (faces_F3 < 0) | (faces_F3 >= count)
    if bad.any():
        row, corner = np.argwhere(bad)[0]
        raise ValueError(f"a face names vertex {faces_F3[row, corner] + first}, but there are {count}: cut off?")
    return faces_F3


def _areas(mesh: Mesh) -> Floats:
    """(F,) float64; 0 where a corner is not finite."""
    areas, lost, faces = np.zeros(len(mesh.faces_F3)), 0, mesh.faces_F3
    for start in range(0, len(faces), BLOCK):
        corners_B33 = _corners(mesh, faces[start : start + BLOCK])
        good = np.abs(corners_B33).reshape(-1, 9).max(1) < FAR
        lost += len(good) - int(good.sum())
        areas[start : start + BLOCK][good] = np.linalg.norm(_cross(corners_B33[good]), axis=1)
    if 2 * lost > len(faces):
        raise ValueError(f"{lost} of {len(faces)} triangles have corners that are not finite")
    return areas


def _corners(mesh: Mesh, faces: Ints) -> Floats:
    return mesh.vertices_V3[faces].astype(np.float64)


def _cross(corners_N33: Floats) -> Floats:
    return np.cross(corners_N33[:, 1] - corners_N33[:, 0], corners_N33[:, 2] - corners_N33[:, 0])


def _mixed(levels_N33: NDArray[Any], weight_N31: Floats) -> NDArray[Any]:
    """Colours at the corners -> between them, still whole where they were."""
    mixed = (levels_N33 * weight_N31).sum(1)
    return np.rint(mixed).astype(levels_N33.dtype) if levels_N33.dtype.kind in "iu" else mixed
