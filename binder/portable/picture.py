"""Pictures as an image tower takes them: by Pillow, in the steps that its preprocessing consists of.

Shapes: H height, W width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Pixels = NDArray[np.float32]


def windows_of(item: str, settings: dict[str, Any]) -> Pixels:
    """A picture's file -> (1, 3, H, W). Raises OSError, ValueError."""
    return pixels(open_picture(item), settings["steps"])[None]


def open_picture(path: str) -> Image.Image:
    """A picture's file -> RGB, upright, on white. Raises OSError, ValueError."""
    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened)
    if picture.mode.startswith(("I", "F")):
        raise ValueError("more than 8 bits a channel: save it with 8")
    if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    return picture.convert("RGB")


def pixels(picture: Image.Image, steps: list[dict[str, Any]]) -> Pixels:
    """An RGB picture -> (3, H, W), after the given steps."""
    for step in steps:
        if step["do"] == "resize":
            picture = picture.resize(sides(picture.size, step), Image.Resampling[step["interpolation"]])
        elif step["do"] == "crop":
            picture = cropped(picture, step["size"][0], step["size"][1], step["fill"])
    array = np.asarray(picture, np.float32).transpose(2, 0, 1) / np.float32(255)
    mean, std = (np.array(steps[-1][name], np.float32)[:, None, None] for name in ("mean", "std"))
    made: Pixels = ((array - mean) / std).astype(np.float32)
    return made


def sides(size: tuple[int, int], step: dict[str, Any]) -> tuple[int, int]:
    """A picture's width and height -> those after a step that resizes it."""
    width, height = size
    if step["fit"] == "exact":
        return step["size"][1], step["size"][0]
    if step["fit"] == "shortest":
        short = step["size"][0]
        long = int(short * max(size) / min(size))
        return (short, long) if width <= height else (long, short)
    ratios = height / step["size"][0], width / step["size"][1]
    ratio = max(ratios) if step["fit"] == "inside" else min(ratios)
    return round(width / ratio), round(height / ratio)


def cropped(picture: Image.Image, height: int, width: int, fill: int) -> Image.Image:
    """The middle of a picture, which is first filled up where it is smaller."""
    more = max(0, width - picture.width), max(0, height - picture.height)
    if any(more):
        left, top = more[0] // 2, more[1] // 2
        picture = ImageOps.expand(picture, (left, top, more[0] - left, more[1] - top), (fill, fill, fill))
    left, top = round((picture.width - width) / 2), round((picture.height - height) / 2)
    return picture.crop((left, top, left + width, top + height))
