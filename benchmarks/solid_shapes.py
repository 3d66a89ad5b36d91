"""What the benchmarks share that bind a sensor to drawings of the playground's 20 solids, and name it by text."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from binder_playground.solids import draw_solid
from binder_playground.world import SOLIDS, Concept, caption, detailed

import binder

PICTURES_PER_ITEM = 2
SIZE = 64  # pixels of a picture
Items = Sequence[tuple[Path, str]]  # a file and the name of its solid


def command(doc: str, keys: Sequence[str], per_class: int, run: Callable[..., dict[str, Any]]) -> None:
    """The command line: `run(seed, per_class, folder, sets)` for each seed, the mean of each key over them."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--per-class", type=int, default=per_class, help="training instances of each solid")
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    given = parser.parse_args()
    results = []
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as work:
            results.append(run(seed, given.per_class, Path(work), given.sets))
        print(json.dumps(results[-1]), flush=True)
    for key in keys:
        values = [r[key] for r in results]
        print(f"{key:20}{np.mean(values):.3f}  over seeds {given.seeds}: deviation {np.std(values):.3f}")
    if given.out:
        given.out.write_text(json.dumps(results, indent=2) + "\n")


def picture(solid: str, rng: np.random.Generator, path: Path) -> Path:
    draw_solid(detailed(Concept("solid", solid=solid), rng), rng, SIZE).save(path)
    return path


@dataclass(frozen=True)
class Bound:
    """An encoder aligned to pictures of other instances, and how well it does on instances never seen."""

    space: binder.Binder
    rows: list[dict[str, Path]]  # what it was aligned on
    prompts: binder.Embeddings  # of the solids' names
    scores: dict[str, float]
    sizes: dict[str, Any]


def bind(
    modality: str, short: str, train: Items, test: Items, rng: np.random.Generator, folder: Path, seed: int,
    sets: Sequence[str],
) -> Bound:  # fmt: skip
    """Align `modality` to pictures only; name the test items by text and by new pictures. `short` begins the keys."""
    rows = [
        {modality: path, "image": picture(solid, rng, path.with_name(f"{path.stem}-picture-{i}.png"))}
        for path, solid in train
        for i in range(PICTURES_PER_ITEM)
    ]
    began = time.monotonic()
    binder.align(modality, rows, anchor="mini", to="image", out=folder / "run", seed=seed, sets=sets)
    seconds = time.monotonic() - began
    space = binder.Binder("mini").load(folder / "run")
    truth, names = np.array([solid for _, solid in test]), np.array(SOLIDS)
    prompts = space.embed(text=[caption(Concept("solid", solid=solid)) for solid in SOLIDS])
    z = space.embed(**{modality: [path for path, _ in test]})
    by_text = names[z.cosine(prompts).argmax(1)]
    pictures = space.embed(image=[picture(s, rng, path.with_name(f"{path.stem}-new.png")) for path, s in test])
    missed = {solid: by_text[(truth == solid) & (by_text != solid)].tolist() for solid in SOLIDS}
    scores = {
        f"{short}_to_text": float((by_text == truth).mean()),
        f"{short}_to_picture": float((truth[z.cosine(pictures).argmax(1)] == truth).mean()),
        "picture_to_text": float((names[pictures.cosine(prompts).argmax(1)] == truth).mean()),
    }
    sizes = {
        "taken_for": {solid: max(own, key=own.count) for solid, own in missed.items() if own},
        "n_train": len(train),
        "n_test": len(test),
        "minutes": round(seconds / 60, 1),
    }
    return Bound(space, rows, prompts, scores, sizes)
