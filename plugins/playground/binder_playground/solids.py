"""Shaded solids: meshes from formulas, rotated, lit and painted back to front."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from binder_playground import shapes
from binder_playground.shapes import Floats
from binder_playground.world import Concept

Mesh = tuple[
    Floats, NDArray[np.int64]
]  # vertices (V, 3), z up, around the origin; faces (F, 4), where a triangle repeats its last vertex
SCALE = 2  # drawn this many times larger, then averaged


def draw_solid(concept: Concept, rng: np.random.Generator, size: int) -> Image.Image:
    """One solid seen from a little above, lit from one side, in one color."""
    vertices, faces = mesh(concept.solid)
    stretch = np.exp(rng.normal(0, 0.05, 3)) if concept.solid in ("sphere", "cube") else np.exp(rng.normal(0, 0.1, 3))
    stretch = np.ones(3) if concept.solid == "sphere" else stretch
    points = vertices * stretch @ _view(rng, concept.solid).T
    corners = points[faces]  # (F, 4, 3); x right, y up, z toward the viewer
    normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 1] - corners[:, 3])
    thin = np.linalg.norm(normals, axis=1) < 1e-9
    normals[thin] = np.cross(corners[thin, 1] - corners[thin, 0], corners[thin, 2] - corners[thin, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    normals *= np.where(normals[:, 2:] < 0, -1, 1)  # meshes need not be oriented: the visible side faces the viewer
    light = np.array([rng.uniform(-1, 1), rng.uniform(0.2, 1), rng.uniform(0.4, 1)])
    light /= np.linalg.norm(light)
    ambient = rng.uniform(0.2, 0.45)
    shade = ambient + (1 - ambient) * np.clip(normals @ light, 0, 1)
    gloss = np.clip(normals @ light, 0, 1) ** 20 * rng.uniform(0, 0.4)
    color = shapes.ink(concept.color, rng)
    tones = np.clip(np.clip(color, 0.12, 1) * shade[:, None] + gloss[:, None], 0, 1)
    flat = _fit(points[:, :2], rng, size * SCALE)
    ground = shapes.picture(shapes.background(color * 0.75, size, rng)).resize((size * SCALE, size * SCALE))
    _paint(ground, flat[faces], corners[:, :, 2].mean(axis=1), tones)
    return ground.reduce(SCALE)


def _view(rng: np.random.Generator, solid: str) -> Floats:
    """A rotation (3, 3) from the solid's axes to the picture's, from a random side and a little above."""
    around, above, roll = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.85), rng.normal(0, 0.15)
    if solid in ("octahedron", "dodecahedron", "knot"):
        above, roll = rng.uniform(-0.9, 0.9), rng.uniform(-0.6, 0.6)
    if solid in ("arch", "stairs", "mug", "chair"):
        around = float(rng.choice([0.55, 2.4, -0.55, -2.4])) + rng.normal(0, 0.35)
    a, b, c = (np.cos(t) for t in (around, above, roll))
    d, e, f = (np.sin(t) for t in (around, above, roll))
    spin = np.array([(a, -d, 0), (d, a, 0), (0, 0, 1)])
    look = np.array([(1, 0, 0), (0, e, b), (0, -b, e)])
    turn = np.array([(c, -f, 0), (f, c, 0), (0, 0, 1)])
    rotation: Floats = turn @ look @ spin
    return rotation


def _fit(points: Floats, rng: np.random.Generator, side: int) -> Floats:
    """Scale and move points (V, 2) so that they fill much of the picture; y now points down."""
    low, high = points.min(axis=0), points.max(axis=0)
    scale = rng.uniform(0.55, 0.92) * side / (high - low).max()
    room = (side - (high - low) * scale) / 2
    center = side / 2 + rng.uniform(-0.8, 0.8, 2) * room
    placed: Floats = (points - (low + high) / 2) * scale * (1, -1) + center
    return placed


def _paint(image: Image.Image, polygons: Floats, depth: Floats, tones: Floats) -> None:
    """Paint faces (F, 4, 2) from the farthest to the nearest."""
    pen = ImageDraw.Draw(image)
    order = np.argsort(depth)
    corners = polygons[order].reshape(-1, 8).tolist()
    for polygon, tone in zip(corners, (tones[order] * 255).astype(int).tolist(), strict=True):
        pen.polygon(polygon, fill=tuple(tone))


@cache
def mesh(solid: str) -> Mesh:
    """The mesh of a named solid: vertices (V, 3) and faces (F, 4)."""
    return _MESHES[solid]()


def _joined(*meshes: Mesh) -> Mesh:
    starts = np.cumsum([0, *(len(v) for v, _ in meshes)])
    return np.concatenate([v for v, _ in meshes]), np.concatenate(
        [f + s for (_, f), s in zip(meshes, starts, strict=False)]
    )


def _grid(points: Floats) -> Mesh:
    """A surface from a grid of points (A, B, 3)."""
    a, b = points.shape[:2]
    index = np.arange(a * b).reshape(a, b)
    faces = np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], axis=-1)
    return points.reshape(-1, 3), faces.reshape(-1, 4)


def _lathe(profile: list[tuple[float, float]] | Floats, around: int = 28) -> Mesh:
    """Rotate a profile of (radius, height) around the vertical axis; long segments are subdivided."""
    line = [np.asarray(profile[0], dtype=float)]
    for p, q in pairwise(np.asarray(profile, dtype=float)):
        steps = max(1, int(np.hypot(*(q - p)) / 0.3))
        line += [p + (q - p) * k / steps for k in range(1, steps + 1)]
    r, z = np.array(line).T
    t = np.linspace(0, 2 * np.pi, around + 1)
    return _grid(np.stack([np.outer(r, np.cos(t)), np.outer(r, np.sin(t)), np.outer(z, np.ones_like(t))], axis=-1))


def _hull(points: Floats) -> Mesh:
    """The convex hull of points (V, 3) as triangles."""
    from scipy.spatial import ConvexHull

    triangles = ConvexHull(points).simplices
    return points, triangles[:, [0, 1, 2, 2]].astype(np.int64)


def _box(x: tuple[float, float], y: tuple[float, float], z: tuple[float, float]) -> Mesh:
    """A box with its sides cut into small squares, so that they can be painted in order of depth."""
    sides = []
    spans = (x, y, z)
    for axis in range(3):
        u, v = (
            np.linspace(*spans[k], max(2, round((spans[k][1] - spans[k][0]) / 0.25) + 1)) for k in range(3) if k != axis
        )
        for level in spans[axis]:
            uu, vv = np.meshgrid(u, v, indexing="ij")
            sides.append(_grid(np.insert(np.stack([uu, vv], axis=-1), axis, level, axis=2)))
    return _joined(*sides)


def _pipe(curve: Floats, radius: float, around: int = 10) -> Mesh:
    """A pipe of the given radius along a curve (K, 3)."""
    along = np.gradient(curve, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    side = np.cross(along, np.array([0.31, 0.17, 0.93]))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    other = np.cross(along, side)
    t = np.linspace(0, 2 * np.pi, around + 1)
    ring = side[:, None] * np.cos(t)[None, :, None] + other[:, None] * np.sin(t)[None, :, None]
    return _grid(curve[:, None] + radius * ring)


def _round(start: float, stop: float, squeeze: float = 1.0, lift: float = 0.0) -> list[tuple[float, float]]:
    """Part of a circle as a profile, from latitude `start` to `stop`."""
    return [(float(np.cos(t)), float(np.sin(t)) * squeeze + lift) for t in np.linspace(start, stop, 15)]


def _dodecahedron() -> Mesh:
    """Twelve pentagons, each as three triangles that lie in one plane."""
    g = (1 + 5**0.5) / 2
    corners: list[tuple[float, float, float]] = [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
    for s in (-1, 1):
        for t in (-1, 1):
            corners += [(0, s / g, t * g), (s / g, t * g, 0), (t * g, 0, s / g)]
    return _hull(np.array(corners, dtype=float))


def _knot() -> Mesh:
    t = np.linspace(0, 2 * np.pi, 110)
    return _pipe(
        np.stack([np.sin(t) + 2 * np.sin(2 * t), np.cos(t) - 2 * np.cos(2 * t), -np.sin(3 * t)], axis=1) / 2,
        0.24,
    )


def _spring() -> Mesh:
    t = np.linspace(0, 8 * np.pi, 130)
    return _pipe(np.stack([0.8 * np.cos(t), 0.8 * np.sin(t), t / 9 - 1.4], axis=1), 0.16, 8)


def _arch() -> Mesh:
    t = np.linspace(0, np.pi, 13)
    rim = np.concatenate([[(1.0, -1.2)], np.stack([np.cos(t), np.sin(t)], axis=1), [(-1.0, -1.2)]])
    legs = np.array([(1, 0.9), (1.55, 0.9), (1.55, -0.9), (1, -0.9), (1, 0.9)])
    scale, y = legs.T[:, None, :]
    x = rim[:, 0][:, None] * scale
    z = np.where(rim[:, 1][:, None] > 0, rim[:, 1][:, None] * scale, rim[:, 1][:, None])
    return _grid(np.stack([x, np.broadcast_to(y * 0.55, x.shape), z], axis=-1))


def _table() -> Mesh:
    legs = [_box((x, x + 0.25), (y, y + 0.25), (-0.9, 0.4)) for x in (-1.1, 0.85) for y in (-0.8, 0.55)]
    return _joined(*legs, _box((-1.25, 1.25), (-0.95, 0.95), (0.4, 0.6)))


def _chair() -> Mesh:
    legs = [_box((x, x + 0.18), (y, y + 0.18), (-1.2, -0.1)) for x in (-0.65, 0.47) for y in (-0.65, 0.47)]
    return _joined(*legs, _box((-0.7, 0.7), (-0.7, 0.7), (-0.1, 0.08)), _box((-0.7, 0.7), (0.52, 0.7), (0.08, 1.3)))


def _mug() -> Mesh:
    t = np.linspace(-1.75, 1.75, 18)
    handle = np.stack([0.75 + 0.62 * np.cos(t), np.zeros_like(t), 0.6 * np.sin(t)], axis=1)
    return _joined(_lathe([(0, -1), (0.8, -1), (0.8, 1), (0.66, 1), (0.66, -0.7), (0, -0.7)]), _pipe(handle, 0.14, 8))


def _stairs() -> Mesh:
    return _joined(*(_box((-1 + 0.5 * i, -0.5 + 0.5 * i), (-0.7, 0.7), (-1, -0.5 + 0.5 * i)) for i in range(4)))


_SQUARE = [(-1.0, -1.0, -0.8), (1.0, -1.0, -0.8), (1.0, 1.0, -0.8), (-1.0, 1.0, -0.8)]
_MESHES: dict[str, Callable[[], Mesh]] = {
    "sphere": lambda: _lathe(_round(-np.pi / 2, np.pi / 2)),
    "cube": lambda: _box((-1, 1), (-1, 1), (-1, 1)),
    "cylinder": lambda: _lathe([(0, -1.1), (0.8, -1.1), (0.8, 1.1), (0, 1.1)]),
    "cone": lambda: _lathe([(0, -1), (1, -1), (0, 1.2)]),
    "torus": lambda: _lathe([(1 + 0.4 * np.cos(t), 0.4 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 15)]),
    "pyramid": lambda: _hull(np.array([*_SQUARE, (0.0, 0.0, 1.0)])),
    "prism": lambda: _hull(
        np.array([(x, y, z) for x in (-1.3, 1.3) for y, z in ((-0.8, -0.7), (0.8, -0.7), (0.0, 0.8))])
    ),
    "octahedron": lambda: _hull(np.concatenate([np.eye(3), -np.eye(3)])),
    "dodecahedron": _dodecahedron,
    "capsule": lambda: _lathe([*_round(-np.pi / 2, 0, lift=-1.0), *_round(0, np.pi / 2, lift=1.0)]),
    "egg": lambda: _lathe([*_round(-np.pi / 2, 0), *_round(0, np.pi / 2, squeeze=1.6)]),
    "hemisphere": lambda: _lathe([(0, 0), *_round(0, np.pi / 2)]),
    "tube": lambda: _lathe([(0.62, -0.9), (0.9, -0.9), (0.9, 0.9), (0.62, 0.9), (0.62, -0.9)]),
    "spring": _spring,
    "knot": _knot,
    "stairs": _stairs,
    "arch": _arch,
    "table": _table,
    "chair": _chair,
    "mug": _mug,
}
