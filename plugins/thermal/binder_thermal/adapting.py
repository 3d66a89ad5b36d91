"""What is filled in from a sample of the training pictures: unknown palettes, and burnt-in marks. Free of torch.

Shapes: P pictures, H height, W width, K colors of a palette, N pixels.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import Item, ItemError
from binder_thermal import curve, overlays
from binder_thermal.config import PALETTES, Box, ThermalConfig
from binder_thermal.palettes import NEAR, along, as_hex, between_points, is_gray, is_thin, known
from binder_thermal.reading import grid_of

Floats = NDArray[np.floating[Any]]

SAMPLE = 64  # pictures that are examined
PIXELS = 640 * 480  # of each that are used; larger ones are subsampled
FITTED = 4000  # pixels of each from which a palette is found
MAX_PALETTES = 4  # that are fitted
ENOUGH = 0.8  # if this share of the pictures follows a palette, no better one is searched
SHARED = 3  # pictures that must follow a fitted palette; each photo has its own colors
SIZES = 4  # most frequent sizes of pictures in which burnt-in marks are searched

log = logging.getLogger("binder.thermal")  # a child of the logger that the command line shows


@dataclass(frozen=True)
class Picture:
    """A color picture of the sample."""

    rgb_HW3: NDArray[np.uint8]  # subsampled
    step: int  # pixels of the file per pixel of these, along each side


def adapt(config: ThermalConfig, items: Sequence[Item]) -> ThermalConfig:
    """The configuration with the palettes and overlays found in a sample of the items; each finding is logged.

    Unreadable items are ignored here; they are reported when they are read for training.
    """
    if config.palette == "brightness":
        return config
    pictures = [
        picture
        for picture in (_picture(item, config) for item in items[:: max(1, len(items) // SAMPLE)][:SAMPLE])
        if picture is not None
    ]
    if not pictures:
        return config
    burnt = {size: _burnt_in(pictures, size) for size in _sizes(pictures)} if not config.overlays else {}
    boxes = [box for size, mask in burnt.items() if mask is not None for box in _boxes(pictures, size, mask)]
    if boxes:
        share = np.mean([mask.mean() for mask in burnt.values() if mask is not None])
        log.warning(
            "all pictures have the same marks: %.1f %% of their area is masked as burnt in (encoder.overlays)",
            100 * share,
        )
    config = config.model_copy(update={"overlays": (*config.overlays, *boxes)})
    if config.palette in ("auto", "fit"):
        config = _with_palettes(config, pictures, burnt)
    return config


def _with_palettes(
    config: ThermalConfig, pictures: Sequence[Picture], burnt: dict[tuple[int, int], Any]
) -> ThermalConfig:
    """The configuration with fitted palettes for pictures that follow no known one."""
    named = [_palette_of(picture, config) for picture in pictures]
    left = unknown = [picture for picture, name in zip(pictures, named, strict=True) if name is None]
    for name, count in Counter(filter(None, named)).items():
        log.info("false colors: %d of %d pictures follow the palette %s", count, len(pictures), name)
    for _ in range(MAX_PALETTES):
        group, palette_K3 = _group(left, config)
        if palette_K3 is None or len(group) < min(SHARED, len(unknown)):
            break
        palette_K3, reason = _directed(palette_K3, group, burnt)
        colors = as_hex(palette_K3[np.linspace(0, len(palette_K3) - 1, curve.COLORS).round().astype(int)])
        config = config.model_copy(update={"palettes": (*config.palettes, colors)})
        left = [picture for picture in left if _palette_of(picture, config) is None]
        log.warning(
            "false colors: %d of %d pictures follow an unknown palette; fitted: %s (cold) to %s (hot), %s; "
            'encoder.hot = "black" reverses it, encoder.palettes sets it',
            len(group), len(pictures), colors[0], colors[-1], reason,
        )  # fmt: skip
    if left:
        log.warning("%d of %d color pictures follow neither a known nor a fitted palette", len(left), len(pictures))
    return config


def _picture(item: Item, config: ThermalConfig) -> Picture | None:
    """An item -> the color picture, subsampled; None for any other item."""
    try:
        values = grid_of(item, config).values
    except ItemError:
        return None
    if values.ndim != 3:
        return None
    step = max(1, int(np.ceil(np.sqrt(values.shape[0] * values.shape[1] / PIXELS))))
    return Picture(np.ascontiguousarray(values[::step, ::step]), step)


def _sizes(pictures: Sequence[Picture]) -> list[tuple[int, int]]:
    """The most frequent sizes."""
    return [size for size, _ in Counter(picture.rgb_HW3.shape[:2] for picture in pictures).most_common(SIZES)]


def _burnt_in(pictures: Sequence[Picture], size: tuple[int, int]) -> NDArray[np.bool_] | None:
    """(H, W): True where something is burnt into the pictures of this size."""
    return overlays.burnt_in([picture.rgb_HW3 for picture in pictures if picture.rgb_HW3.shape[:2] == size])


def _boxes(pictures: Sequence[Picture], size: tuple[int, int], mask_HW: NDArray[np.bool_]) -> list[Box]:
    """The mask for pictures of this size -> boxes in the pixels of the files."""
    step = next(picture.step for picture in pictures if picture.rgb_HW3.shape[:2] == size)
    return overlays.boxes(mask_HW, step)


def _palette_of(picture: Picture, config: ThermalConfig) -> str | None:
    """The name of a palette that fits well enough; None where one has to be fitted."""
    rgb_N3 = _pixels(picture, config)[:: FITTED // 400]
    if not len(rgb_N3) or is_gray(rgb_N3):
        return "gray"
    names = [*("fitted" for _ in config.palettes), *PALETTES]
    return next((name for name, one in zip(names, known(config), strict=True) if is_thin(one, rgb_N3)), None)


def _shown(picture: Picture, config: ThermalConfig) -> NDArray[np.bool_]:
    """(H, W): False where something is burnt in."""
    height, width = (side * picture.step for side in picture.rgb_HW3.shape[:2])
    return overlays.shown((height, width), config.overlays)[:: picture.step, :: picture.step]


def _pixels(picture: Picture, config: ThermalConfig) -> NDArray[np.uint8]:
    """(N, 3): a sample of the pixels where nothing is burnt in."""
    rgb_N3 = picture.rgb_HW3[_shown(picture, config)]
    return rgb_N3[:: max(1, len(rgb_N3) // FITTED)]


def _group(pictures: Sequence[Picture], config: ThermalConfig) -> tuple[list[Picture], Floats | None]:
    """Pictures that share a palette, and that palette, starting from those whose colors make the longest curves.

    A palette is fitted to one picture, then again to all pictures that follow it. If it were fitted to all pictures at
    once, two palettes could be taken for one.
    """
    pixels = [_pixels(picture, config) for picture in pictures]
    curves = [_curve(rgb_N3) for rgb_N3 in pixels]
    thin = [c if c is not None and is_thin(c, rgb) else None for c, rgb in zip(curves, pixels, strict=True)]
    ranked = sorted((i for i, c in enumerate(thin) if c is not None), key=lambda i: -_length(thin[i]))
    best: tuple[list[int], Floats | None] = [], None
    for first in ranked[:6]:
        palette_K3, members = thin[first], [first]
        for _ in range(3):
            members = [
                i for i, rgb in enumerate(pixels) if len(rgb) and palette_K3 is not None and is_thin(palette_K3, rgb)
            ]
            if not members:
                break
            palette_K3 = _curve(np.concatenate([pixels[i] for i in members]))
        if len(members) > len(best[0]):
            best = members, palette_K3
        if len(members) >= ENOUGH * len(pictures):
            break
    return [pictures[i] for i in best[0]], best[1]


def _curve(rgb_N3: NDArray[np.uint8]) -> Floats | None:
    """(K, 3): a palette fitted to the pixels; None where they have too few colors."""
    found = curve.through(rgb_N3) if len(rgb_N3) else None
    return None if found is None else between_points(found)


def _length(curve_K3: Floats | None) -> float:
    """The length of a curve in RGB."""
    return 0.0 if curve_K3 is None else float(np.linalg.norm(np.diff(curve_K3, axis=0), axis=1).sum())


def _directed(palette_K3: Floats, group: Sequence[Picture], burnt: dict[tuple[int, int], Any]) -> tuple[Floats, str]:
    """The palette from cold to hot, and how the direction is known: from a burnt-in scale bar, or by default."""
    for size, mask_HW in burnt.items():
        same = [picture.rgb_HW3 for picture in group if picture.rgb_HW3.shape[:2] == size]
        if mask_HW is None or len(same) < overlays.FEWEST:
            continue
        usual_HW3: Floats = np.median(np.stack(same[: overlays.SAMPLE]), axis=0)
        bar_K3 = overlays.scale_bar(usual_HW3, _level(usual_HW3, mask_HW, palette_K3))
        if bar_K3 is not None:
            up = np.linalg.norm(bar_K3[0] - palette_K3[0]) + np.linalg.norm(bar_K3[-1] - palette_K3[-1])
            down = np.linalg.norm(bar_K3[0] - palette_K3[-1]) + np.linalg.norm(bar_K3[-1] - palette_K3[0])
            return (palette_K3 if up <= down else palette_K3[::-1]), "in the direction of the scale bar"
    return palette_K3, "taking the lighter end for the hot one"


def _level(usual_HW3: Floats, mask_HW: NDArray[np.bool_], palette_K3: Floats) -> Floats:
    """(H, W): the place on the palette of each burnt-in pixel, NaN for other pixels and colors."""
    level_HW = np.full(mask_HW.shape, np.nan)
    level_N, distance_N = along(palette_K3, usual_HW3[mask_HW])
    level_HW[mask_HW] = np.where(distance_N <= NEAR, level_N, np.nan)
    return level_HW
