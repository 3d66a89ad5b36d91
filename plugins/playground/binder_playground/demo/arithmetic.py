"""Sums of vectors of several modalities, answered by retrieval: picture - "red" + "blue" finds the blue one.

Every operand is asked for in every other color. The gallery holds one item of each class, none of them an operand, and
the operand's own class is excluded from the answers, as in word analogies (Mikolov et al. 2013).

Shapes: C colors, K directions, T takes of a word, D embed_dim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from binder import Embeddings
from binder_playground.demo.cells import FACETS, label
from binder_playground.demo.data import Gallery
from binder_playground.world import COLORS

Words = Mapping[str, Embeddings]  # color -> (T, D), one row per take of its name


def swaps(
    kind: str,
    operands: Gallery,
    gallery: Gallery,
    plus: Words,
    minus: Words | None = None,
    without: Embeddings | None = None,
    weight: float = 1.0,
) -> dict[str, Any]:
    """R@1 of `operand + weight * (plus[new color] - minus[its color])` over all operands and all other colors.

    With `without`, (K, D), these directions are projected out of the operand before anything is added.
    """
    facets = FACETS[gallery.kind]
    place = {label(c, facets): i for i, c in enumerate(gallery.concepts)}
    assert operands.z is not None and gallery.z is not None
    hits: list[bool] = []
    z_ND = operands.z if without is None else operands.z.project_out(without)
    for z_D, concept in zip(z_ND, operands.concepts, strict=True):
        asked = {c: place.get(label(replace(concept, color=c), facets)) for c in COLORS if c != concept.color}
        others = [color for color, wanted in asked.items() if wanted is not None]
        total = z_D + weight * take(plus, others, len(hits))
        if minus is not None:
            total = total - weight * take(minus, [concept.color] * len(others), len(hits))
        scores = total.cosine(gallery.z)
        scores[:, place[label(concept, facets)]] = -np.inf
        hits += list(scores.argmax(1) == np.array([asked[color] for color in others]))
    return {"kind": kind, "n": len(hits), "r1": float(np.mean(hits)), "chance_r1": 1 / (len(gallery.concepts) - 1)}


def take(words: Words, colors: Sequence[str], turn: int) -> Embeddings:
    """The names of C colors -> (C, D); the takes of a name are used in turn, starting at `turn`."""
    chosen = [words[color].vectors[(turn + i) % len(words[color])] for i, color in enumerate(colors)]
    return Embeddings(np.stack(chosen), words[colors[0]].space)
