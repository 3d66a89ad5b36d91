"""Marks that cameras burn into pictures: scale bars, numbers, logos, crosshairs. Free of torch.

They stay in place from picture to picture while the scene changes. Shapes: P pictures, H height, W width, K colors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from binder_thermal.config import Box
from binder_thermal.curve import LUMA

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

FEWEST = 8  # pictures of one size; in fewer, equal pixels may be a coincidence
SAMPLE = 24  # pictures of one size that are examined
SAME = 14  # difference of a channel up to which two colors are taken for the same, to allow for JPEG
STEADY = 0.9  # share of the pictures in which a burnt-in pixel has the same color
SHARP = 90.0  # difference in brightness between neighbors that the optics of a thermal camera hardly produce
WHITE = 190  # each channel of a white pixel is at least this
OFTEN = 0.35  # share of the pictures in which an edge of text occurs, as numbers change
HALF = 0.5  # share of the pictures in which a pixel of a changing scene hardly ever has the same color
MOST = 0.3  # largest share of a picture that is taken for burnt in
LONG, THICK = 0.15, 3  # of a scale bar: least length as a share of the side, least thickness in pixels
COLORFUL, NARROW = 300.0, 0.125  # least length of its colors' path in RGB, largest thickness as a share of the side
EDGED = 0.7  # share of its length along which it differs from its surroundings
MAX_BOXES = 120  # for one size of pictures


def burnt_in(pictures_PHW3: Sequence[NDArray[np.uint8]]) -> Mask | None:
    """(H, W): True where something is burnt in; None where that cannot be decided: too few or too similar pictures."""
    if len(pictures_PHW3) < FEWEST:
        return None
    chosen = np.stack(pictures_PHW3[:: -(-len(pictures_PHW3) // SAMPLE)])
    usual_HW3 = np.median(chosen, axis=0)
    same_PHW = np.stack([np.abs(picture - usual_HW3).max(2) <= SAME for picture in chosen])
    steady_HW = same_PHW.mean(0) >= STEADY
    bars_HW = _strips(usual_HW3, steady_HW) | _strips(usual_HW3.swapaxes(0, 1), steady_HW.T).T
    changes = _changes(same_PHW)
    sharp_HW = np.mean([_sharp(picture, any_color=changes) for picture in chosen], axis=0) >= OFTEN
    found_HW = _grown(sharp_HW | bars_HW | (steady_HW & changes), 2)
    return found_HW if found_HW.mean() <= MOST else None


def _changes(same_PHW: Mask) -> bool:
    """Whether the scene changes from picture to picture; if a camera always views one scene, all of it is steady."""
    return bool((same_PHW.mean(0) >= HALF).mean() <= MOST / 2)


def boxes(mask_HW: Mask, step: int) -> list[Box]:
    """The mask as at most MAX_BOXES rectangles, on a grid of a few pixels, in pictures `step` times as large."""
    height, width = (side * step for side in mask_HW.shape)
    cell = max(2, mask_HW.shape[1] // 160)
    while True:
        found = _rectangles(mask_HW, cell)
        if len(found) <= MAX_BOXES:
            break
        cell *= 2
    scaled = [tuple(side * step for side in box) for box in found]
    return [(width, height, left, top, min(right, width), min(bottom, height)) for left, top, right, bottom in scaled]


def shown(shape: tuple[int, int], overlays: Sequence[Box]) -> Mask:
    """(H, W): False where an overlay for pictures of this size lies."""
    height, width = shape
    shown_HW = np.ones(shape, bool)
    for of_width, of_height, left, top, right, bottom in overlays:
        # large pictures were examined in steps, so that a side may be off by some pixels
        if abs(of_width - width) < width / 100 and abs(of_height - height) < height / 100:
            shown_HW[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = False
    return shown_HW


def scale_bar(usual_HW3: Floats, level_HW: Floats) -> Floats | None:
    """(K, 3): the colors of a burnt-in scale bar from cold to hot (bottom to top, or left to right); None without one.

    `level_HW`: the place of each burnt-in pixel on the palette, NaN elsewhere.
    """
    for colors, level in ((usual_HW3[::-1], level_HW[::-1]), (usual_HW3.swapaxes(0, 1), level_HW.T)):
        lines = [run for run in (_run(level[:, x]) for x in range(level.shape[1])) if run is not None]
        columns = [x for x in range(level.shape[1]) if _run(level[:, x]) is not None]
        if len(lines) >= THICK:
            first, last = (int(np.median([run[i] for run in lines])) for i in (0, 1))
            bar_K3: Floats = np.median(colors[first:last, columns], axis=1)
            return bar_K3
    return None


def _strips(usual_HW3: Floats, steady_HW: Mask) -> Mask:
    """(H, W): narrow vertical strips with one color across and many along, which are scale bars of any palette."""
    height, width = steady_HW.shape
    across = np.abs(np.diff(usual_HW3, axis=1)).max(2) <= SAME
    even_HW = steady_HW[:, 1:-1] & across[:, 1:] & across[:, :-1]  # equal to both neighbors
    found_HW = np.zeros(steady_HW.shape, bool)
    for x in np.flatnonzero(even_HW.mean(0) >= LONG):
        first, last = _longest(even_HW[:, x])
        if last - first < max(LONG * height, 16):
            continue
        steps = np.linalg.norm(np.diff(usual_HW3[first : last : max(1, (last - first) // 32), x + 1], axis=0), axis=1)
        if steps.sum() >= COLORFUL and np.median(steps) > 2:
            found_HW[first:last, x : x + 3] = True
    columns = np.concatenate([[False], found_HW.any(0), [False]]).astype(int)
    for left, right in np.flatnonzero(np.diff(columns)).reshape(-1, 2):
        rows = found_HW[:, left:right].any(1)
        edges = [
            (np.abs(usual_HW3[rows, out] - usual_HW3[rows, within]).max(1) > 2 * SAME).mean()
            for out, within in ((left - 3, left), (right + 2, right - 1))
            if 0 <= out < width
        ]
        if right - left > NARROW * width or min(edges, default=1) < EDGED:  # otherwise it is part of the scene
            found_HW[:, left:right] = False
    return found_HW


def _longest(line_L: Mask) -> tuple[int, int]:
    """Start and end of the longest run of True; 0, 0 where there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], line_L, [False]]).astype(int))).reshape(-1, 2)
    first, last = max(edges, key=lambda run: run[1] - run[0], default=(0, 0))
    return int(first), int(last)


