"""Two sensors that never met: digits drawn in the air and spoken ones, both aligned to pictures of handwriting only.

Each is searched for the other, and a match is the same digit (chance: one in ten). Neither the fold of gestures nor
the speaker was trained on. Data: `imu_digits` and `fsdd` under BINDER_DATA.

    BINDER_DATA=... python benchmarks/gestures_and_speech.py [--speaker jackson] [--folds 0 1 2 3 4] [--seed 0]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from small_data import TASKS, Task, parts

import binder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speaker", default="jackson", help="left out, and searched")
    parser.add_argument("--folds", nargs="+", help="of gestures, left out each in turn (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        speech, heard = _aligned("digits", given.speaker, given.seed, Path(work) / "speech")
        spoken = binder.Binder("mini").load(heard).embed(audio=[row["audio"] for row in speech.test])
        said = np.array([row["label"] for row in speech.test])
        found = []
        print(f"{'fold left out':16}{'gesture > speech':>18}{'speech > gesture':>18}")
        for fold in given.folds or parts("imu"):
            gestures, run = _aligned("imu", fold, given.seed, Path(work) / fold)
            z = binder.Binder("mini").load(run).embed(imu=[row["imu"] for row in gestures.test])
            drawn, cosine = np.array([row["label"] for row in gestures.test]), z.cosine(spoken)
            found.append(((said[cosine.argmax(1)] == drawn).mean(), (drawn[cosine.argmax(0)] == said).mean()))
            print(f"{fold:16}{found[-1][0]:18.3f}{found[-1][1]:18.3f}", flush=True)
        print(f"{'mean':16}" + "".join(f"{value:18.3f}" for value in np.mean(found, axis=0)))


def _aligned(name: str, part: str, seed: int, work: Path) -> tuple[Task, Path]:
    """The task without a part, and the folder of the encoder aligned on it."""
    work.mkdir()
    task = TASKS[name](work, seed, part)
    binder.align(task.modality, task.rows, to=task.to, out=work / "run", seed=seed)
    return task, work / "run"


if __name__ == "__main__":
    main()
