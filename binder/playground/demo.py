"""The demo: speech is aligned to pictures, and only to pictures; then everything is searched for everything.

The encoder starts from random weights and never sees a caption, so whatever it finds among captions it learnt through
the frozen anchor. Queries are spoken by voices that were not heard in training.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from binder import metrics
from binder.alignment import align
from binder.api import Binder
from binder.checkpoint import write_text
from binder.encode import Progress, silent
from binder.playground import speech, world
from binder.playground.draw import draw
from binder.playground.report import Example, write_report
from binder.playground.speech import Clip
from binder.plugins import registry
from binder.vectors import Vectors

PICTURES_PER_CLASS = 2  # held-out drawings of each of the 500 classes
# From random weights, so that no caption was ever near it; synthetic voices need less augmentation than real ones.
ENCODER = {"trunk": "none", "strength": 0.5}
SHORT = {"train": {"steps": 700}, "encoder": ENCODER}
FULL = {"train": {"steps": 3000}, "encoder": ENCODER}


@dataclass(frozen=True)
class Gallery:
    """Items of one modality with what each one shows."""

    modality: str
    items: list[Any]  # paths or captions
    concepts: list[str]  # key of the concept of each
    vectors: Vectors  # (N, D)
    heard: list[bool]  # whether a training voice ever said what it shows


@dataclass
class Clock:
    """Seconds by part."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[part] = round(self.seconds.get(part, 0.0) + time.monotonic() - began, 1)


def run(
    out: Path, *, seed: int = 0, reference: bool = False, device: str = "auto", progress: Progress = silent
) -> dict[str, Any]:
    """Run the demo in the folder `out`; leaves metrics.json, report.html, the data and the runs. Returns the metrics.

    With `reference` the full recipe runs, and encoders trained directly against the captions fill `supervised_r1`.
    """
    registry().get("audio")  # where its plugin is missing, this says how to install it
    clock = Clock()
    settings = FULL if reference else SHORT
    with clock("anchor"):
        space = Binder("mini", device=device)
    options: dict[str, Any] = {"anchor": space.anchor, "seed": seed, "device": device, "progress": progress}
    with clock("data"):
        pairs = _write_pairs(out / "data", seed)
    with clock("align"):
        align("audio", pairs["image"], to="image", config=settings, out=out / "runs" / "image", **options)
    with clock("evaluate"):
        space.load(out / "runs" / "image")
        galleries = _galleries(space, out / "data", seed, progress)
        zero_shot = _zero_shot(galleries)
    supervised: dict[tuple[str, str], float] = {}
    if reference:
        with clock("reference"):
            align("audio", pairs["text"], to="text", config=settings, out=out / "runs" / "text", **options)
            direct = Binder(space.anchor, device=device).load(out / "runs" / "text")
            own = direct.encode("audio", galleries["audio"].items).vectors
            both = {**galleries, "audio": replace(galleries["audio"], vectors=own)}
            supervised = {pair: _cell(both, *pair)["r1"] for pair in (("audio", "text"), ("text", "audio"))}
    with clock("evaluate"):
        cells = _cells(galleries, space.trained_together, supervised)
        unheard = _cells(galleries, space.trained_together, {}, only_unheard=True)
    result = {
        "anchor": {"name": "mini", "zero_shot": zero_shot},
        "retrieval": cells,
        "retrieval_unheard": unheard,  # queries whose colour, shape and count were never heard together
        "seed": seed,
        "recipe": "full" if reference else "short",
        "seconds": clock.seconds,
    }
    with clock("report"):
        write_report(out / "report.html", result, _examples(galleries, seed))
    clock.seconds["total"] = round(sum(clock.seconds.values()), 1)
    write_text(out / "metrics.json", json.dumps(result, indent=2) + "\n")
    return result


def _write_pairs(folder: Path, seed: int) -> dict[str, Path]:
    """Spoken captions as wav files, a drawing for each, and the two manifests: with pictures, with captions."""
    clips = speech.clips("train", "scene")
    wavs = speech.write_wavs(clips, folder / "audio")
    rng = np.random.default_rng([seed, 1])
    by_key = {c.key: c for c in world.concepts("scene")}
    pictures = []
    (folder / "image").mkdir(parents=True, exist_ok=True)
    for clip in clips:
        pictures.append(folder / "image" / f"{clip.id}.png")
        draw(by_key[clip.concept], rng).save(pictures[-1])
    texts = [clip.text for clip in clips]
    return {
        "image": _manifest(folder / "speech_to_pictures.csv", "image", wavs, [f"image/{p.name}" for p in pictures]),
        "text": _manifest(folder / "speech_to_captions.csv", "text", wavs, texts),
    }


