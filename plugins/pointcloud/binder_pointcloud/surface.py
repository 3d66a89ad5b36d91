"""Meshes -> points sampled evenly from their surface. Free of torch.

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

DENSITY = 4  # points sampled from a surface for each point of the encoder, which then spreads them out
BLOCK = 1 << 18  # triangles processed at once
FAR = 1e30  # larger coordinates mark points that were not measured, as in the core


@dataclass(frozen=True)
class Mesh:
    """Triangles between vertices."""

    vertices_V3: Floats
    faces_F3: Ints  # indices of vertices
    vertex_colors_V3: NDArray[Any] | None = None
    face_colors_F3: NDArray[Any] | None = None


def sampled(mesh: Mesh, config: PointConfig) -> Points:
    """A mesh -> points on it, always the same ones; normals are those of its triangles.

    Triangles with a corner that is not finite are left out. Raises ValueError if most are, or if there is no surface.
    """
    count, faces = DENSITY * config.points, mesh.faces_F3
    upto_F = np.cumsum(_areas(mesh))
    if not (len(faces) and upto_F[-1] > 0):
        raise ValueError("a mesh without a surface")
    rng = np.random.default_rng(0)
    chosen = np.searchsorted(upto_F, rng.random(count) * upto_F[-1], side="right").clip(max=len(faces) - 1)
    corners_N33 = _corners(mesh, faces[chosen])
    # two numbers from 0 to 1 are a point in a parallelogram, whose far half is folded onto the triangle
    place_N2 = rng.random((count, 2))
    place_N2[place_N2.sum(1) > 1] -= 1
    weight_N2 = np.abs(place_N2)
    weight_N31 = np.column_stack([1 - weight_N2.sum(1), weight_N2])[:, :, None]
    normals = None
    if config.normals:
        normals = _cross(corners_N33)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    colors = None
    if config.colors and mesh.vertex_colors_V3 is not None:
        levels_N33 = mesh.vertex_colors_V3[faces[chosen]]
        colors = _mixed(levels_N33, weight_N31)
    elif config.colors and mesh.face_colors_F3 is not None:
        colors = mesh.face_colors_F3[chosen]
    return Points((corners_N33 * weight_N31).sum(1), normals, colors)


def triangles(corners: Ints, sizes: Ints) -> tuple[Ints, Ints]:
    """Consecutive polygons of `sizes` corners -> fans of triangles (F, 3), and the polygon of each triangle (F,).

    Polygons of fewer than three corners give no triangle.
    """
    fans = np.maximum(sizes - 2, 0)
    of = np.repeat(np.arange(len(sizes)), fans)
    first = (np.cumsum(sizes) - sizes)[of]
    step = np.arange(len(of)) - (np.cumsum(fans) - fans)[of]
    return np.column_stack([corners[first], corners[first + step + 1], corners[first + step + 2]]), of


def check_faces(faces_F3: Ints, count: int, first: int = 0) -> Ints:
    """The faces unchanged. Raises ValueError if one refers to a vertex beyond the `count` that there are.

    `first` is the number of the first vertex in the format.
    """
    bad = (faces_F3 < 0) | (faces_F3 >= count)
    if bad.any():
        row, corner = np.argwhere(bad)[0]
        number = faces_F3[row, corner] + first
        raise ValueError(f"a face refers to vertex {number}, but there are {count}; is the file truncated?")
    return faces_F3


def _areas(mesh: Mesh) -> Floats:
    """Twice the area of each triangle (F,), 0 where a corner is not finite. Raises ValueError if most are."""
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
    """Faces (N, 3) -> (N, 3, 3): the coordinates of their corners."""
    corners_N33: Floats = mesh.vertices_V3[faces].astype(np.float64)
    return corners_N33


def _cross(corners_N33: Floats) -> Floats:
    """(N, 3, 3) -> (N, 3): normals, as long as twice the areas."""
    return np.cross(corners_N33[:, 1] - corners_N33[:, 0], corners_N33[:, 2] - corners_N33[:, 0])


def _mixed(levels_N33: NDArray[Any], weight_N31: Floats) -> NDArray[Any]:
    """Colors at the corners -> (N, 3) interpolated, in the same type."""
    mixed_N3: NDArray[Any] = (levels_N33 * weight_N31).sum(1)
    return np.rint(mixed_N3).astype(levels_N33.dtype) if levels_N33.dtype.kind in "iu" else mixed_N3
