"""What `binder align` costs where only a head is trained: a step beside a bare PyTorch loop, memory, growth with pairs.

The plugin is the smallest there can be: items are vectors of 512 dimensions, the frozen trunk hands them on, a linear
head is trained to the vectors of as many different texts. The bare loop holds items and targets in memory and does
what nobody could leave out: a shuffled batch of 256, the same head, the same loss, AdamW. It has no gradient clipping,
no averaged weights, no checkpoints, no reproducible order, and does not look at its loss.

    python benchmarks/head_only.py [--sizes 10000,100000,1000000] [--out FILE.json]

Steps are CPU seconds of one process in which both loops take turns; everything else is CPU seconds and the highest
memory of a fresh process. "cached" is a second run on the same pairs, which finds all vectors in the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from turns import Turns, memory_mb

from binder import EncoderConfig, Modality, hookimpl

if TYPE_CHECKING:
    from binder import Anchor, Encoder

DIM, BATCH = 512, 256
STEPS = 1000  # of each loop in the comparison, about
MOST_STEP, MOST_MB, MOST_GROWTH = 1.2, 1500, 1.15  # the targets
LOSS_TEMPERATURE, SOFT = 0.05, 0.02  # binder's defaults, for the bare loop


def build(config: EncoderConfig, anchor: Anchor) -> Encoder:
    import torch

    from binder import Encoder

    class Given(Encoder):
        """(512,) -> (D,): a linear head on vectors as they are given."""

        frozen_trunk = True

        def __init__(self) -> None:
            super().__init__()
            self.out = torch.nn.Linear(DIM, anchor.embed_dim)

        def preprocess(self, item: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(item)[None]

        def features(self, batch: torch.Tensor) -> torch.Tensor:
            return batch

        def head(self, features: torch.Tensor) -> torch.Tensor:
            return self.out(features)

    return Given()


class Plugin:
    """What would be a package of its own."""

    @staticmethod
    @hookimpl
    def binder_register_modalities() -> list[Modality]:
        return [Modality(name="given", suffixes=frozenset(), config=EncoderConfig, build=build)]


def small_anchor() -> Anchor:
    """A CLIP with random weights whose vectors have 512 dimensions; its speed is not what is measured."""
    import open_clip
    import torch
    from open_clip.model import CLIP

    from binder import OpenClipAnchor

    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    text = {"context_length": 12, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1}
    torch.manual_seed(0)
    model = CLIP(embed_dim=DIM, vision_cfg=vision, text_cfg=text)
    size = {"size": 32, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    return OpenClipAnchor("small", model, size, open_clip.SimpleTokenizer(context_length=12))


def pairs(n: int) -> list[dict[str, Any]]:
    x_ND = np.random.default_rng(0).standard_normal((n, DIM), dtype=np.float32)
    return [{"given": x, "text": f"number {i}"} for i, x in enumerate(x_ND)]


def bare_steps(x_ND: Any, t_ND: Any, bf16: bool) -> Iterator[None]:
    """The bare loop, one step after the other without end."""
    import torch
    from torch.nn import functional as F

    from binder.train import losses

    head = torch.nn.Linear(DIM, DIM)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.05)
    while True:
        for rows in torch.randperm(len(x_ND)).split(BATCH):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                z = head(x_ND[rows])
            t_BD = t_ND[rows]
            soft_BB = losses.soft_targets(t_BD, SOFT)
            z_BD = F.normalize(z.float(), dim=-1)
            loss = losses.contrastive(z_BD, t_BD, soft_BB, 1 / LOSS_TEMPERATURE) - losses.entropy(soft_BB)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            yield


def align(n: int, epochs: int, precision: str, turns: Turns, **train: Any) -> float:
    """CPU seconds of a whole `align` on n pairs, without those that the other loop took."""
    import binder
    from binder.registry import registry

    registry()._add("given", "1.0", Plugin)
    rows, anchor = pairs(n), small_anchor()
    settings = {"train": {"batch_size": BATCH, "precision": precision, **train}}
    began = turns.last = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        binder.align("given", rows, anchor=anchor, to="text", out=out, epochs=epochs, config=settings, progress=turns)
    return time.process_time() - began - sum(turns.theirs)


def compare(n: int, epochs: int, precision: str) -> dict[str, float]:
    """A step of `align` and of the bare loop, taken in turns."""
    import torch

    x_ND = torch.randn(n, DIM)
    t_ND = torch.nn.functional.normalize(torch.randn(n, DIM), dim=-1)
    turns = Turns(bare_steps(x_ND, t_ND, precision == "bf16"))
    align(n, max(1, STEPS * BATCH // n), precision, turns, val_fraction=0.0)
    ours, bare = turns.medians()
    return {"step_ms": 1000 * ours, "bare_ms": 1000 * bare, "ratio": ours / bare}


def whole(n: int, epochs: int, precision: str) -> dict[str, float]:
    """CPU seconds of a run as it is by default, a tenth held out and looked at after each epoch; and of its parts."""
    turns = Turns()
    seconds = align(n, epochs, precision, turns)
    training = len(turns.ours) * statistics.median(turns.ours)
    reading = turns.stages.get("encoding text", 0.0) + turns.stages.get("reading given", 0.0)
    return {"whole_s": seconds, "reading_s": reading, "training_s": training, "memory_mb": memory_mb()}


def child(kind: str, n: int, given: argparse.Namespace, cache: Path) -> dict[str, float]:
    """What a fresh process of this file finds out."""
    command = [sys.executable, __file__, "--child", kind, "--sizes", str(n)]
    command += ["--epochs", str(given.epochs), "--precision", given.precision]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "BINDER_CACHE": str(cache)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def measured(n: int, given: argparse.Namespace) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as cache:
        first = child("whole", n, given, Path(cache))
        again = child("whole", n, given, Path(cache))
        row = {"n": n, **child("compare", n, given, Path(cache))}
    return {
        **row,
        **{f"first_{key}": value for key, value in first.items()},
        **{f"again_{k}": v for k, v in again.items()},
    }


def table(rows: list[dict[str, float]]) -> None:
    """One line a size; of a whole run: reading, training, and the rest, which is mostly looking at what is held out."""
    print(
        f"{'pairs':>9}  {'step':>8}  {'bare':>8}  ratio  {'whole run':>10} = read + train + rest  {'cached':>9}  memory"
    )
    for row in rows:
        read, train = row["first_reading_s"], row["first_training_s"]
        rest = row["first_whole_s"] - read - train
        print(
            f"{row['n']:>9,}  {row['step_ms']:>5.2f} ms  {row['bare_ms']:>5.2f} ms  {row['ratio']:>5.2f}  "
            f"{row['first_whole_s']:>8.1f} s = {read:.1f} + {train:.1f} + {rest:.1f}  "
            f"{row['again_whole_s']:>7.1f} s  {row['first_memory_mb']:.0f} MB"
        )


def checks(rows: list[dict[str, float]]) -> list[tuple[str, float, float]]:
    """(what, measured, the most it may be) of every target."""
    found = [(f"{row['n']:,}: a step over the bare one", row["ratio"], MOST_STEP) for row in rows]
    found += [(f"{row['n']:,}: memory, MB", row["first_memory_mb"], MOST_MB) for row in rows if row["n"] <= 100_000]
    for few, many in pairwise(rows):
        times = many["n"] / few["n"]
        name = f"{many['n']:,} over {few['n']:,} pairs, {times:g} times as many: CPU time"
        found.append((f"{name} of a step", many["step_ms"] / few["step_ms"], MOST_GROWTH))
        found.append((f"{name} of the whole run", many["first_whole_s"] / few["first_whole_s"], MOST_GROWTH * times))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000")
    parser.add_argument("--epochs", type=int, default=3, help="of the whole runs")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="of both loops")
    parser.add_argument("--out", type=Path, help="JSON of everything measured")
    parser.add_argument("--child", choices=["whole", "compare"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    sizes = [int(size) for size in given.sizes.split(",")]
    if given.child:
        find = whole if given.child == "whole" else compare
        print(json.dumps(find(sizes[0], given.epochs, given.precision)))
        return
    rows = []
    for n in sizes:
        rows.append(measured(n, given))
        table(rows[-1:])
    for what, got, most in checks(rows):
        print(f"{'held  ' if got <= most else 'MISSED'} {what}: {got:.3g} (at most {most:.4g})")
    if given.out:
        given.out.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
