"""An unknown palette, found from the pictures coloured with it: their colours lie along a curve in RGB. Free of torch.

Shapes: N pixels, U colours that occur, K colours of a palette, P pictures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

CELL = 8  # colours are told apart in cubes of this side
RARE = 0.02  # share of the pixels, in the rarest cubes, that are left out: edges, marks, what JPEG does to them
MOST = 2000  # cubes that are looked at, the commonest ones
COLORS = 64  # of a palette that is kept
ROUNDS = 4  # of drawing the curve through the middle of the colours
LUMA = np.array((0.299, 0.587, 0.114))  # brightness of red, green and blue (ITU-R BT.601)
TIE = 20.0  # difference in brightness up to which two ends are equally light


def through(rgb_N3: NDArray[np.uint8]) -> Floats | None:
    """(N, 3) -> (K, 3): the curve along which most of the colours lie, from its darker to its lighter end.

    None where there are too few colours. Whether the colours do lie along it is for the caller to see.
    """
    rgb_U3, count_U = _cubes(rgb_N3)
    if len(rgb_U3) < 8:
        return None
    curve_K3 = _resampled(rgb_U3[_longest_path(rgb_U3)])
    for _ in range(ROUNDS):
        curve_K3 = _resampled(_middle(curve_K3, rgb_U3, np.sqrt(count_U)))
    return from_cold(_longer(curve_K3))


def from_cold(curve_K3: Floats) -> Floats:
    """The curve turned so that its lighter end is the last one; of two equally light ones, the redder."""
    first, last = curve_K3[0], curve_K3[-1]
    difference = float((last - first) @ LUMA)
    if abs(difference) < TIE:
        difference = float((last - first) @ np.array((1.0, 0.0, -1.0)))
    return curve_K3 if difference >= 0 else curve_K3[::-1]


def _cubes(rgb_N3: NDArray[np.uint8]) -> tuple[Floats, NDArray[np.int64]]:
    """(U, 3), (U,): mean color of each common cube, and how many pixels it has."""
    code_N = (rgb_N3.astype(np.int64) // CELL) @ np.array((1 << 12, 1 << 6, 1))
    _, place_N, count_U = np.unique(code_N, return_inverse=True, return_counts=True)
    mean_U3 = np.stack([np.bincount(place_N, rgb_N3[:, i]) / count_U for i in range(3)], axis=1)
    order = np.argsort(-count_U, kind="stable")
    common = int(np.searchsorted(np.cumsum(count_U[order]), (1 - RARE) * len(rgb_N3))) + 1
    kept = order[: min(common, MOST)]
    return mean_U3[kept], count_U[kept]


def _longest_path(rgb_U3: Floats) -> list[int]:
    """Which colors lie on the longest way through their minimum spanning tree, in order (Prim's algorithm)."""
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
    """The way in the tree from `start` to the node that is farthest from it."""
    came, far, waiting = {start: -1}, {start: 0.0}, [start]
    while waiting:
        node = waiting.pop()
        for other, length in tree[node]:
            if other not in came:
                came[other], far[other] = node, far[node] + length
                waiting.append(other)
    node, way = max(far, key=far.__getitem__), []
    while node >= 0:
        way.append(node)
        node = came[node]
    return way[::-1]


def _resampled(points_K3: Floats) -> Floats:
    """A line through points -> COLORS points at equal distances along it."""
    steps = np.linalg.norm(np.diff(points_K3, axis=0), axis=1)
    along = np.concatenate([[0], np.cumsum(steps)])
    places = np.linspace(0, along[-1], COLORS)
    return np.stack([np.interp(places, along, points_K3[:, i]) for i in range(3)], axis=1)


def _middle(curve_K3: Floats, rgb_U3: Floats, weight_U: Floats) -> Floats:
    """Each point of the curve moved to the middle of the colors that are nearest to it and its neighbors."""
    squared_UK = (rgb_U3**2).sum(1)[:, None] - 2 * rgb_U3 @ curve_K3.T + (curve_K3**2).sum(1)
    place_U = squared_UK.argmin(1)
    apart_KU = np.arange(len(curve_K3))[:, None] - place_U
    weight_KU = np.exp(-0.5 * apart_KU**2) * weight_U
    total_K = weight_KU.sum(1)
    moved_K3 = (weight_KU @ rgb_U3) / np.maximum(total_K, 1e-9)[:, None]
    return np.where((total_K > 1e-3)[:, None], moved_K3, curve_K3)


def _longer(curve_K3: Floats) -> Floats:
    """The curve with each end drawn on by a step: averaging pulls ends in."""
    first, last = 2 * curve_K3[0] - curve_K3[1], 2 * curve_K3[-1] - curve_K3[-2]
    return _resampled(np.clip(np.concatenate([[first], curve_K3, [last]]), 0, 255))
