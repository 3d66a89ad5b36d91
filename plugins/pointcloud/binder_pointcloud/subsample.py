"""Random selection of points from very large clouds, reproducible. Free of torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_POINTS = 2_000_000  # about as many are kept; far more than any encoder uses
BLOCK = 1 << 20  # points decided at once


class Subsample:
    """Decides point by point, so that a cloud can be read in parts; `total` may be an estimate of its points."""

    def __init__(self, total: float) -> None:
        self.share = min(1.0, MAX_POINTS / max(total, 1))
        self.rng = np.random.default_rng(0)

    def __call__(self, rows: NDArray[Any]) -> NDArray[Any]:
        """(P, ...) -> the points that are kept, in order; the same object where all are."""
        if self.share == 1:
            return rows
        starts = range(0, len(rows), BLOCK)
        kept = [np.flatnonzero(self.rng.random(min(BLOCK, len(rows) - at)) < self.share) + at for at in starts]
        return rows[np.concatenate(kept)] if kept else rows
