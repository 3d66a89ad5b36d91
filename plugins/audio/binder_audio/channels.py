"""Many channels -> one: their mean, but for recordings in which they cancel.

Shapes: C channels, S samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

BLOCK = 1 << 18  # numbers in a block, of all channels together
CANCEL = 0.2  # of the power that the sum of unrelated channels has: below, it is the channels that cancel
ALIKE = 0.9  # of the strongest channel's power: the first channel as strong is taken, so that noise decides nothing
HEARD_S = 600.0  # s from the first sound on that are looked at, so that a decision on hours takes no hour


class Mixing:
    """What the blocks of one recording say of how to mix it: one decision for all of it."""

    def __init__(self, channels: int, rate: int) -> None:
        self.left = round(HEARD_S * rate)  # samples that are still to be looked at
        self.count = 0
        # of each channel, and last of their mean: the sum of its samples and of their squares
        self.sums, self.squares = np.zeros(channels + 1), np.zeros(channels + 1)

    @property
    def decided(self) -> bool:
        return len(self.sums) == 2 or self.left <= 0

    def mean(self, block_CS: Samples) -> Samples:
        """(C, S) -> (S,), their mean; taken into account."""
        if len(block_CS) == 1:
            return block_CS[0]
        mean_S = block_CS.mean(axis=0)
        if not self.decided:
            with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused in its own place
                self.sums += [*block_CS.sum(axis=1), mean_S.sum()]
                self.squares += [*np.einsum("cs,cs->c", block_CS, block_CS), np.dot(mean_S, mean_S)]
            self.count += block_CS.shape[1]
            if self.squares.any():
                self.left -= block_CS.shape[1]
        return mean_S

    def instead(self) -> int | None:
        """The strongest channel, where the mean has far less power than the channels have; None: take the mean."""
        if len(self.sums) == 2 or not self.count:
            return None
        power = self.squares / self.count - (self.sums / self.count) ** 2  # without what is constant
        channels = len(power) - 1
        lost = channels**2 * power[-1] < CANCEL * power[:-1].sum()  # False where it is not finite
        return int(np.argmax(power[:-1] > ALIKE * power[:-1].max())) if lost else None


def as_floats(values: np.ndarray) -> Samples:
    """Numbers of any kind -> float32; integers over their full range to -1..1."""
    if values.dtype.kind in "iu":
        most = float(np.iinfo(values.dtype).max)
        middle, full = (0.0, most + 1) if values.dtype.kind == "i" else ((most + 1) // 2, most // 2)
        values = (values.astype(np.float64) - middle) / full
    with np.errstate(over="ignore"):  # beyond float32: infinite, and refused as such
        return values.astype(np.float32, copy=False)