def _manifest(path: Path, column: str, wavs: Sequence[Path], targets: Sequence[str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["audio", column])
        writer.writerows((f"audio/{wav.name}", target) for wav, target in zip(wavs, targets, strict=True))
    return path


def _galleries(space: Binder, folder: Path, seed: int, progress: Progress) -> dict[str, Gallery]:
    """What is searched: new pictures, all captions, clips of voices not heard."""
    scenes = world.concepts("scene")
    spoken = speech.clips("test", "scene")
    heard = {c.concept for c in speech.clips("train", "scene")}
    rng = np.random.default_rng([seed, 2])
    (folder / "held_out").mkdir(parents=True, exist_ok=True)
    pictures, shown = [], []
    for concept in scenes:
        for n in range(PICTURES_PER_CLASS):
            pictures.append(folder / "held_out" / f"{concept.key.replace('/', '-')}-{n}.png")
            draw(concept, rng).save(pictures[-1])
            shown.append(concept.key)
    wavs = speech.write_wavs(spoken, folder / "held_out_audio")
    items: dict[str, tuple[list[Any], list[str]]] = {
        "image": (pictures, shown),
        "text": ([world.caption(c) for c in scenes], [c.key for c in scenes]),
        "audio": (list(wavs), [clip.concept for clip in spoken]),
    }
    return {
        name: Gallery(
            name,
            things,
            keys,
            space.encode(name, things, strict=True, progress=progress).vectors,
            [k in heard for k in keys],
        )
        for name, (things, keys) in items.items()
    }


def _zero_shot(galleries: dict[str, Gallery]) -> dict[str, Any]:
    """The anchor alone: which of the 500 captions is nearest to each held-out picture."""
    cell = _cell(galleries, "image", "text")
    return {"n_classes": cell["n_targets"], "accuracy": cell["r1"], "n": cell["n"]}


def _cells(
    galleries: dict[str, Gallery],
    trained: Callable[[str, str], bool],
    supervised: dict[tuple[str, str], float],
    *,
    only_unheard: bool = False,
) -> list[dict[str, Any]]:
    """One row per ordered pair of modalities, in the schema of metrics.json."""
    return [
        {
            "query": query,
            "target": target,
            "trained": trained(query, target),
            **_cell(galleries, query, target, only_unheard=only_unheard),
            "supervised_r1": supervised.get((query, target)),
        }
        for query in galleries
        for target in galleries
        if query != target
    ]


def _cell(galleries: dict[str, Gallery], query: str, target: str, *, only_unheard: bool = False) -> dict[str, Any]:
    """R@k of one ordered pair; a match is an item that shows the same concept."""
    asked, searched = galleries[query], galleries[target]
    keys = np.array(searched.concepts)
    relevant = {
        i: np.flatnonzero(keys == concept)
        for i, concept in enumerate(asked.concepts)
        if not (only_unheard and asked.heard[i])
    }
    relevant = {i: matches for i, matches in relevant.items() if len(matches)}
    return asdict(metrics.retrieval(asked.vectors[list(relevant)], searched.vectors, list(relevant.values())))


def _examples(galleries: dict[str, Gallery], seed: int, n: int = 12) -> list[Example]:
    """Spoken queries drawn at random (not chosen), with their five nearest pictures and captions."""
    asked = galleries["audio"]
    chosen = np.random.default_rng([seed, 3]).choice(len(asked.items), n, replace=False)
    clips: dict[Path, Clip] = dict(zip(asked.items, speech.clips("test", "scene"), strict=True))
    examples = []
    for i in chosen:
        nearest = {}
        for name in ("image", "text"):
            target = galleries[name]
            scores = target.vectors @ asked.vectors[i]
            nearest[name] = [
                (target.items[j], float(scores[j]), target.concepts[j] == asked.concepts[i])
                for j in np.argsort(-scores)[:5]
            ]
        clip = clips[asked.items[i]]
        examples.append(
            Example(asked.items[i], clip.text, clip.voice, asked.heard[i], nearest["image"], nearest["text"])
        )
    return examples
