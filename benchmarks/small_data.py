"""Small sets of pairs with a test each, for the benchmarks that compare ways of training.

- `speech`: 1,500 spoken captions of the playground with a drawing each, tested on voices kept apart.
- `digits`: `fsdd`, each recording with two of scikit-learn's handwritten digits, tested on the speaker left out.
- `imu`: `imu_digits` (one phone, one day) with the same digits, tested on the fold left out: five recordings of each
  digit that were made one after the other.
- `charts`: `statista`, tested on the fold left out; its titles are in words the mini anchor does not know.
- `sounds`: `esc10` with the names of its classes, tested on the fold left out.

All but the first are found under BINDER_DATA. If nothing is said, each seed leaves out another speaker or fold, so that
a mean over seeds is one over tests, too.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from binder_playground import speech, world
from binder_playground.draw import draw
from scans import NAMES, pairs, write_scans

import binder

SPEAKERS = ("lucas", "george", "jackson", "nicolas")
Scores = dict[str, float]


@dataclass(frozen=True)
class Task:
    """Pairs of one modality, and how what is aligned on them is tested."""

    modality: str
    to: str  # what it is aligned to, if nothing else is said
    rows: list[dict[str, Any]]  # the modality, an image, a text, where there are such
    shows: list[str]  # what each row is of: rows that show the same may stand in for each other
    score: Callable[[Path], Scores]  # of the aligned encoder in a run's folder
    sets: tuple[str, ...] = ()  # settings of `align`
    train: Sequence[dict[str, Any]] = ()  # the real ones' items, with their labels
    test: Sequence[dict[str, Any]] = ()


def spoken(work: Path, seed: int, n: int = 1500) -> Task:
    concepts = {c.key: c for c in world.concepts("scene")}
    rng = np.random.default_rng([seed, 1])
    clips = speech.clips("train", "scene")[:n]
    rows = []
    for clip, wav in zip(clips, speech.write_wavs(clips, work / "audio"), strict=True):
        rows.append({"audio": wav, "image": work / f"{clip.id}.png", "text": clip.text})
        draw(concepts[clip.concept], rng).save(rows[-1]["image"])
    asked = speech.clips("test", "scene")[:1000]
    wavs = speech.write_wavs(asked, work / "asked")
    keys = list(concepts)
    drawn = [draw(concept, rng) for concept in concepts.values()]

    def score(run: Path) -> Scores:
        space = binder.Binder("mini").load(run)
        z = space.embed(audio=list(wavs))
        sides = {"text": [world.caption(concepts[key]) for key in keys], "image": drawn}
        return {side: _nearest(z, space.embed(**{side: own}), keys, asked_keys) for side, own in sides.items()}

    asked_keys = [clip.concept for clip in asked]
    # from random weights: the trunk that is shipped has heard these words
    settings = ("encoder.trunk=none", "encoder.strength=0.5")
    return Task("audio", "image", rows, [clip.concept for clip in clips], score, settings)


def digits(work: Path, seed: int, speaker: Any = None) -> Task:
    return _scans("digits", "audio", speaker or SPEAKERS[seed % len(SPEAKERS)], work, seed)


def imu(work: Path, seed: int, fold: Any = None) -> Task:
    return _scans("imu", "imu", str(seed % 5) if fold is None else fold, work, seed)


def sounds(work: Path, seed: int, fold: Any = None) -> Task:
    train, test = _parted("sounds", parts("sounds")[seed % 4] if fold is None else fold)
    train, test = ([{**clip, "label": clip["label"].replace("_", " ")} for clip in own] for own in (train, test))
    names, truth = sorted({row["label"] for row in train}), [row["label"] for row in test]

    def score(run: Path) -> Scores:
        space = binder.Binder("mini").load(run)
        z = space.embed(audio=[row["audio"] for row in test])
        return {"text": _nearest(z, space.embed(text=names), names, truth)}

    rows = [{"audio": row["audio"], "text": row["label"]} for row in train]
    return Task("audio", "text", rows, [row["text"] for row in rows], score, train=train, test=test)


def charts(work: Path, seed: int, fold: Any = None) -> Task:
    from statista import recalls

    train, test = _parted("charts", str(seed % 4) if fold is None else fold)

    def score(run: Path) -> Scores:
        space = binder.Binder("mini").load(run)
        tables = np.asarray(space.embed(chart=[row["chart"] for row in test]))
        found = recalls(tables, np.asarray(space.embed(image=[row["image"] for row in test])))
        return {"image": (found[1] + found[3]) / 2}  # R@5, both ways

    rows = [{"chart": row["chart"], "image": row["image"]} for row in train]
    return Task("chart", "image", rows, [str(row["image"]) for row in train], score)


TASKS = {"speech": spoken, "digits": digits, "imu": imu, "charts": charts, "sounds": sounds}


def _scans(name: str, modality: str, part: str, work: Path, seed: int) -> Task:
    """Of ten digits, paired with pictures of handwritten ones; `part` tests: the digit, by its name and by pictures."""
    train, test = _parted(name, part)
    scans = write_scans(work)
    rows = pairs(
        [{modality: row[modality], "label": row["label"], "text": prompt(row["label"])} for row in train], scans, seed
    )
    truth = [row["label"] for row in test]

    def score(run: Path) -> Scores:
        space = binder.Binder("mini").load(run)
        z = space.embed(**{modality: [row[modality] for row in test]})
        pictures, labels = zip(*scans["test"], strict=True)
        return {
            "text": _nearest(z, space.embed(text=[prompt(name) for name in NAMES]), NAMES, truth),
            "image": _nearest(z, space.embed(image=list(pictures)), labels, truth),
        }

    return Task(modality, "image", rows, [row["text"] for row in rows], score, train=train, test=test)


def parts(name: str) -> list[str]:
    """What can be left out of the real ones: speakers or folds."""
    return sorted({clip["part"] for clip in clips(name)})


def clips(name: str) -> list[dict[str, Any]]:
    """The items of `digits`, `imu`, `sounds` or `charts`: each with its "part", and its "label" or "image"."""
    if name == "charts":
        from statista import folds

        folder = Path(os.environ["BINDER_DATA"]) / "statista"
        listed = _listed("statista", "table", "pairs.csv")
        fold_of = folds([row["title"] for _, row in listed])
        return [
            {"chart": path, "image": folder / row["image"], "part": str(fold)}
            for (path, row), fold in zip(listed, fold_of, strict=True)
        ]
    if name == "imu":
        found, seen = [], dict.fromkeys(NAMES, -1)
        for path, row in _listed("imu_digits", "imu"):
            seen[row["label"]] += 1
            found.append({"imu": path, "label": row["label"], "part": str(seen[row["label"]] // 5)})
        return found
    folder_name, part = {"digits": ("fsdd", "speaker"), "sounds": ("esc10", "fold")}[name]
    return [{"audio": path, "label": row["label"], "part": row[part]} for path, row in _listed(folder_name, "audio")]


def _parted(name: str, part: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Training and test items."""
    every = clips(name)
    return [c for c in every if c["part"] != part], [c for c in every if c["part"] == part]


def prompt(name: str) -> str:
    return f"the digit {name}"


def _listed(name: str, column: str, file: str = "labels.csv") -> list[tuple[Path, dict[str, str]]]:
    folder = Path(os.environ["BINDER_DATA"]) / name
    with (folder / file).open(encoding="utf-8") as lines:
        return [(folder / row[column], row) for row in csv.DictReader(lines)]


def _nearest(z: binder.Embeddings, among: binder.Embeddings, keys: Any, truth: list[str]) -> float:
    """Share of the queries whose nearest vector has the right key."""
    return float(np.mean([keys[i] == right for i, right in zip(z.cosine(among).argmax(1), truth, strict=True)]))
