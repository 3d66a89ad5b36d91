"""Environmental sounds aligned to the names of their classes, leaving out one fold at a time.

Data: `esc10` under BINDER_DATA (recordings and labels.csv with the official folds; clips of one recording stay in one
fold). Training: the other folds, to the name of each class Test: zero-shot classification of the fold left
out by the same prompts. Reference in the same run: a ridge classifier on mel-spectrogram statistics.

    BINDER_DATA=... python benchmarks/esc10.py [--seeds 0 1 2] [--folds 1] [--out results.json]
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
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import binder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--folds", nargs="+")
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    given = parser.parse_args()
    folder = Path(os.environ["BINDER_DATA"]) / "esc10"
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        clips = list(csv.DictReader(file))
    folds = given.folds or sorted({clip["fold"] for clip in clips})
    statistics = {clip["audio"]: _mel_statistics(folder / clip["audio"]) for clip in clips}
    results = []
    with tempfile.TemporaryDirectory() as work:
        for seed in given.seeds:
            for fold in folds:
                train = [clip for clip in clips if clip["fold"] != fold]
                test = [clip for clip in clips if clip["fold"] == fold]
                result = _aligned(folder, train, test, Path(work) / f"{fold}-{seed}", seed, given.sets)
                results.append({"fold": fold, "seed": seed, **result, "ridge": _ridge(statistics, train, test)})
                print(json.dumps(results[-1]), flush=True)
    print(f"\n{'fold left out':15}{'binder':>9}{'ridge':>9}")
    for fold in folds:
        own = [r for r in results if r["fold"] == fold]
        print(f"{fold:15}{np.mean([r['accuracy'] for r in own]):9.3f}{np.mean([r['ridge'] for r in own]):9.3f}")
    per_seed = [np.mean([r["accuracy"] for r in results if r["seed"] == seed]) for seed in given.seeds]
    ridge = np.mean([r["ridge"] for r in results])
    print(
        f"mean: {np.mean(per_seed):.3f} (over seeds {given.seeds}: deviation {np.std(per_seed):.3f}), ridge {ridge:.3f}"
    )
    if given.out:
        given.out.write_text(json.dumps(results, indent=2) + "\n")


def _aligned(
    folder: Path,
    train: list[dict[str, str]],
    test: list[dict[str, str]],
    out: Path,
    seed: int,
    sets: list[str],
) -> dict[str, Any]:
    names = sorted({clip["label"] for clip in train})
    rows = [{"audio": folder / clip["audio"], "text": _prompt(clip["label"])} for clip in train]
    began = time.monotonic()
    binder.align("audio", rows, anchor="mini", to="text", out=out, seed=seed, sets=sets)
    minutes = round((time.monotonic() - began) / 60, 1)
    space = binder.Binder("mini").load(out)
    z = space.embed(audio=[folder / clip["audio"] for clip in test])
    found = z.cosine(space.embed(text=[_prompt(name) for name in names])).argmax(1)
    right = [names[i] == clip["label"] for i, clip in zip(found, test, strict=True)]
    return {"accuracy": float(np.mean(right)), "n_test": len(test), "minutes": minutes}


def _prompt(label: str) -> str:
    return label.replace("_", " ")


def _mel_statistics(path: Path) -> np.ndarray:
    """Of 64 log-mel bands: mean, deviation, five percentiles, deviation of the differences in time: (512,).

    The best of the five sets of statistics that were tried for the reference.
    """
    samples, rate = librosa.load(path, sr=22_050)
    log = librosa.power_to_db(librosa.feature.melspectrogram(y=samples, sr=rate, n_mels=64))
    percentiles = np.percentile(log, [5, 25, 50, 75, 95], axis=1)
    return np.concatenate([log.mean(1), log.std(1), np.diff(log).std(1), *percentiles])


def _ridge(statistics: dict[str, np.ndarray], train: list[dict[str, str]], test: list[dict[str, str]]) -> float:
    x, y = np.array([statistics[c["audio"]] for c in train]), [c["label"] for c in train]
    model = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=np.logspace(0, 4, 9))).fit(x, y)
    return float(model.score(np.array([statistics[c["audio"]] for c in test]), [c["label"] for c in test]))


if __name__ == "__main__":
    main()
