"""The demo: speech, video and charts are each aligned to pictures only, then everything is searched for everything.

No encoder ever sees a written caption or another aligned modality: what it finds there, it finds through the frozen
anchor. Queries are videos, drawings and voices that were not trained on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from binder import Binder, align, get_modality, write_text
from binder_playground import speech, world
from binder_playground.demo import Progress, arithmetic, cells, data, silent
from binder_playground.demo.cells import Pair
from binder_playground.demo.data import BOUND, MODALITIES, Gallery, embed, encoded_by, vectors_of
from binder_playground.demo.space_map import space_map

# Speech starts from random weights, so that no caption ever had a part in it; synthetic voices need less augmentation
# than real ones. The others train a head on the anchor's own tower, which takes seconds.
AUDIO = {"trunk": "none", "strength": 0.5}
SHORT: dict[str, dict[str, Any]] = {
    "audio": {"train": {"epochs": 8}, "encoder": AUDIO},
    "video": {"train": {"steps": 500}, "encoder": {"views": 2}},
    "chart": {"train": {"steps": 300}, "encoder": {"views": 4}},
}
FULL: dict[str, dict[str, Any]] = {
    "audio": {"train": {"epochs": 12}, "encoder": AUDIO},
    "video": {"train": {"steps": 1000}, "encoder": {"views": 4}},
    "chart": {"train": {"steps": 600}, "encoder": {"views": 8}},
}


@dataclass
class Clock:
    """The time that each part took."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[part] = round(self.seconds.get(part, 0.0) + time.monotonic() - began, 1)


def run(
    out: Path, *, seed: int = 0, reference: bool = False, device: str = "auto", progress: Progress = silent
) -> dict[str, Any]:
    """Run the demo in the folder `out`, which gets metrics.json, report.html, the data and the runs -> the metrics.

    With `reference` it trains longer, and R@1 of encoders trained directly against each target is `supervised_r1`.
    """
    for name in BOUND:
        get_modality(name)  # raises where a plugin is missing, and says how to install it
    from binder_playground.demo.report import write_report

    clock = Clock()
    settings = FULL if reference else SHORT
    with clock("anchor"):
        space = Binder("mini", device=device)
    with clock("data"):
        pairs = data.write_pairs(out / "data", seed)
        galleries = data.galleries(out / "held_out", seed)
    for name in BOUND:
        with clock(f"align {name}"):
            folder = out / "runs" / name
            align(name, pairs[name], anchor=space.anchor, to="image", config=settings[name], out=folder, seed=seed,
                  split="split", device=device, progress=progress)  # fmt: skip
            space.load(folder)
    with clock("evaluate"):
        galleries = embed(space, galleries, progress)
        untrained = _untrained(space, galleries)
        words = words_of(space, out / "held_out")
        sums = _arithmetic(galleries, operands(space, out / "held_out", seed, progress), words)
    supervised: dict[Pair, float] = {}
    if reference:
        from binder_playground.demo.reference import references

        with clock("reference"):
            supervised = references(space, galleries, pairs, settings, out / "runs", seed, progress)
    result = {
        "anchor": {"name": "mini", "zero_shot": _zero_shot(galleries)},
        "retrieval": cells.cells(galleries, space.trained_together, supervised=supervised, untrained=untrained),
        "retrieval_unheard": _unheard(galleries),  # only queries that no training voice ever said
        "arithmetic": sums,
        "seed": seed,
        "recipe": "full" if reference else "short",
        "seconds": clock.seconds,
    }
    with clock("report"):
        write_report(out / "report.html", result, galleries, space_map(galleries), seed)
    clock.seconds["total"] = round(sum(clock.seconds.values()), 1)
    write_text(out / "metrics.json", json.dumps(result, indent=2) + "\n")
    return result


def gallery(galleries: Sequence[Gallery], modality: str, kind: str) -> Gallery:
    return next(g for g in galleries if (g.modality, g.kind) == (modality, kind))


