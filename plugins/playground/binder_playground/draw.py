"""The entry point to all drawing: `draw(concept, rng)`."""

from __future__ import annotations

import numpy as np
from PIL import Image

from binder_playground import world
from binder_playground.charts import draw_chart
from binder_playground.digits import draw_digit
from binder_playground.scenes import draw_motion, draw_scene
from binder_playground.solids import draw_solid

_DRAWERS = {
    "scene": draw_scene,
    "motion": draw_motion,
    "digit": draw_digit,
    "chart": draw_chart,
    "solid": draw_solid,
}


def draw(concept: world.Concept, rng: np.random.Generator, size: int = 64) -> Image.Image:
    """A picture (size x size, RGB) of the concept; the same state of the generator draws the same picture."""
    return _DRAWERS[concept.kind](world.detailed(concept, rng), rng, size)
