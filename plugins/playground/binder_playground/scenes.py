"""Still scenes of colored shapes, and the same shapes in motion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from binder_playground import shapes
from binder_playground.shapes import Floats
from binder_playground.world import Concept

REGIONS = {
    "": (0.0, 0.0, 1.0, 1.0),
    "left": (0.0, 0.0, 0.5, 1.0),
    "right": (0.5, 0.0, 1.0, 1.0),
    "top": (0.0, 0.0, 1.0, 0.5),
    "bottom": (0.0, 0.5, 1.0, 1.0),
    "centre": (0.2, 0.2, 0.8, 0.8),
}  # x0, y0, x1, y1 as fractions of the picture


def draw_scene(concept: Concept, rng: np.random.Generator, size: int) -> Image.Image:
    """A scene of `count` shapes of one color that neither touch nor leave the picture."""
    spots = _spots(concept, rng)
    lean, same = shapes.lean(concept.shape, rng), rng.random() < 0.5
    polygons = []
    for x, y, radius in spots:
        angle = lean if same else shapes.lean(concept.shape, rng)
        polygons.append(shapes.placed(shapes.outline(concept.shape, rng), x * size, y * size, radius * size, angle))
    color = shapes.ink(concept.color, rng)
    pixels = shapes.paint(shapes.background(color, size, rng), shapes.mask(polygons, size), color)
    return shapes.picture(pixels)


def _spots(concept: Concept, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Centers and radii (x, y, r), all as fractions of the picture, with a gap between any two."""
    x0, y0, x1, y1 = REGIONS[concept.position]
    if concept.position == "centre" and concept.count == 1:
        x0, y0, x1, y1 = 0.26, 0.26, 0.74, 0.74
    roomy = min(0.36 * float(np.sqrt((x1 - x0) * (y1 - y0) / concept.count)), min(x1 - x0, y1 - y0) * 0.46, 0.3)
    low, high = {"small": (0.09, 0.11), "big": (max(0.85 * roomy, 0.125), max(roomy, 0.14))}.get(
        concept.size, (0.1, max(roomy, 0.115))
    )
    radius = float(rng.uniform(low, high))
    while True:
        radii = radius * rng.uniform(0.86, 1.0, concept.count)
        spots: list[tuple[float, float, float]] = []
        for r in radii:
            for _ in range(40):
                x, y = float(rng.uniform(x0 + r, x1 - r)), float(rng.uniform(y0 + r, y1 - r))
                if all(np.hypot(x - a, y - b) > r + q + 0.02 for a, b, q in spots):
                    spots.append((x, y, float(r)))
                    break
        if len(spots) == concept.count:
            return spots
        radius *= 0.95


@dataclass(frozen=True)
class Track:
    """One moving shape: where it is at each of T moments, and how it looks."""

    places_T4: Floats  # x, y, radius as fractions of the picture; angle in radians
    polygon: Floats
    color: Floats
    seed: int  # of the background


def track(concept: Concept, rng: np.random.Generator, n: int) -> Track:
    """Plan a motion in `n` moments from first to last."""
    radius = float(rng.uniform(0.12, 0.19))
    places = np.empty((n, 4))
    places[:] = (*rng.uniform(0.35, 0.65, 2), radius, shapes.lean(concept.shape, rng))
    moment = np.linspace(0, 1, n)
    if concept.motion in ("left", "right", "up", "down"):
        axis = 0 if concept.motion in ("left", "right") else 1
        margin = radius + 0.02
        first = rng.uniform(margin, max(margin + 0.02, 0.36))
        last = rng.uniform(0.68, 1 - margin) if 1 - margin > 0.68 else 1 - margin
        way = first + (last - first) * moment
        places[:, axis] = way if concept.motion in ("right", "down") else 1 - way
        places[:, 1 - axis] = rng.uniform(margin, 1 - margin) + moment * rng.normal(0, 0.02)
    elif concept.motion == "growing":
        places[:, 2] = rng.uniform(0.07, 0.11) + (rng.uniform(0.26, 0.34) - 0.09) * moment
    elif concept.motion == "spinning":
        turn = rng.uniform(0.5, 0.9) * (np.pi / 2 if concept.shape in ("square", "cross") else np.pi)
        places[:, 3] += turn * moment * (1 if rng.random() < 0.5 else -1)
        places[:, 2] = rng.uniform(0.16, 0.3)
    else:
        raise ValueError(f"unknown motion {concept.motion!r}")
    limit = places[:, 2].max() + 0.01
    if concept.motion in ("growing", "spinning"):
        places[:, :2] = np.clip(places[:, :2], limit, 1 - limit)
    polygon = shapes.outline(concept.shape, rng)
    return Track(places, polygon, shapes.ink(concept.color, rng), int(rng.integers(2**31)))


def frames(concept: Concept, rng: np.random.Generator, n: int, size: int = 64) -> list[Image.Image]:
    """A motion as `n` pictures from first to last on one still background."""
    plan = track(concept, rng, n)
    ground = shapes.background(plan.color, size, np.random.default_rng(plan.seed))
    return [shapes.picture(shapes.paint(ground, _cover(plan, t, size), plan.color)) for t in range(n)]


def trail(concept: Concept, rng: np.random.Generator, size: int = 64) -> Image.Image:
    """A motion in one picture: the latest moment is opaque and in front, earlier ones fade.

    A growing shape would hide its earlier moments, so there they lie in front, the older the paler.
    """
    n = int(rng.integers(3, 6))
    plan = track(concept, rng, n)
    pixels = shapes.background(plan.color, size, np.random.default_rng(plan.seed))
    faint = float(rng.uniform(0.12, 0.22))
    if concept.motion == "growing":
        ground = pixels
        for t in reversed(range(n)):
            mix = faint + (1 - faint) * (t / (n - 1)) ** 1.3
            cover = _cover(plan, t, size)
            pixels = shapes.paint(shapes.paint(pixels, cover, ground), cover, plan.color, mix)
        return shapes.picture(pixels)
    for t in range(n):
        opacity = 1.0 if t == n - 1 else faint + 0.5 * (t / (n - 1)) ** 1.3
        pixels = shapes.paint(pixels, _cover(plan, t, size), plan.color, opacity)
    return shapes.picture(pixels)


def strip(concept: Concept, rng: np.random.Generator, size: int = 64) -> Image.Image:
    """A motion as a contact sheet of 2 x 2 or 3 x 3 frames in reading order."""
    side = 2 if rng.random() < 0.7 else 3
    cell = -(-size // side)
    sheet = Image.new("RGB", (size, size))
    line = int(rng.integers(2))
    for i, frame in enumerate(frames(concept, rng, side * side, size)):
        small = frame.resize((cell - line, cell - line), Image.Resampling.BOX)
        sheet.paste(small, (i % side * cell, i // side * cell))
    return sheet


def draw_motion(concept: Concept, rng: np.random.Generator, size: int) -> Image.Image:
    """A motion as a trail, or sometimes as a contact sheet."""
    return trail(concept, rng, size) if rng.random() < 0.75 else strip(concept, rng, size)


def _cover(plan: Track, t: int, size: int) -> Floats:
    x, y, radius, angle = plan.places_T4[t]
    return shapes.mask([shapes.placed(plan.polygon, x * size, y * size, radius * size, angle)], size)
