"""Digits drawn in the air aligned to pictures of handwritten digits only, then named by text.

Data: `imu_digits` under BINDER_DATA (recordings and labels.csv; one phone, one day, so no claim about other people),
scikit-learn's handwritten digits. Five folds: of each digit's 25 recordings, in the order they were made, five in a
row are left out. Training: the others, each paired with handwritten digits of the train part (the first 1,437 scans).
Test: gesture -> text ("the digit seven", never trained) and gesture -> picture (the last 360 scans). Reference in the
same run: a ridge classifier on the signals, trained on the labels of the same recordings. With --speech a speech
encoder is aligned to the same pictures as well (`fsdd` without one speaker), and gestures and the speech of that
speaker are searched for each other: two sensors that never met.

    BINDER_DATA=... python benchmarks/imu_digits.py [--speech] [--seeds 0 1 2] [--folds 0 1 2 3 4] [--out results.json]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scans import NAMES, pairs, write_scans
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import binder

FOLDS = 5
UNHEARD = "jackson"  # the speaker whose speech is searched
SIGNAL_HZ, SIGNAL_S = 50.0, 5.2  # what the ridge classifier sees of a recording


@dataclass(frozen=True)
class Speech:
    run: Path
    clips: list[dict[str, Any]]  # of the speaker left out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(FOLDS)))
    parser.add_argument("--speech", action="store_true", help="also align speech, and search it by gestures")
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    given = parser.parse_args()
    folder = Path(os.environ["BINDER_DATA"]) / "imu_digits"
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        clips = [{"imu": folder / row["imu"], "label": row["label"]} for row in csv.DictReader(file)]
    seen: dict[str, int] = {}
    for clip in clips:  # position among the recordings of its digit, in the order they were made
        seen[clip["label"]] = seen.get(clip["label"], -1) + 1
        clip["fold"] = seen[clip["label"]] * FOLDS // 25
    results = []
    with tempfile.TemporaryDirectory() as work:
        scans = write_scans(Path(work))
        for seed in given.seeds:
            speech = _speech(seed, scans, Path(work) / f"speech-{seed}") if given.speech else None
            for fold in given.folds:
                out = Path(work) / f"{fold}-{seed}"
                results.append(_leave_out(fold, seed, clips, scans, speech, out, given.sets))
                print(json.dumps(results[-1]), flush=True)
    _print(results, given.seeds)
    if given.out:
        given.out.write_text(json.dumps(results, indent=2) + "\n")


def _leave_out(
    fold: int,
    seed: int,
    clips: list[dict[str, Any]],
    scans: dict[str, list[tuple[Path, str]]],
    speech: Speech | None,
    out: Path,
    sets: list[str],
) -> dict[str, Any]:
    """Align without one fold; accuracies on that fold."""
    train = [clip for clip in clips if clip["fold"] != fold]
    test = [clip for clip in clips if clip["fold"] == fold]
    rows = pairs([{"imu": clip["imu"], "label": clip["label"]} for clip in train], scans, seed)
    began = time.monotonic()
    binder.align("imu", rows, anchor="mini", to="image", out=out, seed=seed, sets=sets)
    seconds = time.monotonic() - began
    space = binder.Binder("mini").load(out)
    z = space.embed(imu=[clip["imu"] for clip in test])
    truth = np.array([clip["label"] for clip in test])
    prompts = space.embed(text=[f"the digit {name}" for name in NAMES])
    by_text = np.array(NAMES)[z.cosine(prompts).argmax(1)]
    pictures = space.embed(image=[path for path, _ in scans["test"]])
    by_picture = np.array([label for _, label in scans["test"]])[z.cosine(pictures).argmax(1)]
    met = _meet(space, z, truth, speech) if speech else {}
    return {
        "fold": fold,
        "seed": seed,
        "gesture_to_text": float((by_text == truth).mean()),
        "gesture_to_picture": float((by_picture == truth).mean()),
        **met,
        "ridge": _ridge(train, test),
        "n_test": len(test),
        "minutes": round(seconds / 60, 1),
    }


def _speech(seed: int, scans: dict[str, list[tuple[Path, str]]], out: Path) -> Speech:
    """A speech encoder aligned to the same pictures, and the clips of the speaker it never heard."""
    folder = Path(os.environ["BINDER_DATA"]) / "fsdd"
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        clips = [{**row, "audio": folder / row["audio"]} for row in csv.DictReader(file)]
    heard = [{"audio": c["audio"], "label": c["label"]} for c in clips if c["speaker"] != UNHEARD]
    binder.align("audio", pairs(heard, scans, seed), anchor="mini", to="image", out=out, seed=seed)
    return Speech(out, [c for c in clips if c["speaker"] == UNHEARD])


def _meet(space: binder.Binder, z: binder.Embeddings, truth: np.ndarray, speech: Speech) -> dict[str, float]:
    """R@1 between gestures and speech; a match is the same digit (chance: one in ten)."""
    spoken = space.load(speech.run).embed(audio=[clip["audio"] for clip in speech.clips])
    said = np.array([clip["label"] for clip in speech.clips])
    cosine = z.cosine(spoken)
    return {
        "gesture_to_speech": float((said[cosine.argmax(1)] == truth).mean()),
        "speech_to_gesture": float((truth[cosine.argmax(0)] == said).mean()),
    }


def _ridge(train: list[dict[str, Any]], test: list[dict[str, Any]]) -> float:
    """Accuracy of a ridge classifier on the standardised signals, its penalty chosen on the training recordings."""
    x = np.array([_signal(clip["imu"]) for clip in train])
    model = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(0, 6, 13)))
    model.fit(x, [clip["label"] for clip in train])
    return float(model.score(np.array([_signal(clip["imu"]) for clip in test]), [clip["label"] for clip in test]))


def _signal(path: Path) -> np.ndarray:
    """(T * 6,) one recording on an even grid of times."""
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    grid = np.arange(0, SIGNAL_S, 1 / SIGNAL_HZ)
    return np.concatenate([np.interp(grid, table[:, 0], column) for column in table[:, 1:].T])


def _print(results: list[dict[str, Any]], seeds: list[int]) -> None:
    keys = [key for key in results[0] if "_to_" in key or key == "ridge"]
    print("\nfold" + "".join(f"{key:>20}" for key in keys))
    for fold in dict.fromkeys(r["fold"] for r in results):
        own = [r for r in results if r["fold"] == fold]
        print(f"{fold:<4}" + "".join(f"{np.mean([r[key] for r in own]):20.3f}" for key in keys))
    for key in keys:
        per_seed = [np.mean([r[key] for r in results if r["seed"] == seed]) for seed in seeds]
        print(f"{key}: mean over folds {np.mean(per_seed):.3f}; over seeds {seeds}: deviation {np.std(per_seed):.3f}")


if __name__ == "__main__":
    main()
