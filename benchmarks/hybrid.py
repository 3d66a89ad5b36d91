"""When searching by words helps, when by vectors, and what fusing both does (`mode="text" | "vector" | "hybrid"`).

    python benchmarks/hybrid.py                   # a minute or so on two cores
    BINDER_DATA=... python benchmarks/hybrid.py   # real photographs, too

Playground: 1,000 new pictures of 500 kinds with metadata as people leave it: a file name, who took it, a licence,
tags, and a caption in somebody's own wording, which may be missing or belong to another picture. Questions: the
canonical caption of a kind (right: both pictures of it), a file name (right: that one picture), a caption and who took
it (right: the picture of that kind by them).

Photographs: `flickr8k_1k`, the first caption of each of 1,000 photographs as its metadata, the second as the question.
The mini anchor knows no photographs: its vectors say hardly anything of them.
"""

from __future__ import annotations

import argparse
import csv
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from binder_playground import world
from binder_playground.demo import data

from binder import Binder, Embeddings, Index
from binder.index.index import Mode

PEOPLE = (
    "Abara", "Bergström", "Castellanos", "Dvořák", "Eriksen", "Fontaine", "Grünwald", "Hashimoto", "Ibrahimović",
    "Jankowski", "Kowalczyk", "Lindqvist", "Moreau", "Nakamura", "Okonkwo", "Petrosyan", "Quispe", "Rasmussen",
    "Szabó", "Takahashi",
)  # fmt: skip
LICENSES = ("cc-by", "cc-by-sa", "cc0", "all rights reserved")
CAPTIONS = {"all captioned": (1.0, 0.0), "half captioned": (0.5, 0.0), "third misleading": (1.0, 1 / 3), "none": (0, 0)}
KS = (1, 5, 10)


@dataclass(frozen=True)
class Question:
    """A text, its vector, and the names of the items that answer it."""

    words: str
    z: Embeddings
    right: set[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    logging.getLogger("binder").setLevel(logging.ERROR)  # of words that mini does not know there are many here
    space = Binder("mini")
    print(f"{'R@1 / R@5 / R@10, %':44}" + "".join(f"{mode:>24}" for mode in get_args(Mode)))
    with tempfile.TemporaryDirectory() as work:
        playground(space, Path(work))
        if "BINDER_DATA" in os.environ:
            photographs(space, Path(os.environ["BINDER_DATA"]) / "flickr8k_1k", Path(work))
        else:
            print("BINDER_DATA is not set: no photographs")


def playground(space: Binder, work: Path) -> None:
    rng = np.random.default_rng(0)
    kinds = world.concepts("scene")
    (pictures,) = data.embed(space, [data.pictures("scene", 2 * kinds, work / "pictures", rng)])
    n = len(pictures.items)
    files = [f"IMG_{number}" for number in rng.permutation(9000)[:n] + 1000]
    z = Embeddings(pictures.z, space.space, files, "image")
    people = [PEOPLE[i] for i in rng.integers(len(PEOPLE), size=n)]
    of_kind: dict[str, list[int]] = {}
    for i, concept in enumerate(pictures.concepts):
        of_kind.setdefault(concept.key, []).append(i)
    asked = questions(space, [world.caption(c) for c in kinds], [{files[i] for i in of_kind[c.key]} for c in kinds])
    one = rng.permutation(n)[: len(kinds)]
    named = questions(space, [files[i] for i in one], [{files[i]} for i in one])
    whose = [i for i in one if [people[j] for j in of_kind[pictures.concepts[i].key]].count(people[i]) == 1]
    both = questions(
        space, [f"{world.caption(pictures.concepts[i])} by {people[i]}" for i in whose], [{files[i]} for i in whose]
    )
    for title, (share, misleading) in CAPTIONS.items():
        index = Index.create(work / title, z)
        index.add(image=z, metadata=metadata(pictures.concepts, files, people, share, misleading))
        for what, some in (("caption", asked), ("file name", named), ("caption and person", both)):
            print(f"{f'{what}, {title}':44}" + "".join(f"{recall(index, some, mode):>24}" for mode in get_args(Mode)))


def metadata(
    concepts: Sequence[world.Concept], files: Sequence[str], people: Sequence[str], share: float, misleading: float
) -> dict[str, list[Any]]:
    """Columns; a `share` of the items has a caption, and `misleading` of those the caption of another kind."""
    rng = np.random.default_rng(1)
    captions: list[str | None] = []
    for concept in concepts:
        other = concepts[int(rng.integers(len(concepts)))] if rng.random() < misleading else concept
        captions.append(world.wording(other, rng) if rng.random() < share else None)
    licenses = [LICENSES[i] for i in rng.integers(len(LICENSES), size=len(files))]
    tags = [" ".join(rng.permutation(["drawing", "shapes", "scan", "2024", "draft", "final"])[:2]) for _ in files]
    said = {"file": list(files), "person": list(people), "license": licenses, "tags": tags}
    return said | ({"text": captions} if any(captions) else {})


def photographs(space: Binder, folder: Path, work: Path) -> None:
    with (folder / "captions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    captions: dict[str, list[str]] = {}
    for row in rows:
        captions.setdefault(row["image"], []).append(row["caption"])
    names = [name for name, said in captions.items() if len(said) > 1]
    vectors = space.encode("image", [folder / "images" / name for name in names], strict=True).vectors
    z = Embeddings(vectors, space.space, names, "image")
    index = Index.create(work / "photographs", z)
    index.add(image=z, metadata={"text": [captions[name][0] for name in names]})
    some = questions(space, [captions[name][1] for name in names], [{name} for name in names])
    title = f"{len(names)} photographs, another caption"
    print(f"{title:44}" + "".join(f"{recall(index, some, mode):>24}" for mode in get_args(Mode)))


def questions(space: Binder, texts: Sequence[str], right: Sequence[set[str]]) -> list[Question]:
    z = Embeddings(space.encode("text", list(texts), strict=True).vectors, space.space, texts, "text")
    return [Question(*one) for one in zip(texts, z, right, strict=True)]


def recall(index: Index, some: Sequence[Question], mode: Mode) -> str:
    """R@k: the share of questions with a right item among the first k."""
    found = []
    for one in some:
        query = None if mode == "text" else one.z
        words = {} if mode == "vector" else {"text": one.words}
        hits = index.search(query, k=max(KS), mode=mode, **words)
        ranks = [rank for rank, hit in enumerate(hits, start=1) if hit.item in one.right]
        found.append(min(ranks, default=max(KS) + 1))
    return " / ".join(f"{100 * np.mean(np.array(found) <= k):.1f}" for k in KS)


if __name__ == "__main__":
    main()
