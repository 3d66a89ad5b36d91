"""A series: what a reading function returns. Free of torch and NumPy.

Shapes: S samples of a series, C channels.
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
    """What a reading function returns: samples, and when they were taken.

    `values` (S, C) or, of one channel, (S,); NaN where nothing was measured. Either `rate_hz`, or `time_s` (S,) in
    rising seconds for samples that are not evenly spaced. A pause is a large step of the times: it is not filled.
    """

    values: Floats
    rate_hz: float | None = None
    time_s: Floats | None = None
