"""Small sets of pairs with a test each, for the benchmarks that compare ways of training.

Each seed leaves out another speaker or fold where there are several, so that a mean over seeds is one over tests, too:

- `speech`: 1,500 spoken captions of the playground with a drawing each, tested on voices kept apart.
- `digits`: `fsdd` with scikit-learn's handwritten digits, tested on the speaker left out.
- `imu`: `imu_digits` with the same digits, tested on the fold left out.
- `charts`: `statista`, tested on the fold left out; its titles are in words the mini anchor does not know.
- `sounds`: `esc10` with the names of its classes, tested on the fold left out.

All but the first are found under BINDER_DATA.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scans import NAMES, pairs, write_scans

import binder
from binder.playground import speech, world
from binder.playground.draw import draw

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


def digits(work: Path, seed: int) -> Task:
    clips = [{"audio": path, "label": row["label"], "part": row["speaker"]} for path, row in _listed("fsdd", "audio")]
    return _scans("audio", clips, SPEAKERS[seed % len(SPEAKERS)], work, seed)


def imu(work: Path, seed: int) -> Task:
    clips, seen = [], dict.fromkeys(NAMES, -1)
    for path, row in _listed("imu_digits", "imu"):  # in the order they were made
        seen[row["label"]] += 1
        clips.append({"imu": path, "label": row["label"], "part": seen[row["label"]] // 5})
    return _scans("imu", clips, seed % 5, work, seed)


def sounds(work: Path, seed: int) -> Task:
    clips = [
        {"audio": p, "text": r["label"].replace("_", " "), "part": r["fold"]} for p, r in _listed("esc10", "audio")
    ]
    part = sorted({clip["part"] for clip in clips})[seed % 4]
    train, test = _parted(clips, part)
    names, truth = sorted({row["text"] for row in train}), [row["text"] for row in test]

    def score(run: Path) -> Scores:
        space = binder.Binder("mini").load(run)
        z = space.embed(audio=[row["audio"] for row in test])
        return {"text": _nearest(z, space.embed(text=names), names, truth)}

    rows = [{"audio": row["audio"], "text": row["text"]} for row in train]
    return Task("audio", "text", rows, [row["text"] for row in train], score)


def charts(work: Path, seed: int) -> Task:
    from statista import folds, recalls

    listed = _listed("statista", "table", "pairs.csv")
    fold_of = folds([row["title"] for _, row in listed])
    folder = Path(os.environ["BINDER_DATA"]) / "statista"
    clips = [
        {"chart": path, "image": folder / row["image"], "part": fold}
        for (path, row), fold in zip(listed, fold_of, strict=True)
    ]
    train, test = _parted(clips, seed % 4)

    def score(run: Path) -> Scores:
        space = binder.Binder("mini").load(run)
        tables = np.asarray(space.embed(chart=[row["chart"] for row in test]))
        found = recalls(tables, np.asarray(space.embed(image=[row["image"] for row in test])))
        return {"image": (found[1] + found[3]) / 2}  # R@5, both ways

    rows = [{"chart": row["chart"], "image": row["image"]} for row in train]
    return Task("chart", "image", rows, [str(row["image"]) for row in train], score)


TASKS = {"speech": spoken, "digits": digits, "imu": imu, "charts": charts, "sounds": sounds}


def _scans(modality: str, clips: list[dict[str, Any]], part: Any, work: Path, seed: int) -> Task:
    """Of ten digits, paired with pictures of handwritten ones; `part` tests: the digit, by its name and by pictures."""
    train, test = _parted(clips, part)
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

    return Task(modality, "image", rows, [row["text"] for row in rows], score)


def prompt(name: str) -> str:
    return f"the digit {name}"


def _listed(name: str, column: str, file: str = "labels.csv") -> list[tuple[Path, dict[str, str]]]:
    folder = Path(os.environ["BINDER_DATA"]) / name
    with (folder / file).open(encoding="utf-8") as lines:
        return [(folder / row[column], row) for row in csv.DictReader(lines)]


def _parted(clips: list[dict[str, Any]], part: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return [c for c in clips if c["part"] != part], [c for c in clips if c["part"] == part]


def _nearest(z: binder.Embeddings, among: binder.Embeddings, keys: Any, truth: list[str]) -> float:
    """Share of the queries whose nearest vector has the right key."""
    return float(np.mean([keys[i] == right for i, right in zip(z.cosine(among).argmax(1), truth, strict=True)]))
