"""Grey levels -> pictures for an image tower. Free of torch.

Shapes: H height, W width.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def draw(level_HW: NDArray[np.float32], rng: np.random.Generator | None = None) -> Image.Image:
    """(H, W) in 0..1 -> a grey picture; with `rng`, for training, a little cut off and of another contrast."""
    if rng is not None:
        (top, left), (bottom, right) = (rng.uniform(0, 0.1, (2, 2)) * level_HW.shape).astype(int)
        level_HW = level_HW[top : level_HW.shape[0] - bottom, left : level_HW.shape[1] - right]
        level_HW = level_HW ** np.exp(rng.normal(0, 0.25))
    return Image.fromarray((255 * level_HW).round().astype(np.uint8)).convert("RGB")
