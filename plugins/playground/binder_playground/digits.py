"""Digits: printed in the fonts matplotlib ships, handwritten from scikit-learn's 8 x 8 scans or from drawn strokes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from binder_playground import shapes
from binder_playground.shapes import Floats
from binder_playground.world import Concept

TRAIN_SCANS = 1437  # of 1,797; the last 360 are for testing
GLYPH = 96  # pixels along a side of a glyph before it is placed
FONTS = (
    "DejaVu",
    "STIXGeneral",
    "cmr10",
    "cmss10",
    "cmtt10",
    "cmb10",
)  # how the names of their files in matplotlib's folder begin

# For each digit, several ways to write it; each is a list of strokes, of points (x, y) in the unit square, y down. A
# point given twice stays a sharp corner.
_TWO = [(0.1, 0.25), (0.3, 0), (0.8, 0.05), (0.85, 0.35), (0.4, 0.7), (0.05, 1), (0.05, 1), (0.95, 1)]
_THREE = [(0.82, 0.53), (0.95, 0.8), (0.5, 1), (0.05, 0.88)]
_NINE = [(0.9, 0.2), (0.5, 0), (0.1, 0.2), (0.2, 0.48), (0.6, 0.5), (0.9, 0.2), (0.9, 0.2)]
_FIVE = [(0.2, 0), (0.15, 0.42), (0.15, 0.42), (0.6, 0.36), (0.95, 0.65), (0.6, 1), (0.05, 0.9)]
STROKES: dict[int, list[list[list[tuple[float, float]]]]] = {
    0: [[[(0.5, 0), (0.1, 0.2), (0, 0.5), (0.1, 0.85), (0.5, 1), (0.9, 0.85), (1, 0.5), (0.9, 0.2), (0.5, 0)]]],
    1: [
        [[(0.5, 0), (0.5, 1)]],
        [[(0.25, 0.25), (0.5, 0), (0.5, 0), (0.5, 1)]],
        [[(0.25, 0.25), (0.5, 0), (0.5, 0), (0.5, 1)], [(0.2, 1), (0.8, 1)]],
    ],
    2: [[_TWO], [[*_TWO[:5], (0.15, 0.95), (0.0, 0.85), (0.3, 0.85), (0.6, 1), (0.95, 0.95)]]],
    3: [
        [[(0.1, 0.1), (0.5, 0), (0.9, 0.2), (0.75, 0.42), (0.4, 0.48), *_THREE]],
        [[(0.1, 0), (0.85, 0), (0.85, 0), (0.4, 0.4), (0.4, 0.4), *_THREE]],
    ],
    4: [
        [[(0.5, 0), (0.05, 0.65), (0.05, 0.65), (0.95, 0.65)], [(0.72, 0.3), (0.7, 1)]],
        [[(0.7, 0), (0.05, 0.68), (0.05, 0.68), (0.98, 0.68)], [(0.7, 0), (0.7, 1)]],
        [[(0.1, 0), (0.1, 0.5), (0.1, 0.5), (0.9, 0.5)], [(0.85, 0), (0.85, 1)]],
    ],
    5: [[[(0.9, 0), (0.2, 0), *_FIVE]], [_FIVE, [(0.2, 0), (0.9, 0)]]],
    6: [[[(0.75, 0), (0.3, 0.25), (0.05, 0.65), (0.2, 0.97), (0.6, 1), (0.9, 0.75), (0.6, 0.52), (0.1, 0.65)]]],
    7: [
        [[(0.05, 0), (0.95, 0), (0.95, 0), (0.4, 1)]],
        [[(0.05, 0), (0.95, 0), (0.95, 0), (0.4, 1)], [(0.3, 0.5), (0.85, 0.5)]],
        [[(0.05, 0.15), (0.05, 0), (0.95, 0), (0.95, 0), (0.55, 0.5), (0.45, 1)]],
    ],
    8: [
        [[(0.5, 0), (0.1, 0.1), (0.15, 0.4), (0.85, 0.6), (0.95, 0.9), (0.5, 1), (0.05, 0.9), (0.15, 0.6), (0.85, 0.4),
          (0.9, 0.1), (0.5, 0)]],
    ],
    9: [[[*_NINE, (0.85, 0.6), (0.7, 1)]], [[*_NINE, (0.9, 0.8), (0.5, 1), (0.1, 0.9)]]],
}  # fmt: skip


class Scans(NamedTuple):
    """Handwritten digits: ink (N, 8, 8) in 0..1 and labels (N,)."""

    ink: Floats
    labels: NDArray[np.int64]


@cache
def handwritten_split() -> tuple[Scans, Scans]:
    """The training part (first 1,437) and the test part (last 360) of scikit-learn's scanned digits."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    ink, labels = images.reshape(-1, 8, 8) / 16.0, labels.astype(np.int64)
    return Scans(ink[:TRAIN_SCANS], labels[:TRAIN_SCANS]), Scans(ink[TRAIN_SCANS:], labels[TRAIN_SCANS:])


