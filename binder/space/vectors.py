"""Geometry of unit vectors (..., D): pure NumPy functions, without torch or state."""

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
    unit: Vectors = x / norm
    return unit


def compose(parts: Sequence[tuple[float, ArrayLike]]) -> Vectors:
    """[(weight, (..., D)), ...] -> (..., D): the parts are normalized, weighted and summed, and the sum normalized."""
    if not parts:
        raise SpaceError("nothing to compose: give at least one (weight, vector)")
    total = sum(np.float32(weight) * normalize(x) for weight, x in parts)
    return normalize(total)


def slerp(a: ArrayLike, b: ArrayLike, t: float) -> Vectors:
    """(..., D), (..., D), t in 0..1 -> (..., D): the point at t on the great circle from a to b.

    Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985. Raises SpaceError for opposite vectors, which
    infinitely many great circles connect, and for a t out of range.
    """
    if not 0 <= t <= 1:
        raise SpaceError(f"t is {t}, expected 0 to 1")
    a, b = normalize(a).astype(np.float64), normalize(b).astype(np.float64)
    far, near = (np.linalg.norm(x, axis=-1, keepdims=True) for x in (a - b, a + b))
    if 0 < t < 1 and (near < 1e-6).any():
        raise SpaceError("opposite vectors have no direction between them")
    angle = 2 * np.arctan2(far, near)  # accurate at both ends, where arccos is not (Kahan)
    sine = np.sin(angle)
    flat = (sine < 1e-6) | (near < 1e-6)  # (nearly) the same direction: linear interpolation is close enough
    safe = np.where(flat, 1, sine)
    weight_a = np.where(flat, 1 - t, np.sin((1 - t) * angle) / safe)
    weight_b = np.where(flat, t, np.sin(t * angle) / safe)
    return normalize(weight_a * a + weight_b * b)


def project_out(x: ArrayLike, concepts: ArrayLike) -> Vectors:
    """(..., D) and K directions (K, D) -> (..., D): orthogonal to all of them, of length 1.

    Raises SpaceError where (nearly) nothing is left because x lies in the span of the directions.
    """
    basis_DK, r = np.linalg.qr(np.atleast_2d(normalize(concepts)).T.astype(np.float64))
    basis_DK = basis_DK[:, np.abs(np.diag(r)) > 1e-5]  # a direction that is given twice counts once
    x = normalize(x).astype(np.float64)
    left = x - x @ basis_DK @ basis_DK.T
    if (np.linalg.norm(left, axis=-1) < 1e-4).any():
        raise SpaceError("nothing is left of a vector without these concepts, so it has no direction")
    return normalize(left)


def center(x: ArrayLike, mean: ArrayLike | None = None) -> Vectors:
    """(N, D) -> (N, D): the mean (by default their own) subtracted, then normalized. Closes the modality gap.

    Liang et al., "Mind the gap", NeurIPS 2022.
    """
    x = normalize(x)
    return normalize(x - (x.mean(0) if mean is None else np.asarray(mean, dtype=np.float32)))
