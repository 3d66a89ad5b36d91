"""Outlines, colors and backgrounds: what scenes and motions are drawn from.

Outlines are closed polygons (K, 2) around the origin, within the unit circle; x to the right, y down.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Floats = NDArray[np.float64]

RGB = {
    "red": (218, 32, 36),
    "orange": (246, 136, 22),
    "yellow": (244, 222, 44),
    "green": (38, 160, 58),
    "blue": (34, 84, 214),
    "purple": (126, 46, 168),
    "pink": (250, 134, 188),
    "brown": (122, 74, 36),
    "black": (18, 18, 20),
    "white": (248, 248, 248),
    "grey": (136, 136, 138),
}  # sRGB, 0..255
OVERSAMPLING = 4  # masks are drawn this many times larger and averaged


def outline(shape: str, rng: np.random.Generator) -> Floats:
    """The polygon (K, 2) of a shape, with proportions that vary a little."""
    wobble = float(rng.uniform(-1, 1))
    if shape == "circle":
        return _arc(0, 2 * np.pi, 40)
    if shape == "square":
        return np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 0.8
    if shape == "triangle":
        return np.array([(0, -1), (0.92, 0.72), (-0.92, 0.72)])
    if shape == "star":
        radii = np.where(np.arange(10) % 2 == 0, 1.0, 0.43 + 0.05 * wobble)
        return _arc(-np.pi / 2, 1.5 * np.pi, 11)[:10] * radii[:, None]
    if shape == "heart":
        t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
        return np.stack([16 * np.sin(t) ** 3, -y - 2.5], axis=1) / 16.5
    if shape == "cross":
        a = 0.3 + 0.06 * wobble
        corner = np.array([(a, -1), (a, -a), (1, -a)])
        return np.concatenate([corner @ _turn(quarter * np.pi / 2).T for quarter in range(4)]) * 0.95
    if shape == "ring":
        inner = _arc(2 * np.pi, 0, 40) * (0.58 + 0.06 * wobble)
        return np.concatenate([_arc(0, 2 * np.pi, 40), inner])
    if shape == "moon":
        tip = 1.05 + 0.1 * wobble  # half the opening of the crescent, in radians
        outer = _arc(tip, 2 * np.pi - tip, 30)
        far = np.array([np.cos(tip), np.sin(tip)])
        center = np.array([0.55 + 0.08 * wobble, 0.0])
        angle = float(np.arctan2(far[1], far[0] - center[0]))
        inner = _arc(2 * np.pi - angle, angle, 30) * np.hypot(*(far - center)) + center
        crescent: Floats = np.concatenate([outer, inner]) + np.array([0.2, 0.0])
        return crescent
    if shape == "arrow":
        w, neck = 0.22 + 0.05 * wobble, 0.1
        half = np.array([(-1, -w), (neck, -w), (neck, -0.72), (1, 0)])
        return np.concatenate([half, half[2::-1] * (1, -1)])
    if shape == "diamond":
        return np.array([(0, -1), (0.62 + 0.05 * wobble, 0), (0, 1), (-0.62 - 0.05 * wobble, 0)])
    raise ValueError(f"unknown shape {shape!r}")


def lean(shape: str, rng: np.random.Generator) -> float:
    """A plausible rotation (radians) for a shape at rest; arrows and moons may face any of four ways."""
    tilt = float(rng.normal(0, 0.16))
    return tilt + (float(rng.integers(4)) * np.pi / 2 if shape in ("arrow", "moon") else 0.0)


def mask(polygons: list[Floats], size: int) -> Floats:
    """Antialiased coverage (size, size) in 0..1 of filled polygons given in pixels (x, y)."""
    big = Image.new("L", (size * OVERSAMPLING, size * OVERSAMPLING))
    pen = ImageDraw.Draw(big)
    for polygon in polygons:
        pen.polygon((polygon * OVERSAMPLING).ravel().tolist(), fill=255)
    return np.asarray(big.reduce(OVERSAMPLING), dtype=np.float64) / 255


def placed(polygon: Floats, x: float, y: float, radius: float, angle: float) -> Floats:
    """The outline (K, 2) rotated by `angle`, scaled to `radius` pixels and moved to (x, y)."""
    return polygon @ _turn(angle).T * radius + (x, y)


def ink(color: str, rng: np.random.Generator) -> Floats:
    """A random shade (3,) in 0..1 that people would still call by the color's name."""
    shade = np.array(RGB[color]) / 255 + rng.normal(0, 0.022, 3)
    return np.clip(shade * rng.uniform(0.92, 1.06), 0, 1)


def background(avoid: Floats, size: int, rng: np.random.Generator) -> Floats:
    """A background (size, size, 3) in 0..1, plain, graded or noisy, that stays away from the color `avoid`."""
    ends = [_ground(avoid, rng), _ground(avoid, rng)]
    style = rng.random()
    if style < 0.4:
        return np.broadcast_to(ends[0], (size, size, 3)).copy()
    if style < 0.65 and np.linalg.norm((ends[0] + ends[1]) / 2 - avoid) > 0.4:
        angle = rng.uniform(0, 2 * np.pi)
        line = np.linspace(-0.5, 0.5, size)
        along = np.clip(line[None, :] * np.cos(angle) + line[:, None] * np.sin(angle) + 0.5, 0, 1)
        graded: Floats = ends[0] + (ends[1] - ends[0]) * along[:, :, None]
        return graded
    grain = int(rng.choice([4, 8, 16, size]))
    noise = rng.normal(0, rng.uniform(0.02, 0.07), (grain, grain, 1 if rng.random() < 0.6 else 3))
    if grain < size:
        planes = [Image.fromarray(noise[:, :, k].astype(np.float32)) for k in range(noise.shape[2])]
        noise = np.stack([np.asarray(p.resize((size, size), Image.Resampling.BICUBIC)) for p in planes], axis=2)
    return np.clip(ends[0] + noise, 0, 1)


def _ground(avoid: Floats, rng: np.random.Generator) -> Floats:
    """A background color (3,), gray, pale or vivid, at a distance from `avoid`."""
    for _ in range(30):
        gray = float(rng.random()) ** 0.7
        color: Floats = np.clip(gray + (rng.random(3) - 0.5) * rng.choice([0.05, 0.3, 1.0]), 0, 1)
        if np.linalg.norm(color - avoid) > 0.5:
            return color
    return np.full(3, 0.0 if avoid.mean() > 0.5 else 1.0)


def paint(ground: Floats, cover: Floats, color: Floats, opacity: float = 1.0) -> Floats:
    """Blend a color (3,) over a picture (H, W, 3), by the coverage `cover` (H, W)."""
    alpha = cover[:, :, None] * opacity
    return ground * (1 - alpha) + color * alpha


def picture(pixels: Floats) -> Image.Image:
    """Turn (H, W, 3) in 0..1 into an RGB image."""
    return Image.fromarray((np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8))


def _arc(start: float, stop: float, n: int) -> Floats:
    t = np.linspace(start, stop, n)
    return np.stack([np.cos(t), np.sin(t)], axis=1)


def _turn(angle: float) -> Floats:
    return np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])
