"""Sums of vectors of several modalities, answered by retrieval: picture - "red" + "blue" finds the blue one.

Asked over every class and every other colour; the gallery holds one item of each class, none of them an operand, and
the operand's own class is no answer (as in word analogies, Mikolov et al. 2013).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from binder.playground.demo_cells import FACETS, label
from binder.playground.demo_data import Gallery
from binder.playground.world import COLOURS
from binder.space import vectors
from binder.space.vectors import Vectors

Words = Mapping[str, Vectors]  # colour -> (D,) or (T, D) for several takes


def swaps(
    kind: str,
    operands: Gallery,
    gallery: Gallery,
    plus: Words,
    minus: Words | None = None,
    without: Vectors | None = None,
    weight: float = 1.0,
) -> dict[str, Any]:
    """R@1 of `operand + weight * (plus[new colour] - minus[its colour])` over all classes and all other colours.

    With `without`, (K, D), these directions are projected out of the operand before anything is added.
    """
    facets = FACETS[gallery.kind]
    place = {label(c, facets): i for i, c in enumerate(gallery.concepts)}
    assert operands.vectors is not None and gallery.vectors is not None
    hits: list[bool] = []
    z_ND = operands.vectors if without is None else vectors.project_out(operands.vectors, without)
    for z_D, concept in zip(z_ND, operands.concepts, strict=True):
        asked = {c: place.get(label(replace(concept, colour=c), facets)) for c in COLOURS if c != concept.colour}
        others = [colour for colour, wanted in asked.items() if wanted is not None]
        terms = [(1.0, np.broadcast_to(z_D, (len(others), len(z_D)))), (weight, take(plus, others, len(hits)))]
        if minus is not None:
            terms.append((-weight, take(minus, [concept.colour] * len(others), len(hits))))
        scores = vectors.compose(terms) @ gallery.vectors.T
        scores[:, place[label(concept, facets)]] = -np.inf
        hits += list(scores.argmax(1) == np.array([asked[colour] for colour in others]))
    return {"kind": kind, "n": len(hits), "r1": float(np.mean(hits)), "chance_r1": 1 / (len(gallery.concepts) - 1)}


def take(words: Words, colours: Sequence[str], turn: int) -> Vectors:
    """(C, D) of the colours; where there are several takes of a word, each in its turn."""
    rows = [np.atleast_2d(words[colour]) for colour in colours]
    return np.stack([takes[(turn + i) % len(takes)] for i, takes in enumerate(rows)])
