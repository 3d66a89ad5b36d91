"""What a sample of the data says of its false colors: palettes that are not known, and what is burnt in. Free of torch.

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
from binder_thermal.palettes import NEAR, along, as_hex, between_points, is_grey, is_thin, known
from binder_thermal.reading import grid_of

Floats = NDArray[np.floating[Any]]

ASKED = 64  # pictures that are looked at
PIXELS = 640 * 480  # of each: larger ones in steps of a few pixels
SEEN = 4000  # pixels of each by which a palette is found
MOST_PALETTES = 4  # that are fitted
ENOUGH = 0.8  # share of the pictures that follow a palette, from which on no other one is tried first
SHARED = 3  # pictures that a fitted palette must have: of photos each has its own colors
SIZES = 4  # of pictures, the commonest ones, in which what is burnt in is looked for

log = logging.getLogger("binder.thermal")  # below the one that the command line shows


@dataclass(frozen=True)
class Picture:
    """One colored picture of the sample."""

    rgb_HW3: NDArray[np.uint8]
    step: int  # pixels of the file in one of these


def adapt(config: ThermalConfig, items: Sequence[Item]) -> ThermalConfig:
    """The configuration with the palettes and overlays of a sample of items, each said in a line of the log.

    Items that cannot be read are left out here: they are reported where they are used.
    """
    if config.palette == "brightness":
        return config
    pictures = [
        picture
        for picture in (_picture(item, config) for item in items[:: max(1, len(items) // ASKED)][:ASKED])
        if picture is not None
    ]
    if not pictures:
        return config
    burnt = {size: _burnt_in(pictures, size) for size in _sizes(pictures)} if not config.overlays else {}
    boxes = [box for size, mask in burnt.items() if mask is not None for box in _boxes(pictures, size, mask)]
    if boxes:
        share = np.mean([mask.mean() for mask in burnt.values() if mask is not None])
        log.warning(
            "the same marks lie over all pictures: %.1f %% of them is masked as burnt in (encoder.overlays)",
            100 * share,
        )
    config = config.model_copy(update={"overlays": (*config.overlays, *boxes)})
    if config.palette in ("auto", "fit"):
        config = _with_palettes(config, pictures, burnt)
    return config


def _with_palettes(
    config: ThermalConfig, pictures: Sequence[Picture], burnt: dict[tuple[int, int], Any]
) -> ThermalConfig:
    named = [_palette_of(picture, config) for picture in pictures]
    left = unknown = [picture for picture, name in zip(pictures, named, strict=True) if name is None]
    for name, count in Counter(filter(None, named)).items():
        log.info("false colors of %d of %d pictures taken for the palette %s", count, len(pictures), name)
    for _ in range(MOST_PALETTES):
        group, palette_K3 = _group(left, config)
        if palette_K3 is None or len(group) < min(SHARED, len(unknown)):
            break
        palette_K3, why = _directed(palette_K3, group, burnt)
        colors = as_hex(palette_K3[np.linspace(0, len(palette_K3) - 1, curve.COLORS).round().astype(int)])
        config = config.model_copy(update={"palettes": (*config.palettes, colors)})
        left = [picture for picture in left if _palette_of(picture, config) is None]
        log.warning(
            "false colors of %d of %d pictures follow no palette known here; fitted: %s (cold) to %s (hot), %s; "
            'encoder.hot = "black" turns it around, encoder.palettes sets it',
            len(group), len(pictures), colors[0], colors[-1], why,
        )  # fmt: skip
    if left:
        log.warning("%d of %d color pictures follow no palette that is known or was found", len(left), len(pictures))
    return config


def _picture(item: Item, config: ThermalConfig) -> Picture | None:
    """A colored picture, or None."""
    try:
        values = grid_of(item, config).values
    except ItemError:
        return None
    if values.ndim != 3:
        return None
    step = max(1, int(np.ceil(np.sqrt(values.shape[0] * values.shape[1] / PIXELS))))
    return Picture(np.ascontiguousarray(values[::step, ::step]), step)


def _sizes(pictures: Sequence[Picture]) -> list[tuple[int, int]]:
    return [size for size, _ in Counter(picture.rgb_HW3.shape[:2] for picture in pictures).most_common(SIZES)]


def _burnt_in(pictures: Sequence[Picture], size: tuple[int, int]) -> NDArray[np.bool_] | None:
    return overlays.burnt_in([picture.rgb_HW3 for picture in pictures if picture.rgb_HW3.shape[:2] == size])


def _boxes(pictures: Sequence[Picture], size: tuple[int, int], mask_HW: NDArray[np.bool_]) -> list[Box]:
    step = next(picture.step for picture in pictures if picture.rgb_HW3.shape[:2] == size)
    return overlays.boxes(mask_HW, step)


def _palette_of(picture: Picture, config: ThermalConfig) -> str | None:
    """What a palette is called that fits so well that none has to be found; None where there is none."""
    rgb_N3 = _pixels(picture, config)[:: SEEN // 400]
    if not len(rgb_N3) or is_grey(rgb_N3):
        return "grey"
    names = [*("fitted" for _ in config.palettes), *PALETTES]
    return next((name for name, one in zip(names, known(config), strict=True) if is_thin(one, rgb_N3)), None)


def _shown(picture: Picture, config: ThermalConfig) -> NDArray[np.bool_]:
    """(H, W): where nothing is burnt in."""
    height, width = (side * picture.step for side in picture.rgb_HW3.shape[:2])
    return overlays.shown((height, width), config.overlays)[:: picture.step, :: picture.step]


def _pixels(picture: Picture, config: ThermalConfig) -> NDArray[np.uint8]:
    """(N, 3): some of the pixels over which nothing lies."""
    rgb_N3 = picture.rgb_HW3[_shown(picture, config)]
    return rgb_N3[:: max(1, len(rgb_N3) // SEEN)]


def _group(pictures: Sequence[Picture], config: ThermalConfig) -> tuple[list[Picture], Floats | None]:
    """Pictures that share a palette, and that: begun with the one whose colors make the longest curve.

    A palette is found in one picture and drawn anew through all that follow it, or two would be taken for one.
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
    """(K, 3): the palette that the pixels may have, or None."""
    found = curve.through(rgb_N3) if len(rgb_N3) else None
    return None if found is None else between_points(found)


