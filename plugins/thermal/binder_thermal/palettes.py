"""False colours -> intensity: which palette a picture is coloured with, and where on it each pixel lies. Free of torch.

Shapes: H height, W width, K colours of a palette, U colours that occur.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import ItemError
from binder_thermal.config import PALETTES

Floats = NDArray[np.floating[Any]]

# by cmap's names where they differ; what cameras call iron or ironbow is a little different from maker to maker
IRONBOW = ("#000010", "#300090", "#9000a0", "#c01090", "#e03040", "#f06000", "#ff8000", "#ffc000", "#ffe030", "#fffff0")
CALLED = {"ironbow": IRONBOW, "rainbow": "gnuplot:rainbow"}
STEPS = 256  # colours of a palette
NEAR = 32.0  # distance in RGB (0 to 255 each) within which a pixel is a palette's: what JPEG does to edges is in it
FIT = 0.9  # share of the pixels that must be: logos, scales and marks are few
SPAN = 0.1  # of the palette that the pixels must go through, or one colour of a photo would do
GREY = 16  # difference of a pixel's channels up to which it is grey
COLOURLESS = 0.99  # share of grey pixels that makes a grey picture
LUMA = np.array((0.299, 0.587, 0.114))  # brightness of red, green and blue (ITU-R BT.601)


def intensity(rgb_HW3: NDArray[np.uint8], palette: str, name: str) -> Floats:
    """(H, W, 3) -> (H, W) in 0..1 from the palette's cold to its hot end; a grey picture's brightness.

    `palette` is one of PALETTES, `auto` or `brightness`. Raises ItemError for a picture in other colours.
    """
    if palette == "brightness" or _is_grey(rgb_HW3):
        return rgb_HW3 @ LUMA / 255
    # colours are told apart in steps of 4: at most some ten thousand, whatever the picture's size
    codes_HW = (rgb_HW3.astype(np.int64) >> 2) @ np.array((1 << 12, 1 << 6, 1))
    codes_U, place, count_U = np.unique(codes_HW, return_inverse=True, return_counts=True)
    rgb_U3 = np.stack([codes_U >> 12, codes_U >> 6 & 63, codes_U & 63], axis=1) * 4.0 + 2
    fits = {}  # mean distance -> where on the palette each colour lies
    for one in PALETTES if palette == "auto" else (palette,):
        level_U, distance_U = _along(colours(one), rgb_U3)
        near_U = count_U * (distance_U <= NEAR)  # pixels
        if near_U.sum() >= FIT * count_U.sum() and _spread(level_U, near_U) >= SPAN:
            fits[np.average(distance_U, weights=near_U)] = level_U
    if not fits:
        known = f"the palettes {', '.join(PALETTES)}" if palette == "auto" else f"the palette {palette}"
        raise ItemError(
            name,
            f"a colour picture that does not follow {known}: expected one channel, grey or false colours; "
            "encoder.palette = brightness takes it as it is",
        )
    return fits[min(fits)][place.reshape(codes_HW.shape)]


def colours(palette: str) -> Floats:
    """(K, 3) RGB, 0 to 255, from cold to hot."""
    from cmap import Colormap

    return 255 * np.asarray(Colormap(CALLED.get(palette, palette))(np.linspace(0, 1, STEPS)))[:, :3]


def _is_grey(rgb_HW3: NDArray[np.uint8]) -> bool:
    spread_HW = rgb_HW3.max(2).astype(np.int64) - rgb_HW3.min(2)
    return bool((spread_HW <= GREY).mean() >= COLOURLESS)


def _along(palette_K3: Floats, rgb_U3: Floats) -> tuple[Floats, Floats]:
    """(U,), (U,): the place of the nearest colour on the palette, 0..1, and how far it is in RGB."""
    places, distances = [], []
    for part in np.array_split(rgb_U3, -(-len(rgb_U3) // 4096)):  # a few megabytes at a time
        squared = (part**2).sum(1)[:, None] - 2 * part @ palette_K3.T + (palette_K3**2).sum(1)
        places.append(squared.argmin(1) / (STEPS - 1))
        distances.append(np.sqrt(np.maximum(squared.min(1), 0)))
    return np.concatenate(places), np.concatenate(distances)


def _spread(level_U: Floats, count_U: NDArray[np.int64]) -> float:
    """From the 2nd to the 98th percentile of the pixels, of which each colour has so many."""
    order = level_U.argsort()
    ranks = np.cumsum(count_U[order]) / count_U.sum()
    low, high = level_U[order][np.searchsorted(ranks, (0.02, 0.98))]
    return float(high - low)
