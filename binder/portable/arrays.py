"""Windows that were prepared elsewhere, as NumPy files. Shapes: W windows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def windows_of(item: str, settings: dict[str, Any]) -> NDArray[Any]:
    """A .npy file with windows -> (W, ...). Raises OSError, ValueError."""
    array: NDArray[Any] = np.load(item)
    shape = tuple(settings["shape"])
    if array.shape[1:] != shape or not len(array):
        raise ValueError(f"expected windows (W, {', '.join(map(str, shape))}), got {array.shape}")
    return array
