"""What is left of `binder align` after `kill -9`: 25 random moments, and the weights of a run that nobody killed.

    python benchmarks/kills.py [--kills 25] [--seed 0] [--out FILE.json]

The task is small (48 spoken captions to their text, a tiny encoder, everything random switched on) and made hard: the
state is written after every step, and every item is a shard of the cache of its own. A run is killed while it fills an
empty cache, goes on, is killed in a step, while it writes its state, while it evaluates, and while it writes the
finished encoder; each time at a random one of these moments and a random delay after it began. It goes on by
`--resume` (without, where it died before there was anything to resume), until it ends; then its weights must be, bit
for bit, those of the uninterrupted run. Then the same with two runs at once on one empty cache, and with shards of the
cache damaged on disk between a kill and `--resume`: they must be noticed and computed again, and the weights be near.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

PHASES = ("elsewhere", "filling the cache", "in a step", "writing the state", "evaluating", "finishing")
CACHE, STEP, STATE, EVALUATING, FINISHING = range(1, 6)
LONGEST_DELAY_S = 0.02
PRELOADED = ["binder.train.align", "open_clip", "librosa", "binder_audio.encoder"]  # imported once, for all lives
SETS = {
    "train.batch_size": 16,
    "train.checkpoint_seconds": 0,
    "loss.learn_temperature": "true",
    "encoder.trunk": "none",
    "encoder.width": 32,
    "encoder.layers": 1,
}
OPTIONS = ["--to", "text", "--epochs", "6", "--workers", "0", "--device", "cpu"]


@dataclass
class Trial:
    """One run with all its lives: where it lies, what reads and writes beside it, and what became of it."""

    folder: Path
    pairs: Path
    cache: Path
    random: np.random.Generator
    often: Sequence[int] = ()  # how often a whole run enters each phase
    kills: list[int] = field(default_factory=list)  # the phase each of them hit
    said: str = ""  # all it wrote to stderr
    filled: int = 0  # items that went into the cache in its last life

    @property
    def out(self) -> Path:
        return self.folder / "run"


def command(arguments: Sequence[str], cache: Path, marker: Path, said: Path) -> None:
    """`binder ARGUMENTS` in this process; the file `marker` says all the time what it is doing."""
    os.environ["BINDER_CACHE"] = str(cache)
    import torch

    from binder.artifact import run_folder
    from binder.cli.main import main
    from binder.data import cache as caches
    from binder.train import align, loop, validation

    torch.set_num_threads(1)
    caches.SHARD_BYTES = 1  # every item is written by itself, and may be the one that is lost
    where = np.memmap(marker, np.int64, mode="r+")

    def mark(owner: Any, name: str, phase: int) -> None:
        function: Callable[..., Any] = getattr(owner, name)

        def marked(*args: Any, **kwargs: Any) -> Any:
            before, where[0] = int(where[0]), phase
            where[phase] += 1
            try:
                return function(*args, **kwargs)
            finally:
                where[0] = before

        setattr(owner, name, marked)

    mark(caches.Collection, "add", CACHE)
    mark(loop, "_step", STEP)
    mark(run_folder, "write_state", STATE)
    mark(validation, "_retrieval", EVALUATING)
    mark(run_folder, "write_aligned", FINISHING)
    mark(align, "_report", FINISHING)
    sys.argv = ["binder", *arguments]
    with said.open("a", encoding="utf-8") as sys.stderr, said.with_suffix(".out").open("w") as sys.stdout:
        main()


def live(trial: Trial, phase: int | None = None) -> bool:
    """Start the run or go on with it; kill it at a random moment of `phase`. False where it came to its end."""
    resume = ["--resume"] if (trial.out / "config.toml").is_file() else []
    sets = [part for key, value in SETS.items() for part in ("--set", f"{key}={value}")]
    arguments = ["align", "audio", str(trial.pairs), *OPTIONS, *sets, "--out", str(trial.out), *resume]
    marker, said = trial.folder / "marker", trial.folder / "said"
    np.zeros(len(PHASES), np.int64).tofile(marker)
    where = np.memmap(marker, np.int64, mode="r")
    process = multiprocessing.get_context("forkserver").Process(
        target=command, args=(arguments, trial.cache, marker, said)
    )
    process.start()
    if phase is not None:
        entered = trial.random.integers(1, max(2, trial.often[phase] // 3 + 1))
        delay = LONGEST_DELAY_S * trial.random.uniform() ** 3  # mostly short: some phases last a millisecond
        while process.is_alive() and where[phase] < entered:
            time.sleep(0.0002)
        time.sleep(delay)
        process.kill()
    process.join()
    trial.said, trial.filled = said.read_text(encoding="utf-8"), int(where[CACHE])
    killed = process.exitcode == -signal.SIGKILL
    if killed:
        trial.kills.append(int(where[0]))
    elif process.exitcode:
        raise SystemExit(f"binder align ended with {process.exitcode}:\n{trial.said}")
    return killed


def result(out: Path) -> tuple[bytes, dict[str, Any]]:
    """The weights, and the card without its date: every metric of the run."""
    card = json.loads((out / "card.json").read_text(encoding="utf-8"))
    return (out / "encoder.safetensors").read_bytes(), {**card, "created": None}


def killed_in(trial: Trial, phases: Sequence[int]) -> tuple[bytes, dict[str, Any]]:
    """The result of a run that is killed in each of the phases, one after the other."""
    for phase in phases:
        if not live(trial, phase) or (trial.out / "card.json").is_file():  # the kill came too late: it is finished
            return result(trial.out)
    live(trial)
    return result(trial.out)


def damage(cache: Path, random: np.random.Generator) -> int:
    """Change bytes in the middle of a shard of each collection; returns how many shards."""
    collections = [folder for folder in cache.iterdir() if folder.is_dir()]
    for folder in collections:
        shards = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        path = shards[random.integers(len(shards))] / "rows.npy"
        data = bytearray(path.read_bytes())
        place = random.integers(len(data) // 2, len(data) - 8)
        data[place : place + 8] = bytes(255 - byte for byte in data[place : place + 8])
        path.write_bytes(data)
    return len(collections)


def write_pairs(folder: Path) -> Path:
    from binder_playground import speech

    clips = speech.clips("train", "scene")[:48]
    wavs = speech.write_wavs(clips, folder / "audio")
    path = folder / "pairs.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([("audio", "text"), *((wav, clip.text) for wav, clip in zip(wavs, clips, strict=True))])
    return path


def measure(work: Path, kills: int, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    pairs = write_pairs(work)

    def trial(name: str, cache: str = "", often: Sequence[int] = ()) -> Trial:
        folder = work / name
        folder.mkdir()
        return Trial(
            folder, pairs, work / (cache or f"{name} cache"), np.random.default_rng(random.integers(2**32)), often
        )

    whole = trial("whole")
    began = time.monotonic()
    live(whole)
    found: dict[str, Any] = {"seconds": time.monotonic() - began}
    reference = result(whole.out)
    often = [int(n) for n in np.fromfile(whole.folder / "marker", np.int64)]
    found["often"] = dict(zip(PHASES[1:], often[1:], strict=True))

    every: list[int] = []
    same: list[bool] = []
    while len(every) < kills:
        one = trial(f"killed {len(same)}", often=often)
        same.append(killed_in(one, range(1, len(PHASES))[: kills - len(every)]) == reference)
        every += one.kills
        print(f"run {len(same)}: killed {', '.join(PHASES[p] for p in one.kills)}; the same: {same[-1]}", flush=True)
    found["kills"] = {PHASES[p]: n for p, n in sorted(Counter(every).items())}
    found["runs"], found["the same"] = len(same), sum(same)

    both = [trial(name, cache="one cache", often=often) for name in ("this", "that")]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda one: killed_in(one, [CACHE, STEP]), both))
    found["two at once"] = {"kills": sum(len(one.kills) for one in both), "the same": results.count(reference)}

    hurt = trial("hurt", often=often)
    live(hurt, STEP)
    damaged = damage(hurt.cache, hurt.random)
    live(hurt)
    found["damaged"] = {
        "shards": damaged,
        "noticed": hurt.said.count("damaged, its items are computed again"),
        "items computed again": hurt.filled,
        "largest difference of a weight": apart(result(hurt.out)[0], reference[0]),
    }
    return found


def apart(one: bytes, other: bytes) -> float:
    """An item computed again by itself may differ in its last bits from the same one in a batch, and so may the run."""
    from safetensors.numpy import load

    a, b = load(one), load(other)
    return max(float(np.abs(a[key].astype(np.float64) - b[key]).max()) for key in a)


NEAR = 0.01  # weights of a run whose damaged items were computed again


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON of everything found")
    given = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "BINDER_PLUGINS": "audio"}  # one thread: the same sums in every process
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), given.kills, given.seed)
    print(json.dumps(found, indent=2))
    if given.out:
        given.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    two, damaged = found["two at once"], found["damaged"]
    held = (
        found["the same"] == found["runs"]
        and two["the same"] == 2
        and damaged["shards"] == damaged["noticed"]
        and damaged["items computed again"]
        and damaged["largest difference of a weight"] < NEAR
    )
    print("held" if held else "MISSED")
    sys.exit(not held)


if __name__ == "__main__":
    main()
