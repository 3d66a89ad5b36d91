"""False colors -> intensity: finds the palette of a picture and the place of each pixel on it. Free of torch.

Shapes: H height, W width, K colors of a palette, U colors that occur.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import ItemError
from binder_thermal import curve
from binder_thermal.config import PALETTES, ThermalConfig

Floats = NDArray[np.floating[Any]]

# From cold to hot, at equal distances. Palettes of the same name differ a little between cameras; those farther from
# these than NEAR are fitted from the data. The others are from cmap; CALLED has its names where they differ.
CONTROL: Mapping[str, str] = {
    "ironbow": "000010 300090 9000a0 c01090 e03040 f06000 ff8000 ffc000 ffe030 fffff0",  # FLIR, Hikmicro, DJI, Testo
    "spectrum": "000000 0000ff 00ff00 ffff00 ff0000 ffffff",  # Seek Spectra, Fluke high contrast
    "rainbow_hc": "000000 500080 0000ff 00c0ff 00e060 e0f000 ff8000 ff0000 ff80a0 ffffff",  # FLIR, Testo
    "rainbow_iron": "000000 200070 0030d0 00a0a0 40c020 e0d000 ff7000 ff2030 ffb0b0 ffffff",  # InfraTec, Optris
    "blue_red": "0000ff 00ffff 00ff00 ffff00 ff0000",  # Fluke, Testo
    "medical": "000000 6000a0 0000c0 00c0c0 00a000 ffff00 ff8000 ff0000 ff80ff ffffff",  # FLIR, DJI
    "arctic": "0a0a50 1a3ad0 30b0ff b0d0d0 e8c060 f0a020 fff0c0",  # FLIR, DJI
    "lava": "000010 004868 405898 a02060 e03010 ff9000 ffff70 ffffff",  # FLIR
    "cold_hot": "0000ff ffffff ff0000",  # Testo
    "amber": "000000 603000 c07800 ffc030 fff4d0",  # Fluke, Seek
    "red": "000000 800000 ff0000 ffffff",
    "green": "000000 008000 00ff00 ffffff",
    "tyrian": "000000 003050 305090 a04090 e06060 f0a050 fff0a0",  # Seek
    "prism": "000080 0060ff 00e0e0 60ff60 ffff00 ff6000 c00000 ff80c0",  # Seek, Mikron
}
CALLED = {"rainbow": "gnuplot:rainbow", "thermal": "cmocean:thermal"}
STEPS = 256  # colors of a palette
NEAR = 32.0  # distance in RGB (0 to 255 each) up to which a pixel belongs to a palette, JPEG artifacts included
FAR = 48.0  # distance from which it does not, but to something drawn over the picture
FIT = 0.9  # share of the pixels that must belong to the palette; logos, scales and marks are few
SPAN = 0.1  # share of the palette that the pixels must cover, as a single color of a photo may be on it
THIN = 16.0, 0.85  # distance from a fitted curve, share of the pixels within it: photos below 0.8, false colors 0.95
GRAY = 16  # difference between a pixel's channels up to which it is gray
VIVID = 64  # difference from which it is certainly not gray: a logo, a mark
COLORLESS = 0.99  # share of gray and vivid pixels in a gray picture
MOSTLY = 0.85  # share of gray pixels in it
SAMPLE = 1000  # most frequent colors by which the palette is chosen


def intensity(rgb_HW3: NDArray[np.uint8], shown_HW: NDArray[np.bool_], config: ThermalConfig, name: str) -> Floats:
    """(H, W, 3) -> (H, W) in 0..1 from the cold to the hot end of the palette; the brightness of a gray picture.

    NaN where the color is not on the palette, and where `shown_HW` is False. Raises ItemError for a picture in other
    colors.
    """
    if config.palette == "brightness":
        return _brightness(rgb_HW3)
    if not shown_HW.any():
        raise ItemError(name, "encoder.overlays cover all of it")
    if is_gray(rgb_HW3[shown_HW]):
        return np.where(shown_HW & (np.ptp(rgb_HW3, axis=2) < VIVID), _brightness(rgb_HW3), np.nan)
    # colors are quantized in steps of 4, which leaves some ten thousand, whatever the picture's size
    codes_HW = (rgb_HW3 >> 2).astype(np.int32) @ np.array((1 << 12, 1 << 6, 1), np.int32)
    count = np.bincount(codes_HW[shown_HW], minlength=1 << 18)
    codes_U = np.flatnonzero(count)
    rgb_U3 = np.stack([codes_U >> 12, codes_U >> 6 & 63, codes_U & 63], axis=1) * 4.0 + 2
    level_U, distance_U = along(_fitting(rgb_U3, count[codes_U], config, name), rgb_U3)
    level = np.full(len(count), np.nan, np.float32)  # of every color
    level[codes_U] = np.where(distance_U <= FAR, level_U, np.nan)
    return np.where(shown_HW, level[codes_HW], np.float32(np.nan))


def _brightness(rgb_HW3: NDArray[np.uint8]) -> Floats:
    """(H, W, 3) -> (H, W) in 0..1."""
    brightness_HW: Floats = rgb_HW3 @ curve.LUMA / 255
    return brightness_HW


def palette_colors(palette: str) -> Floats:
    """One of PALETTES -> (K, 3) RGB, 0 to 255, from cold to hot."""
    if palette in CONTROL:
        return between(tuple(f"#{color}" for color in CONTROL[palette].split()))
    return _of_cmap(CALLED.get(palette, palette))


@cache
def between(colors: tuple[str, ...]) -> Floats:
    """Colors as #rrggbb at equal distances -> (K, 3) RGB, 0 to 255, interpolated linearly."""
    points = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in colors], float)
    places = np.linspace(0, len(points) - 1, STEPS)
    return np.stack([np.interp(places, np.arange(len(points)), points[:, i]) for i in range(3)], axis=1)


