"""What `binder pairs check --keep` wins back where a share of the pairs is wrong.

Data `speech`: spoken captions of the playground, each with a drawing; tested on voices kept apart, speech -> caption
among all 500 (never trained). Data `digits`: `fsdd` under BINDER_DATA with scikit-learn's handwritten digits; tested
on a speaker left out, speech -> text among ten. The pictures of a share of the rows are exchanged at random; the check
does not know which. The oracle drops exactly the wrong rows. Every line is an `align` with the same steps and seed.

    python benchmarks/noisy_pairs.py [--data speech digits] [--wrong 0.3] [--keep auto] [--steps 400] [--seeds 0]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import binder
from binder.playground import speech, world
from binder.playground.draw import draw

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LEFT_OUT = "george"  # the speaker that tests `digits`


@dataclass(frozen=True)
class Data:
    """Pairs, what each shows, and how an aligned encoder is scored."""

    rows: list[dict[str, Any]]
    shows: list[str]
    sets: tuple[str, ...]  # settings of `align`
    score: Callable[[Path], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=["speech", "digits"], default=["speech", "digits"])
    parser.add_argument("--wrong", type=float, default=0.3, help="share of the rows whose pictures are exchanged")
    parser.add_argument("--keep", default="auto")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--clips", type=int, default=1500, help="of the playground")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    given = parser.parse_args()
    keep = given.keep if given.keep == "auto" else float(given.keep)
    results = []
    for name in given.data:
        for seed in given.seeds:
            with tempfile.TemporaryDirectory() as work:
                data = _speech(Path(work), given.clips, seed) if name == "speech" else _digits(Path(work), seed)
                for line in _compare(data, Path(work), given.wrong, keep, given.steps, seed):
                    results.append({"data": name, "seed": seed, **line})
                    print(json.dumps(results[-1]), flush=True)
    _print(results)
    if given.out:
        given.out.write_text(json.dumps(results, indent=2) + "\n")


def _compare(data: Data, work: Path, wrong: float, keep: Any, steps: int, seed: int) -> list[dict[str, Any]]:
    """Scores of encoders aligned on the clean, the noisy, the filtered and the rightly filtered pairs."""
    noisy, bad = _exchanged(data, wrong, seed)
    began = time.process_time()
    checked = binder.check_pairs(noisy, anchor="mini", keep=keep)
    seconds = time.process_time() - began
    kept = [i for i in range(len(noisy)) if i not in checked.dropped]
    subsets = {
        "clean": (data.rows, range(len(noisy)), set()),
        "noisy": (noisy, range(len(noisy)), bad),
        "filtered": (noisy, kept, bad),
        "oracle": (noisy, [i for i in range(len(noisy)) if i not in bad], bad),
    }
    found = []
    for what, (rows, chosen, wrong_ones) in subsets.items():
        settings = [f"train.steps={steps}", "train.val_fraction=0", *data.sets]
        out = work / "runs" / what
        binder.align("audio", [rows[i] for i in chosen], anchor="mini", to="image", out=out, seed=seed, sets=settings)
        line = {"pairs": what, "n": len(chosen), "wrong": len(wrong_ones & set(chosen)) / len(chosen)}
        found.append({**line, "score": data.score(out)})
    found[2] |= {"estimated_wrong": checked.wrong_share, "check_cpu_seconds": round(seconds, 1)}
    return found


def _exchanged(data: Data, share: float, seed: int) -> tuple[list[dict[str, Any]], set[int]]:
    """The rows with the pictures of a share of them exchanged, and which now show something else."""
    rng = np.random.default_rng([seed, 11])
    chosen = rng.choice(len(data.rows), round(share * len(data.rows)), replace=False)
    source = np.arange(len(data.rows))
    source[chosen] = np.roll(chosen, 1)
    rows = [{**row, "image": data.rows[j]["image"]} for row, j in zip(data.rows, source, strict=True)]
    return rows, {i for i, j in enumerate(source) if data.shows[i] != data.shows[j]}


def _speech(work: Path, n: int, seed: int) -> Data:
    concepts = {c.key: c for c in world.concepts("scene")}
    rng = np.random.default_rng([seed, 1])
    clips = speech.clips("train", "scene")[:n]
    rows = []
    for clip, wav in zip(clips, speech.write_wavs(clips, work / "audio"), strict=True):
        rows.append({"audio": wav, "image": work / f"{clip.id}.png"})
        draw(concepts[clip.concept], rng).save(rows[-1]["image"])
    asked = speech.clips("test", "scene")[:1000]
    wavs = speech.write_wavs(asked, work / "asked")
    keys = list(concepts)

    def score(run: Path) -> float:
        space = binder.Binder("mini").load(run)
        captions = space.embed(text=[world.caption(concepts[key]) for key in keys])
        nearest = space.embed(audio=list(wavs)).cosine(captions).argmax(1)
        return float(np.mean([keys[i] == clip.concept for i, clip in zip(nearest, asked, strict=True)]))

    # from random weights: the trunk that is shipped has heard these words
    return Data(rows, [c.concept for c in clips], ("encoder.trunk=none", "encoder.strength=0.5"), score)


def _digits(work: Path, seed: int) -> Data:
    from PIL import Image
    from sklearn.datasets import load_digits

    folder = Path(os.environ["BINDER_DATA"]) / "fsdd"
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        clips = list(csv.DictReader(file))
    train = [c for c in clips if c["speaker"] != LEFT_OUT]
    asked = [c for c in clips if c["speaker"] == LEFT_OUT]
    digits, rng, rows = load_digits(), np.random.default_rng([seed, 7]), []
    for i, clip in enumerate(train):
        scan = digits.images[rng.choice(np.flatnonzero(digits.target[:1437] == NAMES.index(clip["label"])))]
        rows.append({"audio": folder / clip["audio"], "image": work / f"{i}.png"})
        picture = Image.fromarray((255 - scan * 15.9).astype(np.uint8))
        picture.resize((64, 64), Image.Resampling.BICUBIC).save(rows[-1]["image"])

    def score(run: Path) -> float:
        space = binder.Binder("mini").load(run)
        prompts = space.embed(text=[f"the digit {name}" for name in NAMES])
        nearest = space.embed(audio=[folder / c["audio"] for c in asked]).cosine(prompts).argmax(1)
        return float(np.mean([NAMES[i] == c["label"] for i, c in zip(nearest, asked, strict=True)]))

    return Data(rows, [c["label"] for c in train], (), score)


def _print(results: list[dict[str, Any]]) -> None:
    print(f"\n{'data':8}{'pairs':10}{'n':>6}{'wrong':>8}{'score':>8}{'recovered':>11}   (means over seeds)")
    for name in dict.fromkeys(r["data"] for r in results):
        own = [r for r in results if r["data"] == name]
        mean = {
            what: {key: np.mean([r[key] for r in own if r["pairs"] == what]) for key in ("n", "wrong", "score")}
            for what in ("clean", "noisy", "filtered", "oracle")
        }
        lost = mean["clean"]["score"] - mean["noisy"]["score"]
        for what, m in mean.items():
            back = f"{(m['score'] - mean['noisy']['score']) / lost:11.0%}" if lost else f"{'-':>11}"
            print(f"{name:8}{what:10}{m['n']:6.0f}{m['wrong']:8.3f}{m['score']:8.3f}{back}")


if __name__ == "__main__":
    main()
