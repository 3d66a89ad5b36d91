"""References for the emergent cells of the matrix: encoders trained directly against the searched modality.

The reference of a cell is the query's encoder, trained on the same items for the same number of steps, each paired
with an item of the searched modality that shows the same, as that modality's own (frozen) encoder sees it.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from binder import Binder, align
from binder_playground import world
from binder_playground.demo import Progress, cells
from binder_playground.demo.cells import FACETS, Pair, label
from binder_playground.demo.data import BOUND, Gallery, encoded_by

LOG = "log.jsonl"  # in a run folder: a line of JSON every so many steps


def references(
    space: Binder,
    galleries: Sequence[Gallery],
    pairs: Mapping[str, Path],
    settings: Mapping[str, dict[str, Any]],
    runs: Path,
    seed: int,
    progress: Progress,
) -> dict[Pair, float]:
    """R@1 of a directly trained encoder, for every emergent cell whose items share a label."""
    found: dict[Pair, float] = {}
    for name in BOUND:
        config = _as_long(settings[name], runs / name)
        for other in ("text", *(b for b in BOUND if b != name)):
            if cells.shared(galleries, name, other) is None:
                continue
            out = runs / f"{name}-to-{other}"
            manifest = pairs[name] if other == "text" else _meeting(pairs, name, other, seed)
            encoders = () if other == "text" else (runs / other,)
            align(name, manifest, anchor=space.anchor, to=other, encoders=encoders, config=config, out=out,
                  seed=seed, split="split", device=str(space.anchor.device), progress=progress)  # fmt: skip
            direct = Binder(space.anchor, device=str(space.anchor.device)).load(out)
            own = encoded_by(direct, name, galleries)
            both = [(name, other), (other, name)] if other == "text" else [(name, other)]
            for query, target in both:  # captions have no encoder to train, so the same one serves both directions
                cell = cells.shared(own, query, target)
                assert cell is not None
                found[query, target] = cells.cell(*cell)["r1"]
    return found


def _as_long(settings: Mapping[str, Any], run: Path) -> dict[str, Any]:
    """The settings of a finished run, with its number of steps instead of epochs: other pairs make shorter epochs."""
    lines = (run / LOG).read_text(encoding="utf-8").splitlines()
    train = {key: value for key, value in settings["train"].items() if key != "epochs"}
    return {**settings, "train": {**train, "steps": json.loads(lines[-1])["step"]}}


def _meeting(pairs: Mapping[str, Path], name: str, other: str, seed: int) -> Path:
    """Pair training items of two modalities that show the same -> the manifest."""
    rng = np.random.default_rng([seed, 6])
    mine, theirs = (_rows(pairs[which], which) for which in (name, other))
    facets = {facet for _, concept, _ in theirs for facet in FACETS.get(concept.kind, ())}
    rows = []
    for kind in sorted({concept.kind for _, concept, _ in mine}):
        common = [facet for facet in FACETS.get(kind, ()) if facet in facets]
        partners: dict[tuple[Any, ...], list[str]] = defaultdict(list)  # by their labels
        for item, concept, _ in theirs if common else ():
            partners[label(concept, common)].append(item)
        for item, concept, split in mine:
            there = partners.get(label(concept, common), []) if concept.kind == kind else []
            if there:
                rows.append((item, there[int(rng.integers(len(there)))], split))
    path = pairs[name].with_name(f"{name}_to_{other}.csv")
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([(name, other, "split"), *dict.fromkeys(rows)])
    return path


def _rows(manifest: Path, modality: str) -> list[tuple[str, world.Concept, str]]:
    with manifest.open(encoding="utf-8", newline="") as file:
        return [(row[modality], world.named(row["shows"]), row["split"]) for row in csv.DictReader(file)]
