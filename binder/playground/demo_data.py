"""What the demo aligns on and what it searches: five modalities, each with the concept that every item shows.

Everything is paired with pictures only. Nothing that is searched was trained on: other takes, other voices, other
drawings of the same concepts.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from binder.playground import clips, speech, tables, world
from binder.playground.draw import draw
from binder.playground.scenes import trail
from binder.playground.world import Concept
from binder.vectors import Vectors

BOUND = ("audio", "video", "chart")  # what the demo aligns, each to pictures
MODALITIES = ("image", "text", *BOUND)
SPOKEN = {"scene": 1, "motion": 3, "chart": 2, "word": 2}  # pictures of each spoken clip, by its kind
# A single word is true of many pictures, and only what they have in common is what it means. With more of them sums
# with spoken words get better, and captions need more steps.
SPOKEN_FULL = {**SPOKEN, "word": 8}
VIDEOS_PER_CLASS = 2  # training takes of each of the 580 motions
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
    vectors: Vectors | None = None  # (N, D)


def some(kind: str) -> list[Concept]:
    """The concepts of a kind that the demo is about: all of them."""
    return world.concepts(kind)


def write_pairs(folder: Path, seed: int, spoken: Mapping[str, int]) -> dict[str, Path]:
    """The training data of each bound modality -> its manifest: items, pictures, captions, what is shown."""
    return {
        "audio": _write_spoken(folder, np.random.default_rng([seed, 1]), spoken),
        "video": _write_videos(folder, np.random.default_rng([seed, 2])),
        "chart": _write_tables(folder, np.random.default_rng([seed, 3])),
    }


def _write_spoken(folder: Path, rng: np.random.Generator, spoken: Mapping[str, int]) -> Path:
    said = [clip for clip in speech.clips("train") if _is_asked(clip)]
    wavs = speech.write_wavs(said, folder / "audio")
    rows, dealt = [], Dealer(rng)
    for clip, wav in zip(said, wavs, strict=True):
        for _ in range(spoken[clip.kind]):
            rows.append((wav, dealt.next(world.named(clip.concept)), clip.text))
    return _write_manifest(folder, "audio", rows, lambda concept: draw(concept, rng))


class Dealer:
    """Whole concepts that a partial one is true of, each as often as the others: "red" -> all red things in turn."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.left: dict[str, list[Concept]] = {}

    def next(self, concept: Concept) -> Concept:
        left = self.left.setdefault(concept.key, [])
        if not left:
            left += world.instances(concept)
            self.rng.shuffle(left)
        return left.pop()


def _is_asked(clip: speech.Clip) -> bool:
    """Whether a clip says something that the demo shows: no digits and no solids."""
    concept = world.named(clip.concept)
    return clip.kind in SPOKEN and concept.kind in ("", *SPOKEN) and concept.colour in ("", *world.COLOURS)


def _write_videos(folder: Path, rng: np.random.Generator) -> Path:
    concepts = [c for c in some("motion") for _ in range(VIDEOS_PER_CLASS)]
    paths = clips.write_clips(concepts, folder / "video", rng)
    rows = [(path, concept, world.caption(concept)) for path, concept in zip(paths, concepts, strict=True)]
    return _write_manifest(folder, "video", rows, lambda concept: trail(concept, rng))


def _write_tables(folder: Path, rng: np.random.Generator) -> Path:
    concepts = [c for c in some("chart") for _ in range(TABLES_PER_CLASS)]
    paths = tables.write_tables(concepts, folder / "chart", rng)
    rows = [(path, concept, world.caption(concept)) for path, concept in zip(paths, concepts, strict=True)]
    return _write_manifest(folder, "chart", rows, lambda concept: draw(concept, rng))


def _write_manifest(
    folder: Path, modality: str, rows: Iterable[tuple[Path, Concept, str]], picture: Callable[[Concept], Any]
) -> Path:
    """The rows with a new picture for each; the captions are there for the directly trained references only."""
    path, pictures = folder / f"{modality}_to_pictures.csv", folder / f"{modality}_pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([modality, "image", "text", "shows"])
        for i, (item, concept, text) in enumerate(rows):
            picture(concept).save(pictures / f"{i}.png")
            writer.writerow([item.relative_to(folder), f"{pictures.name}/{i}.png", text, concept.key])
    return path


def galleries(folder: Path, seed: int) -> list[Gallery]:
    """What is searched: new pictures, all captions, clips of voices not heard, new videos and tables."""
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


def pictures(kind: str, concepts: Sequence[Concept], folder: Path, rng: np.random.Generator) -> Gallery:
    """A drawing of each concept."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i}-{concept.key.partition('/')[2]}.png" for i, concept in enumerate(concepts)]
    for path, concept in zip(paths, concepts, strict=True):
        draw(concept, rng).save(path)
    return _gallery("image", kind, paths, concepts)


def videos(concepts: Sequence[Concept], folder: Path, rng: np.random.Generator) -> Gallery:
    """A take of each motion."""
    return _gallery("video", "motion", clips.write_clips(concepts, folder, rng), concepts)


def _repeated(modality: str, kind: str) -> list[Concept]:
    return [c for c in some(kind) for _ in range(HELD_OUT[f"{modality}/{kind}"])]


def _gallery(modality: str, kind: str, items: Sequence[Any], concepts: Sequence[Concept]) -> Gallery:
    heard = {clip.concept for clip in speech.clips("train")}
    return Gallery(modality, kind, list(items), list(concepts), [c.key in heard for c in concepts])
