"""The pool of pictures that mini is trained on: drawn once into a file by several processes, then read in batches.

Shape suffixes: B batch, N pictures, F fields of a concept, H W pixels.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from binder_playground import world
from binder_playground.world import Concept

CHUNK = 1000  # pictures that a process draws at a time
PAD = 2  # pixels by which a picture may be shifted in training
VALUES: dict[str, tuple[str | int, ...]] = {
    "kind": world.KINDS,
    "color": world.SOLID_COLORS,
    "shape": world.SHAPES,
    "count": world.COUNTS,
    "position": world.POSITIONS,
    "size": world.SIZES,
    "motion": world.MOTIONS,
    "digit": world.DIGITS,
    "style": world.STYLES,
    "chart": world.CHART_TYPES,
    "trend": world.TRENDS,
    "solid": world.SOLIDS,
}  # the fields of a Concept, in order, and their possible values
_BLANKS = {field.name: field.default for field in fields(Concept)}


class Pool(NamedTuple):
    """Pictures (N, H, W, 3) uint8, and what each shows (N, F): indices into VALUES, -1 where open."""

    pictures: NDArray[np.uint8]
    shown: NDArray[np.int16]


def numbered(concept: Concept) -> list[int]:
    """A concept as F indices into VALUES, -1 where it leaves a field open."""
    said = ((getattr(concept, name), name) for name in VALUES)
    return [-1 if value == _BLANKS[name] else VALUES[name].index(value) for value, name in said]


def named(row: NDArray[np.int16]) -> Concept:
    """The concept behind a row (F,) of `numbered`."""
    known = {name: values[int(i)] for (name, values), i in zip(VALUES.items(), row, strict=True) if i >= 0}
    return Concept(**known)  # type: ignore[arg-type]


def build_pool(folder: Path, amounts: dict[str, int], seed: int, size: int, workers: int) -> Pool:
    """Draw `amounts` of each kind (and of "matplotlib" charts) unless the folder already holds them; resumable."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(kind, i) for kind, amount in amounts.items() for i in range(-(-amount // CHUNK))]
    n = len(jobs) * CHUNK
    shapes = {"pictures": ((n, size, size, 3), np.uint8), "shown": ((n, len(VALUES)), np.int16)}
    for name, (shape, dtype) in {**shapes, "done": ((len(jobs),), np.uint8)}.items():
        if not (folder / f"{name}.npy").exists():
            np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, shape).flush()
    done = np.load(folder / "done.npy", mmap_mode="r")
    if len(done) != len(jobs):
        raise ValueError(f"{folder} holds a pool of another size; remove it or choose another folder")
    tasks = [(folder, i, kind, (seed, world.KINDS.index(kind) if kind in world.KINDS else 99, part), size)
             for i, (kind, part) in enumerate(jobs) if not done[i]]  # fmt: skip
    if tasks:
        with multiprocessing.get_context("spawn").Pool(workers) as processes:
            for _ in processes.imap_unordered(_draw_chunk, tasks):
                pass
    return Pool(np.load(folder / "pictures.npy", mmap_mode="r"), np.load(folder / "shown.npy"))


def _draw_chunk(task: tuple[Path, int, str, tuple[int, ...], int]) -> None:
    folder, index, kind, seed, size = task
    pictures, shown = drawn(kind, CHUNK, np.random.default_rng(seed), size)
    span = slice(index * CHUNK, (index + 1) * CHUNK)
    for name, part in (("pictures", pictures), ("shown", shown)):
        whole = np.load(folder / f"{name}.npy", mmap_mode="r+")
        whole[span] = part
        whole.flush()
    np.load(folder / "done.npy", mmap_mode="r+")[index] = 1


def drawn(kind: str, n: int, rng: np.random.Generator, size: int) -> Pool:
    """`n` new pictures of random concepts of one kind ("matplotlib" means charts drawn by matplotlib)."""
    from binder_playground.charts_matplotlib import draw_chart_matplotlib
    from binder_playground.draw import draw

    known = world.concepts("chart" if kind == "matplotlib" else kind)
    pictures = np.empty((n, size, size, 3), np.uint8)
    shown = np.empty((n, len(VALUES)), np.int16)
    order = np.concatenate([rng.permutation(len(known)) for _ in range(-(-n // len(known)))])
    for i in range(n):
        concept = world.detailed(known[order[i]], rng)
        picture = draw_chart_matplotlib(concept, rng, size) if kind == "matplotlib" else draw(concept, rng, size)
        pictures[i], shown[i] = np.asarray(picture), numbered(concept)
    return Pool(pictures, shown)


def batches(
    pool: Pool, amounts: dict[str, int], shares: dict[str, float], n: int, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int16]]]:
    """Endless augmented batches of `n` pictures of a pool of these amounts, each part sampled by its share."""
    ends = np.cumsum([-(-amount // CHUNK) * CHUNK for amount in amounts.values()])
    starts = np.concatenate([[0], ends[:-1]])
    chances = np.array([shares[part] for part in amounts])
    while True:
        parts = rng.choice(len(ends), size=n, p=chances / chances.sum())
        picked = np.sort(rng.integers(starts[parts], ends[parts]))
        pictures, shown = pool.pictures[picked], pool.shown[picked].copy()
        _mirror(pictures, shown, rng)
        yield _shifted(pictures, rng), shown


def _mirror(pictures: NDArray[np.uint8], shown: NDArray[np.int16], rng: np.random.Generator) -> None:
    """Mirror half of the scenes and solids left to right, in place, and swap the positions they show."""
    names = list(VALUES)
    kind, position = shown[:, 0], shown[:, names.index("position")]
    turn = np.isin(kind, [world.KINDS.index(k) for k in ("scene", "solid")]) & (rng.random(len(kind)) < 0.5)
    pictures[turn] = pictures[turn, :, ::-1]
    left, right = world.POSITIONS.index("left"), world.POSITIONS.index("right")
    swapped = np.where(position == left, right, np.where(position == right, left, position))
    position[turn] = swapped[turn]


def _shifted(pictures: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Shift every picture by up to PAD pixels and vary its brightness and contrast a little."""
    n, height, width, _ = pictures.shape
    padded = np.pad(pictures, ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0)), mode="edge")
    moved = np.empty_like(pictures)
    for i, (y, x) in enumerate(rng.integers(0, 2 * PAD + 1, (n, 2)).tolist()):
        moved[i] = padded[i, y : y + height, x : x + width]
    gain, lift = rng.normal(1, 0.05, (n, 1, 1, 1)), rng.normal(0, 6, (n, 1, 1, 1))
    return np.clip(moved * gain.astype(np.float32) + lift.astype(np.float32), 0, 255).astype(np.uint8)
