"""Finds an unknown palette from pictures in false colors, whose colors lie along a curve in RGB. Free of torch.

Shapes: N pixels, U colors that occur, K colors of a palette, P pictures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

CELL = 8  # side of the cubes in which colors are counted
RARE = 0.02  # share of the pixels that is ignored, those in the rarest cubes: edges, marks, JPEG artifacts
MAX_CUBES = 2000  # most frequent cubes that are used
COLORS = 64  # of a fitted palette
ROUNDS = 4  # of moving the curve to the middle of the colors
LUMA = np.array((0.299, 0.587, 0.114))  # brightness of red, green and blue (ITU-R BT.601)
TIE = 20.0  # difference in brightness up to which both ends are taken for equally light


def through(rgb_N3: NDArray[np.uint8]) -> Floats | None:
    """(N, 3) -> (K, 3): the curve through most of the colors, from its darker to its lighter end.

    None where there are too few colors. The caller has to check that the colors lie near the curve.
    """
    rgb_U3, count_U = _cubes(rgb_N3)
    if len(rgb_U3) < 8:
        return None
    curve_K3 = _resampled(rgb_U3[_longest_path(rgb_U3)])
    for _ in range(ROUNDS):
        curve_K3 = _resampled(_middle(curve_K3, rgb_U3, np.sqrt(count_U)))
    return from_cold(_extended(curve_K3))


def from_cold(curve_K3: Floats) -> Floats:
    """The curve ordered so that its lighter end comes last; of equally light ends, the redder."""
    first, last = curve_K3[0], curve_K3[-1]
    difference = float((last - first) @ LUMA)
    if abs(difference) < TIE:
        difference = float((last - first) @ np.array((1.0, 0.0, -1.0)))
    return curve_K3 if difference >= 0 else curve_K3[::-1]


def _cubes(rgb_N3: NDArray[np.uint8]) -> tuple[Floats, NDArray[np.int64]]:
    """(U, 3), (U,): mean color and number of pixels of each frequent cube."""
    code_N = (rgb_N3.astype(np.int64) // CELL) @ np.array((1 << 12, 1 << 6, 1))
    _, place_N, count_U = np.unique(code_N, return_inverse=True, return_counts=True)
    mean_U3 = np.stack([np.bincount(place_N, rgb_N3[:, i]) / count_U for i in range(3)], axis=1)
    order = np.argsort(-count_U, kind="stable")
    common = int(np.searchsorted(np.cumsum(count_U[order]), (1 - RARE) * len(rgb_N3))) + 1
    kept = order[: min(common, MAX_CUBES)]
    return mean_U3[kept], count_U[kept]


def _longest_path(rgb_U3: Floats) -> list[int]:
    """The indices of the colors along the longest path in their minimum spanning tree (Prim's algorithm)."""
    U = len(rgb_U3)
    parent_U, reach_U = np.zeros(U, np.int64), np.full(U, np.inf)
    outside_U = np.ones(U, bool)
    tree: list[list[tuple[int, float]]] = [[] for _ in range(U)]
    node = 0
    for _ in range(U - 1):
        outside_U[node] = False
        squared_U = ((rgb_U3 - rgb_U3[node]) ** 2).sum(1)
        nearer_U = outside_U & (squared_U < reach_U)
        reach_U[nearer_U], parent_U[nearer_U] = squared_U[nearer_U], node
        node = int(np.where(outside_U, reach_U, np.inf).argmin())
        length, other = float(np.sqrt(reach_U[node])), int(parent_U[node])
        tree[node].append((other, length))
        tree[other].append((node, length))
    end = _farthest(tree, 0)[-1]
    return _farthest(tree, end)


def _farthest(tree: list[list[tuple[int, float]]], start: int) -> list[int]:
    """The path in the tree from `start` to the node farthest from it."""
    previous, distance, waiting = {start: -1}, {start: 0.0}, [start]
    while waiting:
        node = waiting.pop()
        for other, length in tree[node]:
            if other not in previous:
                previous[other], distance[other] = node, distance[node] + length
                waiting.append(other)
    node, path = max(distance, key=distance.__getitem__), []
    while node >= 0:
        path.append(node)
        node = previous[node]
    return path[::-1]


def _resampled(points_K3: Floats) -> Floats:
    """A polyline -> COLORS points at equal distances along it."""
    steps = np.linalg.norm(np.diff(points_K3, axis=0), axis=1)
    along = np.concatenate([[0], np.cumsum(steps)])
    places = np.linspace(0, along[-1], COLORS)
    return np.stack([np.interp(places, along, points_K3[:, i]) for i in range(3)], axis=1)


def _middle(curve_K3: Floats, rgb_U3: Floats, weight_U: Floats) -> Floats:
    """Each point of the curve moved to the weighted mean of the colors nearest to it and its neighbors."""
    squared_UK = (rgb_U3**2).sum(1)[:, None] - 2 * rgb_U3 @ curve_K3.T + (curve_K3**2).sum(1)
    place_U = squared_UK.argmin(1)
    apart_KU = np.arange(len(curve_K3))[:, None] - place_U
    weight_KU = np.exp(-0.5 * apart_KU**2) * weight_U
    total_K = weight_KU.sum(1)
    moved_K3 = (weight_KU @ rgb_U3) / np.maximum(total_K, 1e-9)[:, None]
    return np.where((total_K > 1e-3)[:, None], moved_K3, curve_K3)


def _extended(curve_K3: Floats) -> Floats:
    """The curve extended by a step at both ends, which averaging has pulled in."""
    first, last = 2 * curve_K3[0] - curve_K3[1], 2 * curve_K3[-1] - curve_K3[-2]
    return _resampled(np.clip(np.concatenate([[first], curve_K3, [last]]), 0, 255))
