"""Mono samples -> windows. Only NumPy: exported encoders run it, too.

Shapes: S samples, W windows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from binder_audio.channels import BLOCK, Samples

FULL_SCALE = 32_767  # int16
PEAK = 0.95  # of full scale, to which every clip is scaled, so that int16 is precise enough for quiet recordings


def windows(samples: Samples, size: int) -> tuple[NDArray[np.int16], list[tuple[int, int]]]:
    """(S,), samples per window -> (W, size) int16 and the W spans (first, last + 1 sample).

    Zeros at the end of a clip are ignored. A clip shorter than a window is padded with zeros at its end. A longer one
    is cut into evenly spaced windows from its start to its end, which overlap rather than leave gaps; only where it
    exceeds a whole number of windows by at most a tenth of one is as much left out. Silent windows are left out.
    """
    gain = np.float32(PEAK * FULL_SCALE / max(float(samples.max()), -float(samples.min()), 1e-30))
    length = _length(samples, gain)
    count = max(1, int(np.ceil(length / size - 0.1)))
    if count == 1:
        starts = [max(0, (length - size) // 2)]
    else:
        starts = [round(i * (length - size) / (count - 1)) for i in range(count)]
    cut = np.zeros((len(starts), size), np.int16)
    spans: list[tuple[int, int]] = []
    for start in starts:
        end = min(start + size, length)
        row = np.round(samples[start:end] * gain).astype(np.int16)
        if row.any():
            cut[len(spans), : end - start] = row
            spans.append((start, end))
    return (cut[: len(spans)], spans) if spans else (cut[:1], [(starts[0], min(starts[0] + size, length))])


def _length(samples: Samples, gain: np.float32) -> int:
    """Number of samples up to the last one that is not zero as int16; at least 1."""
    for end in range(len(samples), 0, -BLOCK):
        start = max(0, end - BLOCK)
        found = np.flatnonzero(np.round(samples[start:end] * gain))
        if len(found):
            return start + int(found[-1]) + 1
    return 1
