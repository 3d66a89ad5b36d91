"""Several channels -> one: their mean, except in recordings where they cancel out.

Shapes: C channels, S samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

BLOCK = 1 << 18  # numbers in a block, over all channels
CANCEL = 0.2  # channels cancel where their sum has less than this share of the power of a sum of unrelated channels
ALIKE = 0.9  # the first channel with this share of the strongest one's power is taken, so that noise cannot decide
EXAMINED_S = 600.0  # s examined from the first nonzero sample on, so that the decision is cheap for hours, too


class Mixing:
    """Running statistics of the channels of one recording; they decide once how to mix all of it."""

    def __init__(self, channels: int, rate: int) -> None:
        self.left = round(EXAMINED_S * rate)  # samples still to be examined
        self.count = 0
        # sums of the samples and of their squares: of each channel, and last of the mean of the channels
        self.sums, self.squares = np.zeros(channels + 1), np.zeros(channels + 1)

    @property
    def decided(self) -> bool:
        """Whether further blocks would not change the decision."""
        return len(self.sums) == 2 or self.left <= 0

    def mean(self, block_CS: Samples) -> Samples:
        """(C, S) -> (S,): the mean of the channels. Updates the statistics."""
        if len(block_CS) == 1:
            mono_S: Samples = block_CS[0]
            return mono_S
        mean_S: Samples = block_CS.mean(axis=0)
        if not self.decided:
            with np.errstate(invalid="ignore", over="ignore"):  # the reader rejects samples that are not finite
                self.sums += [*block_CS.sum(axis=1), mean_S.sum()]
                self.squares += [*np.einsum("cs,cs->c", block_CS, block_CS), np.dot(mean_S, mean_S)]
            self.count += block_CS.shape[1]
            if self.squares.any():
                self.left -= block_CS.shape[1]
        return mean_S

    def strongest(self) -> int | None:
        """The channel to use in place of the mean where the channels cancel out; None: use the mean."""
        if len(self.sums) == 2 or not self.count:
            return None
        power = self.squares / self.count - (self.sums / self.count) ** 2  # without the constant offset
        channels = len(power) - 1
        lost = channels**2 * power[-1] < CANCEL * power[:-1].sum()  # False where not finite
        return int(np.argmax(power[:-1] > ALIKE * power[:-1].max())) if lost else None


def as_floats(values: NDArray[Any]) -> Samples:
    """Samples of any number type -> float32; the full range of an integer type becomes -1..1."""
    if values.dtype.kind in "iu":
        most = float(np.iinfo(values.dtype).max)
        middle, full = (0.0, most + 1) if values.dtype.kind == "i" else ((most + 1) // 2, most // 2)
        values = (values.astype(np.float64) - middle) / full
    with np.errstate(over="ignore"):  # what exceeds float32 becomes infinite, and the reader rejects it
        return values.astype(np.float32, copy=False)
