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
WHITE = 190  # of each channel, from which on a color is white
OFTEN = 0.35  # share of the pictures in which it is there: numbers change
HALF = 0.5  # share of the pictures: what is seen, and changes, hardly has one color in so many
MOST = 0.3  # share of a picture that may be burnt in
LONG, THICK = 0.15, 3  # a scale bar: share of the side along which it runs, pixels across
COLORFUL, NARROW = 300.0, 0.125  # length of its colors' way in RGB, share of the other side that it takes at most
EDGED = 0.7  # share of its length along which it differs from what is beside it
BOXES = 120  # at most, of one size of pictures


def burnt_in(pictures_PHW3: Sequence[NDArray[np.uint8]]) -> Mask | None:
    """(H, W): where something is burnt in; None where that cannot be told: few pictures, or all of them alike."""
    if len(pictures_PHW3) < FEWEST:
        return None
    chosen = np.stack(pictures_PHW3[:: -(-len(pictures_PHW3) // ASKED)])
    usual_HW3 = np.median(chosen, axis=0)
    same_PHW = np.stack([np.abs(picture - usual_HW3).max(2) <= SAME for picture in chosen])
    steady_HW = same_PHW.mean(0) >= STEADY
    bars_HW = _strips(usual_HW3, steady_HW) | _strips(usual_HW3.swapaxes(0, 1), steady_HW.T).T
    changes = _changes(same_PHW)
    sharp_HW = np.mean([_sharp(picture, any_color=changes) for picture in chosen], axis=0) >= OFTEN
    found_HW = _grown(sharp_HW | bars_HW | (steady_HW & changes), 2)
    return found_HW if found_HW.mean() <= MOST else None


def _changes(same_PHW: Mask) -> bool:
    """Whether what is seen changes from picture to picture: a camera that looks at one scene makes all of it steady."""
    return bool((same_PHW.mean(0) >= HALF).mean() <= MOST / 2)


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


def _strips(usual_HW3: Floats, steady_HW: Mask) -> Mask:
    """(H, W): narrow upright strips of one color across and many along: scale bars, whatever their palette is."""
    height, width = steady_HW.shape
    across = np.abs(np.diff(usual_HW3, axis=1)).max(2) <= SAME
    even_HW = steady_HW[:, 1:-1] & across[:, 1:] & across[:, :-1]  # of one color with both neighbors
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
        if right - left > NARROW * width or min(edges, default=1) < EDGED:  # or it is a part of what was seen
            found_HW[:, left:right] = False
    return found_HW


def _longest(line_L: Mask) -> tuple[int, int]:
    """Where the longest stretch of True begins and ends; 0, 0 where there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], line_L, [False]]).astype(int))).reshape(-1, 2)
    first, last = max(edges, key=lambda run: run[1] - run[0], default=(0, 0))
    return int(first), int(last)


def _run(level_L: Floats) -> tuple[int, int] | None:
    """The longest stretch of a line that goes through most of the palette evenly: where it begins and ends."""
    first, last = _longest(np.isfinite(level_L))
    run = level_L[first:last]
    if len(run) < max(LONG * len(level_L), 16) or np.ptp(run) < 0.7:
        return None
    evenly = abs(np.corrcoef(np.arange(len(run)), run.argsort().argsort())[0, 1])
    return (first, last) if evenly > 0.97 else None


def _sharp(picture_HW3: NDArray[np.uint8], any_color: bool) -> Mask:
    """(H, W): where the lightest pixel next to each is far lighter than the darkest, and white unless `any_color`.

    Writing is white as a rule. Of one scene that does not change, other edges may be its own.
    """
    grey = Image.fromarray((picture_HW3 @ LUMA).astype(np.uint8))
    light, dark = (np.asarray(grey.filter(kind(3)), float) for kind in (ImageFilter.MaxFilter, ImageFilter.MinFilter))
    whitest = Image.fromarray(picture_HW3.min(2)).filter(ImageFilter.MaxFilter(3))
    return (light - dark >= SHARP) & (any_color | (np.asarray(whitest) >= WHITE))


def _grown(mask_HW: Mask, by: int) -> Mask:
    return np.asarray(Image.fromarray(mask_HW.astype(np.uint8)).filter(ImageFilter.MaxFilter(2 * by + 1))) > 0


def _rectangles(mask_HW: Mask, cell: int) -> list[tuple[int, int, int, int]]:
    """Left, top, right, bottom of runs of cells with something in them, equal runs of following rows in one."""
    height, width = mask_HW.shape
    padded = np.pad(mask_HW, ((0, -height % cell), (0, -width % cell)))
    cells: Mask = padded.reshape(padded.shape[0] // cell, cell, padded.shape[1] // cell, cell).any(axis=(1, 3))  # type: ignore[assignment]
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
