"""The made-up sample of a new plugin: items of four classes, each with a picture that the anchor `mini` knows.

Shapes: S samples, P points.
"""

from __future__ import annotations

import csv
import io
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Floats = NDArray[np.floating[Any]]

CLASSES = ("red circle", "blue square", "green triangle", "yellow star")
COLOURS = ("#d62728", "#1f77ff", "#2ca02c", "#ffd21f")
PER_CLASS = 12
SIDE = 64  # pixels of a picture


def write_sample(folder: Path, kind: str, name: str, suffix: str) -> None:
    """`pairs.csv` (item, picture, label) in `folder`, and the files it names."""
    rng = np.random.default_rng(0)
    (folder / "items").mkdir(parents=True)
    (folder / "pictures").mkdir()
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([name, "image", "label"])
        for i in range(PER_CLASS * len(CLASSES)):
            group = i % len(CLASSES)
            item, picture = f"items/{i:02}{suffix}", f"pictures/{i:02}.png"
            (folder / item).write_bytes(_ITEMS[kind](group, rng))
            _picture(group, rng).save(folder / picture, optimize=True)
            table.writerow([item, picture, CLASSES[group]])


def _picture(group: int, rng: np.random.Generator) -> Image.Image:
    """A coloured shape somewhere on grey; no two are alike, so that some can be held out."""
    shade = int(rng.integers(195, 250))
    page = Image.new("RGB", (4 * SIDE, 4 * SIDE), (shade, shade, shade))
    size = float(rng.uniform(0.22, 0.36)) * 4 * SIDE
    x, y = rng.uniform(size, 4 * SIDE - size, 2)
    turn = np.pi / 2 + float(rng.uniform(-0.1, 0.1))
    pen = ImageDraw.Draw(page)
    if group == 0:
        pen.ellipse((x - size, y - size, x + size, y + size), fill=COLOURS[0])
    else:
        corners, inner = ((4, 1.0), (3, 1.0), (10, 0.42))[group - 1]
        start = turn + (np.pi / 4 if group == 1 else 0)
        angles = start + 2 * np.pi * np.arange(corners) / corners
        radius = size * np.where(np.arange(corners) % 2 == 0, 1.0, inner)
        outline = np.stack([x + radius * np.cos(angles), y - radius * np.sin(angles)], axis=1)
        pen.polygon([tuple(point) for point in outline.tolist()], fill=COLOURS[group])
    return page.reduce(4)


def _series(group: int, rng: np.random.Generator) -> bytes:
    """Two seconds of three channels at 25 Hz, in m/s2."""
    t = np.arange(50) / 25
    phase = 2 * np.pi * ((0.5, 1.0, 2.0, 4.0)[group] * t + rng.uniform())
    values = np.stack([np.sin(phase), np.cos(phase), 9.8 + 0.3 * np.sin(2 * phase)], axis=1)
    values += 0.1 * rng.normal(size=values.shape)
    rows = [f"{at:.2f},{x:.3f},{y:.3f},{z:.3f}" for at, (x, y, z) in zip(t, values, strict=True)]
    return "\n".join(["time_s,x,y,z", *rows, ""]).encode()


def _waveform(group: int, rng: np.random.Generator) -> bytes:
    """Half a second at 8 kHz, 16 bits."""
    t = np.arange(4000) / 8000
    hz = (200, 450, 1000, 2200)[group] * float(rng.uniform(0.93, 1.07))
    loud = rng.uniform(0.2, 0.8) * np.sin(np.pi * t / t[-1])
    values = loud * (np.sin(2 * np.pi * hz * t) + 0.3 * np.sin(4 * np.pi * hz * t)) / 1.3 + 0.01 * rng.normal(size=4000)
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes((values * 32767).astype("<i2").tobytes())
    return held.getvalue()


def _table(group: int, rng: np.random.Generator) -> bytes:
    """A table of 16 x 16 numbers: stripes across, along, along the diagonal, or squares."""
    rows = [",".join(f"{value:.2f}" for value in row) for row in _stripes(group, rng, 16)]
    return "\n".join([*rows, ""]).encode()


def _raster(group: int, rng: np.random.Generator) -> bytes:
    """The same as 32 x 32 pixels of 16 bits."""
    held = io.BytesIO()
    Image.fromarray((8000 + 1000 * _stripes(group, rng, 32)).astype(np.uint16)).save(held, "PNG")
    return held.getvalue()


def _stripes(group: int, rng: np.random.Generator, side: int) -> Floats:
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    shift = rng.uniform(0, 2 * np.pi)
    waves = (np.sin(y + shift), np.sin(x + shift), np.sin((x + y) / 1.4 + shift), np.sin(x + shift) * np.sin(y + shift))
    return waves[group] + 0.2 * rng.normal(size=(side, side))


def _points(group: int, rng: np.random.Generator) -> bytes:
    """400 points on a ball, a box, a can or a cone, in metres, z up."""
    a, b = rng.uniform(0, 2 * np.pi, 400), rng.uniform(-1, 1, 400)
    round_ = np.stack([np.cos(a), np.sin(a)], axis=1)
    if group == 0:
        xyz = np.column_stack([round_ * np.sqrt(1 - b**2)[:, None], b])
    elif group == 1:
        xyz = rng.uniform(-1, 1, (400, 3))
        side = rng.integers(0, 3, 400)
        xyz[np.arange(400), side] = np.sign(xyz[np.arange(400), side])
    elif group == 2:
        xyz = np.column_stack([round_ * 0.6, b * 1.2])
    else:
        xyz = np.column_stack([round_ * np.sqrt((b + 1) / 2)[:, None], 1 - 2 * np.sqrt((b + 1) / 2)])
    xyz = xyz * np.exp(rng.normal(0, 0.08, 3)) + 0.02 * rng.normal(size=(400, 3)) + rng.uniform(-5, 5, 3)
    return "\n".join([f"{x:.3f} {y:.3f} {z:.3f}" for x, y, z in xyz] + [""]).encode()


def _numbers(group: int, rng: np.random.Generator) -> bytes:
    """16 numbers around the centre of their class."""
    centre = np.random.default_rng(group).normal(size=16)
    return (",".join(f"{x:.3f}" for x in centre + 0.3 * rng.normal(size=16)) + "\n").encode()


_ITEMS: dict[str, Callable[[int, np.random.Generator], bytes]] = {
    "series": _series,
    "waveform": _waveform,
    "picture": _table,
    "raster": _raster,
    "points": _points,
    "custom": _numbers,
}
