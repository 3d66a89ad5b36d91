"""The demo's report: one self-contained page that shows what was bound, with players and previews."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from binder import get_modality, render_page, shown_item, write_text
from binder_playground import world
from binder_playground.demo import cells
from binder_playground.demo.data import Gallery
from binder_playground.demo.space_map import Points
from binder_playground.world import Concept

QUERIES = {"audio": ("scene", "motion", "chart"), "video": ("motion",), "chart": ("chart",)}  # kinds asked of each
PER_KIND = 3  # queries drawn at random of each kind
HITS = 4  # nearest items shown of each searched modality
COLORS = {"image": "#2b7bba", "text": "#7a7f8c", "audio": "#e07b28", "video": "#8b5fbf", "chart": "#2f9e63"}


def write_report(path: Path, metrics: dict[str, Any], galleries: Sequence[Gallery], points: Points, seed: int) -> None:
    """Write the page to `path`: everything is embedded, nothing is fetched."""
    rows = metrics["retrieval"]
    made = render_page(
        Path(__file__).parent / "report.html",
        metrics=metrics,
        names=list(dict.fromkeys(row["query"] for row in rows)),
        cells={(row["query"], row["target"]): row for row in rows},
        emergent=[row for row in rows if row["r1"] is not None and not row["trained"]],
        unheard={(row["query"], row["target"]): row for row in metrics["retrieval_unheard"]},
        examples=examples(galleries, seed),
        colors=COLORS,
        maps=[("as they are", _dots(points, points.plain)), ("each modality centered", _dots(points, points.centered))],
    )
    write_text(path, made)


def examples(galleries: Sequence[Gallery], seed: int) -> list[dict[str, Any]]:
    """Queries drawn at random, each with the nearest items of every other modality."""
    rng = np.random.default_rng([seed, 7])
    found = []
    for asked in galleries:
        if asked.kind in QUERIES.get(asked.modality, ()):
            for i in rng.choice(len(asked.items), min(PER_KIND, len(asked.items)), replace=False):
                found.append(_example(galleries, asked, int(i)))
    order = {name: n for n, name in enumerate(QUERIES)}
    return sorted(found, key=lambda e: order[e["modality"]])


def _example(galleries: Sequence[Gallery], asked: Gallery, i: int) -> dict[str, Any]:
    assert asked.z is not None
    answers = []
    for searched in galleries:
        own = cells.FACETS[asked.kind]
        facets = [f for f in own if f in cells.FACETS[searched.kind]]
        best = _kind_for(galleries, asked, searched.modality)
        if searched.modality == asked.modality or searched is not best:
            continue
        assert searched.z is not None
        scores = asked.z[i].cosine(searched.z)[0]
        wanted = cells.label(asked.concepts[i], facets)
        hits = [
            {
                **_shown(searched.modality, searched.items[j], searched.concepts[j]),
                "score": float(scores[j]),
                "right": cells.label(searched.concepts[j], facets) == wanted,
            }
            for j in np.argsort(-scores)[:HITS]
        ]
        answers.append({"modality": searched.modality, "concept": " and ".join(facets), "hits": hits})
    return {
        "modality": asked.modality,
        "said": world.caption(asked.concepts[i]),
        "heard": asked.heard[i],
        **_shown(asked.modality, asked.items[i], asked.concepts[i]),
        "answers": answers,
    }


def _kind_for(galleries: Sequence[Gallery], asked: Gallery, target: str) -> Gallery | None:
    """The gallery of the target modality that shares the most labels with the query's; None: none shares any."""

    def common(g: Gallery) -> int:
        return len(set(cells.FACETS[asked.kind]) & set(cells.FACETS[g.kind]))

    fitting = [g for g in galleries if g.modality == target and common(g)]
    return max(fitting, key=common, default=None)


def _shown(modality: str, item: Any, concept: Concept) -> dict[str, Any]:
    """What a page needs to show an item: its text, or its preview and the file to play, and an alternative text."""
    found = {**shown_item(get_modality(modality), item), "alt": f"{modality}: {world.caption(concept)}"}
    return {**found, "player": found.pop("tag")}


def _dots(points: Points, places: np.ndarray) -> list[tuple[float, float, str, str]]:
    """(x, y, color, what it is) of every point, on a map of 400 x 400."""
    return [
        (round(200 + 190 * x, 1), round(200 - 190 * y, 1), COLORS.get(modality, "#000"), f"{modality}: {concept}")
        for (x, y), modality, concept in zip(places.tolist(), points.modality, points.concept, strict=True)
    ]
