"""A map of the space: every item as a point, before and after each modality's mean is subtracted.

Shapes: N points, D embed_dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder_playground.demo.data import Gallery

MOST = 250  # points of each gallery


@dataclass(frozen=True)
class Points:
    """A sample of the items as points in -1..1."""

    modality: list[str]  # (N,)
    concept: list[str]  # (N,) what each shows
    plain: NDArray[np.float64]  # (N, 2)
    centered: NDArray[np.float64]  # (N, 2), with each modality's mean subtracted first


def space_map(galleries: Sequence[Gallery]) -> Points:
    """The two directions of largest variance (principal components, Pearson 1901) of a sample of all galleries."""
    modality: list[str] = []
    concept: list[str] = []
    plain, centered = [], []
    vectors = [np.asarray(g.z) for g in galleries]
    names = [g.modality for g in galleries]
    means = {name: np.concatenate([z for z, own in zip(vectors, names, strict=True) if own == name]).mean(0)
             for name in set(names)}  # fmt: skip
    for g, z_ND in zip(galleries, vectors, strict=True):
        some = np.linspace(0, len(g.items) - 1, min(MOST, len(g.items))).round().astype(int)
        modality += [g.modality] * len(some)
        concept += [g.concepts[i].key for i in some]
        plain.append(z_ND[some])
        moved = z_ND[some] - means[g.modality]
        centered.append(moved / np.linalg.norm(moved, axis=1, keepdims=True))
    return Points(modality, concept, _plane(np.concatenate(plain)), _plane(np.concatenate(centered)))


def _plane(z_ND: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    x = z_ND - z_ND.mean(0)
    _, _, directions = np.linalg.svd(x, full_matrices=False)
    flat = (x @ directions[:2].T).astype(np.float64)
    scaled: NDArray[np.float64] = flat / np.abs(flat).max()
    return scaled
