"""The matrix of the demo: retrieval between every two modalities, where a match is an item that shows the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from binder import retrieval
from binder_playground.demo.data import Gallery
from binder_playground.world import Concept

FACETS = {
    "scene": ("color", "shape", "count"),
    "motion": ("color", "shape", "motion"),
    "chart": ("chart", "trend"),
}  # what an item of each kind is labeled with
UNANSWERED: dict[str, Any] = {"n": 0, "n_targets": 0, "r1": None, "r5": None, "r10": None, "chance_r1": None}
Pair = tuple[str, str]


def cells(
    galleries: Sequence[Gallery],
    trained: Callable[[str, str], bool],
    *,
    supervised: Mapping[Pair, float] | None = None,
    untrained: Mapping[Pair, float] | None = None,
) -> list[dict[str, Any]]:
    """One row per ordered pair of modalities, in the schema of metrics.json.

    A pair of modalities whose items share no label is listed with empty values.
    """
    names = list(dict.fromkeys(g.modality for g in galleries))
    rows = []
    for query, target in ((q, t) for q in names for t in names if q != t):
        found = shared(galleries, query, target)
        rows.append(
            {
                "query": query,
                "target": target,
                "concept": "-".join(found[2]) if found else None,
                "trained": trained(query, target),
                **(cell(*found) if found else UNANSWERED),
                "supervised_r1": (supervised or {}).get((query, target)),
                "untrained_r1": (untrained or {}).get((query, target)),
            }
        )
    return rows


def shared(galleries: Sequence[Gallery], query: str, target: str) -> tuple[Gallery, Gallery, tuple[str, ...]] | None:
    """The galleries of two modalities whose items have the most labels in common, and those labels; None: none has."""
    best: tuple[Gallery, Gallery, tuple[str, ...]] | None = None
    for asked, searched in product(galleries, galleries):
        if (asked.modality, searched.modality) == (query, target):
            facets = tuple(f for f in FACETS[asked.kind] if f in FACETS[searched.kind])
            if facets and (best is None or len(facets) > len(best[2])):
                best = asked, searched, facets
    return best


def cell(asked: Gallery, searched: Gallery, facets: Sequence[str], *, only_unheard: bool = False) -> dict[str, Any]:
    """R@k and chance of one ordered pair."""
    places: dict[tuple[Any, ...], list[int]] = {}
    for place, concept in enumerate(searched.concepts):
        places.setdefault(label(concept, facets), []).append(place)
    relevant = {
        i: np.array(places[label(concept, facets)])
        for i, concept in enumerate(asked.concepts)
        if label(concept, facets) in places and not (only_unheard and asked.heard[i])
    }
    if not relevant:
        return UNANSWERED
    assert asked.z is not None and searched.z is not None
    return retrieval(asked.z.vectors[list(relevant)], searched.z.vectors, list(relevant.values()))


def label(concept: Concept, facets: Sequence[str]) -> tuple[Any, ...]:
    """The values of these facets."""
    return tuple(getattr(concept, facet) for facet in facets)
