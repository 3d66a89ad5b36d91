"""The demo's training pairs and the galleries it searches: five modalities, and the concept that every item shows.

Training pairs are with pictures only. Nothing in a gallery was trained on: it holds other takes, other voices and
other drawings of the same concepts.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from binder import Binder, Embeddings
from binder_playground import clips, speech, tables, world
from binder_playground.demo import Progress, silent
from binder_playground.draw import draw
from binder_playground.scenes import trail
from binder_playground.world import Concept

BOUND = ("audio", "video", "chart")  # what the demo aligns, each to pictures
MODALITIES = ("image", "text", *BOUND)
# Pictures per spoken clip, by its kind. A single word is true of many pictures, and means only what they share. Motions
# are spoken by few voices; several pictures make up for it.
SPOKEN = {"scene": 1, "motion": 10, "chart": 2, "word": 49}
VIDEOS_PER_CLASS = 2  # training videos of each of the 580 motions
TABLES_PER_CLASS = 12  # training tables of each of the 25 kinds of chart
HELD_OUT = {"image/scene": 2, "image/chart": 10, "video/motion": 1, "chart/chart": 10}  # items of each class


@dataclass(frozen=True)
class Gallery:
    """Items of one modality and one kind of concept, with what each one shows."""

    modality: str
    kind: str  # of world.KINDS
    items: list[Any]  # paths or captions
    concepts: list[Concept]
    heard: list[bool]  # whether a training voice ever said what it shows
    z: Embeddings | None = None  # (N, D)


@dataclass(frozen=True)
class Row:
    """A row of a manifest."""

    item: Path
    place: int  # index of its picture
    text: str  # the caption, used by the directly trained references only
    held: bool = False  # held out from training


def some(kind: str) -> list[Concept]:
    """The concepts of a kind that the demo uses: all of them."""
    return world.concepts(kind)


def write_pairs(folder: Path, seed: int) -> dict[str, Path]:
    """Write the training pairs of each modality -> its manifest, with items, pictures, captions and concepts."""
    return {
        "audio": _write_spoken(folder, np.random.default_rng([seed, 1])),
        "video": _write_videos(folder, np.random.default_rng([seed, 2])),
        "chart": _write_tables(folder, np.random.default_rng([seed, 3])),
    }


def _write_spoken(folder: Path, rng: np.random.Generator) -> Path:
    """Captions with pictures of their own, and single words with those of these pictures that they are true of."""
    said = [clip for clip in speech.clips("train") if _is_asked(clip)]
    wavs = dict(zip(said, speech.write_wavs(said, folder / "audio"), strict=True))
    captions = [clip for clip in said if clip.kind != "word"]
    held = {clip for clip, out in zip(captions, _held_out(len(captions), rng), strict=True) if out}
    whole = [clip for clip in captions for _ in range(SPOKEN[clip.kind])]
    shown = [world.named(clip.concept) for clip in whole]
    rows = [Row(wavs[clip], place, clip.text, clip in held) for place, clip in enumerate(whole)]
    dealers: dict[str, Iterator[int]] = {}
    for clip in said:
        if clip.kind == "word":
            if clip.concept not in dealers:
                true_of = world.named(clip.concept).true_of
                fitting = [row.place for row in rows[: len(shown)] if true_of(shown[row.place]) and not row.held]
                dealers[clip.concept] = _dealt(fitting, rng)
            dealt = dict.fromkeys(itertools.islice(dealers[clip.concept], SPOKEN["word"]))  # each once
            rows += [Row(wavs[clip], place, clip.text) for place in dealt]
    return _write_manifest(folder, "audio", rows, shown, lambda concept: draw(concept, rng))


def _held_out(n: int, rng: np.random.Generator) -> list[bool]:
    """N flags, one in twenty of them set: held out to validate a run."""
    return list(rng.permutation(n) < n / 20)


def _dealt(places: Sequence[int], rng: np.random.Generator) -> Iterator[int]:
    """The places over and over, in a new random order each time."""
    while len(places):
        yield from rng.permutation(places).tolist()


def _is_asked(clip: speech.Clip) -> bool:
    """Whether a clip is about something that the demo shows, which has no digits and no solids."""
    concept = world.named(clip.concept)
    return clip.kind in SPOKEN and concept.kind in ("", *SPOKEN) and concept.color in ("", *world.COLORS)


def _write_videos(folder: Path, rng: np.random.Generator) -> Path:
    concepts = [c for c in some("motion") for _ in range(VIDEOS_PER_CLASS)]
    paths = clips.write_clips(concepts, folder / "video", rng)
    return _write_manifest(folder, "video", _one_each(paths, concepts, rng), concepts, lambda c: trail(c, rng))


def _write_tables(folder: Path, rng: np.random.Generator) -> Path:
    concepts = [c for c in some("chart") for _ in range(TABLES_PER_CLASS)]
    paths = tables.write_tables(concepts, folder / "chart", rng)
    return _write_manifest(folder, "chart", _one_each(paths, concepts, rng), concepts, lambda c: draw(c, rng))


def _one_each(paths: Sequence[Path], concepts: Sequence[Concept], rng: np.random.Generator) -> list[Row]:
    places = zip(paths, concepts, _held_out(len(paths), rng), strict=True)
    return [Row(path, i, world.caption(concept), held) for i, (path, concept, held) in enumerate(places)]


def _write_manifest(
    folder: Path, modality: str, pairs: Sequence[Row], shown: Sequence[Concept], picture: Callable[[Concept], Any]
) -> Path:
    """Draw a picture of each concept of `shown` and write the pairs -> the manifest."""
    path, pictures = folder / f"{modality}_to_pictures.csv", folder / f"{modality}_pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    for i, concept in enumerate(shown):
        picture(concept).save(pictures / f"{i}.png")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([modality, "image", "text", "shows", "split"])
        for pair in pairs:
            item, image = pair.item.relative_to(folder), f"{pictures.name}/{pair.place}.png"
            writer.writerow([item, image, pair.text, shown[pair.place].key, "val" if pair.held else "train"])
    return path


def galleries(folder: Path, seed: int) -> list[Gallery]:
    """What is searched: new pictures, videos and tables, all captions, and clips of held-out voices."""
    rng = np.random.default_rng([seed, 4])
    found = []
    for kind in ("scene", "motion", "chart"):
        concepts = some(kind)
        found.append(_gallery("text", kind, [world.caption(c) for c in concepts], concepts))
        spoken = speech.clips("test", kind)
        wavs = speech.write_wavs(spoken, folder / "audio")
        found.append(_gallery("audio", kind, wavs, [world.named(clip.concept) for clip in spoken]))
    for kind in ("scene", "chart"):
        found.append(pictures(kind, _repeated("image", kind), folder / f"image_{kind}", rng))
    found.append(videos(_repeated("video", "motion"), folder / "video", rng))
    drawn = _repeated("chart", "chart")
    found.append(_gallery("chart", "chart", tables.write_tables(drawn, folder / "chart", rng), drawn))
    return sorted(found, key=lambda g: MODALITIES.index(g.modality))


def embed(space: Binder, galleries: Sequence[Gallery], progress: Progress = silent) -> list[Gallery]:
    """The galleries with their vectors."""
    return [replace(g, z=vectors_of(space, g.modality, g.items, progress)) for g in galleries]


def encoded_by(space: Binder, modality: str, galleries: Sequence[Gallery]) -> list[Gallery]:
    """The galleries, with those of one modality encoded again by the encoder of `space`."""
    return [replace(g, z=vectors_of(space, modality, g.items)) if g.modality == modality else g for g in galleries]


def vectors_of(space: Binder, modality: str, items: Sequence[Any], progress: Progress = silent) -> Embeddings:
    """N items of one modality -> (N, D). Raises ItemError for one that cannot be read."""
    found = space.encode(modality, items, strict=True, progress=progress)
    return Embeddings(found.vectors, space.space, modality=modality)


def pictures(kind: str, concepts: Sequence[Concept], folder: Path, rng: np.random.Generator) -> Gallery:
    """A random drawing of each concept."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i}-{concept.key.partition('/')[2]}.png" for i, concept in enumerate(concepts)]
    for path, concept in zip(paths, concepts, strict=True):
        draw(concept, rng).save(path)
    return _gallery("image", kind, paths, concepts)


def videos(concepts: Sequence[Concept], folder: Path, rng: np.random.Generator) -> Gallery:
    """A random video of each motion."""
    return _gallery("video", "motion", clips.write_clips(concepts, folder, rng), concepts)


def _repeated(modality: str, kind: str) -> list[Concept]:
    return [c for c in some(kind) for _ in range(HELD_OUT[f"{modality}/{kind}"])]


def _gallery(modality: str, kind: str, items: Sequence[Any], concepts: Sequence[Concept]) -> Gallery:
    heard = {clip.concept for clip in speech.clips("train")}
    return Gallery(modality, kind, list(items), list(concepts), [c.key in heard for c in concepts])
