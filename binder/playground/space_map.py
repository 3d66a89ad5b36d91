"""The space seen from above: every item as a point, before and after each modality's mean is taken away.

Shapes: N points, D embed_dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from binder.playground.demo_data import Gallery
from binder.space import vectors

MOST = 250  # points of each gallery


@dataclass(frozen=True)
class Points:
    """A sample of the items as points in -1..1."""

    modality: list[str]  # (N,)
    concept: list[str]  # (N,) what each shows
    plain: NDArray[np.float64]  # (N, 2)
    centred: NDArray[np.float64]  # (N, 2), each modality's mean taken away before


def space_map(galleries: Sequence[Gallery]) -> Points:
    """The two directions of largest variance (principal components, Pearson 1901) of a sample of all galleries."""
    modality: list[str] = []
    concept: list[str] = []
    plain, centred = [], []
    means = {
        name: np.concatenate([g.vectors for g in galleries if g.modality == name]).mean(0)
        for name in {g.modality for g in galleries}
    }
    for g in galleries:
        assert g.vectors is not None
        some = np.linspace(0, len(g.items) - 1, min(MOST, len(g.items))).round().astype(int)
        modality += [g.modality] * len(some)
        concept += [g.concepts[i].key for i in some]
        plain.append(g.vectors[some])
        centred.append(vectors.center(g.vectors[some], means[g.modality]))
    return Points(modality, concept, _plane(np.concatenate(plain)), _plane(np.concatenate(centred)))


def _plane(z_ND: vectors.Vectors) -> NDArray[np.float64]:
    x = z_ND - z_ND.mean(0)
    _, _, directions = np.linalg.svd(x, full_matrices=False)
    flat = (x @ directions[:2].T).astype(np.float64)
    return flat / np.abs(flat).max()