def _length(curve_K3: Floats | None) -> float:
    return 0.0 if curve_K3 is None else float(np.linalg.norm(np.diff(curve_K3, axis=0), axis=1).sum())


def _directed(palette_K3: Floats, group: Sequence[Picture], burnt: dict[tuple[int, int], Any]) -> tuple[Floats, str]:
    """The palette from cold to hot, and how that is known: from a scale bar that is burnt in, or else as a rule."""
    for size, mask_HW in burnt.items():
        same = [picture.rgb_HW3 for picture in group if picture.rgb_HW3.shape[:2] == size]
        if mask_HW is None or len(same) < overlays.FEWEST:
            continue
        usual_HW3 = np.median(np.stack(same[: overlays.ASKED]), axis=0)
        bar_K3 = overlays.scale_bar(usual_HW3, _level(usual_HW3, mask_HW, palette_K3))
        if bar_K3 is not None:
            up = np.linalg.norm(bar_K3[0] - palette_K3[0]) + np.linalg.norm(bar_K3[-1] - palette_K3[-1])
            down = np.linalg.norm(bar_K3[0] - palette_K3[-1]) + np.linalg.norm(bar_K3[-1] - palette_K3[0])
            return (palette_K3 if up <= down else palette_K3[::-1]), "as the scale bar in the pictures has it"
    return palette_K3, "the lighter end taken for the hot one"


def _level(usual_HW3: Floats, mask_HW: NDArray[np.bool_], palette_K3: Floats) -> Floats:
    """(H, W): where on the palette what is burnt in lies, NaN where it does not or nothing is."""
    level_HW = np.full(mask_HW.shape, np.nan)
    level_N, distance_N = along(palette_K3, usual_HW3[mask_HW])
    level_HW[mask_HW] = np.where(distance_N <= NEAR, level_N, np.nan)
    return level_HW