def draw_digit(concept: Concept, rng: np.random.Generator, size: int) -> Image.Image:
    """A printed or handwritten digit; scans come from the training part only."""
    if concept.style == "printed":
        return _inked(_placed(_printed(concept.digit, rng), rng, size, free=0.5), rng)
    if rng.random() < 0.3:
        return _inked(_placed(_stroked(concept.digit, rng), rng, size, free=1.0), rng)
    train = handwritten_split()[0]
    scan = train.ink[int(rng.choice(np.flatnonzero(train.labels == concept.digit)))]
    return draw_scan(scan, rng, size, plain=rng.random() < 0.3)


def draw_scan(scan: Floats, rng: np.random.Generator, size: int, plain: bool = False) -> Image.Image:
    """A scan (8, 8) in 0..1 as a picture: simply enlarged (`plain`), or sharpened into pen strokes and distorted."""
    small = Image.fromarray(scan.astype(np.float32))
    if plain:
        ways = (Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
        cover = np.asarray(small.resize((size, size), ways[int(rng.integers(3))]), dtype=np.float64)
        cover = np.roll(cover, tuple(int(k) for k in rng.integers(-3, 4, 2)), (0, 1))
        return _inked(np.clip(cover, 0, 1), rng)
    cover = np.clip(np.asarray(small.resize((GLYPH, GLYPH), Image.Resampling.BICUBIC), dtype=np.float64), 0, 1)
    if rng.random() < 0.7:
        threshold, gain = rng.uniform(0.3, 0.6), rng.uniform(6, 25)
        cover = 1 / (1 + np.exp(-gain * (cover - threshold)))
        cover = (cover - cover.min()) / (cover.max() - cover.min())
    return _inked(_placed(Image.fromarray((cover * 255).astype(np.uint8)), rng, size, free=1.0), rng)


@cache
def _font(path: Path) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), GLYPH * 3 // 4)


@cache
def _font_files() -> list[Path]:
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return sorted(path for path in folder.glob("*.ttf") if path.name.startswith(FONTS) and "Display" not in path.name)


def _printed(digit: int, rng: np.random.Generator) -> Image.Image:
    files = _font_files()
    glyph = Image.new("L", (GLYPH, GLYPH))
    font = _font(files[int(rng.integers(len(files)))])
    ImageDraw.Draw(glyph).text((GLYPH / 2, GLYPH / 2), str(digit), fill=255, font=font, anchor="mm")
    return glyph


