"""Spoken digits aligned to pictures of handwritten digits only, then named by text; one speaker left out at a time.

Data: `fsdd` under BINDER_DATA (recordings and labels.csv), scikit-learn's handwritten digits. Training: the other
speakers' recordings, each paired with handwritten digits of the train part (the first 1,437 scans). Test: all
recordings of the speaker left out; speech -> text ("the digit seven", never trained) and speech -> picture (the last
360 scans). Reference in the same run: an SVM on mel statistics, trained on the labels of the same recordings.

    BINDER_DATA=... python benchmarks/digits.py [--seeds 0 1 2] [--speakers george] [--out results.json]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import librosa
import numpy as np
from scans import NAMES, pairs, write_scans
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import binder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--speakers", nargs="+")
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    given = parser.parse_args()
    folder = Path(os.environ["BINDER_DATA"]) / "fsdd"
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        clips = list(csv.DictReader(file))
    speakers = given.speakers or sorted({clip["speaker"] for clip in clips})
    results = []
    with tempfile.TemporaryDirectory() as work:
        scans = write_scans(Path(work))
        for seed in given.seeds:
            for speaker in speakers:
                out = Path(work) / f"{speaker}-{seed}"
                results.append(_leave_out(speaker, seed, folder, clips, scans, out, given.sets))
                print(json.dumps(results[-1]), flush=True)
    _print(results, given.seeds)
    if given.out:
        given.out.write_text(json.dumps(results, indent=2) + "\n")


def _leave_out(
    speaker: str,
    seed: int,
    folder: Path,
    clips: list[dict[str, str]],
    scans: dict[str, list[tuple[Path, str]]],
    out: Path,
    sets: list[str],
) -> dict[str, Any]:
    """Align without one speaker; accuracies on that speaker."""
    train = [clip for clip in clips if clip["speaker"] != speaker]
    test = [clip for clip in clips if clip["speaker"] == speaker]
    rows = pairs([{"audio": folder / clip["audio"], "label": clip["label"]} for clip in train], scans, seed)
    began = time.monotonic()
    binder.align("audio", rows, anchor="mini", to="image", out=out, seed=seed, sets=sets)
    seconds = time.monotonic() - began
    space = binder.Binder("mini").load(out)
    z = space.embed(audio=[folder / clip["audio"] for clip in test])
    truth = np.array([clip["label"] for clip in test])
    prompts = space.embed(text=[f"the digit {name}" for name in NAMES])
    by_text = np.array(NAMES)[z.cosine(prompts).argmax(1)]
    pictures = space.embed(image=[path for path, _ in scans["test"]])
    by_picture = np.array([label for _, label in scans["test"]])[z.cosine(pictures).argmax(1)]
    return {
        "speaker": speaker,
        "seed": seed,
        "speech_to_text": float((by_text == truth).mean()),
        "speech_to_picture": float((by_picture == truth).mean()),
        "svm": _svm(folder, train, test),
        "n_test": len(test),
        "minutes": round(seconds / 60, 1),
    }


def _svm(folder: Path, train: list[dict[str, str]], test: list[dict[str, str]]) -> float:
    """Accuracy of an SVM with an RBF kernel on mean and deviation of 40 log-mel bands."""
    x, y = np.array([_mel(folder / c["audio"]) for c in train]), [c["label"] for c in train]
    model = make_pipeline(StandardScaler(), SVC(C=10.0)).fit(x, y)
    return float(model.score(np.array([_mel(folder / c["audio"]) for c in test]), [c["label"] for c in test]))


def _mel(path: Path) -> np.ndarray:
    samples, rate = librosa.load(path, sr=None)
    mel = librosa.feature.melspectrogram(y=samples, sr=rate, n_fft=256, hop_length=80, n_mels=40)
    log = librosa.power_to_db(mel)
    return np.concatenate([log.mean(1), log.std(1)])


def _print(results: list[dict[str, Any]], seeds: list[int]) -> None:
    print(f"\n{'speaker left out':18}{'speech -> text':>16}{'speech -> picture':>19}{'SVM':>8}")
    for speaker in dict.fromkeys(r["speaker"] for r in results):
        own = [r for r in results if r["speaker"] == speaker]
        means = [np.mean([r[key] for r in own]) for key in ("speech_to_text", "speech_to_picture", "svm")]
        print(f"{speaker:18}{means[0]:16.3f}{means[1]:19.3f}{means[2]:8.3f}")
    per_seed = [np.mean([r["speech_to_text"] for r in results if r["seed"] == seed]) for seed in seeds]
    print(f"mean over speakers: {np.mean(per_seed):.3f}; over seeds {seeds}: deviation {np.std(per_seed):.3f}")


if __name__ == "__main__":
    main()
