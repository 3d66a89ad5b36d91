"""What more negatives cost: a million cached targets beside those of the batch, and whether they teach more.

    python benchmarks/negatives.py                 # cost of a step
    python benchmarks/negatives.py --quality       # and held-out R@1 of short runs, some minutes more

A frozen anchor's vectors never go stale, so every cached target can be a negative: the loss `infonce_bank`. "sampled"
draws 16,384 of the cached targets anew in each step, "all" takes every one of them. Steps of all three are taken in
turns in one process; times are CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

import binder
from binder.config import AlignConfig
from binder.data.cache import Collection
from binder.encoder import Encoder
from binder.registry import registry
from binder.train import loop, losses

DIM = 512
NEGATIVES: dict[str, dict[str, Any]] = {  # the run's table `loss`
    "batch": {"kind": "infonce"},
    "sampled": {"kind": "infonce_bank", "bank": 16_384},
    "all": {"kind": "infonce_bank", "bank": 10**9},
}
MOST = 2.0  # a step with a sampled bank over one without
ITEMS = 200  # of noise, shared by all rows


class Head(Encoder):
    """A linear head on cached features."""

    frozen_trunk = True

    def __init__(self) -> None:
        super().__init__()
        self.out = torch.nn.Linear(DIM, DIM)

    def head(self, features: Tensor) -> Tensor:
        return self.out(features)


def audio_encoder() -> Encoder:
    """The default audio encoder for clips of two seconds; it asks of the anchor its width only."""
    kind = registry().get("audio")
    assert kind.adapt is not None
    return kind.build(kind.adapt(kind.config(), []), type("Width", (), {"embed_dim": DIM})())


def some_data(encoder: Encoder, vectors: Tensor) -> loop.Data:
    """A row for each target, with items of noise from the cache."""
    rng, items = np.random.default_rng(0), Collection(f"items-{encoder.frozen_trunk}")
    keys = [i.to_bytes(16, "big") for i in range(ITEMS)]
    for key in keys:
        if encoder.frozen_trunk:
            items.add(key, rng.standard_normal((1, DIM), dtype=np.float32))
        else:
            items.add(key, encoder.preprocess((rng.standard_normal(32_000, dtype=np.float32), 16_000)).numpy())
    items.flush()
    n = len(vectors)
    first = items.first(keys)[np.arange(n) % ITEMS]
    targets = loop.Targets(vectors, torch.arange(n))
    return loop.Data(items, encoder.frozen_trunk, first, np.ones(n, int), {"text": targets})


def cost(name: str, encoder: Encoder, vectors: Tensor, batch: int, steps: int, full_steps: int) -> dict[str, Any]:
    """Median CPU seconds of a step with each kind of negatives."""
    data, train = some_data(encoder, vectors), {"batch_size": batch, "precision": "fp32"}
    configs = {kind: AlignConfig.model_validate({"train": train, "loss": table}) for kind, table in NEGATIVES.items()}
    context = losses.Context(data, 1 / 0.05)
    made = {kind: losses.make(table, context) for kind, table in NEGATIVES.items()}
    run = loop.start(encoder, configs["batch"], made["batch"])
    seconds: dict[str, list[float]] = {kind: [] for kind in configs}
    for step in range(steps):
        rows = loop._rows_of_step(step, len(data), configs["batch"])
        for kind, config in configs.items():
            if kind == "all" and step >= full_steps:
                continue
            run.loss = made[kind]
            began = time.process_time()
            loop._step(run, data, rows, config, 10 * steps)
            seconds[kind].append(time.process_time() - began)
    found = {kind: statistics.median(values[1:]) for kind, values in seconds.items()}
    return {"encoder": name, "batch": batch, "targets": len(vectors), **found}


def quality(clips: int, steps: int, size: int) -> dict[str, dict[str, float]]:
    """Held-out R@1 of spoken captions among the pictures they were aligned to, for each kind of negatives."""
    from binder_playground import speech

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        some = speech.clips("train", "scene")[:clips]
        wavs = speech.write_wavs(some, Path(folder) / "audio")
        rows = [{"audio": wav, "text": clip.text} for wav, clip in zip(wavs, some, strict=True)]
        encoder = {"trunk": "none", "width": 128, "layers": 2, "strength": 0.5}
        for name, table in {**NEGATIVES, "sampled": {"kind": "infonce_bank", "bank": size}}.items():
            settings = {"encoder": encoder, "train": {"steps": steps}, "loss": table}
            began = time.process_time()
            done = binder.align("audio", rows, to="text", config=settings, out=Path(folder) / name)
            table = next(row for row in done.retrieval if row["query"] == "audio")
            found[name] = {"r1": table["r1"], "r10": table["r10"], "cpu_s": time.process_time() - began}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--full-steps", type=int, default=4, help="of those with all targets")
    parser.add_argument("--quality", action="store_true", help="also train with each")
    parser.add_argument("--out", type=Path, help="JSON of everything measured")
    given = parser.parse_args()
    found: dict[str, Any] = {"cost": []}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BINDER_CACHE"] = str(Path(folder) / "cache")
        vectors = F.normalize(torch.randn(given.targets, DIM), dim=-1)
        for name, encoder, batch in [("audio", audio_encoder(), 48), ("head only", Head(), 256)]:
            row = cost(name, encoder, vectors, batch, given.steps, given.full_steps)
            found["cost"].append(row)
            size = NEGATIVES["sampled"]["bank"]
            print(
                f"{name}, batch {batch}, {given.targets:,} targets: a step {row['batch']:.4f} s; {size:,} sampled "
                f"{row['sampled'] / row['batch']:.2f} times that, all {row['all'] / row['batch']:.1f} times",
                flush=True,
            )
        del vectors
        if given.quality:
            found["quality"] = quality(1500, 300, 128)
            for name, row in found["quality"].items():
                print(f"negatives of {name:8} R@1 {row['r1']:.3f}, R@10 {row['r10']:.3f}, {row['cpu_s']:.0f} CPU s")
    ratio = found["cost"][0]["sampled"] / found["cost"][0]["batch"]
    print(f"{'held  ' if ratio <= MOST else 'MISSED'} sampled over in-batch, audio: {ratio:.2f} (at most {MOST})")
    if given.out:
        given.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
