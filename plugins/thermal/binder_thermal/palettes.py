"""False colours -> intensity: which palette a picture is coloured with, and where on it each pixel lies. Free of torch.

Shapes: H height, W width, K colours of a palette, U colours that occur.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from binder import ItemError
from binder_thermal.config import PALETTES

Floats = NDArray[np.floating[Any]]

# From cold to hot, at about even steps. ironbow is drawn from what cameras call iron or ironbow (black, violet, red,
# orange, yellow, white), which differs a little from maker to maker; the others are Matplotlib's, hence OpenCV's.
_STOPS = {
    "ironbow": "000010 300090 9000a0 c01090 e03040 f06000 ff8000 ffc000 ffe030 fffff0",
    "inferno": "000004 0b0724 210c4a 3d0965 57106e 71196e 8a226a a32c61 bc3754 d24644 e45a31 f1731d f98e09 fcac11 "
    "f9cb35 f2ea69 fcffa4",
    "magma": "000004 0a0822 1d1147 36106b 51127c 6a1c81 832681 9c2e7f b73779 d0416f e75263 f56b5c fc8961 fea772 fec488 "
    "fde2a3 fcfdbf",
    "plasma": "0d0887 310597 4c02a1 6600a7 7e03a8 9511a1 aa2395 bc3587 cc4778 da5a6a e66c5c f0804e f89540 fdac33 "
    "fdc527 f8df25 f0f921",
    "viridis": "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c 1fa088 28ae80 3fbc73 5ec962 84d44b "
    "addc30 d8e219 fde725",
    "hot": "0b0000 350000 5f0000 890000 b30000 dd0000 ff0800 ff3200 ff5c00 ff8600 ffb000 ffda00 ffff07 ffff46 ffff85 "
    "ffffc4 ffffff",
    "jet": "000080 0000c8 0000ff 0040ff 0080ff 00c0ff 16ffe1 49ffad 7dff7a b1ff46 e4ff13 ffd000 ff9400 ff5900 ff1e00 "
    "c40000 800000",
    "turbo": "30123b 4040a2 466be3 4294ff 28bceb 18ddc2 32f298 6dfe62 a4fc3c cdec34 eecf3a fdac34 fb7e21 eb500e d02f05 "
    "a91601 7a0403",
    "rainbow": "8000ff 6032fe 4062fa 208ef4 00b5eb 20d5e1 40ecd4 60fac5 80ffb4 a0faa1 c0eb8d e0d377 ffb360 "
    "ff8c49 ff5f30 ff2f18 ff0000",
}
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
    tried = PALETTES if palette == "auto" else (palette,)
    found = [_along(rgb_U3, count_U, colours(one)) for one in tried]
    fitting = [fit for fit in found if fit.share >= FIT and fit.spread >= SPAN]
    if not fitting:
        known = f"the palettes {', '.join(PALETTES)}" if palette == "auto" else f"the palette {palette}"
        raise ItemError(
            name,
            f"a colour picture that does not follow {known}: expected one channel, grey or false colours; "
            "encoder.palette = brightness takes it as it is",
        )
    return min(fitting, key=lambda fit: fit.distance).level_U[place.reshape(codes_HW.shape)]


class Fit(NamedTuple):
    """How well colours follow a palette."""

    share: float  # of the pixels that are on it
    distance: float  # of those in RGB, on average
    spread: float  # how much of it they go through, of 1
    level_U: Floats  # where on it each colour lies, 0..1


def colours(palette: str) -> Floats:
    """(K, 3) RGB, 0 to 255, from cold to hot."""
    stops = np.array([list(bytes.fromhex(stop)) for stop in _STOPS[palette].split()], np.float64)
    at = np.linspace(0, len(stops) - 1, STEPS)
    return np.stack([np.interp(at, np.arange(len(stops)), channel) for channel in stops.T], axis=1)


def _is_grey(rgb_HW3: NDArray[np.uint8]) -> bool:
    spread_HW = rgb_HW3.max(2).astype(np.int64) - rgb_HW3.min(2)
    return bool((spread_HW <= GREY).mean() >= COLOURLESS)


def _along(rgb_U3: Floats, count_U: NDArray[np.int64], palette_K3: Floats) -> Fit:
    level_U, distance_U = np.empty(len(rgb_U3)), np.empty(len(rgb_U3))
    for start in range(0, len(rgb_U3), 4096):  # a few megabytes at a time
        part = rgb_U3[start : start + 4096]
        squared = (part**2).sum(1)[:, None] - 2 * part @ palette_K3.T + (palette_K3**2).sum(1)
        level_U[start : start + 4096] = squared.argmin(1) / (STEPS - 1)
        distance_U[start : start + 4096] = np.sqrt(np.maximum(squared.min(1), 0))
    near_U = distance_U <= NEAR
    if not near_U.any():
        return Fit(0.0, NEAR, 0.0, level_U)
    order = np.argsort(level_U[near_U])
    ranks = np.cumsum(count_U[near_U][order]) / count_U[near_U].sum()
    low, high = level_U[near_U][order][np.searchsorted(ranks, (0.02, 0.98))]
    distance = float(np.average(distance_U[near_U], weights=count_U[near_U]))
    return Fit(float(count_U[near_U].sum() / count_U.sum()), distance, float(high - low), level_U)