def known(config: ThermalConfig) -> list[Floats]:
    """(K, 3) of each palette that a picture may have, those of the configuration first."""
    if config.palette in PALETTES:
        return [palette_colors(config.palette)]
    return [*map(between, config.palettes), *map(palette_colors, PALETTES)]


def is_gray(rgb_N3: NDArray[np.uint8]) -> bool:
    """Whether the pixels are shades of gray, apart from marks in vivid colors."""
    spread_N = np.ptp(rgb_N3, axis=1)
    gray = (spread_N <= GRAY).mean()
    return bool(gray >= MOSTLY and gray + (spread_N >= VIVID).mean() >= COLORLESS)


def is_thin(palette_K3: Floats, rgb_N3: NDArray[np.uint8]) -> bool:
    """Whether the pixels lie as near to the curve as false colors do, and cover enough of it."""
    level_N, distance_N = along(palette_K3, rgb_N3.astype(float))
    near_N = distance_N <= NEAR
    inner, share = THIN
    fits = near_N.mean() >= FIT and (distance_N <= inner).mean() >= share
    return bool(fits and np.subtract(*np.percentile(level_N[near_N], (98, 2))) >= SPAN)


def between_points(points_K3: Floats) -> Floats:
    """(any number, 3) colors at equal distances -> (STEPS, 3)."""
    return between(as_hex(points_K3))


def as_hex(points_K3: Floats) -> tuple[str, ...]:
    """(K, 3) -> #rrggbb of each, as stored in a configuration."""
    return tuple("#{:02x}{:02x}{:02x}".format(*color) for color in points_K3.round().astype(int))


@cache
def _of_cmap(name: str) -> Floats:
    """A color map of cmap -> (K, 3)."""
    from cmap import Colormap

    return 255 * np.asarray(Colormap(name)(np.linspace(0, 1, STEPS)))[:, :3]


def _fitting(rgb_U3: Floats, count_U: NDArray[np.int64], config: ThermalConfig, name: str) -> Floats:
    """(K, 3): the palette nearest to the pixels. Raises ItemError where none is near."""
    common = np.argsort(-count_U, kind="stable")[:SAMPLE]
    rgb, count = rgb_U3[common], count_U[common]
    fits: dict[float, Floats] = {}  # mean distance -> palette
    for palette_K3 in known(config):
        level, distance = along(palette_K3, rgb)
        near = count * (distance <= NEAR)  # pixels
        if near.sum() >= FIT * count.sum() and _spread(level, near) >= SPAN:
            fits.setdefault(float(np.average(np.minimum(distance, FAR), weights=count)), palette_K3)
    if fits:
        return fits[min(fits)]
    if config.palette == "fit":
        pixels = np.repeat(rgb_U3.astype(np.uint8), -(-count_U * 20_000 // count_U.sum()), axis=0)
        found = curve.through(pixels)
        if found is not None and is_thin(between_points(found), pixels):
            return between_points(found)
    any_ = "any known palette, nor one found in training"
    tried = f"the palette {config.palette}" if config.palette in PALETTES else any_
    raise ItemError(
        name,
        f"a color picture that does not follow {tried}: expected one channel, gray or false colors; set "
        "encoder.palettes to its colors from cold to hot, or encoder.palette = brightness to use its brightness",
    )


def along(palette_K3: Floats, rgb_U3: Floats) -> tuple[Floats, Floats]:
    """(K, 3), (U, 3) -> (U,), (U,): the place of the nearest color on the palette, 0..1, and its distance in RGB."""
    places, distances = [], []
    for part in np.array_split(rgb_U3, max(1, -(-len(rgb_U3) // 4096))):  # a few megabytes at a time
        squared = (part**2).sum(1)[:, None] - 2 * part @ palette_K3.T + (palette_K3**2).sum(1)
        places.append(squared.argmin(1) / (STEPS - 1))
        distances.append(np.sqrt(np.maximum(squared.min(1), 0)))
    return np.concatenate(places), np.concatenate(distances)


def _spread(level_U: Floats, count_U: NDArray[np.int64]) -> float:
    """The range from the 2nd to the 98th percentile of the pixels; `count_U` has the number of each color."""
    order = level_U.argsort()
    ranks = np.cumsum(count_U[order]) / count_U.sum()
    low, high = level_U[order][np.searchsorted(ranks, (0.02, 0.98))]
    return float(high - low)
