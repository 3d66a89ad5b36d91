"""Of a very large cloud some of its points, the same ones every time. Free of torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MANY = 2_000_000  # points that are kept of a larger cloud; far more than any encoder sees of them
BLOCK = 1 << 20  # points decided on at once


class Draw:
    """Decides point by point, for a cloud that is read in pieces; `total` may be an estimate."""

    def __init__(self, total: float) -> None:
        self.share = min(1.0, MANY / max(total, 1))
        self.rng = np.random.default_rng(0)

    def __call__(self, rows: NDArray[Any]) -> NDArray[Any]:
        """(P, ...) -> those of them that are kept, in order; the very same where all are."""
        if self.share == 1:
            return rows
        starts = range(0, len(rows), BLOCK)
        kept = [np.flatnonzero(self.rng.random(min(BLOCK, len(rows) - at)) < self.share) + at for at in starts]
        return rows[np.concatenate(kept)] if kept else rows
