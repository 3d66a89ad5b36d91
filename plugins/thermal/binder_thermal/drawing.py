"""Warmth -> brightness, the input of an image tower. Only NumPy: exported encoders run it, too.

Shapes: H height, W width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import stretched

Floats = NDArray[np.floating[Any]]


def tone(warmth_HW: Floats, config: Any, factor: int, rng: np.random.Generator | None) -> Floats:
    """(H, W) -> (H, W) from 0 (cold, black) to 1, between `low_c` and `high_c` or the picture's own extremes."""
    return stretched(warmth_HW, config.low_c, config.high_c)