def _stroked(digit: int, rng: np.random.Generator) -> Image.Image:
    """A digit written from its strokes, with a shaky hand and a pen of random width."""
    ways = STROKES[digit]
    glyph = Image.new("L", (GLYPH * 2, GLYPH * 2))
    pen, width = ImageDraw.Draw(glyph), int(rng.integers(8, 28))
    frame = np.array([rng.uniform(0.35, 0.62), 0.68]) * GLYPH * 2
    for stroke in ways[int(rng.integers(len(ways)))]:
        points = np.array(stroke) - 0.5
        corners = np.append(False, (points[1:] == points[:-1]).all(axis=1))
        shake = rng.normal(0, 0.045, points.shape)
        shake[corners] = shake[np.flatnonzero(corners) - 1]
        line = (_smooth(points + shake) * frame + GLYPH).tolist()
        pen.line([tuple(p) for p in line], fill=255, width=width, joint="curve")
        for x, y in (line[0], line[-1]):
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
    return glyph.reduce(2)


def _smooth(points: Floats) -> Floats:
    """Round the corners of a polyline (K, 2) by cutting them three times."""
    for _ in range(3):
        a, b = points[:-1], points[1:]
        inner = np.stack([0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b], axis=1).reshape(-1, 2)
        points = np.concatenate([points[:1], inner, points[-1:]])
    return points


def _placed(glyph: Image.Image, rng: np.random.Generator, size: int, free: float) -> Floats:
    """Rotate, shear, bend, thicken and place a glyph -> coverage (size, size) in 0..1. `free` scales the distortion."""
    if rng.random() < 0.3:
        glyph = glyph.filter(ImageFilter.MaxFilter(int(rng.choice([3, 5]))))
    box = glyph.getbbox() or (0, 0, GLYPH, GLYPH)
    turn, shear = rng.normal(0, 0.16 * free), rng.normal(0, 0.18 * free)
    tall = rng.uniform(0.42, 0.95)
    scale = max(box[3] - box[1], (box[2] - box[0]) * 0.9) / (tall * size)
    stretch = np.exp(rng.normal(0, 0.12))
    linear = np.array([(np.cos(turn), -np.sin(turn) + shear), (np.sin(turn), np.cos(turn))]) * scale
    linear = linear @ np.diag([stretch, 1])
    slack = (1 - tall) / 2 * size
    center = np.array([size / 2, size / 2]) + rng.uniform(-1, 1, 2) * slack * (1.0, 0.9)
    shift = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]) - linear @ center
    matrix = (linear[0, 0], linear[0, 1], shift[0], linear[1, 0], linear[1, 1], shift[1])
    soft = glyph.filter(ImageFilter.BoxBlur(max(0.0, scale / 2 - 0.3)))
    cover = np.asarray(soft.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)) / 255.0
    return _bent(cover, rng) if rng.random() < 0.6 * free else cover


def _bent(cover: Floats, rng: np.random.Generator) -> Floats:
    """Distort a picture (H, W) by a smooth random field of a pixel or two."""
    from scipy.ndimage import map_coordinates

    size = cover.shape[0]
    coarse = rng.normal(0, size * 0.022, (2, 5, 5)).astype(np.float32)
    push = [np.asarray(Image.fromarray(c).resize((size, size), Image.Resampling.BICUBIC)) for c in coarse]
    rows, columns = np.mgrid[0:size, 0:size]
    bent: Floats = map_coordinates(cover, [rows + push[0], columns + push[1]], order=1)
    return bent


def _inked(cover: Floats, rng: np.random.Generator) -> Image.Image:
    """Ink on paper, dark on light or light on dark, mostly without color."""
    size = cover.shape[0]
    taste = rng.random()
    if taste < 0.4:
        dark, light = np.zeros(3), np.ones(3)
    elif taste < 0.8:
        dark, light = np.full(3, rng.uniform(0, 0.35)), np.full(3, rng.uniform(0.65, 1))
    else:
        dark, light = rng.uniform(0, 0.45, 3), rng.uniform(0.65, 1, 3)
    ground, color = (light, dark) if rng.random() < 0.5 else (dark, light)
    pixels = shapes.paint(np.broadcast_to(ground, (size, size, 3)), cover, color)
    if taste > 0.5 and rng.random() < 0.5:
        pixels = pixels + rng.normal(0, rng.uniform(0.01, 0.07), (size, size, 1))
    return shapes.picture(pixels)