def _zero_shot(galleries: Sequence[Gallery]) -> dict[str, Any]:
    """The anchor alone: which of the 500 captions is nearest to each held-out picture."""
    pictures, captions = (gallery(galleries, name, "scene") for name in ("image", "text"))
    cell = cells.cell(pictures, captions, cells.FACETS["scene"])
    return {"n_classes": cell["n_targets"], "accuracy": cell["r1"], "n": cell["n"]}


def _untrained(space: Binder, galleries: Sequence[Gallery]) -> dict[Pair, float]:
    """R@1 before training, of those encoders whose output means something by then."""
    found: dict[Pair, float] = {}
    for name in BOUND:
        kind = get_modality(name)
        before = kind.build(kind.config.model_validate(space.cards[name].config), space.anchor)
        if before.untrained is None:
            continue
        unaligned = Binder(space.anchor, device=str(space.anchor.device))
        unaligned.encoders[name] = before.to(space.anchor.device)
        rows = cells.cells(encoded_by(unaligned, name, galleries), space.trained_together)
        found |= {
            (r["query"], r["target"]): r["r1"]
            for r in rows
            if name in (r["query"], r["target"]) and {r["query"], r["target"]} & {"image", "text"}
        }
    return found


def _unheard(galleries: Sequence[Gallery]) -> list[dict[str, Any]]:
    """The cells with speech, restricted to what no training voice ever said, where there is such."""
    rows = []
    for query, target in ((q, t) for q in MODALITIES for t in MODALITIES if q != t and "audio" in (q, t)):
        found = cells.shared(galleries, query, target)
        if found and not all(found[0].heard):
            rows.append({"query": query, "target": target, **cells.cell(*found, only_unheard=True)})
    return rows


def operands(space: Binder, folder: Path, seed: int, progress: Progress = silent) -> list[Gallery]:
    """The operands of the sums: a new picture of every scene and a new video of every motion."""
    rng = np.random.default_rng([seed, 5])
    scenes, motions = data.some("scene"), data.some("motion")
    return embed(
        space,
        [
            data.pictures("scene", scenes, folder / "operands" / "image", rng),
            data.videos(motions, folder / "operands" / "video", rng),
        ],
        progress,
    )


def words_of(space: Binder, folder: Path) -> dict[str, arithmetic.Words]:
    """The names of the colors, written, and spoken by held-out voices (several takes of each)."""
    spoken = [clip for clip in speech.clips("test", "word") if clip.text in world.COLORS]
    wavs = speech.write_wavs(spoken, folder / "audio")
    written_z, spoken_z = vectors_of(space, "text", world.COLORS), vectors_of(space, "audio", wavs)
    return {
        "text": {c: written_z[i] for i, c in enumerate(world.COLORS)},
        "audio": {c: spoken_z[[i for i, clip in enumerate(spoken) if clip.text == c]] for c in world.COLORS},
    }


def _arithmetic(
    galleries: Sequence[Gallery], changed: Sequence[Gallery], words: dict[str, arithmetic.Words]
) -> list[dict[str, Any]]:
    picture, video = changed
    pictures = first_of_each(gallery(galleries, "image", "scene"))
    videos = first_of_each(gallery(galleries, "video", "motion"))
    written, spoken = words["text"], words["audio"]
    every = arithmetic.take(written, world.COLORS, 0)
    # spoken words lie further apart than written ones, so their weight is lower
    return [
        arithmetic.swaps("image - text + text", picture, pictures, written, written),
        arithmetic.swaps("image - audio + audio", picture, pictures, spoken, spoken, weight=0.5),
        arithmetic.swaps("image.project_out(text) + audio", picture, pictures, spoken, without=every, weight=0.5),
        arithmetic.swaps("video - text + text", video, videos, written, written, weight=1.5),
    ]


def first_of_each(whole: Gallery) -> Gallery:
    """The first item of each concept."""
    places = sorted({concept.key: i for i, concept in reversed(list(enumerate(whole.concepts)))}.values())
    assert whole.z is not None
    return replace(
        whole,
        items=[whole.items[i] for i in places],
        concepts=[whole.concepts[i] for i in places],
        heard=[whole.heard[i] for i in places],
        z=whole.z[places],
    )
