"""What a camera burns into its pictures: scale bars, numbers, logos, crosshairs. Free of torch.

They are where they are in every picture, while what was seen changes. Shapes: P pictures, H height, W width, K colors.
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

FEWEST = 8  # pictures of one size, or what is the same in all of them may be chance
ASKED = 24  # of them that are looked at
SAME = 14  # difference of a channel up to which a color is the same: what JPEG does is in it
STEADY = 0.9  # share of the pictures in which a burnt-in pixel has its color
SHARP = 90.0  # difference in brightness next to a pixel that a thermal camera's optics hardly make
OFTEN = 0.35  # share of the pictures in which it is there: numbers change
MOST = 0.4  # share of a picture that may be burnt in: where more is the same, only what is sharp
LONG, THICK = 0.15, 3  # a scale bar: share of the side along which it runs, pixels across
BOXES = 120  # at most, of one size of pictures


def burnt_in(pictures_PHW3: Sequence[NDArray[np.uint8]]) -> Mask | None:
    """(H, W): where something is burnt in; None where that cannot be told: few pictures, or all of them alike."""
    if len(pictures_PHW3) < FEWEST:
        return None
    chosen = np.stack(pictures_PHW3[:: -(-len(pictures_PHW3) // ASKED)])
    usual_HW3 = np.median(chosen, axis=0)
    same_PHW = np.stack([np.abs(picture - usual_HW3).max(2) <= SAME for picture in chosen])
    sharp_HW = np.mean([_contrast(picture) >= SHARP for picture in chosen], axis=0) >= OFTEN
    for found_HW in (_grown((same_PHW.mean(0) >= STEADY) | sharp_HW, 2), _grown(sharp_HW, 2)):
        if found_HW.mean() <= MOST:
            return found_HW
    return None


def boxes(mask_HW: Mask, step: int) -> list[Box]:
    """The mask as rectangles of pictures `step` times as large; cells of a few pixels, no more than BOXES."""
    height, width = (side * step for side in mask_HW.shape)
    cell = max(2, mask_HW.shape[1] // 160)
    while True:
        found = _rectangles(mask_HW, cell)
        if len(found) <= BOXES:
            break
        cell *= 2
    scaled = [tuple(side * step for side in box) for box in found]
    return [(width, height, left, top, min(right, width), min(bottom, height)) for left, top, right, bottom in scaled]


def shown(shape: tuple[int, int], overlays: Sequence[Box]) -> Mask:
    """(H, W): where no overlay of pictures of this size lies."""
    height, width = shape
    shown_HW = np.ones(shape, bool)
    for of_width, of_height, left, top, right, bottom in overlays:
        # pictures of large sizes were looked at in steps, so that a side may be some pixels off
        if abs(of_width - width) < width / 100 and abs(of_height - height) < height / 100:
            shown_HW[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = False
    return shown_HW


def scale_bar(usual_HW3: Floats, level_HW: Floats) -> Floats | None:
    """(K, 3): the colors of a scale bar that is burnt in, from cold to hot (below to above, or left to right).

    `level_HW`: where on a palette the burnt-in pixels lie, NaN elsewhere. None where no bar is found.
    """
    for colors, level in ((usual_HW3[::-1], level_HW[::-1]), (usual_HW3.swapaxes(0, 1), level_HW.T)):
        lines = [run for run in (_run(level[:, x]) for x in range(level.shape[1])) if run is not None]
        columns = [x for x in range(level.shape[1]) if _run(level[:, x]) is not None]
        if len(lines) >= THICK:
            first, last = (int(np.median([run[i] for run in lines])) for i in (0, 1))
            return np.median(colors[first:last, columns], axis=1)
    return None


def _run(level_L: Floats) -> tuple[int, int] | None:
    """The longest stretch of a line that goes through most of the palette evenly: where it begins and ends."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], np.isfinite(level_L), [False]]).astype(int)))
    if not len(edges):
        return None
    first, last = max(edges.reshape(-1, 2), key=lambda run: run[1] - run[0])
    run = level_L[first:last]
    if len(run) < max(LONG * len(level_L), 16) or np.ptp(run) < 0.7:
        return None
    evenly = abs(np.corrcoef(np.arange(len(run)), run.argsort().argsort())[0, 1])
    return (int(first), int(last)) if evenly > 0.97 else None


def _contrast(picture_HW3: NDArray[np.uint8]) -> Floats:
    """(H, W): how far apart in brightness the lightest and the darkest pixel next to each are."""
    grey = Image.fromarray((picture_HW3 @ LUMA).astype(np.uint8))
    light, dark = (np.asarray(grey.filter(kind(3)), float) for kind in (ImageFilter.MaxFilter, ImageFilter.MinFilter))
    return light - dark


def _grown(mask_HW: Mask, by: int) -> Mask:
    return np.asarray(Image.fromarray(mask_HW.astype(np.uint8)).filter(ImageFilter.MaxFilter(2 * by + 1))) > 0


def _rectangles(mask_HW: Mask, cell: int) -> list[tuple[int, int, int, int]]:
    """Left, top, right, bottom of runs of cells with something in them, equal runs of following rows in one."""
    height, width = mask_HW.shape
    padded = np.pad(mask_HW, ((0, -height % cell), (0, -width % cell)))
    cells = padded.reshape(padded.shape[0] // cell, cell, padded.shape[1] // cell, cell).any((1, 3))
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
