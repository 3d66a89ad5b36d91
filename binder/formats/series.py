"""The type of a series: samples of several channels over time. Free of torch and NumPy.

Shapes: S samples, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Series:
    """What the `read` function of a series plugin returns: samples, and when they were taken.

    `values` is (S, C), or (S,) for one channel, with NaN where nothing was measured. Give `rate_hz` for evenly spaced
    samples, otherwise `time_s` (S,), ascending, in seconds. A pause in the recording is just a large step in `time_s`;
    it is not filled.
    """

    values: Floats
    rate_hz: float | None = None
    time_s: Floats | None = None
