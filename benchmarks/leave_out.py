"""Real recordings, each speaker or fold left out once: `align` as it is by default, beside a classifier with labels.

Trained on pictures of handwritten digits (`digits`, `imu`) or on the names of classes (`sounds`); tested on what was
left out by the names of the classes, which only `sounds` was trained on, and by pictures. The classifier is trained on
the labels of the same recordings: an SVM on statistics of their spectrograms (`digits`), ridge regression on such
statistics (`sounds`) or on the signals (`imu`).

    BINDER_DATA=... python benchmarks/leave_out.py --data digits imu sounds [--seeds 0 1 2] [--parts george]
        [--set train.epochs=10] [--out results.jsonl]     # goes on where results.jsonl ends
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import librosa
import numpy as np
from results import Results
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from small_data import TASKS, parts

import binder

SIGNAL_HZ, SIGNAL_S = 50.0, 5.2  # what the classifier sees of a gesture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=list(SEEN), default=list(SEEN))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--parts", nargs="+", help="speakers or folds to leave out, each in turn (default: all)")
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE", help="of `align`")
    parser.add_argument("--out", type=Path, help="JSON lines; what is in it already is not run again")
    given = parser.parse_args()
    results = Results(given.out, ("data", "part", "seed"))
    for name in given.data:
        for seed in given.seeds:
            for part in given.parts or parts(name):
                if not results.has(name, part, seed):
                    results.add({"data": name, "part": part, "seed": seed, **_left_out(name, part, seed, given.sets)})
    for name in given.data:
        _print(name, [r for r in results if r["data"] == name and r["seed"] in given.seeds])


def _left_out(name: str, part: str, seed: int, sets: Sequence[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as work:
        task, run = TASKS[name](Path(work), seed, part), Path(work) / "run"
        began = time.monotonic()
        binder.align(task.modality, task.rows, to=task.to, out=run, seed=seed, sets=sets)
        minutes = round((time.monotonic() - began) / 60, 1)
        scores = task.score(run)
    see, kind = SEEN[name]
    (x, y), (tests, truth) = (
        (np.array([see(row[task.modality]) for row in rows]), [row["label"] for row in rows])
        for rows in (task.train, task.test)
    )
    classifier = float(make_pipeline(StandardScaler(), kind()).fit(x, y).score(tests, truth))
    return {**scores, "classifier": classifier, "n_test": len(truth), "minutes": minutes}


def _statistics(path: Path) -> np.ndarray:
    """Of 40 log-mel bands: mean and deviation: (80,)."""
    samples, rate = librosa.load(path, sr=None)
    log = librosa.power_to_db(librosa.feature.melspectrogram(y=samples, sr=rate, n_fft=256, hop_length=80, n_mels=40))
    return np.concatenate([log.mean(1), log.std(1)])


def _more_statistics(path: Path) -> np.ndarray:
    """Of 64 log-mel bands: mean, deviation, five percentiles, deviation of the differences in time: (512,).

    The best of the five sets of statistics that were tried for the reference.
    """
    samples, rate = librosa.load(path, sr=22_050)
    log = librosa.power_to_db(librosa.feature.melspectrogram(y=samples, sr=rate, n_mels=64))
    percentiles = np.percentile(log, [5, 25, 50, 75, 95], axis=1)
    return np.concatenate([log.mean(1), log.std(1), np.diff(log).std(1), *percentiles])


def _signal(path: Path) -> np.ndarray:
    """(T * 6,) one recording on an even grid of times."""
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    grid = np.arange(0, SIGNAL_S, 1 / SIGNAL_HZ)
    return np.concatenate([np.interp(grid, table[:, 0], column) for column in table[:, 1:].T])


SEEN = {  # what the classifier sees of an item, and which one it is; penalties are chosen on the training items
    "digits": (_statistics, lambda: SVC(C=10.0)),
    "imu": (_signal, lambda: RidgeClassifierCV(np.logspace(0, 6, 13))),
    "sounds": (_more_statistics, lambda: RidgeClassifierCV(np.logspace(0, 4, 9))),
}


def _print(name: str, results: list[dict[str, Any]]) -> None:
    keys = [key for key in ("text", "image", "classifier") if key in results[0]]
    seeds = list(dict.fromkeys(r["seed"] for r in results))
    print(f"\n{name + ' left out':16}" + "".join(f"{f'to {key}' if key != keys[-1] else key:>14}" for key in keys))
    for part in dict.fromkeys(r["part"] for r in results):
        own = [r for r in results if r["part"] == part]
        print(f"{part:16}" + "".join(f"{np.mean([r[key] for r in own]):14.3f}" for key in keys))
    per_seed = np.array([[np.mean([r[key] for r in results if r["seed"] == seed]) for key in keys] for seed in seeds])
    print(f"{'mean':16}" + "".join(f"{value:14.3f}" for value in per_seed.mean(0)))
    if len(seeds) > 1:
        print(f"{'dev. over seeds':16}" + "".join(f"{value:14.3f}" for value in per_seed.std(0)))


if __name__ == "__main__":
    main()