def _run(level_L: Floats) -> tuple[int, int] | None:
    """Start and end of the longest run of a line, if it passes evenly through most of the palette."""
    first, last = _longest(np.isfinite(level_L))
    run = level_L[first:last]
    if len(run) < max(LONG * len(level_L), 16) or np.ptp(run) < 0.7:
        return None
    evenly = abs(np.corrcoef(np.arange(len(run)), run.argsort().argsort())[0, 1])
    return (first, last) if evenly > 0.97 else None


def _sharp(picture_HW3: NDArray[np.uint8], any_color: bool) -> Mask:
    """(H, W): True where the neighborhood of a pixel has high contrast, and white in it unless `any_color`.

    Text is usually white. If the scene does not change, other sharp edges may be part of it.
    """
    gray = Image.fromarray((picture_HW3 @ LUMA).astype(np.uint8))
    light, dark = (np.asarray(gray.filter(kind(3)), float) for kind in (ImageFilter.MaxFilter, ImageFilter.MinFilter))
    whitest = Image.fromarray(picture_HW3.min(2)).filter(ImageFilter.MaxFilter(3))
    sharp_HW: Mask = (light - dark >= SHARP) & (any_color | (np.asarray(whitest) >= WHITE))
    return sharp_HW


def _grown(mask_HW: Mask, by: int) -> Mask:
    """The mask extended by some pixels in all directions."""
    grown = Image.fromarray(mask_HW.astype(np.uint8)).filter(ImageFilter.MaxFilter(2 * by + 1))
    grown_HW: Mask = np.asarray(grown) > 0
    return grown_HW


def _rectangles(mask_HW: Mask, cell: int) -> list[tuple[int, int, int, int]]:
    """Left, top, right, bottom of runs of nonempty cells; equal runs in consecutive rows are merged."""
    height, width = mask_HW.shape
    padded = np.pad(mask_HW, ((0, -height % cell), (0, -width % cell)))
    cells: Mask = padded.reshape(padded.shape[0] // cell, cell, padded.shape[1] // cell, cell).any(axis=(1, 3))  # type: ignore[assignment]  # NumPy annotates `any` as a scalar
    open_runs: dict[tuple[int, int], int] = {}
    found = []
    for row in range(len(cells) + 1):
        line = cells[row] if row < len(cells) else np.zeros(cells.shape[1], bool)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], line, [False]]).astype(int))).tolist()
        runs = set(zip(edges[::2], edges[1::2], strict=True))
        for run in [run for run in open_runs if run not in runs]:
            found.append((run[0] * cell, open_runs.pop(run) * cell, run[1] * cell, row * cell))
        for run in runs:
            open_runs.setdefault(run, row)
    return sorted(found)
