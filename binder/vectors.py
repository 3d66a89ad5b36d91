"""Pure functions on vectors (..., D) of one space, NumPy in and out. No torch, no state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from binder.errors import SpaceError

Vectors = NDArray[np.float32]


def normalize(x: ArrayLike) -> Vectors:
    """(..., D) -> (..., D) of length 1. Raises SpaceError for a vector that is zero or not finite."""
    x = np.asarray(x, dtype=np.float32)
    norm = np.linalg.norm(x, axis=-1, keepdims=True)
    if not np.isfinite(norm).all() or (norm == 0).any():
        raise SpaceError("a vector that is zero or not finite has no direction")
    return x / norm


def compose(parts: Sequence[tuple[float, ArrayLike]]) -> Vectors:
    """[(weight, (..., D)), ...] -> (..., D): each part normalised, weighted, summed, the sum normalised."""
    if not parts:
        raise SpaceError("nothing to compose: give at least one (weight, vector)")
    total = sum(np.float32(weight) * normalize(x) for weight, x in parts)
    return normalize(total)


def slerp(a: ArrayLike, b: ArrayLike, t: float) -> Vectors:
    """(..., D), (..., D), t in 0..1 -> (..., D): the point at t on the great circle from a to b.

    Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985.
    """
    a, b = normalize(a), normalize(b)
    angle = np.arccos(np.clip((a * b).sum(-1, keepdims=True), -1, 1))
    sine = np.sin(angle)
    flat = sine < 1e-6  # (nearly) the same direction: the straight line does
    safe = np.where(flat, 1, sine)
    weight_a = np.where(flat, 1 - t, np.sin((1 - t) * angle) / safe)
    weight_b = np.where(flat, t, np.sin(t * angle) / safe)
    return normalize(weight_a * a + weight_b * b)


def center(x: ArrayLike, mean: ArrayLike | None = None) -> Vectors:
    """(N, D) -> (N, D): the mean (by default their own) taken away, lengths 1 again: closes the modality gap.

    Liang et al., "Mind the gap", NeurIPS 2022.
    """
    x = normalize(x)
    return normalize(x - (x.mean(0) if mean is None else np.asarray(mean, dtype=np.float32)))
