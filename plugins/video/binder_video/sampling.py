"""Which times of a video are looked at, in seconds. Free of torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

SPARE = 0.1  # a rest shorter than this share of a window or segment is left out rather than getting one of its own


def windows(duration_s: float, window_s: float, most: int) -> list[tuple[float, float]]:
    """Start and end of each window of a video: one over all of it, or at most `most`, evenly spaced.

    The first begins with the video and the last ends with it; a single window of a long video lies in its middle.
    """
    count = math.ceil(duration_s / window_s - SPARE)
    if count <= 1:
        return [(0.0, duration_s)]
    if most == 1:
        middle_s = duration_s / 2
        return [(middle_s - window_s / 2, middle_s + window_s / 2)]
    count = min(count, most)
    starts_s = (i * (duration_s - window_s) / (count - 1) for i in range(count))
    return [(start_s, start_s + window_s) for start_s in starts_s]


def even(start_s: float, end_s: float, count: int) -> list[float]:
    """The middles of `count` equal parts."""
    return [start_s + (i + 0.5) / count * (end_s - start_s) for i in range(count)]


def jittered(duration_s: float, window_s: float, count: int, rng: np.random.Generator) -> list[float]:
    """A random time in each of `count` equal parts of a random window (Wang et al. 2016, TSN), ascending."""
    long = math.ceil(duration_s / window_s - SPARE) > 1
    start_s, length_s = (rng.uniform(0, duration_s - window_s), window_s) if long else (0.0, duration_s)
    return [float(s) for s in start_s + (np.arange(count) + rng.uniform(size=count)) / count * length_s]


def segment_spans(duration_s: float, every_s: float) -> Iterator[tuple[float, float]]:
    """Start and end of each segment of `every_s` seconds, lazily; a rest shorter than a tenth of that is left out."""
    for i in itertools.count():
        start_s = i * every_s
        if i and duration_s - start_s < SPARE * every_s:
            return
        yield start_s, min(start_s + every_s, duration_s)
