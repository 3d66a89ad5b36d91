"""Sums of several modalities: which way of adding finds the right picture, without any label.

    binder demo --out demo                 # once
    python benchmarks/arithmetic.py demo   # two minutes or so; less when the cache has the vectors

Asked as in the demo (binder_playground/demo/arithmetic.py): the color of a picture, or of a video, is changed by words,
written or spoken; the right one is to come first among all other kinds. Every way is tried with several weights of the
words; the weight is chosen on every other operand, and R@1 is of those in between.

plain        sum of unit vectors
centered      each operand less the mean of its modality's items, length one again (Liang et al., NeurIPS 2022);
             what is searched is centered, too
contrasted   each word less the mean of the ten words that could stand in its place, length one again
smoothed     each word less its modality's mean, its part along each principal axis of the pictures shrunk where the
             pictures vary little (Wiener's filter), length one again
through      each word replaced by the mean of the 100 pictures nearest to it, less the mean of all (as Li et al.,
             "DeCap", ICLR 2023, do the other way round), length one again
projected    what the operand says of all ten words taken out (`project_out`), then the new word added
slerp        the point between the operand (less what it says of the old word, where there is one) and the new word

"mean of takes" is spoken words, each the mean of all takes of it: what is left when one unclear take does not matter.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from binder_playground import world
from binder_playground.demo import arithmetic
from binder_playground.demo.cells import FACETS, label
from binder_playground.demo.data import Gallery
from binder_playground.demo.run import first_of_each, gallery
from finished_demo import Finished, opened

from binder import Embeddings
from binder.space import vectors
from binder.space.vectors import Vectors

WEIGHTS = (0.12, 0.25, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
NEAREST = 100  # pictures that stand for a word
NOISE = 0.01  # variance that is taken for noise, of that along the pictures' first axis
Words = Mapping[str, Vectors]  # color -> (T, D)
Sum = Callable[[Vectors, Vectors, Vectors | None, float], Vectors]  # operands, new words, old words (C, D), weight


@dataclass(frozen=True)
class Way:
    """How words and operands are made ready, and put together."""

    name: str
    words: Callable[[Vectors], Vectors]
    operand: Callable[[Vectors], Vectors] = vectors.normalize
    together: Sum | None = None


@dataclass(frozen=True)
class Kind:
    """What is asked."""

    name: str
    operands: Gallery
    searched: Gallery
    modality: str  # of the words
    minus: bool
    words: Words


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="the folder that `binder demo` left")
    with tempfile.TemporaryDirectory() as work:
        table(opened(parser.parse_args().demo, Path(work)))


def table(found: Finished) -> None:
    """Print R@1 and the chosen weight, a row for each kind."""
    means = {name: every(found, name).mean(0) for name in ("image", "text", "audio", "video")}
    pictures = every(found, "image")
    lines = []
    for kind in kinds(found):
        names, cells = [], []
        for way in ways(kind, means, pictures):
            r1, weight = best(kind, way)
            names.append(f"{way.name:>16}")
            cells.append(f"{100 * r1:9.1f} ({weight:4.2f})")
        if not lines:
            lines.append(f"{'R@1, % (weight)':34}" + "".join(names))
            print(lines[0])
        print(f"{kind.name:34}" + "".join(cells), flush=True)


def every(found: Finished, modality: str) -> Vectors:
    return np.concatenate([np.asarray(g.z) for g in found.galleries if g.modality == modality])


def kinds(found: Finished) -> list[Kind]:
    picture, video = found.operands
    pictures = first_of_each(gallery(found.galleries, "image", "scene"))
    videos = first_of_each(gallery(found.galleries, "video", "motion"))
    written, spoken = ({word: z.vectors for word, z in found.words[name].items()} for name in ("text", "audio"))
    clear = {word: vectors.normalize(takes.mean(0, keepdims=True)) for word, takes in spoken.items()}
    return [
        Kind("image - text + text", picture, pictures, "text", True, written),
        Kind("image + text", picture, pictures, "text", False, written),
        Kind("image - audio + audio", picture, pictures, "audio", True, spoken),
        Kind("image + audio", picture, pictures, "audio", False, spoken),
        Kind("image - audio + audio, mean of takes", picture, pictures, "audio", True, clear),
        Kind("image + audio, mean of takes", picture, pictures, "audio", False, clear),
        Kind("video + text", video, videos, "text", False, written),
        Kind("video + audio", video, videos, "audio", False, spoken),
    ]


def ways(kind: Kind, means: Mapping[str, Vectors], pictures: Vectors) -> list[Way]:
    all_words = np.concatenate(list(kind.words.values()))
    names = vectors.normalize(np.stack([takes.mean(0) for takes in kind.words.values()]))
    middle, own = pictures.mean(0), means[kind.modality]
    variances, axes_DD = np.linalg.eigh(np.cov((pictures - middle).T))
    kept_DD = (axes_DD * (variances / (variances + NOISE * variances[-1]))) @ axes_DD.T

    def centered(name: str) -> Callable[[Vectors], Vectors]:
        return lambda z: vectors.center(z, means[name])

    def through(z: Vectors) -> Vectors:
        near = np.argpartition(-z @ pictures.T, NEAREST, axis=1)[:, :NEAREST]
        return vectors.normalize(pictures[near].mean(1) - middle)

    return [
        Way("plain", vectors.normalize),
        Way("centered", centered(kind.modality), centered(kind.searched.modality)),
        Way("contrasted", lambda z: vectors.center(z, all_words.mean(0))),
        Way("smoothed", lambda z: vectors.normalize((z - own) @ kept_DD)),
        Way("through", through),
        Way("projected", vectors.normalize, together=lambda z, new, old, w: vectors.project_out(z, names) + w * new),
        Way("slerp", vectors.normalize, together=between),
    ]


def plain(z: Vectors, new: Vectors, old: Vectors | None, weight: float) -> Vectors:
    return z + weight * new if old is None else z + weight * (new - old)


def between(z: Vectors, new: Vectors, old: Vectors | None, weight: float) -> Vectors:
    left = z if old is None else vectors.project_out(z, old[:1])
    return vectors.slerp(left, new, weight / (1 + weight))


def best(kind: Kind, way: Way) -> tuple[float, float]:
    """R@1 over the odd operands with the weight that is best over the even ones, and that weight."""
    hits = {weight: hits_of(kind, way, weight) for weight in WEIGHTS}
    chosen = max(WEIGHTS, key=lambda weight: float(np.mean(np.concatenate(hits[weight][::2]))))
    return float(np.mean(np.concatenate(hits[chosen][1::2]))), chosen


def hits_of(kind: Kind, way: Way, weight: float) -> list[np.ndarray]:
    """For each operand, which of the other colors were found."""
    facets = FACETS[kind.searched.kind]
    place = {label(c, facets): i for i, c in enumerate(kind.searched.concepts)}
    assert kind.operands.z is not None and kind.searched.z is not None
    words = {color: Embeddings(way.words(takes), kind.searched.z.space) for color, takes in kind.words.items()}
    searched, together = way.operand(kind.searched.z.vectors), way.together or plain
    found: list[np.ndarray] = []
    for i, (z_D, concept) in enumerate(zip(way.operand(kind.operands.z.vectors), kind.operands.concepts, strict=True)):
        asked = {c: place.get(label(replace(concept, color=c), facets)) for c in world.COLORS if c != concept.color}
        others = [color for color, wanted in asked.items() if wanted is not None]
        new = arithmetic.take(words, others, i * len(others)).vectors
        own = [concept.color] * len(others)
        old = arithmetic.take(words, own, i * len(others)).vectors if kind.minus else None
        scores = together(np.broadcast_to(z_D, new.shape), new, old, weight) @ searched.T
        scores[:, place[label(concept, facets)]] = -np.inf  # as in word analogies: an operand is no answer
        found.append(scores.argmax(1) == np.array([asked[color] for color in others]))
    return found


if __name__ == "__main__":
    main()
